package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/store/filecache"
)

// AdvanceStart makes to the first offset that may be read; it does not go back. The caller has compared it with the high
// watermark, and checkpoints it. Segments below it go with the next Retain. L-54.
// Errors: ErrOutOfRange above the end, ErrClosed, ErrPoisoned.
func (l *Log) AdvanceStart(to moldau.Offset) error {
	if err := l.usable(); err != nil {
		return err
	}
	v := l.view.Load()
	if to > v.tail.end().next {
		return fmt.Errorf("advance the start of log %v to %d: %w", l.partition, to, ErrOutOfRange)
	}
	if to > v.start {
		l.view.Store(&view{to, v.segs, v.tail})
		l.setEpochs(l.epochs.Load().advanceTo(to))
	}
	return nil
}

// Retained tells what Retain deleted.
type Retained struct {
	Segments int
	Bytes    int64
	// Start is the log's start afterwards.
	Start moldau.Offset
	// ByTime, BySize and ByStart say how many of the segments went for which reason.
	ByTime, BySize, ByStart int
}

// Retain deletes the oldest segments as far as retention.ms, retention.bytes and the log's start say, never one that
// reaches above highWatermark. Where all may go, the active one too, an empty segment follows. Their files go with the
// next Sweep. L-50 to L-53.
func (l *Log) Retain(now time.Time, highWatermark moldau.Offset) (Retained, error) {
	if err := l.usable(); err != nil {
		return Retained{Start: l.Start()}, err
	}
	l.rest()
	res, err := l.retain(now, highWatermark)
	if err != nil {
		return res, l.refuse(fmt.Errorf("delete old segments of log %v: %w", l.partition, err))
	}
	return res, nil
}

func (l *Log) retain(now time.Time, highWatermark moldau.Offset) (res Retained, err error) {
	v := l.view.Load()
	res.Start = v.start
	cfg := l.cfg.Load()
	excess := l.Size() - cfg.RetentionBytes
	n, reason := 0, new(int)
walk:
	for ; n < len(v.segs); n++ {
		end := v.bounds(n)
		if end.next > highWatermark && !plant.Has(plant.RetentionAboveCommitted) || end.pos == 0 && n == len(v.segs)-1 {
			break
		}
		old, err := cfg.expired(v.segs[n], now)
		if err != nil {
			return res, unopened(err)
		}
		switch {
		case old:
			reason = &res.ByTime
		case cfg.DeleteEnabled && cfg.RetentionBytes >= 0 && excess >= end.pos:
			reason = &res.BySize
		case end.next <= v.start && n < len(v.segs)-1:
			reason = &res.ByStart
		default:
			break walk
		}
		*reason++
		excess -= end.pos
	}
	if n == len(v.segs) { // an empty one has to follow
		err := l.roll(v.tail.end().next, now)
		if Transient(err) {
			n-- // the active one stays until those before it have made room
			*reason--
		} else if err != nil {
			return res, err
		}
	}
	if err := l.keepSnapshot(n); err != nil {
		return Retained{Start: l.Start()}, unopened(err)
	}
	l.deleteFirst(n, &res)
	return res, nil
}

// keepSnapshot makes durable what is known of producers at the end of the n oldest segments, before these are deleted: a start could
// not tell it from their batches any more (L-26). A flush has done that, unless there was none.
func (l *Log) keepSnapshot(n int) error {
	segs := l.view.Load().segs
	if n == 0 || segs[n-1].indexesSynced() {
		return nil
	}
	if err := l.syncSnapshotFile(segs[n].base); err != nil {
		return err
	}
	return l.fsys.SyncDir(l.dir)
}

// expired reports whether all records of s are older than retention.ms. Records from the future keep it (L-51).
func (c *Config) expired(s *segment, now time.Time) (bool, error) {
	if !c.DeleteEnabled || c.RetentionMs < 0 {
		return false, nil
	}
	ts, err := s.lastTimestamp()
	if err != nil {
		return false, err
	}
	if ts < 0 {
		ts = moldau.Timestamp(s.createdMs)
	}
	return now.UnixMilli()-int64(ts) > c.RetentionMs, nil
}

