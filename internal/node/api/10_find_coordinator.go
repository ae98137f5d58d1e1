package api

// FindCoordinator (key 10), versions 0–6
//
// Behaviour: names the broker that coordinates a group or a transactional id. The first to ask has __consumer_offsets or
// __transaction_state made, and is answered when its partitions are open (C-41). Share groups have no coordinator yet:
// COORDINATOR_NOT_AVAILABLE with a message that says so, and the broker's log names who asked.
// Version notes: v1 key types; v4 many keys, an answer each (KIP-699); v6 share groups (KIP-932).
// Differs from Apache: who has the topic made need not ask a second time.

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/proto/wire"
)

// Types of coordinators.
const (
	groupCoordinator = 0
	txnCoordinator   = 1
	shareCoordinator = 2
)

const noCoordinator = "this broker does not serve share groups yet"

func findCoordinator(b *Broker, c *server.Call, req *kmsg.FindCoordinatorRequest) server.Pending {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	name := b.wantedTopic(c, req)
	if name == "" || b.Metadata.Image().Topic(name) != nil {
		b.fillCoordinators(c, req, resp)
		return answer(resp, c.Version)
	}
	caller, deadline := *c, c.Arrived.Add(openWait) // the handler is over when the topic is there
	return changeThen(b, c, func(head *metadata.Image) (*kmsg.FindCoordinatorResponse, []schema.Record) {
		return resp, b.internalTopic(head, name)
	}, func(resp *kmsg.FindCoordinatorResponse, closed <-chan struct{}) {
		b.awaitOpen([]string{name}, deadline, closed)
		b.fillCoordinators(&caller, req, resp)
	})
}

// wantedTopic is the internal topic of the coordinators that are asked for, where the caller may know of one of them.
func (b *Broker) wantedTopic(c *server.Call, req *kmsg.FindCoordinatorRequest) string {
	if c.Version < 4 {
		req.CoordinatorKeys = []string{req.CoordinatorKey}
	}
	name, kind := moldau.OffsetsTopic, access.Group
	switch req.CoordinatorType {
	case groupCoordinator:
	case txnCoordinator:
		name, kind = moldau.TransactionTopic, access.TransactionalID
	default:
		return ""
	}
	if !slices.ContainsFunc(req.CoordinatorKeys, func(key string) bool { return b.allowed(c, access.Describe, kind, key) }) {
		return ""
	}
	return name
}

// internalTopic makes a coordinator's topic where it is not there; none where no broker can take it.
func (b *Broker) internalTopic(head *metadata.Image, name string) []schema.Record {
	if head.Topic(name) != nil {
		return nil
	}
	env := b.command()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{controller.AutoTopic(head, name, env)}
	resp, recs := controller.CreateTopics(head, req, env)
	if t := resp.Topics[0]; t.ErrorCode != 0 {
		b.Logger.Error("an internal topic cannot be made", "topic", name, "code", moldau.Code(t.ErrorCode).String(), "reason", *t.ErrorMessage)
	}
	return recs
}

func (b *Broker) fillCoordinators(c *server.Call, req *kmsg.FindCoordinatorRequest, resp *kmsg.FindCoordinatorResponse) {
	if c.Version < 4 {
		one := b.coordinator(c, req.CoordinatorType, req.CoordinatorKey)
		if one.ErrorCode == 0 {
			one.ErrorMessage = text("%s", moldau.None) // as Kafka has it in these versions
		}
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = one.ErrorCode, one.ErrorMessage, one.NodeID, one.Host, one.Port
		return
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, b.coordinator(c, req.CoordinatorType, key))
	}
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
	case kind != shareCoordinator:
		name := moldau.OffsetsTopic
		if kind == txnCoordinator {
			name = moldau.TransactionTopic
		}
		leader, at, ok := b.coordinates(c, name, key)
		if !ok {
			return refuse(moldau.CoordinatorNotAvailable, "the partition of "+name+" that holds "+key+" has no leader")
		}
		out.NodeID, out.Host, out.Port = int32(leader.ID), at.Host, at.Port
		return out
	}
	b.asked.tell(b, c, key)
	return refuse(moldau.CoordinatorNotAvailable, noCoordinator)
}

// coordinates finds the broker that leads the partition of an internal topic which holds a key, and where it is on the
// caller's listener (W-8).
func (b *Broker) coordinates(c *server.Call, name, key string) (wire.CurrentLeader, wire.NodeEndpoint, bool) {
	im := b.Metadata.Image()
	topic := im.Topic(name)
	if topic == nil {
		return wire.CurrentLeader{}, wire.NodeEndpoint{}, false
	}
	return leaderOf(im, c.Listener, topic, partitionOf(key, len(topic.Partitions)))
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
