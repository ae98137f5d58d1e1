package controller

import (
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The election types of ElectLeaders.
const (
	electPreferred = 0
	electUnclean   = 1
)

// ElectLeaders gives leaderships to the preferred replicas, or leaders to partitions that have none even where that loses
// records. Without a list of topics it looks at all and leaves out the partitions that need no election.
func ElectLeaders(im *metadata.Image, req *kmsg.ElectLeadersRequest) (*kmsg.ElectLeadersResponse, []schema.Record) {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	asked, all := req.Topics, req.Topics == nil
	known := req.ElectionType == electPreferred || req.ElectionType == electUnclean
	switch {
	case !known && (all || len(asked) > 0):
		resp.ErrorCode = int16(moldau.InvalidRequest)
	case all:
		asked = everyPartition(im)
	}
	var recs []schema.Record
	for _, topic := range asked {
		rt := kmsg.NewElectLeadersResponseTopic()
		rt.Topic = topic.Topic
		for _, n := range topic.Partitions {
			rec, no := electOne(im, topic.Topic, n, req.ElectionType, len(recs))
			if rec != nil {
				recs = append(recs, rec)
			}
			if all && no != nil && no.code == moldau.ElectionNotNeeded {
				continue
			}
			rp := kmsg.NewElectLeadersResponseTopicPartition()
			rp.Partition = n
			no.tell(&rp.ErrorCode, &rp.ErrorMessage)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, onePerPartition(recs)
}

func everyPartition(im *metadata.Image) []kmsg.ElectLeadersRequestTopic {
	var all []kmsg.ElectLeadersRequestTopic
	for t := range im.Topics() {
		rt := kmsg.NewElectLeadersRequestTopic()
		rt.Topic = t.Name
		for n := range t.Partitions {
			rt.Partitions = append(rt.Partitions, int32(n))
		}
		all = append(all, rt)
	}
	return all
}

// onePerPartition drops the elections of partitions that a request names again.
func onePerPartition(recs []schema.Record) []schema.Record {
	type partition struct {
		id moldau.TopicID
		n  int32
	}
	seen := map[partition]bool{}
	return slices.DeleteFunc(recs, func(r schema.Record) bool {
		c := r.(*schema.PartitionChange)
		p := partition{c.TopicID, c.Partition}
		again := seen[p]
		seen[p] = true
		return again
	})
}

func electOne(im *metadata.Image, topic string, n int32, kind int8, made int) (schema.Record, *refusal) {
	if kind != electPreferred && kind != electUnclean {
		return nil, refuse(moldau.InvalidRequest, "there is no election of type %d: 0 is the preferred leader, 1 an unclean election", kind)
	}
	t := im.Topic(topic)
	if t == nil {
		return nil, refuse(moldau.UnknownTopicOrPartition, "there is no topic %.260q", topic)
	}
	p := im.Partition(moldau.TopicPartition{Topic: topic, Partition: n})
	if p == nil {
		return nil, refuse(moldau.UnknownTopicOrPartition, "the topic %q has %d partitions and no partition %d", topic, len(t.Partitions), n)
	}
	if made >= operationRecordsMax {
		return nil, tooLarge(made+1, "elections")
	}
	if kind == electPreferred && len(p.Replicas) > 0 {
		preferred := p.Replicas[0]
		switch {
		case p.Leader == preferred:
			return nil, refuse(moldau.ElectionNotNeeded, "broker %d, the preferred leader, leads already", preferred)
		case !slices.Contains(p.ISR, preferred) || !active(im, preferred):
			return nil, refuse(moldau.PreferredLeaderNotAvailable, "broker %d, the preferred leader, is not in sync or not in service", preferred)
		}
		c := schema.NewPartitionChange()
		c.TopicID, c.Partition, c.Leader = t.ID, n, preferred
		return c, nil
	}
	if p.Leader != moldau.NoBroker {
		return nil, refuse(moldau.ElectionNotNeeded, "broker %d leads the partition", p.Leader)
	}
	if c := elect(im, t.ID, n, p, true); c != nil {
		return c, nil
	}
	return nil, refuse(moldau.EligibleLeadersNotAvailable, "none of the replicas %v is in service", p.Replicas)
}

func active(im *metadata.Image, id moldau.BrokerID) bool {
	b := im.Broker(id)
	return b != nil && b.Active()
}

// elect is the change that gives a partition without a leader its next one, or nil where none can lead: the first
// active replica in sync, else the first active one that is eligible (it has all that was committed), else, where unclean
// allows to lose records, the last one known to be eligible or any other active one. Such a leader is alone in sync and
// recovers.
func elect(im *metadata.Image, topic moldau.TopicID, n int32, p *metadata.Partition, unclean bool) *schema.PartitionChange {
	first := func(among []moldau.BrokerID) moldau.BrokerID {
		for _, id := range p.Replicas {
			if slices.Contains(among, id) && active(im, id) {
				return id
			}
		}
		return moldau.NoBroker
	}
	c := schema.NewPartitionChange()
	c.TopicID, c.Partition = topic, n
	if c.Leader = first(p.ISR); c.Leader != moldau.NoBroker {
		return c
	}
	if c.Leader = first(p.Exceptional().ELR); c.Leader != moldau.NoBroker {
		c.ISR = []moldau.BrokerID{c.Leader}
		c.ELR = slices.DeleteFunc(slices.Clone(p.Exceptional().ELR), func(id moldau.BrokerID) bool { return id == c.Leader })
		return c
	}
	if !unclean {
		return nil
	}
	if c.Leader = first(p.Exceptional().LastKnownELR); c.Leader == moldau.NoBroker {
		c.Leader = first(p.Replicas)
	}
	if c.Leader == moldau.NoBroker {
		return nil
	}
	c.ISR, c.ELR, c.LastKnownELR, c.Recovering = []moldau.BrokerID{c.Leader}, []moldau.BrokerID{}, []moldau.BrokerID{}, 1
	return c
}

// electLeaderless are the clean elections that im makes possible: of partitions without a leader.
func electLeaderless(im *metadata.Image) []schema.Record {
	var recs []schema.Record
	for t := range im.Topics() {
		for n, p := range t.Partitions {
			if p.Leader != moldau.NoBroker {
				continue
			}
			if c := elect(im, t.ID, int32(n), p, false); c != nil {
				recs = append(recs, c)
			}
		}
	}
	return recs
}

// ListPartitionReassignments tells the partitions among those asked for, or among all, whose replicas are on the move.
func ListPartitionReassignments(im *metadata.Image, req *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	asked := req.Topics
	if asked == nil {
		for _, t := range everyPartition(im) {
			rt := kmsg.NewListPartitionReassignmentsRequestTopic()
			rt.Topic, rt.Partitions = t.Topic, t.Partitions
			asked = append(asked, rt)
		}
	}
	for _, topic := range asked {
		rt := kmsg.NewListPartitionReassignmentsResponseTopic()
		rt.Topic = topic.Topic
		for _, n := range topic.Partitions {
			p := im.Partition(moldau.TopicPartition{Topic: topic.Topic, Partition: n})
			if p == nil || len(p.Exceptional().Adding)+len(p.Exceptional().Removing) == 0 {
				continue
			}
			rp := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
			rp.Partition, rp.Replicas, rp.AddingReplicas, rp.RemovingReplicas = n, numbers(p.Replicas), numbers(p.Exceptional().Adding), numbers(p.Exceptional().Removing)
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			resp.Topics = append(resp.Topics, rt)
		}
	}
	return resp
}

func numbers(ids []moldau.BrokerID) []int32 {
	ns := make([]int32, len(ids))
	for i, id := range ids {
		ns[i] = int32(id)
	}
	return ns
}
