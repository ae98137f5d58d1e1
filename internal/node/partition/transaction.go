package partition

import (
	"fmt"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Guard is leave to begin the transaction of one producer on one partition: it was asked for before the transaction's
// coordinator was, and a marker takes it away. So nothing is appended to a transaction whose end was decided meanwhile: that
// would never have a marker, and the last stable offset would stand for ever (KAFKA-14402).
//
//	A asks the partition for a guard, and the coordinator whether the transaction has the partition: it has
//	B ends the transaction; the coordinator writes its marker to the partition
//	A appends with its guard, which is not valid any more
//
// KIP-890, L-23.
type Guard uint64

// NoGuard is no leave.
const NoGuard Guard = 0

// Leave is for what not everybody may append.
type Leave struct {
	// Guard begins a transaction.
	Guard Guard
	// Coordinated: a coordinator is the sender. It may write markers, and has no sequences.
	Coordinated bool
	// Bumped: a marker is of a transaction whose end has raised the epoch (KIP-890).
	Bumped bool
}

// entry is somebody who has asked for leave to begin a transaction.
type entry struct {
	guard  Guard
	epoch  moldau.ProducerEpoch
	lowest moldau.Sequence // of those who have asked: the others come after it
	bumps  bool            // the client's sequences begin with 0 in each transaction (transaction version 2)
	at     time.Time
}

// entriesMax bounds the producers that have asked and not appended, and epochsMax their epochs.
const (
	entriesMax = 10_000
	epochsMax  = 4
)

// Enter asks for leave to append b, a batch of a transaction. needed is false where none is needed, since the transaction is
// open here or Append is going to answer without: then the coordinator need not be asked. bumps: the client speaks transaction
// version 2.
func (p *Partition) Enter(b record.Batch, bumps bool) (g Guard, needed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return NoGuard, false
	}
	log := p.log.Load()
	if dup, err := log.CheckProducer(b); dup != nil || err != nil {
		return NoGuard, false
	}
	if open, _ := log.InTransaction(b.ProducerID(), b.ProducerEpoch()); open {
		return NoGuard, false
	}
	return p.enterLocked(b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), bumps), true
}

// EnterCoordinated is Enter for a coordinator, which has no batch yet.
func (p *Partition) EnterCoordinated(id moldau.ProducerID, epoch moldau.ProducerEpoch) (g Guard, needed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return NoGuard, false
	}
	if open, _ := p.log.Load().InTransaction(id, epoch); open {
		return NoGuard, false
	}
	return p.enterLocked(id, epoch, 0, false), true
}

func (p *Partition) enterLocked(id moldau.ProducerID, epoch moldau.ProducerEpoch, first moldau.Sequence, bumps bool) Guard {
	list := p.mu.entries[id]
	i := slices.IndexFunc(list, func(e entry) bool { return e.epoch == epoch })
	if i < 0 {
		p.makeRoomLocked(id)
		p.mu.guards++
		list = append(p.mu.entries[id], entry{guard: p.mu.guards, epoch: epoch, lowest: first})
		i = len(list) - 1
	}
	e := &list[i]
	e.lowest, e.bumps, e.at = min(e.lowest, first), bumps, p.flusher.env.Clock.Now()
	if p.mu.entries == nil {
		p.mu.entries = make(map[moldau.ProducerID][]entry)
	}
	p.mu.entries[id] = list
	return e.guard
}

// enteredLocked is the entry of a producer at an epoch. One that claims a later epoch takes nothing from it.
func (p *Partition) enteredLocked(id moldau.ProducerID, epoch moldau.ProducerEpoch) (entry, bool) {
	list := p.mu.entries[id]
	i := slices.IndexFunc(list, func(e entry) bool { return e.epoch == epoch })
	if i < 0 {
		return entry{}, false
	}
	return list[i], true
}

// forgetLeaveLocked ends leave that b, which was appended, has used or takes away. A marker whose epoch was raised bears that of
// the next transaction, which may wait to begin already; leave for that one stays.
func (p *Partition) forgetLeaveLocked(leave Leave, b record.Batch) {
	id, epoch := b.ProducerID(), b.ProducerEpoch()
	if !b.IsTransactional() || p.mu.entries[id] == nil {
		return
	}
	left := slices.DeleteFunc(p.mu.entries[id], func(e entry) bool {
		return e.epoch < epoch || e.epoch == epoch && !(b.IsControl() && leave.Bumped)
	})
	if p.mu.entries[id] = left; len(left) == 0 {
		delete(p.mu.entries, id)
	}
}

// makeRoomLocked makes room for an entry of a producer in the place of the oldest, whose guard is not valid any more.
func (p *Partition) makeRoomLocked(id moldau.ProducerID) {
	if list := p.mu.entries[id]; len(list) >= epochsMax {
		p.mu.entries[id] = slices.Delete(list, 0, 1)
		return
	}
	if p.mu.entries[id] != nil || len(p.mu.entries) < entriesMax {
		return
	}
	oldest := moldau.NoProducer
	for other, list := range p.mu.entries {
		if oldest == moldau.NoProducer || list[0].at.Before(p.mu.entries[oldest][0].at) {
			oldest = other
		}
	}
	delete(p.mu.entries, oldest)
}

// Check says whether AppendWith would take b, as far as its producer is concerned: nil, or an error as of AppendWith with its
// code. It is for a coordinator that is the only one to append.
func (p *Partition) Check(leave Leave, b record.Batch) (moldau.Code, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := p.refusal(); code != moldau.None {
		return code, p.failureLocked()
	}
	if _, err := p.checkLocked(leave, b); err != nil {
		return codeOf(err), err
	}
	return moldau.None, nil
}

// checkLocked compares b with what its producer sent before, and with the leave that it needs. dup is as of CheckProducer.
func (p *Partition) checkLocked(leave Leave, b record.Batch) (dup *commitlog.Appended, err error) {
	log := p.log.Load()
	if leave.Coordinated {
		err = log.CheckCoordinated(b, leave.Bumped)
	} else {
		dup, err = log.CheckProducer(b)
	}
	if err != nil || dup != nil || !b.IsTransactional() || b.IsControl() {
		return dup, err
	}
	open, known := log.InTransaction(b.ProducerID(), b.ProducerEpoch())
	if open {
		return nil, nil
	}
	e, ok := p.enteredLocked(b.ProducerID(), b.ProducerEpoch())
	switch {
	case !ok || e.guard != leave.Guard:
		return nil, fmt.Errorf("producer %d in %v: %w: it is not part of an open one", b.ProducerID(), p.Name, commitlog.ErrInvalidTxnState)
	case leave.Coordinated:
	case b.BaseSequence() > e.lowest:
		return nil, fmt.Errorf("producer %d in %v: %w: %d, and %d waits to be verified", b.ProducerID(), p.Name, commitlog.ErrOutOfOrderSequence,
			b.BaseSequence(), e.lowest)
	case e.bumps && !known && b.BaseSequence() != 0:
		return nil, fmt.Errorf("producer %d in %v: %w: %d is the first of a transaction", b.ProducerID(), p.Name, commitlog.ErrOutOfOrderSequence,
			b.BaseSequence())
	}
	return nil, nil
}
