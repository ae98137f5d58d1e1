package partition

import (
	"sync/atomic"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// TopicStats count what goes in and out of one topic (O-20).
type TopicStats struct {
	MessagesIn, BytesIn, BytesOut, BytesRejected atomic.Int64
	ProduceRequests, FetchRequests               atomic.Int64
	FailedProduce, FailedFetch                   atomic.Int64
	InvalidCRC, InvalidRecord, InvalidSequence   atomic.Int64
}

// Rejected counts a batch that was refused before its append; n is its size in bytes.
func (s *TopicStats) Rejected(why *record.Refusal, n int) {
	s.FailedProduce.Add(1)
	switch why.Code {
	case moldau.MessageTooLarge, moldau.RecordListTooLarge:
		s.BytesRejected.Add(int64(n))
	case moldau.CorruptMessage:
		s.InvalidCRC.Add(1)
	default:
		s.InvalidRecord.Add(1)
	}
}

// Failed counts an append that the partition refused.
func (s *TopicStats) Failed(code moldau.Code) {
	s.FailedProduce.Add(1)
	if code == moldau.OutOfOrderSequenceNumber || code == moldau.InvalidProducerEpoch {
		s.InvalidSequence.Add(1)
	}
}

// Add takes over the counts of another topic.
func (s *TopicStats) Add(o *TopicStats) {
	for _, c := range [...]struct{ to, from *atomic.Int64 }{
		{&s.MessagesIn, &o.MessagesIn}, {&s.BytesIn, &o.BytesIn}, {&s.BytesOut, &o.BytesOut},
		{&s.BytesRejected, &o.BytesRejected}, {&s.ProduceRequests, &o.ProduceRequests},
		{&s.FetchRequests, &o.FetchRequests}, {&s.FailedProduce, &o.FailedProduce}, {&s.FailedFetch, &o.FailedFetch},
		{&s.InvalidCRC, &o.InvalidCRC}, {&s.InvalidRecord, &o.InvalidRecord}, {&s.InvalidSequence, &o.InvalidSequence},
	} {
		c.to.Add(c.from.Load())
	}
}
