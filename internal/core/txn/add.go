package txn

import (
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Add is an AddPartitionsToTxn for one transactional id, or one that a Produce or TxnOffsetCommit implies (T-7).
type Add struct {
	ID         string
	Producer   rsm.Producer
	Partitions []moldau.TopicPartition
	// VerifyOnly asks whether the partitions are in the transaction, and adds none.
	VerifyOnly bool
	Version    int16 // of the transactions that the client speaks
}

// AddPartitions is Add. The reply is a code for each partition, a []moldau.Code (T-4).
func (s *Transactions) AddPartitions(now time.Time, to rsm.Ticket, q *Add) Output {
	return s.step(s.find(q.ID), now, func(t *turn) { t.add(to, q) })
}

func (t *turn) add(to rsm.Ticket, q *Add) {
	all := func(code moldau.Code) []moldau.Code { return slices.Repeat([]moldau.Code{code}, len(q.Partitions)) }
	code := t.check(q.Producer)
	switch {
	case code == moldau.ConcurrentTransactions && !q.VerifyOnly:
		t.hold(to, all(code), func(t *turn) { t.add(to, q) })
	case code != moldau.None:
		t.reply(to, all(code))
	case q.VerifyOnly:
		t.reply(to, t.verify(q.Partitions))
	case t.state == Ongoing && t.has(q.Partitions...):
		t.reply(to, all(moldau.None))
	default:
		t.enter(q)
		t.reply(to, all(moldau.None))
	}
}

// check says whether p may do something with the transaction, and ConcurrentTransactions where it may once the markers of
// the one before are written.
func (t *turn) check(p rsm.Producer) moldau.Code {
	promised := t.preparing() && t.next != moldau.NoProducer && p == rsm.Producer{ID: t.next}
	switch {
	case promised:
		return moldau.ConcurrentTransactions // it is told of its new id before that is the current one
	case !t.stored || p.ID != t.producer.ID:
		return moldau.InvalidProducerIDMapping
	case p.Epoch != t.producer.Epoch:
		return moldau.ProducerFenced
	case t.preparing():
		return moldau.ConcurrentTransactions
	}
	return moldau.None
}

// verify answers whether each partition is in the transaction.
func (t *turn) verify(partitions []moldau.TopicPartition) []moldau.Code {
	codes := make([]moldau.Code, len(partitions))
	for i, at := range partitions {
		if t.state != Ongoing || !t.has(at) {
			codes[i] = moldau.TransactionAbortable
		}
	}
	return codes
}

// enter takes the partitions into the transaction, which begins with the first of them.
func (t *turn) enter(q *Add) {
	t.store(func(x *txn) {
		if x.state != Ongoing {
			x.started, x.partitions = t.now, nil
		}
		x.state, x.version = Ongoing, q.Version
		x.partitions = slices.Concat(x.partitions, q.Partitions)
		slices.SortFunc(x.partitions, comparePartitions)
		x.partitions = slices.Compact(x.partitions)
	})
}
