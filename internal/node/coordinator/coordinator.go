// Package coordinator runs replicated machines (core/rsm) over the partitions of an internal topic that this broker
// leads: it loads them, hands them commands, appends what they decide, and releases their replies once that is committed.
//
// A machine belongs to a loop, a goroutine that is the only one to touch it, and the only one to append to its partition.
// What waits in a loop's inbox becomes one batch. There is no way back: where an append fails, the machine is dropped and
// loaded again from what the log has.
package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
)

// Errors that say why a command was not run, or that its outcome is not known.
var (
	// ErrNotCoordinator: the partition is not led here, or not any more.
	ErrNotCoordinator = errors.New("this broker is not the coordinator")
	// ErrLoading: the machine is being loaded.
	ErrLoading = errors.New("the coordinator is loading")
	// ErrBusy: more commands wait than may.
	ErrBusy = errors.New("the coordinator has too much to do")
	// ErrNotTaken: the partition did not take what the command decided, or may have lost it.
	ErrNotTaken = errors.New("the coordinator's log did not take the record")
)

// Kind is the type of machine that a coordinator runs, and how its records are written.
type Kind[M rsm.Machine[R], R any] struct {
	// Name is for logs and names of goroutines.
	Name string
	// New returns a machine before anything was replayed.
	New func() M
	// Encode returns the key and value of a record; a nil value is a tombstone.
	Encode func(R) (key, value []byte)
	// Decode reads a record; false where it is of a kind that is not known here, which is no error.
	Decode func(key, value []byte) (r R, known bool, err error)
	// Within makes r a record within a transaction, and Marker is the end of one; nil where the log has none of them.
	Within func(r R, by rsm.Producer) R
	Marker func(by rsm.Producer, commit bool) R
	// Effect does an effect of the machine of a partition that is led at epoch; nil where there are none. It does not block.
	Effect func(partition int32, epoch moldau.LeaderEpoch, effect any)
}

// Options are the parts of a Coordinator.
type Options struct {
	Env    env.Env
	Logger *slog.Logger
	Loops  int // goroutines that the machines are spread over, at least 1
}

// Coordinator runs the machines of the partitions that this broker leads. All methods are safe for concurrent use.
type Coordinator[M rsm.Machine[R], R any] struct {
	kind  Kind[M, R]
	opt   Options
	loops []*loop[M, R]
	ended sync.WaitGroup // loops and loads
	stop  sync.Once
	// stopping is closed when loads are to be given up.
	stopping chan struct{}
	// loads bounds how many logs are read at a time.
	loads chan struct{}
}

// loadsMax is how many logs a coordinator reads at a time.
const loadsMax = 2

// New starts a coordinator without partitions. Its owner ends it with Stop.
func New[M rsm.Machine[R], R any](kind Kind[M, R], opt Options) *Coordinator[M, R] {
	c := &Coordinator[M, R]{kind: kind, opt: opt, loads: make(chan struct{}, loadsMax), stopping: make(chan struct{})}
	for range max(opt.Loops, 1) {
		l := newLoop(c)
		c.loops = append(c.loops, l)
		c.ended.Add(1)
		opt.Env.Go(kind.Name+" loop", func() { // ends with Stop
			defer c.ended.Done()
			l.run()
		})
	}
	return c
}

// Stop ends the loops. Who still waits is told ErrNotCoordinator. A second call does nothing.
func (c *Coordinator[M, R]) Stop() {
	c.stop.Do(func() { close(c.stopping) })
	for _, l := range c.loops {
		l.inbox.close()
	}
	c.ended.Wait()
}

func (c *Coordinator[M, R]) loopOf(partition int32) *loop[M, R] {
	return c.loops[int(uint32(partition))%len(c.loops)]
}

// Lead makes this broker the coordinator of a partition that it leads, or that it leads at a new epoch: the machine is
// loaded in the background.
func (c *Coordinator[M, R]) Lead(p *partition.Partition) {
	c.loopOf(p.Name.Partition).inbox.putAlways(func(l *loop[M, R]) { l.lead(p) })
}

