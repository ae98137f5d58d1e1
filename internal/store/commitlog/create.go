package commitlog

import (
	"errors"
	"fmt"

	"github.com/moldau/moldau"
)

// ErrUnwritten is returned by appends to a log that has no files yet: Create comes first.
var ErrUnwritten = errors.New("the log has no files yet")

// New returns a log that was never written and touches no file: it is empty, begins at offset 0, and is in every respect like
// one that Open has found empty, but for appends, which Create has to come before. It costs no file, however long it lives.
// o.Clean and what follows it there are of no account.
func New(o Options) *Log {
	l := newLog(o)
	s := newSegment(l.fsys, l.dir, 0)
	s.clearIndexes()
	l.producers.reset(0)
	l.noteOpen()
	l.snapshotDurable = noOffset
	l.epochsSaved = l.epochs.Load()
	l.view.Store(&view{0, []*segment{s}, newTail(1, boundary{})})
	l.sharePath()
	l.unwritten.Store(true)
	return l
}

// Unwritten reports whether the log has no files yet. It may be called from any goroutine.
func (l *Log) Unwritten() bool { return l.unwritten.Load() }

// Create makes the files of a log that New has made: from now on it takes records. Where it has them already there is
// nothing to do. It may be called from any goroutine.
// Errors: ErrClosed, ErrPoisoned; as of Open, after which the log is poisoned, but for those that are Transient.
func (l *Log) Create(id moldau.TopicID) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.usable(); err != nil || !l.Unwritten() {
		return err
	}
	if err := l.createFiles(id); err != nil {
		return l.refuse(fmt.Errorf("create log %v in %s: %w", l.partition, l.dir, undone(err, nothing)))
	}
	l.unwritten.Store(false)
	return nil
}

// createFiles makes what is not there yet. Whatever a failure or a crash leaves of it, it can be called again, and Open takes
// it for an empty log.
func (l *Log) createFiles(id moldau.TopicID) error {
	if err := l.makeDir(); err != nil {
		return err
	}
	if err := l.checkTopicID(id); err != nil {
		return err
	}
	l.namesDirty.Store(true)
	return l.view.Load().active().create(l.now())
}