// deleteFirst deletes the n oldest segments, which are not all.
func (l *Log) deleteFirst(n int, res *Retained) {
	if n == 0 {
		return
	}
	v := l.view.Load()
	gone := v.segs[:n]
	for i := range gone {
		res.Segments++
		res.Bytes += v.bounds(i).pos
	}
	res.Start = max(v.start, v.segs[n].base)
	l.view.Store(&view{res.Start, v.segs[n:], v.tail})
	l.setEpochs(l.epochs.Load().advanceTo(res.Start))
	l.graveyard().condemn(gone...)
}

// TruncateTo removes the records from offset to on, and whole the batch that contains it, and returns the new end. The
// result is durable when it returns. The recovery point may have gone back: where it has, the caller writes its
// checkpoint before the next append, so that a start after a crash looks again at what is written there.
func (l *Log) TruncateTo(to moldau.Offset) (moldau.Offset, error) {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.usable(); err != nil {
		return l.End(), err
	}
	if to >= l.End() {
		return l.End(), nil
	}
	err := l.buryCondemned() // what a compaction has put into the view bears its own names from here on
	v := l.view.Load()
	if err != nil {
		return l.End(), l.refuse(err)
	}
	l.cuts.Add(1)
	if to < v.segs[0].base {
		err = l.restart(to)
	} else {
		err = l.truncate(v, to)
	}
	if err != nil {
		return l.End(), l.poison(fmt.Errorf("truncate log %v to offset %d: %w", l.partition, to, err))
	}
	return l.End(), nil
}

// TruncateFullyAndStartAt removes everything and begins anew at offset at. It is durable when it returns; see TruncateTo
// for the recovery point.
func (l *Log) TruncateFullyAndStartAt(at moldau.Offset) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.Unwritten() {
		return fmt.Errorf("begin log %v anew at offset %d: %w", l.partition, at, ErrUnwritten)
	}
	l.cuts.Add(1)
	if err := l.restart(at); err != nil {
		return l.poison(fmt.Errorf("begin log %v anew at offset %d: %w", l.partition, at, err))
	}
	return nil
}

func (l *Log) restart(at moldau.Offset) error {
	old := l.view.Load().segs
	for _, s := range old {
		if err := s.acquire(); err != nil { // readers may come until the next view is out
			return err
		}
		defer s.release()
	}
	if err := l.buryCondemned(); err != nil {
		return err
	}
	for _, s := range slices.Backward(old) {
		if err := l.bury(s); err != nil {
			return err
		}
	}
	for len(l.snapshots) > 0 {
		if err := l.removeSnapshot(l.snapshots[0]); err != nil {
			return err
		}
	}
	s, err := createSegment(l.fsys, l.dir, at, l.now())
	if err != nil {
		return err
	}
	l.view.Store(&view{at, []*segment{s}, newTail(tailLen, boundary{at, 0})})
	l.producers.reset(at)
	l.snapshotAt = at
	l.epochs.Store(&noEpochs)
	return l.makeDurable(at)
}

// makeDurable makes a truncation durable.
func (l *Log) makeDurable(end moldau.Offset) error {
	if err := l.view.Load().active().file.Sync(); err != nil {
		return err
	}
	l.recoveryPoint.Store(min(l.recoveryPoint.Load(), int64(end)))
	dirty := end
	if open := l.producers.open; len(open) > 0 {
		dirty = min(dirty, open[0].first) // its marker was cut off
	}
	l.firstDirty.Store(min(l.firstDirty.Load(), int64(dirty)))
	l.noteOpen()
	l.settled.Store(min(l.settled.Load(), int64(dirty)))
	l.namesDirty.Store(false)
	if err := l.saveEpochs(); err != nil {
		return err
	}
	return l.fsys.SyncDir(l.dir)
}

