package api

// FindCoordinator (key 10), versions 0–6
//
// Behaviour: no coordinator exists yet, so every key is answered COORDINATOR_NOT_AVAILABLE with a message that says so, and
// the broker's log names who asked. A code that is not retriable would stop clients that read by partition, and only name
// a group since their library wants one.
// Version notes: v1 key types; v4 many keys, an answer each (KIP-699); v6 share groups (KIP-932).
// Differs from Apache: internal topics are not created by asking.

import (
	"strconv"
	"strings"
	"sync"
	"time"

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
	b.asked.tell(b, c, key)
	return refuse(moldau.CoordinatorNotAvailable, noCoordinator)
}

// asked remembers which keys coordinators were asked for. Clients ask again and again without a word to their users, so
// that the broker's log is where a person learns why nothing happens.
type asked struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// A key is told of again after a while; so many are remembered.
const (
	askedAgain = 10 * time.Minute
	askedMax   = 1000
)

func (a *asked) tell(b *Broker, c *server.Call, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.since[key]; ok && c.Arrived.Sub(at) < askedAgain {
		return
	}
	if a.since == nil || len(a.since) >= askedMax {
		a.since = make(map[string]time.Time)
	}
	a.since[key] = c.Arrived
	b.Logger.Warn("a client asks for a coordinator, and will go on asking: "+noCoordinator, "client", c.ClientID, "remote", c.Remote, "key", key)
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
