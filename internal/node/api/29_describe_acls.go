package api

// DescribeAcls (key 29), versions 1–3
//
// Behaviour: SECURITY_DISABLED, as no authorizer is configured (S-33).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/server"
)

func describeACLs(b *Broker, c *server.Call, _ *kmsg.DescribeACLsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeACLsResponse()
	if !b.allowedCluster(c, access.Describe) {
		resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
		return resp
	}
	resp.ErrorCode = int16(moldau.SecurityDisabled)
	resp.ErrorMessage = text("no authorizer is configured (authorizer.class.name)")
	return resp
}
