package api

// OffsetFetch (key 9), versions 1–10
//
// Behaviour: the positions of groups. A group or partition without one has offset -1 and no error.
// Version notes: v2 null topics mean all; v7 UNSTABLE_OFFSET_COMMIT where an open transaction may replace the position, for who
// asks for that (KIP-447); v8 several groups; v9 member epochs
// (KIP-848), which mean nothing to classic groups; v10 topic ids.

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

func offsetFetch(b *Broker, c *server.Call, req *kmsg.OffsetFetchRequest) server.Pending {
	if c.Version < 8 {
		one := kmsg.NewOffsetFetchRequestGroup()
		one.Group = req.Group
		for _, t := range req.Topics {
			gt := kmsg.NewOffsetFetchRequestGroupTopic()
			gt.Topic, gt.Partitions = t.Topic, t.Partitions
			one.Topics = append(one.Topics, gt)
		}
		if req.Topics != nil && one.Topics == nil {
			one.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
		}
		req.Groups = []kmsg.OffsetFetchRequestGroup{one}
	}
	im := b.Metadata.Image()
	answers := make([]kmsg.OffsetFetchResponseGroup, len(req.Groups))
	return inquire(len(req.Groups), func(i int, done func()) func() {
		f := &fetchingOffsets{b: b, call: c, im: im, req: &req.Groups[i], out: &answers[i], version: c.Version, stable: c.Version >= 7 && req.RequireStable}
		return f.ask(done)
	}).respond(c, func() kmsg.Response { return offsetFetchResponse(req.Version, answers) })
}

// offsetFetchResponse is the response in the shape of its version.
func offsetFetchResponse(version int16, answers []kmsg.OffsetFetchResponseGroup) *kmsg.OffsetFetchResponse {
	resp := kmsg.NewPtrOffsetFetchResponse()
	if version >= 8 {
		resp.Groups = answers
		return resp
	}
	one := answers[0]
	resp.ErrorCode = one.ErrorCode
	for _, t := range one.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// fetchingOffsets is the part of an OffsetFetch that concerns one group.
type fetchingOffsets struct {
	b       *Broker
	call    *server.Call // only until ask returns
	im      *metadata.Image
	req     *kmsg.OffsetFetchRequestGroup
	out     *kmsg.OffsetFetchResponseGroup
	version int16
	stable  bool // no offset that an open transaction may replace (KIP-447)
	fetch   group.Fetch
	visible func(topic string) bool // may be told of, where all offsets were asked for
	places  [][2]int                // of each partition asked for: topic and partition in the answer
}

func (f *fetchingOffsets) ask(done func()) (cancel func()) {
	f.out.Default()
	f.out.Group = f.req.Group
	if code := f.b.groupAccess(f.call, access.Describe, f.req.Group); code != moldau.None {
		f.out.ErrorCode = int16(code)
		done()
		return nil
	}
	f.fetch = group.Fetch{Group: f.req.Group, All: f.req.Topics == nil, Stable: f.stable}
	if f.fetch.All {
		f.visible = f.b.visibleTopics(f.call, f.im)
	}
	for _, t := range f.req.Topics {
		f.topic(t)
	}
	return askGroup(f.b, f.req.Group, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
		return g.FetchOffsets(now, to, &f.fetch)
	}, func(r group.Fetched, code moldau.Code) {
		f.tell(r, code)
		done()
	})
}

// visibleTopics tells which of the topics that are there now the caller may describe.
func (b *Broker) visibleTopics(c *server.Call, im *metadata.Image) func(string) bool {
	allowed := map[string]bool{}
	for t := range im.Topics() {
		allowed[t.Name] = b.allowedTopic(c, access.Describe, t.Name)
	}
	return func(topic string) bool {
		may, there := allowed[topic]
		return may || !there
	}
}

// topic takes in the partitions of one topic, or refuses them.
func (f *fetchingOffsets) topic(t kmsg.OffsetFetchRequestGroupTopic) {
	out := kmsg.NewOffsetFetchResponseGroupTopic()
	out.Topic, out.TopicID = t.Topic, t.TopicID
	name, code := t.Topic, moldau.None
	if f.version >= 10 {
		if topic := f.im.TopicByID(t.TopicID); topic != nil {
			name = topic.Name
		} else {
			code = moldau.UnknownTopicID
		}
	}
	if code == moldau.None && !f.b.allowedTopic(f.call, access.Describe, name) {
		code = moldau.TopicAuthorizationFailed
	}
	for _, index := range t.Partitions {
		if code == moldau.None {
			f.fetch.Partitions = append(f.fetch.Partitions, moldau.TopicPartition{Topic: name, Partition: index})
			f.places = append(f.places, [2]int{len(f.out.Topics), len(out.Partitions)})
		}
		out.Partitions = append(out.Partitions, noOffsetOf(index, code))
	}
	f.out.Topics = append(f.out.Topics, out)
}

func noOffsetOf(index int32, code moldau.Code) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = index, -1, -1, new(string), int16(code)
	return p
}

// tell puts the coordinator's answer into the response.
func (f *fetchingOffsets) tell(r group.Fetched, code moldau.Code) {
	if code != moldau.None {
		f.refuse(code)
		return
	}
	if f.fetch.All {
		f.tellAll(r)
		return
	}
	for i, at := range f.places {
		fillOffset(&f.out.Topics[at[0]].Partitions[at[1]], r.Offsets[i], r.Codes[i])
	}
}

func fillOffset(p *kmsg.OffsetFetchResponseGroupTopicPartition, o group.Offset, code moldau.Code) {
	p.ErrorCode = int16(code)
	p.Offset, p.LeaderEpoch, p.Metadata = int64(o.Next), int32(o.Epoch), &o.Metadata
}

// refuse answers with a code: once for the group, and before version 2 at each partition, where there is no other place.
func (f *fetchingOffsets) refuse(code moldau.Code) {
	if f.version >= 2 {
		f.out.ErrorCode, f.out.Topics = int16(code), nil
		return
	}
	for i := range f.out.Topics {
		for j := range f.out.Topics[i].Partitions {
			f.out.Topics[i].Partitions[j].ErrorCode = int16(code)
		}
	}
}

// tellAll lists all offsets, by topic; with ids a topic that is not there any more is left out.
func (f *fetchingOffsets) tellAll(r group.Fetched) {
	for i, at := range r.Partitions {
		topic := f.im.Topic(at.Topic)
		if !f.visible(at.Topic) || f.version >= 10 && topic == nil {
			continue
		}
		if n := len(f.out.Topics); n == 0 || f.out.Topics[n-1].Topic != at.Topic {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			if t.Topic = at.Topic; topic != nil {
				t.TopicID = topic.ID
			}
			f.out.Topics = append(f.out.Topics, t)
		}
		t := &f.out.Topics[len(f.out.Topics)-1]
		p := noOffsetOf(at.Partition, moldau.None)
		fillOffset(&p, r.Offsets[i], r.Codes[i])
		t.Partitions = append(t.Partitions, p)
	}
}
