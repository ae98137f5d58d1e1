package txn

import (
	"math"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// End is an EndTxn.
type End struct {
	ID       string
	Producer rsm.Producer
	Commit   bool
	Version  int16             // of the transactions that the client speaks
	Fresh    moldau.ProducerID // as in Init
}

// EndTransaction commits or aborts. Once the reply, a Granted, is released the outcome stands; the markers follow (T-5, T-6,
// T-9).
func (s *Transactions) EndTransaction(now time.Time, to rsm.Ticket, q *End) Output {
	return s.step(s.find(q.ID), now, func(t *turn) {
		switch {
		case !t.stored:
			t.reply(to, refused(moldau.InvalidProducerIDMapping))
		case q.Version < bumping:
			t.endAtEpoch(to, q)
		default:
			t.endAndBump(to, q)
		}
	})
}

// endAtEpoch is EndTxn of a client that keeps its epoch (T-5).
func (t *turn) endAtEpoch(to rsm.Ticket, q *End) {
	switch code := t.repeated(q.Commit); {
	case q.Producer.ID != t.producer.ID:
		t.reply(to, refused(moldau.InvalidProducerIDMapping))
	case q.Producer.Epoch != t.producer.Epoch:
		t.reply(to, refused(moldau.ProducerFenced))
	case t.state == Ongoing:
		t.store(func(x *txn) { x.state, x.version, x.next = prepared(q.Commit), q.Version, moldau.NoProducer })
		t.reply(to, Granted{Producer: t.producer})
	case code == moldau.None:
		t.reply(to, Granted{Producer: t.producer})
	default:
		t.reply(to, refused(code))
	}
}

// endAndBump is EndTxn of a client that goes on with the epoch that the answer tells (T-6). A request that is sent again bears
// the epoch before.
func (t *turn) endAndBump(to rsm.Ticket, q *End) {
	rotated := t.previous == q.Producer.ID && q.Producer.Epoch == epochLast && t.producer.Epoch == 0 && t.previous != t.producer.ID
	retry := rotated || q.Producer.ID == t.producer.ID && q.Producer.Epoch+1 == t.producer.Epoch
	current := q.Producer == t.producer
	switch {
	case q.Producer.ID != t.producer.ID && !rotated:
		t.reply(to, refused(moldau.InvalidProducerIDMapping))
	case !current && !retry, t.preparing() && !retry, (t.state == Ongoing || t.state == Empty) && !current:
		t.reply(to, refused(moldau.ProducerFenced))
	case retry:
		t.answerRetry(to, q)
	case t.state == Ongoing, !q.Commit:
		t.endNow(to, q)
	default:
		t.reply(to, refused(moldau.InvalidTxnState))
	}
}

func (t *turn) answerRetry(to rsm.Ticket, q *End) {
	if code := t.repeated(q.Commit); code != moldau.None {
		t.reply(to, refused(code))
		return
	}
	t.reply(to, Granted{Producer: t.producer})
}

// repeated is the answer to an end that comes again.
func (t *turn) repeated(commit bool) moldau.Code {
	switch t.state {
	case prepared(commit):
		return moldau.ConcurrentTransactions
	case completed(commit):
		return moldau.None
	}
	return moldau.InvalidTxnState
}

// endNow records how the transaction ends, and the epoch to go on with; that of an id whose epochs are used up is the first of
// another id, once the markers are written. An abort needs no open transaction: there may be a Produce whose answer was lost.
func (t *turn) endNow(to rsm.Ticket, q *End) {
	granted := rsm.Producer{ID: t.producer.ID, Epoch: t.producer.Epoch + 1}
	next := moldau.NoProducer
	if t.exhausted() {
		if q.Fresh == moldau.NoProducer {
			t.reply(to, needsFresh())
			return
		}
		next, granted = q.Fresh, rsm.Producer{ID: q.Fresh}
	}
	t.prepare(prepared(q.Commit), q.Version, next)
	t.reply(to, Granted{Producer: granted})
}

// fence aborts the open transaction of a producer that is not to go on as it is: it has timed out, or another one has come
// (T-3, T-8). The epoch rises, whatever the client speaks.
func (t *turn) fence() { t.prepare(PrepareAbort, bumping, moldau.NoProducer) }

// prepare records how the transaction ends, at the next epoch.
func (t *turn) prepare(state State, version int16, next moldau.ProducerID) {
	before := t.producer.Epoch
	t.store(func(x *txn) {
		if x.state != Ongoing {
			x.started, x.partitions = t.now, nil
		}
		x.state, x.version, x.next = state, version, next
		if x.producer.Epoch < math.MaxInt16 { // a client has no business with that one, and may claim it all the same
			x.producer.Epoch++
		}
	})
	t.lastEpoch = before
}

func prepared(commit bool) State {
	if commit {
		return PrepareCommit
	}
	return PrepareAbort
}

func completed(commit bool) State {
	if commit {
		return CompleteCommit
	}
	return CompleteAbort
}
