package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nextRecord returns the offset of the first record at offset at or later that a reader of this isolation level is shown; where
// there is none, the offset after what the answer held.
func (cl *client) nextRecord(ctx context.Context, topic string, partition int32, at int64, level int8) (int64, error) {
	record, next, err := cl.firstRecord(ctx, topic, partition, at, level)
	if record != nil {
		next = record.Offset
	}
	return next, err
}

// firstRecord returns the first record at offset at or later that a reader of this isolation level is shown, or nil and the
// offset after what the answer held. It asks the leader by a Fetch of its own, outside of the client's.
func (cl *client) firstRecord(ctx context.Context, topic string, partition int32, at int64, level int8) (*kgo.Record, int64, error) {
	details, err := cl.topicDetails(ctx, topic)
	if err != nil {
		return nil, at, err
	}
	leader := details[topic].Partitions[partition].Leader
	if leader < 0 {
		return nil, at, nil // nothing is known without one, and the client keeps trying
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
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, at, explain(err, topic, "")
	}
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			return firstShown(&t.Partitions[i], topic, at, level)
		}
	}
	return nil, at, nil
}

// firstShown returns the first record in a fetched partition, or nil and where the partition's bytes end.
func firstShown(rp *kmsg.FetchResponseTopicPartition, topic string, at int64, level int8) (*kgo.Record, int64, error) {
	isolation := kgo.ReadUncommitted()
	if level == readCommitted {
		isolation = kgo.ReadCommitted()
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: at, IsolationLevel: isolation, Topic: topic, Partition: rp.Partition}
	fetched, next := kgo.ProcessFetchPartition(opts, rp, kgo.DefaultDecompressor(), nil)
	if kerr.IsRetriable(fetched.Err) {
		return nil, at, nil
	}
	if fetched.Err != nil {
		return nil, at, explain(fetched.Err, topic, "")
	}
	if len(fetched.Records) > 0 {
		return fetched.Records[0], next, nil
	}
	return nil, next, nil
}
