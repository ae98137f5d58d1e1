package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/filecache"
)

// Endings of the files of a segment and of files that are on their way out.
const (
	logExt      = ".log"
	indexExt    = ".index"
	timeExt     = ".timeindex"
	txnExt      = ".txnindex"
	snapshotExt = ".snapshot"
	deletedExt  = ".deleted" // removed after file.delete.delay.ms
	cleanedExt  = ".cleaned" // a compaction that did not finish
	swapExt     = ".swap"    // a compaction that finished and was not yet put in place
	tmpExt      = ".tmp"     // a replacement that was not yet renamed
)

// stem is the name of a segment's files without their ending: its base offset in 20 digits.
func stem(base moldau.Offset) string { return fmt.Sprintf("%020d", int64(base)) }

func logName(base moldau.Offset) string { return stem(base) + logExt }

// timestampNotLoaded stands in segment.maxTimestamp until the time index has been asked.
const timestampNotLoaded = math.MinInt64

// segment is one file of batches with its indexes. Readers hold the file; the log owns it until it drops the segment. The
// segment ends with the last of them.
type segment struct {
	fsys *filecache.FS
	base moldau.Offset
	path string // directory and stem
	file *filecache.File

	offsets index[offsetEntry]
	times   index[timeEntry]
	aborted atomic.Pointer[[]Aborted] // nil until loaded

	traces atomic.Pointer[env.Traces] // of reads of old data; nil: there were none

	maxTimestamp atomic.Int64 // highest record timestamp, or timestampNotLoaded
	oldest       atomic.Int64 // that of the first batch of a sealed segment, or timestampNotLoaded

	// Fixed once the segment is sealed; before, the tail of the view knows better.
	next moldau.Offset
	size int64

	// Only the owner of the log uses what follows.
	createdMs      int64            // when the file came to be, or its modification time at opening
	firstTimestamp moldau.Timestamp // max timestamp of the first batch; NoTimestamp while empty
	maxRel         int32            // last offset of the batch with the highest timestamp, less base
	sinceIndex     int64            // bytes appended since the latest index entry
	indexSaved     bool             // the files of the indexes hold all that those in memory do
	indexSynced    atomic.Bool      // the files of the indexes are durable
	abortedDirty   atomic.Bool      // the file of the transaction index is not durable
}

// newSegment makes the value for the segment at base with its indexes in their files.
func newSegment(fsys *filecache.FS, dir string, base moldau.Offset) *segment {
	name := filepath.Join(dir, logName(base))
	s := &segment{fsys: fsys, base: base, path: name[:len(name)-len(logExt)], next: base, firstTimestamp: moldau.NoTimestamp}
	s.file = fsys.File(name)
	s.offsets.of, s.times.of = s, s
	s.maxTimestamp.Store(timestampNotLoaded)
	s.oldest.Store(timestampNotLoaded)
	return s
}

// createSegment makes an empty segment, ready to be appended to. Leftovers of the same name are replaced.
func createSegment(fsys *filecache.FS, dir string, base moldau.Offset, now time.Time) (*segment, error) {
	s := newSegment(fsys, dir, base)
	s.clearIndexes()
	return s, s.create(now)
}

// create makes the file of an empty segment.
func (s *segment) create(now time.Time) error {
	for _, ext := range [...]string{logExt, indexExt, timeExt, txnExt} {
		if err := s.fsys.Remove(s.path + ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make room for segment %d: %w", s.base, err)
		}
	}
	if err := s.file.Create(); err != nil {
		return fmt.Errorf("create segment %d: %w", s.base, err)
	}
	s.createdMs = now.UnixMilli()
	return nil
}

// openSegment makes the value for an existing segment; its files are opened once they are needed, and its end is not yet
// known.
func openSegment(fsys *filecache.FS, dir string, base moldau.Offset) (*segment, error) {
	s := newSegment(fsys, dir, base)
	info, err := fsys.Stat(s.path + logExt)
	if err != nil {
		return nil, fmt.Errorf("open segment %d: %w", base, err)
	}
	s.size = info.Size()
	s.createdMs = info.ModTime().UnixMilli()
	return s, nil
}

// clearIndexes makes the indexes empty ones in memory.
func (s *segment) clearIndexes() {
	s.offsets.mem.Store(new(column[offsetEntry]))
	s.times.mem.Store(new(column[timeEntry]))
	s.aborted.Store(&noAborted)
	s.maxTimestamp.Store(int64(moldau.NoTimestamp))
	s.firstTimestamp = moldau.NoTimestamp
	s.maxRel, s.sinceIndex = 0, 0
	s.indexSaved = false
	s.indexSynced.Store(false)
}

// acquire holds the segment's file open, and with it the segment. errDropped: the log has dropped it and nobody holds it any
// more, so the view that led here is outdated.
func (s *segment) acquire() error {
	err := s.file.Acquire()
	if err == filecache.ErrClosed {
		return errDropped
	}
	return err
}

// release gives back what acquire took.
func (s *segment) release() {
	if s.file.Release() {
		s.end()
	}
}

