package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/filecache"
)

// rewrite is a segment that a compaction makes out of some that follow one another. Its files end in .cleaned until it is in the
// view. A file is made only when it turns out to differ from the one segment that it would replace.
type rewrite struct {
	l       *Log
	old     []*segment
	seg     *segment
	made    bool  // the file is there
	size    int64 // bytes of batches so far
	written int64 // of these, in the file
	synced  int64
	buf     []byte
	buffer  int // how many bytes are written at once
	aborted []Aborted

	pinned bool
	step   int // how far the names are: see settle
}

// rewriteSync is after how many bytes the file is synced: what a sync has to write back keeps those of the partitions waiting.
const rewriteSync = 16 << 20

func newRewrite(l *Log, old []*segment, buffer int) *rewrite {
	w := &rewrite{l: l, old: old, buffer: buffer, seg: newSegment(l.fsys, l.dir, old[0].base)}
	w.seg.clearIndexes()
	for _, s := range old {
		w.seg.createdMs = max(w.seg.createdMs, s.createdMs)
	}
	return w
}

// same reports whether nothing has changed, so that there is nothing to be replaced.
func (w *rewrite) same() bool { return !w.made && w.size == w.old[0].size && len(w.old) == 1 }

// add writes kept, which may be nil: what stays of was.
func (w *rewrite) add(kept, was record.Batch) error {
	if !w.made && !(len(w.old) == 1 && len(kept) == len(was) && &kept[0] == &was[0]) {
		if err := w.create(); err != nil {
			return err
		}
	}
	if len(kept) == 0 {
		return nil
	}
	w.seg.indexed(kept, w.size, w.l.cfg.Load().IndexIntervalBytes)
	w.size += int64(len(kept))
	if !w.made {
		return nil
	}
	w.buf = append(w.buf, kept...)
	if len(w.buf) < w.buffer {
		return nil
	}
	return w.flush()
}

