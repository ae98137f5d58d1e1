package coordinator

import (
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/kit/must"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
)

// own is a batch that stands alone, since it belongs to a producer: records of a transaction, or its marker.
type own[R any] struct {
	batch   record.Batch
	leave   partition.Leave
	records []R // as they are replayed from the batch's first offset on
	held    held
}

// within makes the batch of records in the transaction of by.
func (s *shard[M, R]) within(by rsm.Producer, guard partition.Guard, out rsm.Output[R], now time.Time) (own[R], error) {
	o := own[R]{leave: partition.Leave{Coordinated: true, Guard: guard}}
	b := record.NewBuilder(s.next)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = by.ID, by.Epoch, 0, true // the sequence is as Kafka has it: it says nothing
	for _, r := range out.Records {
		key, value := s.kind.Encode(r)
		b.Add(record.Record{Timestamp: moldau.Timestamp(now.UnixMilli()), Key: key, Value: value})
		o.records = append(o.records, s.kind.Within(r, by))
	}
	o.held = held{s.next + moldau.Offset(len(out.Records)), out.Replies, out.Effects}
	var err error
	o.batch, err = b.Build(nil)
	return o, err
}

// marker makes the batch of a marker.
func (s *shard[M, R]) marker(m Marker, to rsm.Ticket, now time.Time) own[R] {
	return own[R]{
		batch: record.BuildMarker(s.next, moldau.Timestamp(now.UnixMilli()), m.Producer.ID, m.Producer.Epoch,
			record.Marker{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch}),
		leave:   partition.Leave{Coordinated: true, Bumped: m.Bumped},
		records: []R{s.kind.Marker(m.Producer, m.Commit)},
		held:    held{end: s.next + 1, replies: []rsm.Reply{{To: to}}},
	}
}

// appendApart replays and appends a batch of its own, where nothing is gathered.
func (s *shard[M, R]) appendApart(l *loop[M, R], o own[R]) error {
	must.True(s.batch.Count() == 0, "%d records of %v wait in front of a batch that stands alone", s.batch.Count(), s.p.Name)
	for i, r := range o.records {
		s.machine.Replay(s.next+moldau.Offset(i), r)
	}
	s.waiting = append(s.waiting, o.held)
	return s.write(l, o.batch, o.leave)
}
