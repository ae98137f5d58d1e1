package quorum

import (
	"errors"
	"fmt"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// ErrNoSpace is the outcome of a command that was not decided since the volume of the metadata log is full.
var ErrNoSpace = errors.New("the metadata log has no space: make room on its volume, and it goes on by itself")

// errEnded: Run is to end while it waits for space.
var errEnded = errors.New("the metadata quorum ends")

// spaceWait is how long the loop waits before it tries again what found no space.
const spaceWait = 100 * time.Millisecond

// patient runs a change of the disk until it does not fail for a lack of space. What Raft has asked for cannot be taken back, so
// the loop stands still meanwhile, and commands are refused. Any other error is returned: it ends the replica.
func (q *Quorum) patient(change func() error) error {
	stalled := false
	for {
		err := change()
		if !commitlog.Transient(err) && (!env.NoSpace(err) || errors.Is(err, commitlog.ErrPoisoned)) {
			if stalled && err == nil {
				q.o.Logger.Info("the metadata log has space again: the cluster can be changed")
			}
			return err
		}
		if !stalled {
			q.o.Logger.Error("no space for the metadata log: changes of the cluster are refused until there is room", "directory", q.o.Dir, "error", err)
			stalled = true
		}
		if !q.awaitSpace(err) {
			return errEnded
		}
	}
}

// awaitSpace refuses commands for a while. It returns false where Run is to end.
func (q *Quorum) awaitSpace(why error) bool {
	// The entries of those that were decided are appended once there is room, and then they are committed.
	q.dropPending(fmt.Errorf("%w: %w: %w", ErrUnknownOutcome, ErrNoSpace, why))
	timer := q.o.Env.Clock.NewTimer(spaceWait)
	defer timer.Stop()
	for {
		for _, p := range q.inbox.takeProposals() {
			p.done(0, ErrNoSpace)
		}
		select {
		case <-q.ending:
			return false
		case <-timer.C():
			return true
		case <-q.inbox.wake:
		}
	}
}

// dropPending answers those that wait for an entry to be committed.
func (q *Quorum) dropPending(why error) {
	for _, p := range q.pending {
		p.done(entryOffset(p.index), fmt.Errorf("offset %d: %w", entryOffset(p.index), why))
	}
	q.pending, q.pendingBytes = nil, 0
}
