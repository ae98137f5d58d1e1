package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nextRecord returns the offset of the first record at offset at or later that a reader of this isolation level is shown; where
// there is none, the offset after what the answer held. It asks the leader by a Fetch of its own, outside of the client's.
func (cl *client) nextRecord(ctx context.Context, topic string, partition int32, at int64, level int8) (int64, error) {
	details, err := cl.topicDetails(ctx, topic)
	if err != nil {
		return at, err
	}
	leader, _, err := cl.PartitionLeader(topic, partition)
	if err != nil || leader < 0 {
		return at, nil //nolint:nilerr // without a leader nothing is known, and the client keeps trying
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.IsolationLevel = 1<<20, level
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, details[topic].ID
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, at, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl.Broker(int(leader)))
	if err != nil {
		return at, explain(err, topic, "")
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return at, explain(err, topic, "")
	}
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			return firstShown(&t.Partitions[i], topic, at, level)
		}
	}
	return at, nil
}

// firstShown returns the offset of the first record in a fetched partition, or where the partition's bytes end.
func firstShown(rp *kmsg.FetchResponseTopicPartition, topic string, at int64, level int8) (int64, error) {
	isolation := kgo.ReadUncommitted()
	if level == readCommitted {
		isolation = kgo.ReadCommitted()
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: at, IsolationLevel: isolation, Topic: topic, Partition: rp.Partition}
	fetched, next := kgo.ProcessFetchPartition(opts, rp, kgo.DefaultDecompressor(), nil)
	if kerr.IsRetriable(fetched.Err) {
		return at, nil
	}
	if fetched.Err != nil {
		return at, explain(fetched.Err, topic, "")
	}
	if len(fetched.Records) > 0 {
		return fetched.Records[0].Offset, nil
	}
	return next, nil
}
