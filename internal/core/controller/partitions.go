package controller

import (
	"encoding/binary"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreatePartitions adds partitions to topics, each topic wholly or not at all.
func CreatePartitions(im *metadata.Image, req *kmsg.CreatePartitionsRequest, env Env) (*kmsg.CreatePartitionsResponse, []schema.Record) {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	var recs []schema.Record
	place := newStripes(im)
	for i, t := range req.Topics {
		if slices.ContainsFunc(req.Topics[:i], func(o kmsg.CreatePartitionsRequestTopic) bool { return o.Topic == t.Topic }) {
			continue
		}
		made, no := addPartitions(im, place, &t, env)
		if slices.ContainsFunc(req.Topics[i+1:], func(o kmsg.CreatePartitionsRequestTopic) bool { return o.Topic == t.Topic }) {
			made, no = nil, refuse(moldau.InvalidRequest, "the topic %q is in the request more than once", t.Topic)
		}
		recs = append(recs, made...)
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic = t.Topic
		no.tell(&rt.ErrorCode, &rt.ErrorMessage)
		resp.Topics = append(resp.Topics, rt)
	}
	if len(recs) > operationRecordsMax {
		for i := range resp.Topics {
			tooManyRecords(len(recs)).tell(&resp.Topics[i].ErrorCode, &resp.Topics[i].ErrorMessage)
		}
		recs = nil
	}
	if req.ValidateOnly {
		recs = nil
	}
	return resp, recs
}

func addPartitions(im *metadata.Image, place stripes, req *kmsg.CreatePartitionsRequestTopic, env Env) ([]schema.Record, *refusal) {
	t := im.Topic(req.Topic)
	if t == nil {
		return nil, refuse(moldau.UnknownTopicOrPartition, "there is no topic %.260q", req.Topic)
	}
	have, want := len(t.Partitions), int(req.Count)
	switch {
	case want == have:
		return nil, refuse(moldau.InvalidPartitions, "the topic %q has %d partitions already", t.Name, have)
	case want < have:
		return nil, refuse(moldau.InvalidPartitions, "the topic %q has %d partitions and cannot go down to %d", t.Name, have, want)
	case want-have > operationRecordsMax:
		return nil, tooLarge(want-have, "partitions")
	case req.Assignment != nil && len(req.Assignment) != want-have:
		return nil, refuse(moldau.InvalidReplicaAssignment, "the topic %q gets %d new partitions, yet %d assignments", t.Name, want-have, len(req.Assignment))
	}
	factor := int(env.Config.DefaultReplicationFactor)
	if have > 0 {
		factor = len(t.Partitions[0].Replicas)
	}
	if req.Assignment == nil {
		if no := place.check(factor); no != nil {
			return nil, no
		}
	}
	var recs []schema.Record
	for n := have; n < want; n++ {
		var replicas []moldau.BrokerID
		if req.Assignment == nil {
			replicas = place.place(env.Seed+uint64(n), factor)
		} else {
			var no *refusal
			if replicas, no = manual(im, int32(n), req.Assignment[n-have].Replicas, factor); no != nil {
				return nil, no
			}
		}
		recs = append(recs, newPartition(im, t.ID, int32(n), replicas))
	}
	return recs, nil
}

// manual checks an assignment by hand. factor is the number of replicas of the partitions before, 0 for the first.
func manual(im *metadata.Image, partition int32, brokers []int32, factor int) ([]moldau.BrokerID, *refusal) {
	bad := func(format string, args ...any) ([]moldau.BrokerID, *refusal) {
		return nil, refuse(moldau.InvalidReplicaAssignment, format, args...)
	}
	var replicas []moldau.BrokerID
	live := 0
	for _, n := range brokers {
		id := moldau.BrokerID(n)
		b := im.Broker(id)
		switch {
		case b == nil:
			return bad("partition %d is assigned to broker %d, which is not registered", partition, id)
		case slices.Contains(replicas, id):
			return bad("partition %d is assigned to broker %d more than once", partition, id)
		case b.Active():
			live++
		}
		replicas = append(replicas, id)
	}
	switch {
	case len(replicas) == 0:
		return bad("partition %d is assigned to no broker", partition)
	case factor > 0 && len(replicas) != factor:
		return bad("partition %d is assigned to %d brokers, the partitions before it to %d", partition, len(replicas), factor)
	case live == 0:
		return bad("partition %d is assigned to brokers that are all fenced or shutting down", partition)
	}
	return replicas, nil
}

// directoryFor is where a broker is to keep a new replica. It is settled before the broker hears of the partition, so that a
// directory which is offline at some later start is known to have it, and it is not taken for empty in another. Partitions of one
// topic go round the directories; topics begin anywhere, by their random ids.
func directoryFor(b *metadata.Broker, topic moldau.TopicID, partition int32) moldau.DirectoryID {
	dirs := slices.DeleteFunc(slices.Clone(b.LogDirs), func(d moldau.DirectoryID) bool { return slices.Contains(b.CordonedLogDirs, d) })
	if len(dirs) == 0 {
		dirs = b.LogDirs
	}
	if len(dirs) == 0 {
		return moldau.DirectoryID{}
	}
	return dirs[(int(binary.BigEndian.Uint16(topic[len(topic)-2:]))+int(partition))%len(dirs)]
}

// newPartition is the record of a partition in its first epoch: in sync are the active replicas, and the first of them
// leads.
func newPartition(im *metadata.Image, topic moldau.TopicID, partition int32, replicas []moldau.BrokerID) *schema.Partition {
	p := &schema.Partition{Partition: partition, TopicID: topic, Replicas: replicas, Leader: moldau.NoBroker}
	for _, id := range replicas {
		b := im.Broker(id)
		if b.Active() {
			p.ISR = append(p.ISR, id)
		}
		p.Directories = append(p.Directories, directoryFor(b, topic, partition))
	}
	if len(p.ISR) > 0 {
		p.Leader = p.ISR[0]
	}
	return p
}
