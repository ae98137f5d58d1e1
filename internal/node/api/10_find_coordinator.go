package api

// FindCoordinator (key 10), versions 0–6
//
// Behaviour: no coordinator exists yet, so every key is answered COORDINATOR_NOT_AVAILABLE with a message that says so.
// Version notes: v1 key types; v4 many keys, an answer each (KIP-699); v6 share groups (KIP-932).
// Differs from Apache: internal topics are not created by asking.

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/server"
)

// Types of coordinators.
const (
	groupCoordinator = 0
	txnCoordinator   = 1
	shareCoordinator = 2
)

const noCoordinator = "this broker does not serve consumer groups and transactions yet; read partitions directly, without a group"

func findCoordinator(b *Broker, c *server.Call, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if c.Version < 4 {
		one := b.coordinator(c, req.CoordinatorType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Port = one.ErrorCode, one.ErrorMessage, one.NodeID, one.Port
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, b.coordinator(c, req.CoordinatorType, key))
	}
	return resp
}

func (b *Broker) coordinator(c *server.Call, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key, out.NodeID, out.Port = key, -1, -1
	refuse := func(code moldau.Code, message string) kmsg.FindCoordinatorResponseCoordinator {
		out.ErrorCode, out.ErrorMessage = int16(code), &message
		return out
	}
	switch {
	case kind == groupCoordinator && !b.allowed(c, access.Describe, access.Group, key):
		return refuse(moldau.GroupAuthorizationFailed, "DESCRIBE on the group is needed")
	case kind == txnCoordinator && !b.allowed(c, access.Describe, access.TransactionalID, key):
		return refuse(moldau.TransactionalIDAuthorizationFailed, "DESCRIBE on the transactional id is needed")
	case kind == shareCoordinator && !b.allowedCluster(c, access.ClusterAction):
		return refuse(moldau.ClusterAuthorizationFailed, "CLUSTER_ACTION is needed")
	case kind < groupCoordinator || kind > shareCoordinator || kind == shareCoordinator && c.Version < 6:
		return refuse(moldau.InvalidRequest, "unknown type of coordinator")
	case kind == shareCoordinator && !isSharePartition(key):
		return refuse(moldau.InvalidRequest, "the key of a share partition is group:topicId:partition")
	}
	return refuse(moldau.CoordinatorNotAvailable, noCoordinator)
}

// isSharePartition: a group, the id of a topic and the number of a partition, with colons between (KIP-932).
func isSharePartition(key string) bool {
	parts := strings.Split(key, ":")
	if len(parts) != 3 || strings.TrimSpace(parts[0]) == "" {
		return false
	}
	_, badID := moldau.ParseUUID(parts[1])
	_, badPartition := strconv.ParseInt(parts[2], 10, 32)
	return badID == nil && badPartition == nil
}
