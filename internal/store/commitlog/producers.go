package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// What CheckProducer may find wrong with a batch. L-21, L-22, L-27.
var (
	ErrOutOfOrderSequence = errors.New("the sequence does not follow the producer's last")
	ErrStaleProducerEpoch = errors.New("the producer epoch is below the newest")
	ErrInvalidTxnState    = errors.New("the batch does not fit the producer's transaction")
	ErrCoordinatorFenced  = errors.New("the coordinator epoch is below the newest")
)

// producerWindow is how many of a producer's newest batches are known again when they are sent twice (L-20): as many as
// an idempotent producer may have in flight.
const producerWindow = 5

// noOffset stands where there is none.
const noOffset moldau.Offset = -1

// sentBatch is a batch of a producer as the window remembers it.
type sentBatch struct {
	lastSequence moldau.Sequence
	last         moldau.Offset
	delta        int32 // last offset less base offset
	timestamp    moldau.Timestamp
}

// producer is the state of one producer id in this partition.
type producer struct {
	id               moldau.ProducerID
	epoch            moldau.ProducerEpoch
	coordinatorEpoch int32         // of the newest marker, -1: none
	txnStart         moldau.Offset // first offset of the open transaction, or noOffset
	timestamp        moldau.Timestamp
	touched          int64 // when we heard of it last by our own clock, in milliseconds; it decides on expiry
	n                int   // batches in the window
	window           [producerWindow]sentBatch
}

func (p *producer) lastSequence() moldau.Sequence {
	if p.n == 0 {
		return -1
	}
	return p.window[p.n-1].lastSequence
}

func (p *producer) push(s sentBatch) {
	if p.n == producerWindow {
		copy(p.window[:], p.window[1:])
		p.n--
	}
	p.window[p.n] = s
	p.n++
}

// setEpoch moves to another epoch, in which no batch has been sent yet.
func (p *producer) setEpoch(e moldau.ProducerEpoch) {
	if p.epoch != e {
		p.epoch, p.n = e, 0
	}
}

// find returns the batch of the window that b repeats, or nil.
func (p *producer) find(b record.Batch) *sentBatch {
	if b.ProducerEpoch() != p.epoch {
		return nil
	}
	for i := range p.n {
		s := &p.window[i]
		if s.lastSequence == b.LastSequence() && s.delta == b.LastOffsetDelta() {
			return s
		}
	}
	return nil
}

// transaction is one whose first offset the last stable offset may not pass.
type transaction struct {
	id    moldau.ProducerID
	first moldau.Offset
	last  moldau.Offset // of its marker, once that is there
}

// producerTable is the state of all producers of a log: a function of the batches before end. Only appended batches
// change it (KAFKA-6683). KIP-98.
type producerTable struct {
	byID map[moldau.ProducerID]*producer // nil before the first
	open []transaction                   // without a marker, ascending by first
	done []transaction                   // with a marker that may not be below the high watermark yet, ascending by first
	end  moldau.Offset
}

func (t *producerTable) reset(end moldau.Offset) {
	*t = producerTable{end: end}
}

// put enters p, in the place of what was there of it.
func (t *producerTable) put(p *producer) {
	if t.byID == nil {
		t.byID = make(map[moldau.ProducerID]*producer)
	}
	t.byID[p.id] = p
}

// CheckProducer compares b, which has not been appended, with what its producer sent before.
//
// dup is not nil where b is one of the last five batches again: nothing is to be appended, and the answer is dup (L-20).
// Errors: ErrOutOfOrderSequence, ErrStaleProducerEpoch, ErrInvalidTxnState, for a marker ErrCoordinatorFenced. A batch
// without a producer id passes. L-21, L-22, L-27.
func (l *Log) CheckProducer(b record.Batch) (dup *Appended, err error) {
	if !b.HasProducer() {
		return nil, nil
	}
	p := l.producers.byID[b.ProducerID()]
	switch {
	case p == nil:
		return nil, nil // its state has expired, or this is its first batch: any sequence goes
	case b.IsControl():
		err = p.checkMarker(b, false)
	default:
		if s := p.find(b); s != nil {
			return &Appended{Base: s.last - moldau.Offset(s.delta), Last: s.last, Timestamp: s.timestamp}, nil
		}
		err = p.check(b)
	}
	if err != nil {
		return nil, fmt.Errorf("producer %d in %v: %w", p.id, l.partition, err)
	}
	return nil, nil
}

