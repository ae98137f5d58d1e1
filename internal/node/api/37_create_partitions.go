package api

// CreatePartitions (key 37), versions 0–3
//
// Behaviour: the count of each topic can only grow; assignments, where given, are those of the new partitions. At most 10,000 are
// added by one request, all or none of them; where there are more, Apache Kafka answers UNKNOWN_SERVER_ERROR and we say so.

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

func createPartitions(b *Broker, c *server.Call, req *kmsg.CreatePartitionsRequest) server.Pending {
	var refused []kmsg.CreatePartitionsResponseTopic
	req.Topics = slices.DeleteFunc(req.Topics, func(t kmsg.CreatePartitionsRequestTopic) bool {
		if b.allowedTopic(c, access.Alter, t.Topic) {
			return false
		}
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic, out.ErrorCode, out.ErrorMessage = t.Topic, int16(moldau.TopicAuthorizationFailed), text("ALTER on the topic is needed")
		refused = append(refused, out)
		return true
	})
	env := b.command()
	deadline := c.Arrived.Add(min(time.Duration(max(req.TimeoutMillis, 0))*time.Millisecond, openWait))
	return changeThen(b, c, func(head *metadata.Image) (*kmsg.CreatePartitionsResponse, []schema.Record) {
		resp, recs := controller.CreatePartitions(head, req, env)
		resp.Topics = append(resp.Topics, refused...)
		return resp, recs
	}, func(resp *kmsg.CreatePartitionsResponse, closed <-chan struct{}) {
		var grown []string
		for _, t := range resp.Topics {
			if t.ErrorCode == 0 {
				grown = append(grown, t.Topic)
			}
		}
		b.awaitOpen(grown, deadline, closed)
	})
}