// drop takes the segment from the log, which uses it no more; last tells that nobody else does, or can any more.
func (s *segment) drop() (last bool) {
	last = s.file.Drop()
	if last {
		s.end()
	}
	return last
}

// end closes what only those who hold the segment use.
func (s *segment) end() {
	s.offsets.close()
	s.times.close()
}

// keep has all files that readers may still want opened, since their names are about to be taken away.
func (s *segment) keep() error {
	if _, err := s.loadAborted(); err != nil {
		return err
	}
	if err := s.file.Keep(); err != nil {
		return err
	}
	if s.offsets.mem.Load() != nil {
		return nil
	}
	for _, keep := range [...]func(*filecache.FS) error{s.offsets.keep, s.times.keep} {
		if err := keep(s.fsys); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// full reports whether an index has no room for another entry (L-41).
func (s *segment) full(indexBytesMax int64) bool {
	return int64(s.offsets.mem.Load().len()+1)*offsetEntryLen > indexBytesMax ||
		int64(s.times.mem.Load().len()+1)*timeEntryLen > indexBytesMax
}

// fits reports whether o is at most 2³¹-1 above the base, which index entries presume.
func (s *segment) fits(o moldau.Offset) bool { return o >= s.base && o-s.base <= math.MaxInt32 }

// indexed notes a batch that stands at pos: the index gets an entry where interval bytes have passed since the last.
func (s *segment) indexed(b record.Batch, pos, interval int64) {
	rel := int32(b.LastOffset() - s.base)
	ts := b.MaxTimestamp()
	if s.firstTimestamp == moldau.NoTimestamp {
		s.firstTimestamp = ts
	}
	if int64(ts) > s.maxTimestamp.Load() && b.Count() > 0 { // a batch that a compaction has emptied has no record of that time
		s.maxRel = rel
		s.maxTimestamp.Store(int64(ts))
	}
	if s.sinceIndex > interval {
		if plant.Has(plant.IndexOffByOne) {
			pos += int64(b.Size())
		}
		s.offsets.mem.Load().add(offsetEntry{rel, int32(pos)})
		s.addTime()
		s.sinceIndex = 0
	}
	s.sinceIndex += int64(b.Size())
	s.indexSaved = false
}

// addTime adds the highest timestamp so far to the time index, unless that has it or there is none.
func (s *segment) addTime() {
	mem := s.times.mem.Load()
	ts := moldau.Timestamp(s.maxTimestamp.Load())
	if n := mem.len(); ts < 0 || n > 0 && mem.at(n-1).ts >= ts {
		return
	}
	mem.add(timeEntry{ts, s.maxRel})
}

// seal ends appending at (next, size) and writes the indexes to their files.
func (s *segment) seal(next moldau.Offset, size int64) error {
	if err := s.saveIndexes(); err != nil {
		return err
	}
	s.dropIndexes(next, size)
	return nil
}

// saveIndexes writes the indexes in memory to their files. Files that hold them already stay: they may be durable, and new
// ones would not be. After an error the indexes are in memory as before.
func (s *segment) saveIndexes() error {
	if s.indexSaved || s.offsets.mem.Load() == nil {
		return nil
	}
	s.addTime()
	s.indexSynced.Store(false)
	if err := errors.Join(s.offsets.save(s.fsys), s.times.save(s.fsys)); err != nil {
		return fmt.Errorf("write the indexes of segment %d: %w", s.base, err)
	}
	s.indexSaved = true
	return nil
}

// dropIndexes ends appending at (next, size): from now on the indexes are in their files only.
func (s *segment) dropIndexes(next moldau.Offset, size int64) {
	s.next, s.size = next, size
	s.offsets.mem.Store(nil)
	s.times.mem.Store(nil)
}

// indexesSynced reports whether the files of the indexes are durable.
func (s *segment) indexesSynced() bool { return s.indexSynced.Load() && !s.abortedDirty.Load() }

// syncIndexes makes the files of a sealed segment's indexes durable.
func (s *segment) syncIndexes() error {
	if s.indexSynced.Load() || s.offsets.mem.Load() != nil || s.times.mem.Load() != nil {
		return nil
	}
	for _, open := range [...]func(*filecache.FS) (*indexFile, error){s.offsets.open, s.times.open} {
		f, err := open(s.fsys)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return err
		}
	}
	s.indexSynced.Store(true)
	return nil
}

// lastTimestamp is the highest timestamp of a record in the segment, NoTimestamp where there is none.
func (s *segment) lastTimestamp() (moldau.Timestamp, error) {
	if ts := s.maxTimestamp.Load(); ts != timestampNotLoaded {
		return moldau.Timestamp(ts), nil
	}
	e, ok, err := s.times.last(s.fsys)
	if err != nil {
		return moldau.NoTimestamp, err
	}
	if !ok {
		e.ts = moldau.NoTimestamp
	}
	s.maxTimestamp.Store(int64(e.ts))
	return e.ts, nil
}