// CheckCoordinated compares b, a marker or a batch that a coordinator writes in the transaction of somebody else, with what is
// known of the producer. Such data has no sequence to compare. bumped: the marker is of a transaction whose end has raised the
// epoch (KIP-890), so that it is above that of the data. Errors as of CheckProducer. L-27.
func (l *Log) CheckCoordinated(b record.Batch, bumped bool) (err error) {
	p := l.producers.byID[b.ProducerID()]
	switch {
	case p == nil:
		return nil
	case b.IsControl():
		err = p.checkMarker(b, bumped)
	case b.ProducerEpoch() < p.epoch:
		err = fmt.Errorf("%w: %d, newest %d", ErrStaleProducerEpoch, b.ProducerEpoch(), p.epoch)
	}
	if err != nil {
		return fmt.Errorf("producer %d in %v: %w", p.id, l.partition, err)
	}
	return nil
}

// InTransaction reports whether a transaction of the producer is open at this epoch; known, whether anything is known of it.
func (l *Log) InTransaction(id moldau.ProducerID, epoch moldau.ProducerEpoch) (open, known bool) {
	p := l.producers.byID[id]
	if p == nil {
		return false, false
	}
	return p.txnStart != noOffset && p.epoch == epoch, true
}

func (p *producer) check(b record.Batch) error {
	switch epoch, first := b.ProducerEpoch(), b.BaseSequence(); {
	case epoch < p.epoch:
		return fmt.Errorf("%w: %d, newest %d", ErrStaleProducerEpoch, epoch, p.epoch)
	case epoch > p.epoch && first != 0:
		return fmt.Errorf("%w: %d in the new epoch %d, want 0", ErrOutOfOrderSequence, first, epoch)
	case epoch == p.epoch && first != next(p.lastSequence()):
		return fmt.Errorf("%w: %d, last %d", ErrOutOfOrderSequence, first, p.lastSequence())
	case p.txnStart != noOffset && !b.IsTransactional():
		return fmt.Errorf("%w: it began at offset %d", ErrInvalidTxnState, p.txnStart)
	}
	return nil
}

// next is the sequence behind s (L-21).
func next(s moldau.Sequence) moldau.Sequence {
	if s == math.MaxInt32 {
		return 0
	}
	return s + 1
}

// checkMarker: with bumped the marker's epoch is that of the transaction after, which must not be ended by a marker that comes late
// or twice. One that comes twice before that has begun is welcome (KAFKA-19999).
func (p *producer) checkMarker(b record.Batch, bumped bool) error {
	m, err := b.Marker()
	if err != nil {
		return err
	}
	if b.ProducerEpoch() < p.epoch || bumped && b.ProducerEpoch() == p.epoch && p.txnStart != noOffset {
		return fmt.Errorf("%w: %d of a marker, newest %d", ErrStaleProducerEpoch, b.ProducerEpoch(), p.epoch)
	}
	if m.CoordinatorEpoch < p.coordinatorEpoch {
		return fmt.Errorf("%w: %d, newest %d", ErrCoordinatorFenced, m.CoordinatorEpoch, p.coordinatorEpoch)
	}
	return nil
}

// abortedBy tells what the transaction index is to hold of b, which has not been replayed: false unless b is the marker of
// an aborted transaction that has records here.
func (t *producerTable) abortedBy(b record.Batch) (aborted Aborted, ok bool) {
	if !b.HasProducer() || !b.IsControl() {
		return Aborted{}, false
	}
	p := t.byID[b.ProducerID()]
	if p == nil || p.txnStart == noOffset {
		return Aborted{}, false
	}
	if m, err := b.Marker(); err != nil || m.Commit {
		return Aborted{}, false
	}
	stable := b.LastOffset() + 1
	for _, o := range t.open {
		if o.id != p.id {
			stable = o.first
			break
		}
	}
	return Aborted{Producer: p.id, First: p.txnStart, Last: b.LastOffset(), LastStable: stable}, true
}

// replay takes over an appended batch with a producer id. It never fails: what is in the log holds, whatever CheckProducer
// thinks of it.
func (t *producerTable) replay(b record.Batch, now time.Time) {
	id := b.ProducerID()
	p := t.byID[id]
	if p == nil {
		p = &producer{id: id, epoch: b.ProducerEpoch(), coordinatorEpoch: -1, txnStart: noOffset}
		t.put(p)
	}
	p.touched = now.UnixMilli()
	p.setEpoch(b.ProducerEpoch())
	p.timestamp = b.MaxTimestamp()
	if b.IsControl() {
		t.replayMarker(p, b)
		return
	}
	p.push(sentBatch{b.LastSequence(), b.LastOffset(), b.LastOffsetDelta(), b.MaxTimestamp()})
	if b.IsTransactional() && p.txnStart == noOffset {
		p.txnStart = b.BaseOffset()
		t.begin(transaction{id: id, first: b.BaseOffset()})
	}
}

