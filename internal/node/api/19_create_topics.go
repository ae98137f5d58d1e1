package api

// CreateTopics (key 19), versions 2–7
//
// Behaviour: each topic by itself, all in one record of the metadata log, so that a crash leaves all of a request or nothing; at most
// 10,000 topics, partitions and overrides together, as in Apache Kafka: 9,999 partitions of one topic, and CreatePartitions adds more.
// Answered once the topics can be used here.
// Version notes: v4 counts of -1 are the broker's defaults; v5 effective configs in the answer (KIP-525); v7 topic ids.
// Differs from Apache: none known.

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func createTopics(b *Broker, c *server.Call, req *kmsg.CreateTopicsRequest) server.Pending {
	var refused []kmsg.CreateTopicsResponseTopic
	if !b.allowedCluster(c, access.Create) {
		req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.CreateTopicsRequestTopic) bool {
			if b.allowedTopic(c, access.Create, t.Topic) {
				return false
			}
			out := kmsg.NewCreateTopicsResponseTopic()
			out.Topic, out.ErrorCode, out.ErrorMessage = t.Topic, int16(moldau.TopicAuthorizationFailed), text("CREATE on the topic is needed")
			out.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
			refused = append(refused, out)
			return true
		})
	}
	env := b.command()
	deadline := c.Arrived.Add(min(time.Duration(max(req.TimeoutMillis, 0))*time.Millisecond, openWait))
	return changeThen(b, c, func(head *metadata.Image) (*kmsg.CreateTopicsResponse, []schema.Record) {
		resp, recs := controller.CreateTopics(head, req, env)
		for i := range resp.Topics {
			if !b.allowedTopic(c, access.DescribeConfigs, resp.Topics[i].Topic) {
				controller.HideConfigs(&resp.Topics[i])
			}
		}
		resp.Topics = append(resp.Topics, refused...)
		return resp, recs
	}, func(resp *kmsg.CreateTopicsResponse, closed <-chan struct{}) {
		var made []string
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 {
				made = append(made, t.Topic)
			}
		}
		b.awaitOpen(made, deadline, closed)
	})
}
