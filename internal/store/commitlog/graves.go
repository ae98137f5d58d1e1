package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/moldau/moldau/internal/kit/plant"
)

// graveyard is what is on its way out of a log: segments that the view has lost and whose files have their names yet,
// and files that have been renamed and wait for file.delete.delay.ms.
type graveyard struct {
	mu struct {
		sync.Mutex
		condemned []doomed // in the order in which the view has lost them
	}
	// The rest is guarded by Log.flushing.
	files  []grave
	buried int // number of files renamed since Open, which makes their names unique
}

// doomed is a segment that the view has lost, or some that a compaction has replaced.
type doomed struct {
	seg *segment
	by  *rewrite
}

// drop takes what is doomed from the log, which is closed.
func (d doomed) drop() {
	if d.by == nil {
		d.seg.drop()
		return
	}
	d.by.unpin()
	for _, s := range d.by.old {
		s.drop()
	}
}

// grave is a renamed file.
type grave struct {
	path string
	due  time.Time
}

// condemn leaves the files of segments that no view has any more to the next sweep.
func (g *graveyard) condemn(segs ...*segment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range segs {
		g.mu.condemned = append(g.mu.condemned, doomed{seg: s})
	}
}

// condemnFor leaves the files of the segments that w replaces, and their names, to the next sweep.
func (g *graveyard) condemnFor(w *rewrite) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.condemned = append(g.mu.condemned, doomed{by: w})
}

// graveyard is that of the log, which has one once something is deleted.
func (l *Log) graveyard() *graveyard {
	if l.graves.Load() == nil {
		l.graves.CompareAndSwap(nil, new(graveyard))
	}
	return l.graves.Load()
}

func (g *graveyard) take() []doomed {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	segs := g.mu.condemned
	g.mu.condemned = nil
	return segs
}

// giveBack puts segments before those that were condemned meanwhile.
func (g *graveyard) giveBack(segs []doomed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.condemned = append(segs, g.mu.condemned...)
}

// Sweep clears away the files of deleted segments: first they get names that nobody looks for, and once
// file.delete.delay.ms have passed they are removed (L-52). It is called after Retain, and now and then. It may be called
// from any goroutine, also during an Append.
func (l *Log) Sweep(now time.Time) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	g := l.graves.Load()
	if l.closed.Load() || g == nil {
		return nil
	}
	if err := l.buryCondemned(); err != nil {
		return l.refuse(fmt.Errorf("log %v: %w", l.partition, err))
	}
	kept := g.files[:0]
	var errs []error
	for _, f := range g.files {
		if now.Before(f.due) {
			kept = append(kept, f)
			continue
		}
		if err := l.fsys.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove a deleted file of log %v: %w", l.partition, err))
		}
	}
	if g.files = kept; len(kept) == 0 {
		g.files = nil
	}
	return errors.Join(errs...)
}

// buryCondemned buries what retention has taken out of the view, oldest first. What a full volume has no room to rename
// stays condemned. The caller holds flushing.
func (l *Log) buryCondemned() error {
	segs := l.graves.Load().take()
	for i, d := range segs {
		bury := func() error { return l.bury(d.seg) }
		if d.by != nil {
			bury = d.by.settle
		}
		if err := bury(); err != nil {
			if Transient(err) {
				l.graveyard().giveBack(segs[i:])
			}
			return err
		}
	}
	return nil
}

// bury takes the files of s, which no view has any more, out of the log, durably, and drops s. After an error that is
// Transient it may be tried again.
//
// The new names are not used twice, so that a late removal never hits a file of the same base (KAFKA-12964). What
// readers that hold s may still need of its files is opened first. Segments at the end of a log are buried from the last
// on, those at its beginning from the first on: each step is durable before the next, so that after a crash those that
// are there have no gap between them. The caller holds flushing.
func (l *Log) bury(s *segment) error {
	err := l.renameFiles(s)
	if err == nil {
		err = unopened(l.fsys.SyncDir(l.dir))
	}
	if err != nil {
		err = fmt.Errorf("delete segment %d: %w", s.base, err)
	}
	if !Transient(err) {
		s.drop()
	}
	return err
}

// renameFiles gives the files of s names that nobody looks for, for the caller to sync the directory.
func (l *Log) renameFiles(s *segment) error {
	if err := s.keep(); err != nil {
		return unopened(err)
	}
	g, due := l.graveyard(), l.now().Add(time.Duration(l.cfg.Load().FileDeleteDelayMs)*time.Millisecond)
	for _, ext := range [...]string{logExt, indexExt, timeExt, txnExt} {
		g.buried++
		to := fmt.Sprintf("%s%s.%d%s", s.path, ext, g.buried, deletedExt)
		if plant.Has(plant.DeletedByOldName) {
			to = s.path + ext
		}
		err := l.fsys.Rename(s.path+ext, to)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return undone(err, nothing)
		}
		g.files = append(g.files, grave{to, due})
	}
	return nil
}
