package commitlog

import (
	"fmt"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/plant"
)

// Flush makes durable what was appended before the call and returns the offset up to which everything is. It may be
// called from any goroutine, also during an Append; a second Flush waits for the first. An error that is not Transient
// poisons the log: pages that could not be written may be lost, and the next sync would not tell. L-44.
func (l *Log) Flush() (moldau.Offset, error) {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if l.damage != nil {
		return l.RecoveryPoint(), nil // nothing was appended
	}
	if err := l.usable(); err != nil {
		return l.RecoveryPoint(), err
	}
	if err := l.flushLocked(); err != nil {
		return l.RecoveryPoint(), l.flushFailed(err)
	}
	return l.RecoveryPoint(), nil
}

func (l *Log) flushFailed(err error) error {
	if plant.Has(plant.FailedSyncForgotten) {
		return err
	}
	return l.refuse(fmt.Errorf("flush log %v: %w", l.partition, err))
}

// FlushTogether does for each of several logs what Flush does, with one sync of the volume that they lie on. The errors are
// those that Flush would return, in the order of the logs; one of the volume is that of all, and may be due to a file of
// anybody else, or of a log that was not among them. Calls that have a log in common are not made at the same time.
func FlushTogether(volume env.Volume, logs []*Log) []error {
	errs := make([]error, len(logs))
	begun := make([]flush, len(logs))
	for i, l := range logs {
		l.flushing.Lock()
		if l.damage != nil {
			continue // nothing was appended
		}
		if errs[i] = l.usable(); errs[i] != nil {
			continue
		}
		f := l.beginFlush()
		if err := l.saveEpochs(); err != nil {
			l.abandonFlush(f)
			errs[i] = l.flushFailed(undone(err, nothing))
			continue
		}
		begun[i] = f
	}
	failed := volume.Sync()
	for i, l := range logs {
		switch f := begun[i]; {
		case f.view == nil: // not begun
		case failed != nil:
			errs[i] = l.flushFailed(failed)
		default:
			f.syncedAll()
			l.endFlush(f)
		}
		l.flushing.Unlock()
	}
	return errs
}

// flush is one flush of a log under way.
type flush struct {
	view    *view
	end     moldau.Offset // what comes later is not covered by the sync
	settled moldau.Offset // as it will be
	written int64         // as Log.written was before
	names   bool          // the directory has names to sync
}

func (l *Log) flushLocked() (err error) {
	f := l.beginFlush()
	defer func() {
		if err != nil {
			l.abandonFlush(f)
		}
	}()
	durable := l.RecoveryPoint()
	for i, s := range f.view.segs {
		if sealed := i < len(f.view.segs)-1; f.view.bounds(i).next > durable || sealed && !s.indexesSynced() {
			if sealed {
				if err := l.syncSnapshotFile(f.view.segs[i+1].base); err != nil {
					return unopened(err)
				}
			}
			if err := l.syncSegment(s, sealed); err != nil {
				return err
			}
		}
	}
	// The recovery point may pass the first record of an epoch only when a start can find the epoch elsewhere.
	if err := l.saveEpochs(); err != nil {
		return undone(err, nothing)
	}
	if f.names && !plant.Has(plant.DirectoryUnsynced) {
		if err := l.fsys.SyncDir(l.dir); err != nil {
			return unopened(err)
		}
	}
	l.endFlush(f)
	return nil
}

// beginFlush notes what a sync from now on covers.
func (l *Log) beginFlush() flush {
	f := flush{settled: moldau.Offset(l.firstOpen.Load()), written: l.written.Load(), view: l.view.Load(), names: l.namesDirty.Swap(false)}
	f.end = f.view.tail.end().next
	f.settled = min(f.settled, f.end)
	return f
}

// abandonFlush leaves to the next flush what f was to make durable.
func (l *Log) abandonFlush(f flush) {
	if f.names {
		l.namesDirty.Store(true)
	}
}

// endFlush notes that what f covers is durable.
func (l *Log) endFlush(f flush) {
	l.synced.Store(f.written)
	if plant.Has(plant.RecoveryPointTooFar) {
		f.end = l.End()
	}
	if int64(f.end) > l.recoveryPoint.Load() {
		l.recoveryPoint.Store(int64(f.end))
	}
	l.settled.Store(int64(f.settled))
}

