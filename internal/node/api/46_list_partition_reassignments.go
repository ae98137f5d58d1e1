package api

// ListPartitionReassignments (key 46), version 0
//
// Behaviour: the reassignments under way; with one broker there are none.

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/node/server"
)

func listPartitionReassignments(b *Broker, c *server.Call, req *kmsg.ListPartitionReassignmentsRequest) kmsg.Response {
	if !b.allowedCluster(c, access.Describe) {
		resp := kmsg.NewPtrListPartitionReassignmentsResponse()
		resp.ErrorCode, resp.ErrorMessage = int16(moldau.ClusterAuthorizationFailed), text("DESCRIBE on the cluster is needed")
		return resp
	}
	return controller.ListPartitionReassignments(b.Metadata.Image(), req)
}
