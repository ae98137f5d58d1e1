package coordinator

import (
	"sync/atomic"

	"github.com/moldau/moldau/internal/core/rsm"
)

// waiter is a caller that waits for the response to its command.
type waiter struct {
	done func(any, error)
	told atomic.Bool // or does not want to be
}

func (w *waiter) tell(response any, err error) {
	if w.told.CompareAndSwap(false, true) {
		w.done(response, err)
	}
}

// tickets is who waits for replies of a loop's machines.
type tickets struct {
	last    rsm.Ticket
	holders map[rsm.Ticket]holder
}

type holder struct {
	*waiter
	partition int32
}

func (t *tickets) issue(partition int32, w *waiter) rsm.Ticket {
	t.last++
	t.holders[t.last] = holder{w, partition}
	return t.last
}

func (t *tickets) answer(to rsm.Ticket, response any) { t.end(to, response, nil) }

// end tells who holds a ticket how it has ended.
func (t *tickets) end(to rsm.Ticket, response any, err error) {
	if h, ok := t.holders[to]; ok {
		delete(t.holders, to)
		h.tell(response, err)
	}
}

// void answers all who wait for the machine of a partition.
func (t *tickets) void(partition int32, err error) {
	for to, h := range t.holders {
		if h.partition == partition {
			delete(t.holders, to)
			h.tell(nil, err)
		}
	}
}

// voidAll answers all.
func (t *tickets) voidAll(err error) {
	for _, h := range t.holders {
		h.tell(nil, err)
	}
	clear(t.holders)
}
