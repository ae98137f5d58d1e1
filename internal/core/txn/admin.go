package txn

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Describe tells of one transactional id. The reply is a kmsg.DescribeTransactionsResponseTransactionState (T-14).
func (s *Transactions) Describe(now time.Time, to rsm.Ticket, id string) Output {
	return s.step(s.find(id), now, func(t *turn) { t.reply(to, t.describe()) })
}

func (t *turn) describe() kmsg.DescribeTransactionsResponseTransactionState {
	r := kmsg.NewDescribeTransactionsResponseTransactionState()
	r.TransactionalID = t.id
	if !t.stored {
		r.ErrorCode = int16(moldau.TransactionalIDNotFound)
		return r
	}
	r.State, r.TimeoutMillis, r.StartTimestamp = t.state.String(), int32(t.timeout.Milliseconds()), -1
	r.ProducerID, r.ProducerEpoch = int64(t.producer.ID), int16(t.producer.Epoch)
	if !t.started.IsZero() {
		r.StartTimestamp = t.started.UnixMilli()
	}
	left := t.partitions
	if t.preparing() {
		left = t.unmarked
	}
	for _, topic := range topicsOf(left) {
		r.Topics = append(r.Topics, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: topic.Topic, Partitions: topic.Partitions})
	}
	return r
}

// Filter says which transactional ids a listing has; what is empty lets all pass.
type Filter struct {
	States    []string
	Producers []int64
	Longer    time.Duration        // than this a transaction is open; negative: all pass
	Matches   func(id string) bool // nil: all pass
}

// List lists transactional ids. The reply is a []kmsg.ListTransactionsResponseTransactionState (T-14).
func (s *Transactions) List(now time.Time, to rsm.Ticket, f *Filter) Output {
	out := Output{After: noOffset}
	list := []kmsg.ListTransactionsResponseTransactionState{}
	for _, x := range s.sorted() {
		if !f.passes(x, now) {
			continue
		}
		list = append(list, kmsg.ListTransactionsResponseTransactionState{
			TransactionalID: x.id, ProducerID: int64(x.producer.ID), TransactionState: x.state.String(),
		})
		out.After = max(out.After, x.last)
	}
	out.Replies = []rsm.Reply{{To: to, Response: list}}
	return out
}

func (f *Filter) passes(x *txn, now time.Time) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, x.state.String())) &&
		(len(f.Producers) == 0 || slices.Contains(f.Producers, int64(x.producer.ID))) &&
		(f.Longer < 0 || now.Sub(x.started) > f.Longer) &&
		(f.Matches == nil || f.Matches(x.id))
}

// Counts are how many transactional ids are in each state, and how many requests wait for markers.
type Counts struct {
	ByState map[State]int
	Held    int
}

// Count counts the transactional ids, for metrics.
func (s *Transactions) Count() Counts {
	c := Counts{ByState: map[State]int{}}
	for _, x := range s.byID { // order does not matter: they are counted
		c.ByState[x.state]++
		c.Held += len(x.held)
	}
	return c
}
