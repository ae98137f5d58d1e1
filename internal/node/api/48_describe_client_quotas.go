package api

// DescribeClientQuotas (key 48), versions 0–1
//
// Behaviour: no quotas exist: an empty list, where the filter is one that Kafka would take.

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/server"
)

func describeClientQuotas(b *Broker, c *server.Call, req *kmsg.DescribeClientQuotasRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeClientQuotasResponse()
	if !b.allowedCluster(c, access.DescribeConfigs) {
		resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
		return resp
	}
	const (
		exactly   = 0 // the entity of that name
		byDefault = 1 // the default entity
		any       = 2
	)
	seen := make(map[string]bool)
	for _, f := range req.Components {
		switch {
		case f.EntityType == "":
			resp.ErrorCode, resp.ErrorMessage = int16(moldau.InvalidRequest), text("a filter component has an empty entity type")
			return resp
		case seen[f.EntityType]:
			resp.ErrorCode, resp.ErrorMessage = int16(moldau.InvalidRequest), text("the entity type %q stands twice in the filter", f.EntityType)
			return resp
		case f.EntityType != "user" && f.EntityType != "client-id" && f.EntityType != "ip":
			resp.ErrorCode, resp.ErrorMessage = int16(moldau.UnsupportedVersion), text("unknown entity type %q", f.EntityType)
			return resp
		case f.MatchType < exactly || f.MatchType > any:
			resp.ErrorCode, resp.ErrorMessage = int16(moldau.InvalidRequest), text("unknown match type %d", f.MatchType)
			return resp
		case (f.MatchType == exactly) != (f.Match != nil):
			resp.ErrorCode, resp.ErrorMessage = int16(moldau.InvalidRequest), text("a name is for match type 0 alone, and needed there")
			return resp
		}
		seen[f.EntityType] = true
	}
	if seen["ip"] && len(seen) > 1 {
		resp.ErrorCode, resp.ErrorMessage = int16(moldau.InvalidRequest), text("ip cannot be combined with other entity types")
		return resp
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	return resp
}
