package api

// IncrementalAlterConfigs (key 44), versions 0–1
//
// Behaviour: sets, deletes, appends to and subtracts from single settings (KIP-339), each resource by itself.

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func incrementalAlterConfigs(b *Broker, c *server.Call, req *kmsg.IncrementalAlterConfigsRequest) server.Pending {
	var refused []kmsg.IncrementalAlterConfigsResponseResource
	req.Resources = slices.DeleteFunc(req.Resources, func(r kmsg.IncrementalAlterConfigsRequestResource) bool {
		code, message := b.alterAccess(c, schema.ResourceType(r.ResourceType), r.ResourceName)
		if code == moldau.None {
			return false
		}
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ErrorCode, out.ErrorMessage, out.ResourceType, out.ResourceName = int16(code), message, r.ResourceType, r.ResourceName
		refused = append(refused, out)
		return true
	})
	env := b.command()
	return change(b, c, func(head *metadata.Image) (*kmsg.IncrementalAlterConfigsResponse, []schema.Record) {
		resp, recs := controller.IncrementalAlterConfigs(head, req, env)
		resp.Resources = append(resp.Resources, refused...)
		return resp, recs
	})
}
