package commitlog

import (
	"fmt"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
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
		return l.RecoveryPoint(), l.refuse(fmt.Errorf("flush log %v: %w", l.partition, err))
	}
	return l.RecoveryPoint(), nil
}

func (l *Log) flushLocked() (err error) {
	v := l.view.Load()
	end := v.tail.end().next // before the sync: what comes later is not covered by it
	durable := l.RecoveryPoint()
	names := l.namesDirty.Swap(false)
	defer func() {
		if err != nil && names {
			l.namesDirty.Store(true)
		}
	}()
	for i, s := range v.segs {
		sealed := i < len(v.segs)-1
		if v.bounds(i).next <= durable && (!sealed || s.indexSynced.Load() && !s.abortedDirty.Load()) {
			continue
		}
		if err := l.syncSegment(s, sealed); err != nil {
			return err
		}
	}
	// The recovery point may pass the first record of an epoch only when a start can find the epoch elsewhere.
	if err := l.saveEpochs(); err != nil {
		return undone(err, nothing)
	}
	if names {
		if err := l.fsys.SyncDir(l.dir); err != nil {
			return unopened(err)
		}
	}
	if end > durable {
		l.recoveryPoint.Store(int64(end))
	}
	return nil
}

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
	if t == l.epochsSaved {
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
	l.closed.Store(true)
	v := l.view.Load()
	for _, s := range append(l.graves.take(), v.segs...) {
		s.drop()
	}
	return err
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
