// Package txn is the transaction coordinator as a machine over a partition of __transaction_state: transactional ids with
// their producer, their open transaction and how far it is.
//
// All that a restart has to know of a transactional id is in its newest record. What is not written down: which markers were
// written, who waits for them, and the epoch before the last, by which a producer that goes on after an error is known
// again (KIP-360). Rules are cited by the ids of docs/contract.md (T-1 …). KIP-98, KIP-890.
package txn

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// State is how far the transaction of a transactional id is (T-1). Its text is Kafka's word.
type State = kmsg.TransactionState

// The states that a transactional id may be in.
const (
	Empty          = kmsg.TransactionStateEmpty
	Ongoing        = kmsg.TransactionStateOngoing
	PrepareCommit  = kmsg.TransactionStatePrepareCommit // decided; markers are on their way
	PrepareAbort   = kmsg.TransactionStatePrepareAbort
	CompleteCommit = kmsg.TransactionStateCompleteCommit // all markers are written
	CompleteAbort  = kmsg.TransactionStateCompleteAbort
)

const (
	noEpoch moldau.ProducerEpoch = -1
	// epochLast is the highest epoch that a client is given. The one above is for fencing its holder.
	epochLast moldau.ProducerEpoch = math.MaxInt16 - 1
	// bumping is the transaction version from which on every end raises the epoch (KIP-890).
	bumping = 2
)

// txn is a transactional id.
type txn struct {
	id   string
	last moldau.Offset // of its newest record

	// What the newest record says.
	stored     bool
	producer   rsm.Producer
	previous   moldau.ProducerID // before the last transition
	next       moldau.ProducerID // that the client has been told of, for when the markers are written
	timeout    time.Duration
	state      State
	partitions []moldau.TopicPartition // ascending
	started    time.Time               // zero: not
	updated    time.Time
	version    int16 // of the transactions that the client speaks (transaction.version)

	// lastEpoch is the epoch before, for a producer that did not hear of the new one; noEpoch where another took over.
	lastEpoch moldau.ProducerEpoch

	// While in a Prepare state.
	unmarked []moldau.TopicPartition // whose markers are not known to be written
	sending  bool                    // the markers are being written
	attempts int                     // that did not write all
	markAt   time.Time               // then it is tried again
	held     []held                  // requests that wait for the markers

	alarm rsm.Alarm
}

// held is a request that is decided once the markers are written.
type held struct {
	to    rsm.Ticket
	since time.Time
	until time.Time // then it gets the answer late
	again func(*turn)
	late  any
}

func newTxn(id string) *txn {
	return &txn{id: id, last: noOffset, producer: rsm.NoProducer(), previous: moldau.NoProducer, next: moldau.NoProducer, lastEpoch: noEpoch}
}

// preparing reports whether it is decided how the transaction ends, and markers are to be written.
func (x *txn) preparing() bool { return x.state == PrepareCommit || x.state == PrepareAbort }

func (x *txn) exhausted() bool { return x.producer.Epoch >= epochLast }

// has reports whether all partitions are in the transaction.
func (x *txn) has(partitions ...moldau.TopicPartition) bool {
	for _, at := range partitions {
		if _, ok := slices.BinarySearchFunc(x.partitions, at, comparePartitions); !ok {
			return false
		}
	}
	return true
}

func comparePartitions(a, b moldau.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// Alarm implements rsm.Sleeper.
func (x *txn) Alarm() *rsm.Alarm { return &x.alarm }

// sleeper is a transactional id with what settings say of its deadlines.
type sleeper struct {
	*txn
	cfg *Config
}

// Due implements rsm.Sleeper.
func (s sleeper) Due() (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	x := s.txn
	switch {
	case !x.stored:
		return at, false
	case x.preparing() && !x.sending:
		sooner(x.markAt)
	case x.preparing():
	case len(x.held) > 0:
		sooner(x.held[0].since) // the markers are written
	case x.state == Ongoing:
		sooner(x.started.Add(x.timeout))
	default:
		sooner(x.updated.Add(s.cfg.Expiration))
	}
	for _, h := range x.held {
		sooner(h.until)
	}
	return at, ok
}

// replay makes the transactional id what its record says.
func (x *txn) replay(v *kmsg.TxnMetadataValue) {
	x.stored = true
	x.producer = rsm.Producer{ID: moldau.ProducerID(v.ProducerID), Epoch: moldau.ProducerEpoch(v.ProducerEpoch)}
	x.previous, x.next = moldau.ProducerID(v.PreviousProducerID), moldau.ProducerID(v.NextProducerID)
	x.timeout, x.state = time.Duration(v.TimeoutMillis)*time.Millisecond, v.State
	x.updated, x.started, x.version = time.UnixMilli(v.LastUpdateTimestamp), time.Time{}, v.ClientTransactionVersion
	if v.StartTimestamp >= 0 {
		x.started = time.UnixMilli(v.StartTimestamp)
	}
	x.partitions = nil
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			x.partitions = append(x.partitions, moldau.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	slices.SortFunc(x.partitions, comparePartitions)
	x.unmarked, x.sending, x.attempts, x.markAt = nil, false, 0, time.Time{}
	if x.preparing() {
		x.unmarked = slices.Clone(x.partitions)
	}
}

// value is the record of the transactional id as it is.
func (x *txn) value(now time.Time) *kmsg.TxnMetadataValue {
	v := kmsg.NewTxnMetadataValue()
	v.Version = valueVersion
	v.ProducerID, v.ProducerEpoch = int64(x.producer.ID), int16(x.producer.Epoch)
	v.PreviousProducerID, v.NextProducerID = int64(x.previous), int64(x.next)
	v.TimeoutMillis, v.State = int32(x.timeout.Milliseconds()), x.state
	v.LastUpdateTimestamp, v.StartTimestamp, v.ClientTransactionVersion = now.UnixMilli(), -1, x.version
	if !x.started.IsZero() {
		v.StartTimestamp = x.started.UnixMilli()
	}
	if x.state != Empty {
		v.Topics = topicsOf(x.partitions)
	}
	return &v
}

// topicsOf gathers ascending partitions by topic; never nil.
func topicsOf(partitions []moldau.TopicPartition) []kmsg.TxnMetadataValueTopic {
	topics := []kmsg.TxnMetadataValueTopic{}
	for _, at := range partitions {
		if n := len(topics); n == 0 || topics[n-1].Topic != at.Topic {
			topics = append(topics, kmsg.TxnMetadataValueTopic{Topic: at.Topic})
		}
		t := &topics[len(topics)-1]
		t.Partitions = append(t.Partitions, at.Partition)
	}
	return topics
}
