package api

import (
	"errors"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/server"
)

// GroupCoordinator runs the groups of the partitions of __consumer_offsets that this broker leads.
type GroupCoordinator = coordinator.Coordinator[*group.Groups, group.Record]

// decideGroup is what a request asks of the machine that has the group.
type decideGroup func(*group.Groups, time.Time, rsm.Ticket) group.Output

// coordinatorPartition is the partition of an internal topic that holds a key, where this broker coordinates it.
func (b *Broker) coordinatorPartition(name, key string) (int32, moldau.Code) {
	topic := b.Metadata.Image().Topic(name)
	if topic == nil {
		return 0, moldau.CoordinatorNotAvailable
	}
	index := partitionOf(key, len(topic.Partitions))
	if topic.Partitions[index].Leader != b.Config.Self {
		return 0, moldau.NotCoordinator
	}
	return index, moldau.None
}

// partitionOf is the partition of an internal topic that holds the state of a key: that of Java's String.hashCode, since
// tools reckon it themselves.
func partitionOf(key string, partitions int) int32 {
	var h int32
	for _, unit := range utf16.Encode([]rune(key)) {
		h = 31*h + int32(unit)
	}
	return (h & 0x7fffffff) % int32(partitions)
}

// coordinatorCode is the wire's word for why a command of a coordinator had no answer (G-11).
func coordinatorCode(err error) moldau.Code {
	switch {
	case errors.Is(err, coordinator.ErrLoading):
		return moldau.CoordinatorLoadInProgress
	case errors.Is(err, coordinator.ErrNotCoordinator):
		return moldau.NotCoordinator
	}
	var refusal *coordinator.Refusal
	if errors.As(err, &refusal) && refusal.Code == moldau.MessageTooLarge {
		return moldau.UnknownServerError // nothing that gets better when it is asked again
	}
	return moldau.CoordinatorNotAvailable
}

// inquiry is questions to coordinators that one response waits for.
type inquiry struct {
	left    atomic.Int32
	ready   chan struct{}
	cancels []func()
}

// inquire asks n questions. ask puts the question i, and calls done once when it is answered, on whatever goroutine; it
// returns what makes the coordinator forget it, or nil.
func inquire(n int, ask func(i int, done func()) (cancel func())) *inquiry {
	q := &inquiry{ready: make(chan struct{})}
	q.left.Store(int32(n) + 1)
	done := func() {
		if q.left.Add(-1) == 0 {
			close(q.ready)
		}
	}
	for i := range n {
		if cancel := ask(i, done); cancel != nil {
			q.cancels = append(q.cancels, cancel)
		}
	}
	done()
	return q
}

// respond answers with what write makes when all is answered.
func (q *inquiry) respond(c *server.Call, write func() kmsg.Response) server.Pending {
	version := c.Version
	return server.Later(q.ready, func(r *server.Reply) {
		resp := write()
		resp.SetVersion(version)
		encode(r, resp)
	}, func() {
		for _, cancel := range q.cancels {
			cancel()
		}
	})
}

// askGroup has the coordinator of a group decide. told gets the response, or the code that says why there is none.
func askGroup[T any](b *Broker, id string, decide decideGroup, told func(T, moldau.Code)) (cancel func()) {
	var none T
	index, code := b.coordinatorPartition(moldau.OffsetsTopic, id)
	if code != moldau.None {
		told(none, code)
		return nil
	}
	return b.askPartition(index, decide, func(response any, err error) {
		if err != nil {
			told(none, coordinatorCode(err))
			return
		}
		told(response.(T), moldau.None)
	})
}

func (b *Broker) askPartition(index int32, decide decideGroup, done func(any, error)) (cancel func()) {
	return b.Groups.Do(index, coordinator.Command[*group.Groups, group.Record]{Decide: decide, Done: done})
}

// groupRequest answers a request that concerns one group: refuse makes a response of a code.
func groupRequest[T kmsg.Response](b *Broker, c *server.Call, id string, refuse func(moldau.Code) T, decide decideGroup) server.Pending {
	code := b.groupAccess(c, access.Read, id)
	if code == moldau.None && id == "" {
		code = moldau.InvalidGroupID
	}
	if code != moldau.None {
		return answer(refuse(code), c.Version)
	}
	var resp T
	return inquire(1, func(_ int, done func()) func() {
		return askGroup(b, id, decide, func(r T, code moldau.Code) {
			if resp = r; code != moldau.None {
				resp = refuse(code)
			}
			done()
		})
	}).respond(c, func() kmsg.Response { return resp })
}

func (b *Broker) groupAccess(c *server.Call, op access.Operation, id string) moldau.Code {
	if !b.allowed(c, op, access.Group, id) {
		return moldau.GroupAuthorizationFailed
	}
	return moldau.None
}
