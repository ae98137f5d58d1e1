package partition

import (
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// inTransaction is a batch of one record in the transaction of producer 7.
func inTransaction(t *testing.T, epoch moldau.ProducerEpoch, sequence moldau.Sequence) record.Batch {
	t.Helper()
	b := record.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = 7, epoch, sequence, true
	b.Add(record.Record{Timestamp: 1, Value: []byte("v")})
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func marker(epoch moldau.ProducerEpoch) record.Batch {
	return record.BuildMarker(0, 1, 7, epoch, record.Marker{Commit: true})
}

// transactional is a partition that leads, and what may be done to it in a transaction of producer 7.
type transactional struct{ *harness }

// append appends with a guard and wants a code.
func (h transactional) append(g Guard, b record.Batch, want moldau.Code) {
	h.t.Helper()
	if _, code, err := h.AppendWith(Leave{Guard: g}, b, true, nil, 0); code != want {
		h.t.Errorf("sequence %d of epoch %d: %v %v, want %v", b.BaseSequence(), b.ProducerEpoch(), code, err, want)
	}
}

func (h transactional) mark(epoch moldau.ProducerEpoch) {
	h.t.Helper()
	if _, code, err := h.AppendWith(Leave{Coordinated: true, Bumped: true}, marker(epoch), true, nil, 0); code != moldau.None {
		h.t.Errorf("marker of epoch %d: %v %v", epoch, code, err)
	}
}

// enter wants a guard, or that none is needed.
func (h transactional) enter(b record.Batch, want bool) Guard {
	h.t.Helper()
	g, needed := h.Enter(b, true)
	if needed != want {
		h.t.Errorf("sequence %d of epoch %d needs leave: %t, want %t", b.BaseSequence(), b.ProducerEpoch(), needed, want)
	}
	return g
}

// TestTransactionsNeedLeave (L-23, KAFKA-14402): the first batch of a transaction needs leave that was asked for before its end was
// decided.
func TestTransactionsNeedLeave(t *testing.T) {
	h := transactional{leading(t, Settings{MinInSync: 1})}
	h.append(NoGuard, inTransaction(t, 0, 0), moldau.InvalidTxnState)
	g := h.enter(inTransaction(t, 0, 0), true)
	h.append(g+1, inTransaction(t, 0, 0), moldau.InvalidTxnState)
	h.append(g, inTransaction(t, 0, 0), moldau.None)
	h.enter(inTransaction(t, 0, 1), false)
	h.append(NoGuard, inTransaction(t, 0, 1), moldau.None)
	h.enter(inTransaction(t, 0, 0), false) // it comes again, and is not appended twice
	h.append(NoGuard, inTransaction(t, 0, 0), moldau.None)
	h.mark(1)

	late := h.enter(inTransaction(t, 1, 0), true)
	h.mark(2)
	h.append(late, inTransaction(t, 1, 0), moldau.InvalidProducerEpoch)

	// The next transaction waits to begin when the marker of the one before comes, whose epoch is the same.
	g = h.enter(inTransaction(t, 2, 0), true)
	h.mark(2)
	h.append(g, inTransaction(t, 2, 0), moldau.None)
	h.mark(3)

	// Without a bump the epoch does not tell, and the guard does.
	late = h.enter(inTransaction(t, 3, 0), true)
	if _, code, err := h.AppendWith(Leave{Coordinated: true}, marker(3), true, nil, 0); code != moldau.None {
		t.Error(code, err)
	}
	h.append(late, inTransaction(t, 3, 0), moldau.InvalidTxnState)

	// Who claims a later epoch has nothing of it, and takes nothing away.
	g = h.enter(inTransaction(t, 3, 0), true)
	for epoch := range moldau.ProducerEpoch(epochsMax - 1) {
		h.enter(inTransaction(t, 10+epoch, 0), true)
	}
	h.append(g, inTransaction(t, 10, 0), moldau.InvalidTxnState)
	h.append(h.enter(inTransaction(t, 3, 0), true), inTransaction(t, 3, 0), moldau.None)
	h.mark(4)

	g = h.enter(inTransaction(t, 4, 0), true)
	h.lead(2, 1)
	h.append(g, inTransaction(t, 4, 0), moldau.InvalidTxnState)
}

// TestTransactionsBeginInOrder (L-21, L-23): where several batches wait to be verified, the first is first.
func TestTransactionsBeginInOrder(t *testing.T) {
	h := transactional{leading(t, Settings{MinInSync: 1})}
	h.enter(inTransaction(t, 0, 0), true)
	g := h.enter(inTransaction(t, 0, 1), true)
	h.append(g, inTransaction(t, 0, 1), moldau.OutOfOrderSequenceNumber)
	h.append(g, inTransaction(t, 0, 0), moldau.None)
	h.append(g, inTransaction(t, 0, 1), moldau.None)

	// Nothing is known of the producer, whose sequences begin anew in each transaction.
	h = transactional{leading(t, Settings{MinInSync: 1})}
	g = h.enter(inTransaction(t, 0, 5), true)
	h.append(g, inTransaction(t, 0, 5), moldau.OutOfOrderSequenceNumber)
}

// TestCoordinatorsAppend: what a coordinator writes in somebody's transaction has no sequences, and needs leave too.
func TestCoordinatorsAppend(t *testing.T) {
	h := transactional{leading(t, Settings{MinInSync: 1})}
	own := func(g Guard, epoch moldau.ProducerEpoch, want moldau.Code) {
		t.Helper()
		b := inTransaction(t, epoch, 0)
		leave := Leave{Guard: g, Coordinated: true}
		code, err := h.Check(leave, b)
		if code != want {
			t.Errorf("check in epoch %d: %v %v, want %v", epoch, code, err, want)
		}
		end := h.Log().End()
		if _, code, err := h.AppendWith(leave, b, true, nil, 0); code != want {
			t.Errorf("epoch %d: %v %v, want %v", epoch, code, err, want)
		}
		if want == moldau.None && h.Log().End() != end+1 {
			t.Error("it is taken for a batch that came again")
		}
	}
	own(NoGuard, 0, moldau.InvalidTxnState)
	g, needed := h.EnterCoordinated(7, 0)
	if !needed {
		t.Error("nothing is open, and no leave is needed")
	}
	own(g, 0, moldau.None)
	own(NoGuard, 0, moldau.None)
	if _, needed := h.EnterCoordinated(7, 0); needed {
		t.Error("the transaction is open, and leave is needed")
	}
	h.mark(1)
	own(NoGuard, 0, moldau.InvalidProducerEpoch)
}

// TestEntriesAreBounded: who asks and never appends has his leave taken by who comes after him.
func TestEntriesAreBounded(t *testing.T) {
	h := leading(t, Settings{MinInSync: 1})
	for id := range moldau.ProducerID(entriesMax + 5) {
		h.EnterCoordinated(id, 0)
	}
	if n := len(h.Partition.mu.entries); n != entriesMax {
		t.Errorf("%d producers have leave, the limit is %d", n, entriesMax)
	}
}
