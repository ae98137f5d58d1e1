package api

// ElectLeaders (key 43), versions 0–2
//
// Behaviour: makes the preferred (or, asked so, any live) replica the leader (KIP-183, KIP-460).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func electLeaders(b *Broker, c *server.Call, req *kmsg.ElectLeadersRequest) server.Pending {
	if !b.allowedCluster(c, access.Alter) {
		resp := kmsg.NewPtrElectLeadersResponse()
		resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
		return answer(resp, c.Version)
	}
	return change(b, c, func(head *metadata.Image) (*kmsg.ElectLeadersResponse, []schema.Record) {
		return controller.ElectLeaders(head, req)
	})
}
