package api

// AlterConfigs (key 33), versions 0–2
//
// Behaviour: replaces the whole set of a resource's settings: what the request does not name goes back to its default
// . New clients use IncrementalAlterConfigs.

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

func alterConfigs(b *Broker, c *server.Call, req *kmsg.AlterConfigsRequest) server.Pending {
	var refused []kmsg.AlterConfigsResponseResource
	req.Resources = slices.DeleteFunc(req.Resources, func(r kmsg.AlterConfigsRequestResource) bool {
		code, message := b.alterAccess(c, schema.ResourceType(r.ResourceType), r.ResourceName)
		if code == moldau.None {
			return false
		}
		out := kmsg.NewAlterConfigsResponseResource()
		out.ErrorCode, out.ErrorMessage, out.ResourceType, out.ResourceName = int16(code), message, r.ResourceType, r.ResourceName
		refused = append(refused, out)
		return true
	})
	env := b.command()
	return change(b, c, func(head *metadata.Image) (*kmsg.AlterConfigsResponse, []schema.Record) {
		resp, recs := controller.AlterConfigs(head, req, env)
		resp.Resources = append(resp.Resources, refused...)
		return resp, recs
	})
}

// alterAccess refuses changes that the caller may not make, and those of logger levels, which are not records.
func (b *Broker) alterAccess(c *server.Call, t schema.ResourceType, name string) (moldau.Code, *string) {
	if code := b.configAccess(c, access.AlterConfigs, t, name); code != moldau.None {
		return code, text("ALTER_CONFIGS is needed")
	}
	if t == schema.BrokerLoggerResource {
		return moldau.InvalidRequest, text("there are no loggers by name; set moldau.log.level and restart the broker")
	}
	return moldau.None, nil
}
