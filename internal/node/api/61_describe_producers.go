package api

// DescribeProducers (key 61), version 0
//
// Behaviour: the idempotent and transactional producers that a partition remembers (KIP-664, T-14).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/store/commitlog"
)

func describeProducers(b *Broker, c *server.Call, req *kmsg.DescribeProducersRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeProducersResponse()
	im := b.Metadata.Image()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = t.Topic
		allowed := b.allowedTopic(c, access.Read, t.Topic)
		for _, index := range t.Partitions {
			p := kmsg.NewDescribeProducersResponseTopicPartition()
			p.Partition = index
			code := moldau.TopicAuthorizationFailed
			switch {
			case !allowed:
			case moldau.CheckTopicName(t.Topic) != nil:
				code = moldau.InvalidTopicException
			default:
				p.ActiveProducers, code = b.producersOf(im.Topic(t.Topic), index)
			}
			if p.ErrorCode = int16(code); code != moldau.None {
				p.ErrorMessage = text("no producers of partition %d of topic %q: %s", index, t.Topic, code)
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (b *Broker) producersOf(topic *metadata.Topic, index int32) ([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, moldau.Code) {
	p, code := b.lookup(topic, index)
	if code != moldau.None {
		return nil, code
	}
	var active []kmsg.DescribeProducersResponseTopicPartitionActiveProducer
	err := p.Locked(func(log *commitlog.Log) error {
		for _, s := range log.Producers() {
			active = append(active, kmsg.DescribeProducersResponseTopicPartitionActiveProducer{
				ProducerID: int64(s.ID), ProducerEpoch: int32(s.Epoch), LastSequence: int32(s.LastSequence),
				LastTimestamp: int64(s.LastTimestamp), CoordinatorEpoch: s.CoordinatorEpoch,
				CurrentTxnStartOffset: int64(s.TxnStart),
			})
		}
		return nil
	})
	if err != nil {
		return nil, moldau.NotLeaderOrFollower
	}
	return active, moldau.None
}
