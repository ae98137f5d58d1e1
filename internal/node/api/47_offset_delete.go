package api

// OffsetDelete (key 47), version 0
//
// Behaviour: forgets positions of a group, but not those in topics that its members subscribe to (KIP-496).

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func offsetDelete(b *Broker, c *server.Call, req *kmsg.OffsetDeleteRequest) server.Pending {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	if code := b.groupAccess(c, access.Delete, req.Group); code != moldau.None {
		resp.ErrorCode = int16(code)
		return answer(resp, c.Version)
	}
	im := b.Metadata.Image()
	var asked []moldau.TopicPartition
	var places [][2]int
	for _, t := range req.Topics {
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = t.Topic
		topic := im.Topic(t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case !b.allowedTopic(c, access.Read, t.Topic):
				rp.ErrorCode = int16(moldau.TopicAuthorizationFailed)
			case topic == nil || p.Partition < 0 || int(p.Partition) >= len(topic.Partitions):
				rp.ErrorCode = int16(moldau.UnknownTopicOrPartition)
			default:
				asked = append(asked, moldau.TopicPartition{Topic: t.Topic, Partition: p.Partition})
				places = append(places, [2]int{len(resp.Topics), len(out.Partitions)})
			}
			out.Partitions = append(out.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return inquire(1, func(_ int, done func()) func() {
		return askGroup(b, req.Group, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
			return g.DeleteOffsets(now, to, req.Group, asked)
		}, func(r group.Deleted, code moldau.Code) {
			if code == moldau.None {
				code = r.Code
			}
			if resp.ErrorCode = int16(code); code != moldau.None {
				resp.Topics = nil
			}
			for i, at := range places[:len(r.Codes)] {
				resp.Topics[at[0]].Partitions[at[1]].ErrorCode = int16(r.Codes[i])
			}
			done()
		})
	}).respond(c, func() kmsg.Response { return resp })
}
