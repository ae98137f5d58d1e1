package api

// UpdateFeatures (key 57), versions 0–2
//
// Behaviour: raises or lowers finalized feature levels within what this broker supports (C-20, KIP-584).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

func updateFeatures(b *Broker, c *server.Call, req *kmsg.UpdateFeaturesRequest) server.Pending {
	if !b.allowedCluster(c, access.Alter) {
		resp := kmsg.NewPtrUpdateFeaturesResponse()
		resp.ErrorCode, resp.ErrorMessage = int16(moldau.ClusterAuthorizationFailed), text("ALTER on the cluster is needed")
		return answer(resp, c.Version)
	}
	return change(b, c, func(head *metadata.Image) (*kmsg.UpdateFeaturesResponse, []schema.Record) {
		return controller.UpdateFeatures(head, req)
	})
}
