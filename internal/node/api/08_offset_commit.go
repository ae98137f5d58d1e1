package api

// OffsetCommit (key 8), versions 2–10
//
// Behaviour: a group's positions are written to __consumer_offsets before the answer (G-8, G-9). A client without a group
// membership may commit for a group that nobody is in.
// Version notes: v2 to v4 may bring a retention time of their own; v6 leader epochs; v7 static members; v10 topic ids.

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func offsetCommit(b *Broker, c *server.Call, req *kmsg.OffsetCommitRequest) server.Pending {
	k := &committing{b: b, call: c, im: b.Metadata.Image(), resp: kmsg.NewPtrOffsetCommitResponse()}
	k.commit = group.Commit{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation, Version: c.Version, Retention: -1,
	}
	if c.Version <= 4 && req.RetentionTimeMillis >= 0 {
		k.commit.Retention = time.Duration(req.RetentionTimeMillis) * time.Millisecond
	}
	refusal := b.groupAccess(c, access.Read, req.Group)
	for _, t := range req.Topics {
		k.topic(t, refusal)
	}
	if len(k.commit.Offsets) == 0 {
		return answer(k.resp, c.Version)
	}
	return inquire(1, func(_ int, done func()) func() {
		return askGroup(b, req.Group, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
			return g.CommitOffsets(now, to, &k.commit)
		}, func(codes []moldau.Code, code moldau.Code) {
			k.tell(codes, code)
			done()
		})
	}).respond(c, func() kmsg.Response { return k.resp })
}

// committing is an OffsetCommit on its way: what the coordinator is asked, and where its answers go.
type committing struct {
	b      *Broker
	call   *server.Call
	im     *metadata.Image
	resp   *kmsg.OffsetCommitResponse
	commit group.Commit
	places [][2]int // of each offset: topic and partition in the response
}

// topic takes in the positions of one topic. refusal, if there is one, is the answer to all of them.
func (k *committing) topic(t kmsg.OffsetCommitRequestTopic, refusal moldau.Code) {
	out := kmsg.NewOffsetCommitResponseTopic()
	out.Topic, out.TopicID = t.Topic, t.TopicID
	topic, code := k.resolve(t)
	if refusal != moldau.None {
		code = refusal
	}
	for _, p := range t.Partitions {
		rp := kmsg.NewOffsetCommitResponseTopicPartition()
		rp.Partition, rp.ErrorCode = p.Partition, int16(code)
		switch {
		case code != moldau.None:
		case p.Partition < 0 || int(p.Partition) >= len(topic.Partitions):
			rp.ErrorCode = int16(moldau.UnknownTopicOrPartition)
		default:
			o := group.CommitOffset{
				At:   moldau.TopicPartition{Topic: topic.Name, Partition: p.Partition},
				Next: moldau.Offset(p.Offset), Epoch: moldau.LeaderEpoch(p.LeaderEpoch),
			}
			if p.Metadata != nil {
				o.Metadata = *p.Metadata
			}
			k.commit.Offsets = append(k.commit.Offsets, o)
			k.places = append(k.places, [2]int{len(k.resp.Topics), len(out.Partitions)})
		}
		out.Partitions = append(out.Partitions, rp)
	}
	k.resp.Topics = append(k.resp.Topics, out)
}

func (k *committing) resolve(t kmsg.OffsetCommitRequestTopic) (*metadata.Topic, moldau.Code) {
	topic := k.im.Topic(t.Topic)
	unknown := moldau.UnknownTopicOrPartition
	if k.call.Version >= 10 {
		topic, unknown = k.im.TopicByID(t.TopicID), moldau.UnknownTopicID
	}
	name := t.Topic
	if topic != nil {
		name = topic.Name
	}
	switch {
	case topic == nil && k.call.Version >= 10:
		return nil, unknown
	case !k.b.allowedTopic(k.call, access.Read, name):
		return nil, moldau.TopicAuthorizationFailed
	case topic == nil:
		return nil, unknown
	}
	return topic, moldau.None
}

// tell puts the coordinator's answers into the response.
func (k *committing) tell(codes []moldau.Code, code moldau.Code) {
	if code == moldau.UnknownServerError {
		code = moldau.InvalidCommitOffsetSize // that is what it means here: more than a batch can hold
	}
	for i, at := range k.places {
		if code == moldau.None {
			k.resp.Topics[at[0]].Partitions[at[1]].ErrorCode = int16(codes[i])
		} else {
			k.resp.Topics[at[0]].Partitions[at[1]].ErrorCode = int16(code)
		}
	}
}
