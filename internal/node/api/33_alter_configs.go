package api

// AlterConfigs (key 33), versions 0–2
//
// Behaviour: replaces the whole set of a resource's settings; what the request does not name goes back to its default. New
// clients use IncrementalAlterConfigs.

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func alterConfigs(b *Broker, c *server.Call, req *kmsg.AlterConfigsRequest) server.Pending {
	var refused []kmsg.AlterConfigsResponseResource
	req.Resources = slices.DeleteFunc(req.Resources, func(r kmsg.AlterConfigsRequestResource) bool {
		no := b.refuseAlter(c, r.ResourceType, r.ResourceName)
		if no != nil {
			refused = append(refused, *no)
		}
		return no != nil
	})
	env := b.command()
	return change(b, c, func(head *metadata.Image) (*kmsg.AlterConfigsResponse, []schema.Record) {
		resp, recs := controller.AlterConfigs(head, req, env)
		resp.Resources = append(resp.Resources, refused...)
		return resp, recs
	})
}
