package api

// DeleteTopics (key 20), versions 1–6
//
// Behaviour: by name, from v6 by name or id. Answered once the metadata is gone; the data goes after file.delete.delay.ms.
// Version notes: v5 error messages; v6 topic ids (KIP-516).
// Differs from Apache: results come in the order of the request; topics that the caller may not see are told apart from
// absent ones by nothing but that order, which the caller knows.

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func deleteTopics(b *Broker, c *server.Call, req *kmsg.DeleteTopicsRequest) server.Pending {
	var refused []kmsg.DeleteTopicsResponseTopic
	refuse := func(name *string, id moldau.TopicID, code moldau.Code) {
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode = name, id, int16(code)
		refused = append(refused, out)
	}
	if !b.allowedCluster(c, access.Delete) {
		im := b.Metadata.Image()
		req.TopicNames = slices.DeleteFunc(req.TopicNames, func(name string) bool {
			bad := !b.allowedTopic(c, access.Delete, name)
			if bad {
				refuse(&name, moldau.TopicID{}, moldau.TopicAuthorizationFailed)
			}
			return bad
		})
		req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.DeleteTopicsRequestTopic) bool {
			if t.Topic != nil {
				bad := !b.allowedTopic(c, access.Delete, *t.Topic)
				if bad {
					refuse(t.Topic, moldau.TopicID{}, moldau.TopicAuthorizationFailed)
				}
				return bad
			}
			topic := im.TopicByID(t.TopicID)
			switch {
			case topic == nil || !b.allowedTopic(c, access.Describe, topic.Name):
				refuse(nil, t.TopicID, moldau.UnknownTopicID)
			case !b.allowedTopic(c, access.Delete, topic.Name):
				refuse(&topic.Name, t.TopicID, moldau.TopicAuthorizationFailed)
			default:
				return false
			}
			return true
		})
	}
	env := b.command()
	return change(b, c, func(head *metadata.Image) (*kmsg.DeleteTopicsResponse, []schema.Record) {
		resp, recs := controller.DeleteTopics(head, req, env)
		resp.Topics = append(resp.Topics, refused...)
		return resp, recs
	})
}