func (l *Log) truncate(v *view, to moldau.Offset) error {
	i := v.find(to)
	old, gone := v.segs[i], v.segs[i+1:]
	if err := old.keep(); err != nil {
		return err
	}
	pg := l.pools.pages.get()
	cut, err := l.locate(v, i, to, v.bounds(i), pg)
	l.pools.pages.put(pg)
	if err != nil {
		return err
	}
	s, err := l.shorten(old, cut.pos)
	if err != nil {
		return err
	}
	publish := func(s *segment) {
		start := min(v.start, s.next)
		l.view.Store(&view{start, append(v.segs[:i:i], s), newTail(tailLen, boundary{s.next, s.size})})
	}
	publish(s)
	for _, g := range slices.Backward(gone) {
		if err := l.bury(g); err != nil {
			return err
		}
	}
	if old.drop() {
		// Nobody holds a region of old, and nobody can get one any more: the file is ours alone, to be written over.
		if err := s.file.Truncate(s.size); err != nil {
			return err
		}
	} else {
		// Readers hold bytes behind the cut. They keep the file, and we go on in a copy.
		own, err := l.copyOf(s)
		if err != nil {
			return err
		}
		publish(own)
		s.drop()
		s = own
	}
	return l.forget(s)
}

// forget takes back what the log knew of records behind the end of s, its active segment.
func (l *Log) forget(s *segment) error {
	for n := len(l.snapshots); n > 0 && l.snapshots[n-1] > s.next; n = len(l.snapshots) {
		if err := l.removeSnapshot(l.snapshots[n-1]); err != nil {
			return err
		}
	}
	l.setEpochs(l.epochs.Load().truncateTo(s.next))
	segs := l.view.Load().segs
	if plant.Has(plant.TruncationKeepsProducers) {
		return l.makeDurable(s.next)
	}
	if err := l.loadProducers(new(scanner), segs, s.base, s.next, func(string, ...any) {}); err != nil {
		return err
	}
	return l.makeDurable(s.next)
}

// shorten makes an active segment of the first size bytes of old, in the same file.
func (l *Log) shorten(old *segment, size int64) (*segment, error) {
	s := newSegment(l.fsys, l.dir, old.base)
	s.createdMs, s.size = old.createdMs, size
	s.clearIndexes()
	sc := new(scanner)
	for sc.reset(s.file, 0, size); sc.pos < size; {
		h, err := sc.header()
		if err != nil {
			return nil, fmt.Errorf("segment %d at byte %d: %w", s.base, sc.pos, err)
		}
		s.indexed(h, sc.pos, l.cfg.Load().IndexIntervalBytes)
		s.next = h.LastOffset() + 1
		sc.skip(h.Size())
	}
	for _, ext := range [...]string{indexExt, timeExt} {
		if err := l.fsys.Remove(s.path + ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return s, nil
}

// copyOf makes a segment like s, which is active, with a file of its own.
func (l *Log) copyOf(s *segment) (*segment, error) {
	own, err := l.shorten(s, s.size)
	if err != nil {
		return nil, err
	}
	own.file.Drop()
	own.file, err = l.copyPrefix(s, s.size)
	return own, err
}

// copyBuffer is how many bytes a copy moves at once.
const copyBuffer = 256 << 10

// copyPrefix puts a copy of the first n bytes of old in the place of its file, which readers keep open.
func (l *Log) copyPrefix(old *segment, n int64) (*filecache.File, error) {
	name := old.path + logExt
	tmp := name + tmpExt
	if err := l.fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f := l.fsys.File(tmp)
	err := f.Create()
	buf := make([]byte, min(n, copyBuffer))
	for at := int64(0); at < n && err == nil; at += int64(len(buf)) {
		buf = buf[:min(n-at, int64(len(buf)))]
		if _, err = old.file.ReadAt(buf, at); err == nil || errors.Is(err, io.EOF) {
			_, err = f.WriteAt(buf, at)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fsys.Rename(tmp, name)
	}
	if err != nil {
		f.Drop()
		return nil, err
	}
	f.Renamed(name)
	return f, nil
}