// create makes the file, with the batches before that have stayed what they were.
func (w *rewrite) create() error {
	name := w.seg.path + logExt + cleanedExt
	if err := w.l.fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.seg.file.Drop()
	w.seg.file = w.l.fsys.File(name)
	if err := w.seg.file.Create(); err != nil {
		return err
	}
	w.made = true
	var room int64
	for _, s := range w.old {
		room += s.size
	}
	w.buf = make([]byte, 0, min(room, int64(w.buffer)+64<<10))
	for w.written < w.size {
		w.buf = w.buf[:min(w.size-w.written, int64(cap(w.buf)))]
		if n, err := w.old[0].file.ReadAt(w.buf, w.written); n < len(w.buf) {
			return fmt.Errorf("read segment %d at byte %d: %w", w.seg.base, w.written, err)
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is buffered.
func (w *rewrite) flush() error {
	if _, err := w.seg.file.WriteAt(w.buf, w.written); err != nil {
		return fmt.Errorf("write segment %d: %w", w.seg.base, err)
	}
	w.written += int64(len(w.buf))
	w.buf = w.buf[:0]
	if w.written-w.synced < rewriteSync {
		return nil
	}
	w.synced = w.written
	return w.seg.file.Sync()
}

// finish makes the content of all files durable. The segment is then as one that was sealed long ago.
func (w *rewrite) finish() error {
	if !w.made { // several segments, none of which has a batch left, or had one
		if err := w.create(); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.seg.file.Sync(); err != nil {
		return err
	}
	w.buf = nil
	s := w.seg
	s.addTime()
	var err error
	if err = s.offsets.saveAs(w.l.fsys, s.offsets.name()+cleanedExt); err == nil {
		err = s.times.saveAs(w.l.fsys, s.times.name()+cleanedExt)
	}
	if err != nil {
		return fmt.Errorf("write the indexes of segment %d: %w", s.base, err)
	}
	s.indexSaved = true
	s.indexSynced.Store(true)
	s.aborted.Store(&w.aborted)
	if len(w.aborted) > 0 {
		if err := writeAborted(w.l.fsys, s.path+txnExt+cleanedExt, w.aborted); err != nil {
			return fmt.Errorf("write the transaction index of segment %d: %w", s.base, err)
		}
	}
	s.dropIndexes(w.old[len(w.old)-1].next, w.size)
	return w.pin()
}

// saveAs writes the entries in memory to a new file and syncs it. It is for an index whose own name is that of one that is still in
// use.
func (x *index[E]) saveAs(fsys *filecache.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b := x.encode()
	f := fsys.File(name)
	err := f.Create()
	if err == nil && len(b) > 0 {
		_, err = f.WriteAt(b, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Drop()
		return err
	}
	x.file.Store(&indexFile{f, int64(len(b))})
	return nil
}

// writeAborted makes a transaction index of its own name, and syncs it.
func writeAborted(fsys env.FS, name string, list []Aborted) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	var b []byte
	for _, a := range list {
		b = a.append(b)
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// files are those of the new segment that readers open by their names.
func (w *rewrite) files() [3]*filecache.File {
	return [...]*filecache.File{w.seg.file, w.seg.offsets.file.Load().File, w.seg.times.file.Load().File}
}

// pin keeps the files open for as long as their names are not those that the segment has in the view.
func (w *rewrite) pin() error {
	files := w.files()
	for i, f := range files {
		if err := f.Acquire(); err != nil {
			for _, held := range files[:i] {
				held.Release()
			}
			return err
		}
	}
	w.pinned = true
	return nil
}

func (w *rewrite) unpin() {
	if !w.pinned {
		return
	}
	w.pinned = false
	for _, f := range w.files() {
		if f.Release() && f == w.seg.file {
			w.seg.end()
		}
	}
}

// discard gives up a segment that is in no view. Files that cannot be removed go with the next start.
func (w *rewrite) discard() {
	w.unpin()
	w.seg.drop()
	if !w.made {
		return
	}
	for _, ext := range [...]string{logExt, indexExt, timeExt, txnExt} {
		_ = w.l.fsys.Remove(w.seg.path + ext + cleanedExt)
	}
}

// replace puts the segment of w into the view, in the place of those it was made of; false where one of these is not there any more.
// Their names are left to the next sweep.
func (l *Log) replace(w *rewrite) bool {
	v := l.view.Load()
	i := slices.Index(v.segs, w.old[0])
	n := i + len(w.old)
	if i < 0 || n > len(v.segs) || !slices.Equal(v.segs[i:n], w.old) {
		return false
	}
	segs := slices.Concat(v.segs[:i:i], []*segment{w.seg}, v.segs[n:])
	l.view.Store(&view{v.start, segs, v.tail})
	l.graveyard().condemnFor(w)
	return true
}

// settle gives the files of w their names, durably, and takes away those of the segments that it replaces. It may be called again
// where it has failed. At any moment a start finds either those segments whole, or a .log.swap that says what to do, or the new one:
//
//  1. .log.cleaned becomes .log.swap. From here on it is the new segment that counts.
//  2. The old files get names that nobody looks for, and the new indexes theirs.
//  3. .log.swap becomes .log.
//
// The caller holds flushing.
func (w *rewrite) settle() error {
	fsys, path := w.l.fsys, w.seg.path
	if w.step == 0 {
		if err := w.rename(logExt+cleanedExt, logExt+swapExt); err != nil {
			return err
		}
		w.step++
	}
	if w.step == 1 {
		for _, s := range w.old {
			if err := w.l.renameFiles(s); err != nil {
				return err
			}
		}
		w.step++
	}
	if w.step == 2 {
		for _, ext := range [...]string{indexExt, timeExt, txnExt} {
			if err := fsys.Rename(path+ext+cleanedExt, path+ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return undone(err, nothing)
			}
		}
		if err := fsys.SyncDir(w.l.dir); err != nil {
			return unopened(err)
		}
		w.step++
	}
	if w.step == 3 {
		if err := w.rename(logExt+swapExt, logExt); err != nil {
			return err
		}
		w.step++
	}
	for i, f := range w.files() {
		f.Renamed(path + [...]string{logExt, indexExt, timeExt}[i])
	}
	w.unpin()
	for _, s := range w.old {
		s.drop()
	}
	w.old = nil
	return nil
}

func (w *rewrite) rename(from, to string) error {
	if err := w.l.fsys.Rename(w.seg.path+from, w.seg.path+to); err != nil {
		return undone(err, nothing)
	}
	if plant.Has(plant.SwapUnsynced) {
		return nil
	}
	return unopened(w.l.fsys.SyncDir(w.l.dir))
}