func (t *producerTable) begin(txn transaction) {
	i, _ := slices.BinarySearchFunc(t.open, txn.first, func(o transaction, first moldau.Offset) int { return cmp.Compare(o.first, first) })
	t.open = slices.Insert(t.open, i, txn)
}

func (t *producerTable) replayMarker(p *producer, b record.Batch) {
	m, err := b.Marker()
	if err != nil {
		return // a control record that ends no transaction
	}
	p.coordinatorEpoch = max(p.coordinatorEpoch, m.CoordinatorEpoch)
	if p.txnStart == noOffset {
		return // nothing was written here: a marker for an empty transaction
	}
	txn := transaction{id: p.id, first: p.txnStart, last: b.LastOffset()}
	p.txnStart = noOffset
	t.open = slices.DeleteFunc(t.open, func(o transaction) bool { return o.id == p.id })
	i, _ := slices.BinarySearchFunc(t.done, txn.first, func(o transaction, first moldau.Offset) int { return cmp.Compare(o.first, first) })
	t.done = slices.Insert(t.done, i, txn)
}

// endBelow ends the transactions that began below o, the first dirty offset: compaction has never gone beyond one that was open, so
// their markers were there, and may have been dropped after the snapshot that tells of them.
func (t *producerTable) endBelow(o moldau.Offset) {
	t.open = slices.DeleteFunc(t.open, func(txn transaction) bool {
		ended := txn.first < o
		if ended {
			t.byID[txn.id].txnStart = noOffset
		}
		return ended
	})
}

// FirstUnstable is the first offset of the earliest transaction that is open, or whose marker is not below
// highWatermark; false where there is none, and then the high watermark is the last stable offset (L-28). The high
// watermark never goes back between calls.
func (l *Log) FirstUnstable(highWatermark moldau.Offset) (moldau.Offset, bool) {
	t := &l.producers
	if len(t.done) > 0 {
		t.done = slices.DeleteFunc(t.done, func(o transaction) bool { return o.last < highWatermark })
	}
	first := moldau.Offset(math.MaxInt64)
	if len(t.open) > 0 {
		first = t.open[0].first
	}
	if len(t.done) > 0 {
		first = min(first, t.done[0].first)
	}
	if first == math.MaxInt64 {
		return 0, false
	}
	return max(first, l.Start()), true
}

// Producer is the state of one producer as DescribeProducers shows it.
type Producer struct {
	ID               moldau.ProducerID
	Epoch            moldau.ProducerEpoch
	LastSequence     moldau.Sequence // -1: none in this epoch
	LastTimestamp    moldau.Timestamp
	CoordinatorEpoch int32         // -1: no marker yet
	TxnStart         moldau.Offset // of the open transaction, -1: none
}

// ProducerCount is the number of producers that are known.
func (l *Log) ProducerCount() int { return len(l.producers.byID) }

// Producers lists the producers that are known, by id.
func (l *Log) Producers() []Producer { return l.producers.list() }

func (t *producerTable) list() []Producer {
	ps := make([]Producer, 0, len(t.byID))
	for _, p := range t.sorted() {
		ps = append(ps, Producer{p.id, p.epoch, p.lastSequence(), p.timestamp, p.coordinatorEpoch, p.txnStart})
	}
	return ps
}

func (t *producerTable) sorted() []*producer {
	ps := make([]*producer, 0, len(t.byID))
	for _, p := range t.byID {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b *producer) int { return cmp.Compare(a.id, b.id) })
	return ps
}

// ExpireProducers forgets the producers without an open transaction that have not been heard of for
// producer.id.expiration.ms, and returns how many they were. The time that counts is that of this broker's clock, at the
// append or at the load of the log: records may bear any timestamp (L-26).
func (l *Log) ExpireProducers(now time.Time) int {
	n := len(l.producers.byID)
	oldest := now.UnixMilli() - l.cfg.Load().ProducerExpirationMs
	for id, p := range l.producers.byID {
		if p.txnStart == noOffset && p.touched <= oldest {
			delete(l.producers.byID, id)
		}
	}
	return n - len(l.producers.byID)
}
