package txn

import (
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Markers is an effect: the markers that are to be written to end a transaction. Whoever writes them tells Marked the outcome,
// whatever it is.
type Markers struct {
	ID         string
	Producer   rsm.Producer // with the epoch that the markers bear
	Commit     bool
	Version    int16 // of the transactions that the client speaks
	Partitions []moldau.TopicPartition
}

// Pause between two attempts to write the markers of a transaction, doubled with each up to the second.
const (
	pauseMin = 10 * time.Millisecond
	pauseMax = time.Second
)

// mark has the markers written that are missing; without any the transaction is over.
func (t *turn) mark() {
	if len(t.unmarked) == 0 {
		t.complete()
		return
	}
	t.sending = true
	t.out.Effects = append(t.out.Effects, &Markers{
		ID: t.id, Producer: t.producer, Commit: t.state == PrepareCommit, Version: t.version, Partitions: slices.Clone(t.unmarked),
	})
}

// complete records that all markers are written (T-9).
func (t *turn) complete() {
	t.store(func(x *txn) {
		x.state, x.partitions = completed(x.state == PrepareCommit), nil
		if x.next != moldau.NoProducer {
			x.producer, x.next = rsm.Producer{ID: x.next}, moldau.NoProducer
		}
	})
}

// Marked tells which of the markers m are written, or not needed since their partition is gone. What is missing is tried
// again until it is there. The reply is moldau.None.
func (s *Transactions) Marked(now time.Time, to rsm.Ticket, m *Markers, written []moldau.TopicPartition) Output {
	return s.step(s.find(m.ID), now, func(t *turn) {
		t.reply(to, moldau.None)
		if !t.preparing() || t.producer != m.Producer {
			return // of a transaction that is over
		}
		done := make(map[moldau.TopicPartition]struct{}, len(written))
		for _, at := range written {
			done[at] = struct{}{}
		}
		t.unmarked = slices.DeleteFunc(t.unmarked, func(at moldau.TopicPartition) bool { _, ok := done[at]; return ok })
		if len(t.unmarked) == 0 {
			t.complete()
			return
		}
		t.sending = false
		t.markAt = t.now.Add(min(pauseMin<<min(t.attempts, 10), pauseMax))
		t.attempts++
	})
}
