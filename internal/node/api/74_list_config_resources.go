package api

// ListConfigResources (key 74), versions 0–1
//
// Behaviour: the resources that can be configured. Version 0 is Kafka's ListClientMetricsResources (KIP-1142).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/node/server"
)

func listConfigResources(b *Broker, c *server.Call, req *kmsg.ListConfigResourcesRequest) kmsg.Response {
	if !b.allowedCluster(c, access.DescribeConfigs) {
		resp := kmsg.NewPtrListConfigResourcesResponse()
		resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
		return resp
	}
	return controller.ListConfigResources(b.Metadata.Image(), req)
}
