package txn

import (
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Init is an InitProducerId with a transactional id.
type Init struct {
	ID      string
	Timeout time.Duration
	// Expected is the producer that the client goes on as (KIP-360); NoProducer where it begins.
	Expected rsm.Producer
	// Fresh is a producer id that nobody has had; NoProducer: none was asked for yet.
	Fresh moldau.ProducerID
}

// Granted is the reply to an Init, and to an End: the producer to go on as. With NeedsFresh set nothing was decided: the
// caller is to ask again with a fresh producer id.
type Granted struct {
	Code       moldau.Code
	Producer   rsm.Producer
	NeedsFresh bool
}

func refused(code moldau.Code) Granted { return Granted{Code: code, Producer: rsm.NoProducer()} }

func needsFresh() Granted { return Granted{Producer: rsm.NoProducer(), NeedsFresh: true} }

// InitProducer gives a transactional id to the caller: whoever had it before is fenced, and its transaction aborted (T-3).
// The reply is a Granted.
func (s *Transactions) InitProducer(now time.Time, to rsm.Ticket, q *Init) Output {
	return s.step(s.find(q.ID), now, func(t *turn) {
		if q.Timeout <= 0 || q.Timeout > t.cfg.TimeoutMax {
			t.reply(to, refused(moldau.InvalidTransactionTimeout))
			return
		}
		t.init(to, q)
	})
}

func (t *turn) init(to rsm.Ticket, q *Init) {
	switch {
	case !t.mayInit(q.Expected):
		t.reply(to, refused(moldau.ProducerFenced))
	case t.preparing():
		t.hold(to, refused(moldau.ConcurrentTransactions), func(t *turn) { t.init(to, q) })
	case t.state == Ongoing && !t.isCurrent(q.Expected):
		t.reply(to, refused(moldau.ProducerFenced))
	case t.state == Ongoing:
		t.fence()
		t.hold(to, refused(moldau.ConcurrentTransactions), func(t *turn) { t.init(to, q) })
	case !t.stored || t.exhausted() && (q.Expected == rsm.NoProducer() || q.Expected.Epoch == t.producer.Epoch):
		t.rotate(to, q)
	default:
		t.bump(to, q)
	}
}

// mayInit reports whether a producer that goes on may be this one: it has its id, or the one before, whose epochs it has used
// up, where it has not heard of the new one.
func (t *turn) mayInit(expected rsm.Producer) bool {
	return !t.stored || expected == rsm.NoProducer() || expected.ID == t.producer.ID ||
		expected.ID == t.previous && expected.Epoch >= epochLast
}

// isCurrent reports whether a producer that goes on has the newest epoch or the one before it. One that was fenced may not abort
// the transaction of who has fenced it.
func (t *turn) isCurrent(expected rsm.Producer) bool {
	return expected == rsm.NoProducer() || expected.Epoch == t.producer.Epoch || t.lastEpoch != noEpoch && expected.Epoch == t.lastEpoch
}

// rotate begins with a fresh producer id.
func (t *turn) rotate(to rsm.Ticket, q *Init) {
	if q.Fresh == moldau.NoProducer {
		t.reply(to, needsFresh())
		return
	}
	last := noEpoch
	if q.Expected != rsm.NoProducer() && t.stored {
		last = t.producer.Epoch
	}
	t.begin(to, q, rsm.Producer{ID: q.Fresh}, last)
}

// bump goes on with the next epoch.
func (t *turn) bump(to rsm.Ticket, q *Init) {
	current := t.producer
	raised := rsm.Producer{ID: current.ID, Epoch: current.Epoch + 1}
	switch expected := q.Expected.Epoch; {
	case q.Expected == rsm.NoProducer():
		t.begin(to, q, raised, noEpoch)
	case expected == current.Epoch:
		t.begin(to, q, raised, current.Epoch)
	case t.lastEpoch != noEpoch && expected == t.lastEpoch:
		t.begin(to, q, current, t.lastEpoch) // it did not hear the answer
	default:
		t.reply(to, refused(moldau.ProducerFenced))
	}
}

// begin gives p to the caller.
func (t *turn) begin(to rsm.Ticket, q *Init, p rsm.Producer, last moldau.ProducerEpoch) {
	t.store(func(x *txn) {
		x.producer, x.timeout, x.state, x.partitions, x.started = p, q.Timeout, Empty, nil, time.Time{}
		x.next = moldau.NoProducer
	})
	t.lastEpoch = last
	t.reply(to, Granted{Producer: p})
}