// syncedAll notes that all files are durable. Those of sealed segments do not change any more.
func (f flush) syncedAll() {
	for _, s := range f.view.segs[:len(f.view.segs)-1] {
		if !s.indexesSynced() && s.offsets.mem.Load() == nil && s.times.mem.Load() == nil {
			s.indexSynced.Store(true)
			s.abortedDirty.Store(false)
		}
	}
}

// Unsynced is how many bytes were appended that no flush has made durable. It may be called from any goroutine.
func (l *Log) Unsynced() int64 { return max(l.written.Load()-l.synced.Load(), 0) }

// syncSegment syncs the file of a segment, and its indexes once it is sealed: those of the active one are in memory. A
// segment that retention has taken out of the view keeps its names until a sweep, which waits for us.
func (l *Log) syncSegment(s *segment, sealed bool) error {
	switch err := s.acquire(); {
	case err == errDropped:
		return nil
	case err != nil:
		return unopened(err)
	}
	defer s.release()
	err := s.file.Sync()
	if err == nil && sealed {
		err = s.syncIndexes()
	}
	if err == nil && sealed {
		err = s.syncAborted()
	}
	return unopened(err)
}

// unopened makes err ErrNoFiles where a file could not be opened for want of a descriptor: nothing was synced, and nothing
// was lost by that. A sync that finds no space is another matter.
func unopened(err error) error {
	if env.TooManyFiles(err) {
		return undone(err, nothing)
	}
	return err
}

// saveEpochs writes the epoch checkpoint where it has changed. An epoch that has no records yet is no reason: its loss
// decides nothing, and every start assigns one. The caller holds flushing.
func (l *Log) saveEpochs() error {
	t := l.epochs.Load()
	if t == l.epochsSaved || l.epochsSaved != nil && plant.Has(plant.EpochsUnsaved) {
		return nil
	}
	var saved epochTable
	if l.epochsSaved != nil {
		saved = *l.epochsSaved
	}
	if end := l.End(); slices.Equal(t.truncateTo(end), saved.truncateTo(end)) {
		return nil
	}
	if err := t.write(l.fsys, l.dir); err != nil {
		return err
	}
	l.epochsSaved = t
	return nil
}

// Close flushes the log, writes what lets the next start trust its files without reading them, and closes it. Readers
// that hold regions may finish. An error means that the next start has to recover the log.
func (l *Log) Close() error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if l.closed.Load() {
		return nil
	}
	err := l.Poisoned()
	if l.damage != nil {
		err = l.damage // the next start has to look at it again
	}
	if err == nil {
		if err = l.flushLocked(); err == nil {
			err = l.saveForClose()
		}
		if err == nil {
			err = l.buryCondemned()
		}
		if err != nil {
			err = fmt.Errorf("close log %v: %w", l.partition, err)
		}
	}
	l.release()
	return err
}

// Discard closes the log without making anything durable: its files are going to be deleted. Readers that hold regions may finish.
func (l *Log) Discard() {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if !l.closed.Load() {
		l.release()
	}
}

// release lets go of all files.
func (l *Log) release() {
	l.closed.Store(true)
	for _, d := range l.graves.Load().take() {
		d.drop()
	}
	for _, s := range l.view.Load().segs {
		s.drop()
	}
}

// saveForClose writes the indexes of the active segment and the producers' state, and syncs them.
func (l *Log) saveForClose() error {
	v := l.view.Load()
	end := v.tail.end()
	if s := v.active(); !s.indexSaved && end.pos > 0 {
		if err := s.seal(end.next, end.pos); err != nil {
			return err
		}
		if err := s.syncIndexes(); err != nil {
			return err
		}
		l.namesDirty.Store(true)
	}
	if err := v.active().syncAborted(); err != nil {
		return err
	}
	if err := l.writeSnapshot(end.next); err != nil {
		return err
	}
	if err := l.syncSnapshot(end.next); err != nil {
		return err
	}
	if !l.namesDirty.Swap(false) {
		return nil
	}
	return l.fsys.SyncDir(l.dir)
}
