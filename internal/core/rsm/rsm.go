// Package rsm is the contract of replicated state machines: groups, transactions and whatever else is a fold over the
// log of an internal topic.
//
// A command looks at a machine, changes nothing that a restart has to remember, and says what follows from it: records,
// replies, and effects outside. Who runs the machine reserves the next offsets of the log, replays the records into the machine at once,
// appends them, and releases replies and effects when the records are committed. There is one order, that of the log, and no way
// back: a machine whose append has failed is dropped and loaded again. Loading replays the same records through the same
// function, so that a machine that lives and one that was loaded are equal.
//
// Nothing in a machine does I/O, reads a clock, starts a goroutine or locks.
package rsm

import (
	"time"

	"github.com/moldau/moldau"
)

// Ticket names a caller that waits for its reply. A command that cannot reply yet keeps the ticket in the machine.
type Ticket uint64

// NoTicket is nobody.
const NoTicket Ticket = 0

// Reply is what a caller is told.
type Reply struct {
	To       Ticket
	Response any
}

// Producer is the producer of a transaction.
type Producer struct {
	ID    moldau.ProducerID
	Epoch moldau.ProducerEpoch
}

// NoProducer is nobody's producer.
func NoProducer() Producer { return Producer{moldau.NoProducer, -1} }

// Output is what a step of a machine leads to. None of it is seen by anybody before the records are committed.
type Output[R any] struct {
	Records []R
	// After is an offset whose record the replies build upon: they wait until it is committed, also where this step has no
	// records of its own. Negative: they build upon none.
	After   moldau.Offset
	Replies []Reply
	// Effects are what is to be done outside of the machine, in the words of its package. They wait as replies do. A machine
	// that was loaded asks for what was not done again: whoever does it may meet the same effect twice.
	Effects []any
}

// Machine is a state that is a fold over records of type R.
type Machine[R any] interface {
	// Replay takes a record in at its offset. It is the only way in which what a restart remembers changes, and it never
	// fails.
	Replay(at moldau.Offset, r R)
	// Loaded tells that everything there was has been replayed. Sessions of clients begin anew.
	Loaded(now time.Time)
	// Deadline is the earliest time at which something is due; false where nothing is. Deadlines are part of the state, so
	// there is no timer to cancel.
	Deadline() (time.Time, bool)
	// Tick does what is due at now.
	Tick(now time.Time) Output[R]
}
