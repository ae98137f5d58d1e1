package api

// IncrementalAlterConfigs (key 44), versions 0–1
//
// Behaviour: sets, deletes, appends to and subtracts from single settings (KIP-339), each resource by itself.

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func incrementalAlterConfigs(b *Broker, c *server.Call, req *kmsg.IncrementalAlterConfigsRequest) server.Pending {
	var refused []kmsg.IncrementalAlterConfigsResponseResource
	req.Resources = slices.DeleteFunc(req.Resources, func(r kmsg.IncrementalAlterConfigsRequestResource) bool {
		no := b.refuseAlter(c, r.ResourceType, r.ResourceName)
		if no != nil {
			refused = append(refused, kmsg.IncrementalAlterConfigsResponseResource(*no))
		}
		return no != nil
	})
	env := b.command()
	return change(b, c, func(head *metadata.Image) (*kmsg.IncrementalAlterConfigsResponse, []schema.Record) {
		resp, recs := controller.IncrementalAlterConfigs(head, req, env)
		resp.Resources = append(resp.Resources, refused...)
		return resp, recs
	})
}
