package api

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
)

// WriteMarkers does the effect txn.Markers of the machine of a partition of __transaction_state that is led at epoch: it writes
// the markers and tells the machine which of them are committed. It does not block.
func (b *Broker) WriteMarkers(index int32, epoch moldau.LeaderEpoch, m *txn.Markers) {
	b.mark(coordinator.Marker{
		Producer: m.Producer, Commit: m.Commit, CoordinatorEpoch: int32(epoch), Bumped: m.Version >= bumping,
	}, m.Partitions, func(codes []moldau.Code) {
		var written []moldau.TopicPartition
		for i, at := range m.Partitions {
			switch codes[i] {
			case moldau.None, moldau.UnknownTopicOrPartition: // what was deleted needs no marker
				written = append(written, at)
			case moldau.NotLeaderOrFollower, moldau.CoordinatorLoadInProgress, moldau.NotCoordinator: // it is on its way
			default:
				b.Logger.Warn("the marker of a transaction is not written; it is tried again", "transactional-id", m.ID, "partition", at.String(),
					"code", codes[i].String())
			}
		}
		b.tellMarked(index, m, written)
	})
}

// markedAgain is how long the outcome of markers waits where the machine cannot be told of it.
const markedAgain = time.Second

// tellMarked tells the machine the outcome. One that is loaded again meanwhile asks for the markers itself.
func (b *Broker) tellMarked(index int32, m *txn.Markers, written []moldau.TopicPartition) {
	b.Transactions.Do(index, coordinator.Command[*txn.Transactions, txn.Record]{
		Own: true,
		Decide: func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
			return s.Marked(now, to, m, written)
		},
		Done: func(_ any, err error) {
			if errors.Is(err, coordinator.ErrNotTaken) {
				b.Env.Clock.AfterFunc(markedAgain, func() { b.tellMarked(index, m, written) })
			}
		},
	})
}

// marking is markers on their way to several partitions.
type marking struct {
	codes []moldau.Code
	left  atomic.Int32
	done  func([]moldau.Code)
}

// mark writes the marker m to partitions and calls done once with the codes of all, on whatever goroutine. It does not block: a
// partition that is not ready yet is NOT_LEADER_OR_FOLLOWER, and who wants the marker there comes again.
func (b *Broker) mark(m coordinator.Marker, partitions []moldau.TopicPartition, done func([]moldau.Code)) {
	k := &marking{codes: make([]moldau.Code, len(partitions)), done: done}
	k.left.Store(int32(len(partitions)) + 1)
	for i, at := range partitions {
		b.markOne(k, i, m, at)
	}
	k.finish()
}

func (k *marking) finish() {
	if k.left.Add(-1) == 0 {
		k.done(k.codes)
	}
}

// Committed implements partition.Waiter.
func (k *marking) Committed(index int, code moldau.Code) {
	k.codes[index] = code
	k.finish()
}

func (b *Broker) markOne(k *marking, i int, m coordinator.Marker, at moldau.TopicPartition) {
	topic := b.Metadata.Image().Topic(at.Topic)
	p, code := b.lookup(topic, at.Partition)
	switch {
	case code != moldau.None:
	case at.Topic == moldau.OffsetsTopic:
		// Only the coordinator of the groups there appends to it, and its machine has to see the marker.
		b.Groups.Mark(at.Partition, m, func(err error) { k.Committed(i, markCode(err)) })
		return
	case moldau.IsInternalTopic(at.Topic):
		code = moldau.InvalidTopicException
	default:
		code = b.markPartition(k, i, m, p)
		if code == moldau.None {
			return
		}
	}
	k.Committed(i, code)
}

// markPartition appends the marker. None: k is told.
func (b *Broker) markPartition(k *marking, i int, m coordinator.Marker, p *partition.Partition) moldau.Code {
	select {
	case <-p.Writable():
	default:
		return moldau.NotLeaderOrFollower
	}
	batch := record.BuildMarker(0, moldau.Timestamp(b.Env.Clock.Now().UnixMilli()), m.Producer.ID, m.Producer.Epoch,
		record.Marker{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch})
	at, code, err := p.AppendWith(partition.Leave{Coordinated: true, Bumped: m.Bumped}, batch, true, k, i)
	if err != nil && code != moldau.KafkaStorageError {
		b.Logger.Warn("a marker was refused", "partition", p.Name.String(), "error", err)
	}
	if code == moldau.None && !at.Parked {
		k.Committed(i, moldau.None)
	}
	return code
}

// markCode is the wire's word for what became of a marker for groups.
func markCode(err error) moldau.Code {
	var refusal *coordinator.Refusal
	switch {
	case err == nil:
		return moldau.None
	case errors.As(err, &refusal):
		return refusal.Code
	}
	return coordinatorCode(err)
}
