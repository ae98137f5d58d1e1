package commitlog

import (
	"cmp"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// transactions follows the transactions of a log from batch to batch, over all segments of a pass (KAFKA-8351): which data was
// aborted, and which markers have no data left (L-63).
type transactions struct {
	coming    []Aborted // that no batch has reached yet, ascending by first offset
	aborted   map[moldau.ProducerID]*abortedData
	committed map[moldau.ProducerID]struct{} // with data, and their marker to come
	blind     bool                           // batches were passed over: any transaction may have had data among them
	index     []Aborted                      // with data so far, and a marker: the transaction index of the segment that is written
}

// abortedData is an aborted transaction between its first batch and its marker.
type abortedData struct {
	Aborted
	seen bool // a batch of it was there
}

// newTransactions begins before the first batch. all is the aborted transactions that lie ahead.
func newTransactions(all []Aborted) transactions {
	slices.SortFunc(all, func(a, b Aborted) int { return cmp.Compare(a.First, b.First) })
	return transactions{coming: all, aborted: make(map[moldau.ProducerID]*abortedData), committed: make(map[moldau.ProducerID]struct{})}
}

// reach notes the aborted transactions that have begun at last or before.
func (t *transactions) reach(last moldau.Offset) {
	for len(t.coming) > 0 && t.coming[0].First <= last {
		a := t.coming[0]
		t.coming = t.coming[1:]
		if old := t.aborted[a.Producer]; old == nil || old.Last < a.First {
			t.aborted[a.Producer] = &abortedData{Aborted: a}
		}
	}
}

// data takes a batch that is no marker, and reports whether its records were aborted.
func (t *transactions) data(b record.Batch) bool {
	t.reach(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	id := b.ProducerID()
	if a := t.aborted[id]; a != nil {
		if b.BaseOffset() < a.Last {
			a.seen = true
			return true
		}
		delete(t.aborted, id) // its marker is not there any more
	}
	t.committed[id] = struct{}{}
	return false
}

// marker takes a control batch, and reports whether its transaction has no data left, so that it may go. An aborted one that has some
// is entered into the index.
func (t *transactions) marker(b record.Batch) (bare bool) {
	t.reach(b.LastOffset())
	if b.Count() == 0 {
		return true
	}
	id := b.ProducerID()
	m, err := b.Marker()
	if err != nil {
		return false // a control record that ends no transaction stays
	}
	if m.Commit {
		_, seen := t.committed[id]
		delete(t.committed, id)
		return !seen && !t.blind
	}
	a := t.aborted[id]
	if a == nil || a.Last != b.LastOffset() {
		return !t.blind
	}
	delete(t.aborted, id)
	if a.seen || t.blind {
		t.index = append(t.index, a.Aborted)
	}
	return !a.seen && !t.blind
}
