package api

// DescribeConfigs (key 32), versions 1–4
//
// Behaviour: every key of a topic, broker, group or client-metrics resource with value, source and synonyms (C-30, C-31).
// Version notes: v3 types and documentation (KIP-569).

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func describeConfigs(b *Broker, c *server.Call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	var refused []kmsg.DescribeConfigsResponseResource
	req.Resources = slices.DeleteFunc(req.Resources, func(r kmsg.DescribeConfigsRequestResource) bool {
		code := b.configAccess(c, access.DescribeConfigs, schema.ResourceType(r.ResourceType), r.ResourceName)
		if code == moldau.None {
			return false
		}
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ErrorCode, out.ErrorMessage = int16(code), text("DESCRIBE_CONFIGS is needed")
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		refused = append(refused, out)
		return true
	})
	resp := controller.DescribeConfigs(b.Metadata.Image(), req, b.command(), nil)
	resp.Resources = append(resp.Resources, refused...)
	return resp
}
