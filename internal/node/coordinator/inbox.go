package coordinator

import (
	"fmt"
	"sync"

	"github.com/moldau/moldau/internal/core/rsm"
)

// inboxMax is how many commands may wait for one loop.
const inboxMax = 10_000

// inbox is what a loop has not yet looked at.
type inbox[M rsm.Machine[R], R any] struct {
	wake chan struct{} // one slot

	mu struct {
		sync.Mutex
		jobs   []func(*loop[M, R])
		closed bool
	}
}

func newInbox[M rsm.Machine[R], R any]() *inbox[M, R] {
	return &inbox[M, R]{wake: make(chan struct{}, 1)}
}

// put adds a job of a client.
func (in *inbox[M, R]) put(job func(*loop[M, R])) error {
	in.mu.Lock()
	switch {
	case in.mu.closed:
		in.mu.Unlock()
		return ErrNotCoordinator
	case len(in.mu.jobs) >= inboxMax:
		in.mu.Unlock()
		return fmt.Errorf("%w: %d commands wait", ErrBusy, inboxMax)
	}
	in.mu.jobs = append(in.mu.jobs, job)
	in.mu.Unlock()
	in.signal()
	return nil
}

// putAlways adds a job of our own, for which there is always room; false after the close.
func (in *inbox[M, R]) putAlways(job func(*loop[M, R])) bool {
	in.mu.Lock()
	closed := in.mu.closed
	if !closed {
		in.mu.jobs = append(in.mu.jobs, job)
	}
	in.mu.Unlock()
	in.signal()
	return !closed
}

func (in *inbox[M, R]) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, and whether the inbox was closed.
func (in *inbox[M, R]) take() (jobs []func(*loop[M, R]), closed bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	jobs = in.mu.jobs
	in.mu.jobs = nil
	return jobs, in.mu.closed
}

func (in *inbox[M, R]) waiting() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mu.jobs)
}

func (in *inbox[M, R]) close() {
	in.mu.Lock()
	in.mu.closed = true
	in.mu.Unlock()
	in.signal()
}
