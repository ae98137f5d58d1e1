package api

// DeleteRecords (key 21), versions 0–2
//
// Behaviour: moves the start of each partition up to the offset, -1 being the high watermark, and answers with the low
// watermark: the start on all replicas (KIP-107). Refused on compacted topics without the delete policy.
// Differs from Apache: the new starts are durable when they are answered, not up to a minute later.

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
)

func deleteRecords(b *Broker, c *server.Call, req *kmsg.DeleteRecordsRequest) server.Pending {
	resp := kmsg.NewPtrDeleteRecordsResponse()
	im := b.Metadata.Image()
	deadline := c.Arrived.Add(time.Duration(req.TimeoutMillis) * time.Millisecond)
	for _, t := range req.Topics {
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = t.Topic
		allowed := b.allowedTopic(c, access.Delete, t.Topic)
		for _, rp := range t.Partitions {
			p := kmsg.NewDeleteRecordsResponseTopicPartition()
			p.Partition, p.LowWatermark = rp.Partition, -1
			code := moldau.TopicAuthorizationFailed
			if allowed {
				p.LowWatermark, code = b.deleteRecordsOf(c, im.Topic(t.Topic), rp, deadline)
			}
			p.ErrorCode = int16(code)
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	if err := b.SaveLogStarts(); err != nil {
		b.Logger.Error("the log starts that DeleteRecords moved could not be saved", "error", err)
		for i := range resp.Topics {
			for j := range resp.Topics[i].Partitions {
				if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
					p.ErrorCode, p.LowWatermark = int16(moldau.KafkaStorageError), -1
				}
			}
		}
	}
	return answer(resp, c.Version)
}

func (b *Broker) deleteRecordsOf(c *server.Call, topic *metadata.Topic, req kmsg.DeleteRecordsRequestTopicPartition, deadline time.Time) (int64, moldau.Code) {
	p, code := b.lookup(topic, req.Partition)
	if code != moldau.None {
		return -1, code
	}
	if !b.settled(c, p, deadline) {
		return -1, moldau.RequestTimedOut
	}
	if !p.Settings().DeleteAllowed {
		return -1, moldau.PolicyViolation
	}
	low, err := p.DeleteRecords(moldau.Offset(req.Offset))
	switch {
	case err == nil:
		return int64(low), moldau.None
	case errors.Is(err, partition.ErrAboveHighWatermark):
		return -1, moldau.OffsetOutOfRange
	case errors.Is(err, partition.ErrOffline) && p.IsGone():
		return -1, moldau.NotLeaderOrFollower
	default:
		b.Logger.Error("cannot delete records", "partition", p.Name.String(), "before", req.Offset, "error", err)
		return -1, moldau.KafkaStorageError
	}
}
