package api

// OffsetForLeaderEpoch (key 23), versions 2–4
//
// Behaviour: where a leader epoch ended in this log, for clients that look for a lost tail (KIP-320). The current epoch
// ends where the log does. An older one is answered with the largest known epoch that is not above it, one before all
// known with itself and the start of the oldest; a future epoch is -1/-1.

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
)

func offsetForLeaderEpoch(b *Broker, c *server.Call, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	im := b.Metadata.Image()
	deadline := c.Arrived.Add(b.Config.RequestTimeout)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		allowed := b.allowedTopic(c, access.Describe, t.Topic) || b.allowedCluster(c, access.ClusterAction)
		for _, rp := range t.Partitions {
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.Partition, p.LeaderEpoch, p.EndOffset = rp.Partition, -1, -1
			code := moldau.TopicAuthorizationFailed
			if allowed {
				code = b.epochEnd(c, im.Topic(t.Topic), rp, &p, deadline)
			}
			p.ErrorCode = int16(code)
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// epochEnd fills in where the epoch asked for ended, or returns the code that says why it does not.
func (b *Broker) epochEnd(c *server.Call, topic *metadata.Topic, req kmsg.OffsetForLeaderEpochRequestTopicPartition, out *kmsg.OffsetForLeaderEpochResponseTopicPartition, deadline time.Time) moldau.Code {
	p, code := b.lookup(topic, req.Partition)
	if code != moldau.None {
		return code
	}
	if !b.settled(c, p, deadline) {
		return moldau.NotLeaderOrFollower
	}
	log := p.Log()
	if log == nil {
		return moldau.KafkaStorageError
	}
	if code := p.CheckEpoch(moldau.LeaderEpoch(req.CurrentLeaderEpoch)); code != moldau.None {
		return code
	}
	asked := moldau.LeaderEpoch(req.LeaderEpoch)
	if asked == p.Epoch() {
		out.LeaderEpoch, out.EndOffset = int32(asked), int64(log.End())
		return moldau.None
	}
	epoch, end := log.EpochEnd(asked)
	out.LeaderEpoch, out.EndOffset = int32(epoch), int64(end)
	return moldau.None
}