// Resign ends the coordination of a partition. Who waits is told ErrNotCoordinator.
func (c *Coordinator[M, R]) Resign(partition int32) {
	c.loopOf(partition).inbox.putAlways(func(l *loop[M, R]) { l.resign(partition) })
}

// Command is something that a machine is to decide.
type Command[M rsm.Machine[R], R any] struct {
	// Decide runs on the machine's loop. A ticket that is in none of the replies that ever come is answered when the machine
	// goes.
	Decide func(m M, now time.Time, to rsm.Ticket) rsm.Output[R]
	// Done is called once, on the loop or by Do itself, with the response or why there is none. It does not block.
	Done func(response any, err error)
	// Within is whose transaction the records belong to, and Guard the leave to begin it there; nil: they belong to none. What the
	// partition does not take ends in a *Refusal.
	Within *rsm.Producer
	Guard  partition.Guard
	// Own: the command is not a client's, and there is always room for it.
	Own bool
}

// Refusal is why a partition did not take records of a transaction, or a marker. It touched no machine.
type Refusal struct {
	Code moldau.Code
	Err  error
}

func (r *Refusal) Error() string { return fmt.Sprintf("%v: %v", r.Code, r.Err) }

func (r *Refusal) Unwrap() error { return r.Err }

// Do hands a command to the machine of a partition. Once cancel was called, Done is not called any more; the command may
// take effect all the same.
func (c *Coordinator[M, R]) Do(partition int32, cmd Command[M, R]) (cancel func()) {
	w := &waiter{done: cmd.Done}
	in, job := c.loopOf(partition).inbox, func(l *loop[M, R]) { l.decide(partition, w, &cmd) }
	var err error
	if !cmd.Own {
		err = in.put(job)
	} else if !in.putAlways(job) {
		err = ErrNotCoordinator
	}
	if err != nil {
		w.tell(nil, err)
	}
	return func() { w.told.Store(true) }
}

// Marker ends a transaction in the log of a machine (L-27).
type Marker struct {
	Producer         rsm.Producer
	Commit           bool
	CoordinatorEpoch int32
	Bumped           bool // see partition.Leave
}

// Mark writes a marker to a partition. done is called once, as the Done of a command, with nil once it is committed.
func (c *Coordinator[M, R]) Mark(partition int32, m Marker, done func(error)) {
	w := &waiter{done: func(_ any, err error) { done(err) }}
	if !c.loopOf(partition).inbox.putAlways(func(l *loop[M, R]) { l.mark(partition, w, m) }) {
		w.tell(nil, ErrNotCoordinator)
	}
}

// Each runs a function on every machine that is active, for lists and metrics: fn is called on the machines' loops, one
// call at a time for each loop. It returns when all are done, with the number of partitions whose machine is loading.
func (c *Coordinator[M, R]) Each(fn func(partition int32, m M)) (loading int) {
	var mu sync.Mutex
	var done sync.WaitGroup
	for _, l := range c.loops {
		done.Add(1)
		ok := l.inbox.putAlways(func(l *loop[M, R]) {
			defer done.Done()
			mu.Lock()
			defer mu.Unlock()
			loading += l.each(fn)
		})
		if !ok {
			done.Done()
		}
	}
	done.Wait()
	return loading
}

// State says how far the machine of a partition is: nil where it is active, ErrLoading or ErrNotCoordinator.
func (c *Coordinator[M, R]) State(partition int32) error {
	return c.loopOf(partition).stateOf(partition)
}

// Waiting is the number of commands in the inboxes, and how many there may be.
func (c *Coordinator[M, R]) Waiting() (n, limit int) {
	for _, l := range c.loops {
		n += l.inbox.waiting()
	}
	return n, inboxMax * len(c.loops)
}
