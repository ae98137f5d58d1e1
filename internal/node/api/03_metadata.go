package api

// Metadata (key 3), versions 0–13
//
// Behaviour: brokers, and topics by name or id; null topics means all (v1+), in v0 an empty array does. A topic that is
// absent is created where the client and the broker allow it.
// Version notes: v4 allow_auto_topic_creation; v7 leader epoch; v8–10 cluster operations; v10 topic ids (KIP-516),
// honoured in requests from v12; v13 top-level error (KIP-1102).
// Differs from Apache: the answer to an auto-created topic waits for the creation and shows the topic, instead of
// UNKNOWN_TOPIC_OR_PARTITION until the client asks again.

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

// noOperations stands where authorized operations were not asked for.
const noOperations = -1 << 31

func describeMetadata(b *Broker, c *server.Call, req *kmsg.MetadataRequest) server.Pending {
	if bad := checkMetadata(req, c.Version); bad {
		return answer(refuseMetadata(req), c.Version)
	}
	missing := b.missingTopics(c, req)
	if len(missing) == 0 {
		return answer(b.metadataResponse(c, req, nil), c.Version)
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = int32(b.Config.RequestTimeout.Milliseconds())
	refusals := make(map[string]moldau.Code)
	late := *c // the response may queue behind others, and c is for the next request then
	deadline := c.Arrived.Add(openWait)
	return changeThen(b, c, func(head *metadata.Image) (*lateMetadata, []schema.Record) {
		for _, name := range missing {
			create.Topics = append(create.Topics, controller.AutoTopic(head, name, b.command()))
		}
		resp, recs := controller.CreateTopics(head, create, b.command())
		for _, t := range resp.Topics {
			if code := moldau.Code(t.ErrorCode); code != moldau.None && code != moldau.TopicAlreadyExists {
				refusals[t.Topic] = code
			}
		}
		return &lateMetadata{fill: func() *kmsg.MetadataResponse { return b.metadataResponse(&late, req, refusals) }}, recs
	}, func(_ *lateMetadata, closed <-chan struct{}) { b.awaitOpen(missing, deadline, closed) })
}

// lateMetadata is a response that is made from the Image only when the topics that it waited for are in it.
type lateMetadata struct {
	kmsg.MetadataResponse
	fill func() *kmsg.MetadataResponse
}

// AppendTo implements kmsg.Response.
func (r *lateMetadata) AppendTo(dst []byte) []byte {
	resp := r.fill()
	resp.SetVersion(r.GetVersion())
	return resp.AppendTo(dst)
}

// checkMetadata finds topic ids and null names where the version does not have them yet (v10 and v11).
func checkMetadata(req *kmsg.MetadataRequest, version int16) (bad bool) {
	if version >= 12 {
		return false
	}
	return slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool {
		return t.Topic == nil || version >= 10 && !moldau.TopicID(t.TopicID).IsZero()
	})
}

func refuseMetadata(req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	resp := kmsg.NewPtrMetadataResponse() // without brokers: the client is to see that the request was bad
	for _, t := range req.Topics {
		name := t.Topic
		if name == nil {
			name = kmsg.StringPtr("")
		}
		resp.Topics = append(resp.Topics, metadataError(name, t.TopicID, moldau.InvalidRequest))
	}
	return resp
}

// missingTopics are the names in the request that are to be created.
func (b *Broker) missingTopics(c *server.Call, req *kmsg.MetadataRequest) []string {
	if !b.Config.AutoCreateTopics || c.Version >= 4 && !req.AllowAutoTopicCreation {
		return nil
	}
	im := b.Metadata.Image()
	var missing []string
	for _, t := range req.Topics {
		if t.Topic == nil || *t.Topic == "" || im.Topic(*t.Topic) != nil || moldau.CheckTopicName(*t.Topic) != nil {
			continue
		}
		name := *t.Topic
		if !b.allowedTopic(c, access.Describe, name) {
			continue
		}
		if !b.allowedCluster(c, access.Create) && !b.allowedTopic(c, access.Create, name) {
			continue
		}
		if !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

func (b *Broker) metadataBrokers(c *server.Call, req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	im := b.Metadata.Image()
	resp := kmsg.NewPtrMetadataResponse()
	resp.ClusterID = kmsg.StringPtr(b.Config.ClusterID)
	resp.ControllerID = int32(b.Config.Self)
	resp.AuthorizedOperations = noOperations
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = b.clusterOperations(c)
	}
	for node := range im.Brokers() {
		endpoint, ok := node.Endpoint(c.Listener.Name)
		if !ok || node.Fenced {
			continue
		}
		resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{
			NodeID: int32(node.ID), Host: endpoint.Host, Port: int32(endpoint.Port), Rack: node.Rack,
		})
	}
	return resp
}

func (b *Broker) clusterOperations(c *server.Call) int32 {
	if !b.allowedCluster(c, access.Describe) {
		return 0
	}
	return access.Operations(access.Cluster)
}

func (b *Broker) metadataResponse(c *server.Call, req *kmsg.MetadataRequest, refusals map[string]moldau.Code) *kmsg.MetadataResponse {
	im := b.Metadata.Image()
	resp := b.metadataBrokers(c, req)
	if req.Topics == nil || c.Version == 0 && len(req.Topics) == 0 {
		for t := range im.Topics() {
			if b.allowedTopic(c, access.Describe, t.Name) {
				resp.Topics = append(resp.Topics, b.metadataTopic(c, req, im, t))
			}
		}
		return resp
	}
	asked, askedIDs := make(map[string]bool, len(req.Topics)), make(map[moldau.TopicID]bool)
	for _, t := range req.Topics {
		if t.Topic == nil || !moldau.TopicID(t.TopicID).IsZero() {
			if !askedIDs[t.TopicID] {
				resp.Topics = append(resp.Topics, b.metadataByID(c, req, im, t.TopicID))
			}
			askedIDs[t.TopicID] = true
			continue
		}
		name := *t.Topic
		if asked[name] {
			continue
		}
		asked[name] = true
		resp.Topics = append(resp.Topics, b.metadataByName(c, req, im, name, refusals))
	}
	return resp
}

func (b *Broker) metadataByID(c *server.Call, req *kmsg.MetadataRequest, im *metadata.Image, id moldau.TopicID) kmsg.MetadataResponseTopic {
	t := im.TopicByID(id)
	if t == nil || !b.allowedTopic(c, access.Describe, t.Name) {
		return metadataError(nil, id, moldau.UnknownTopicID) // the same for both: names do not leak (S-34)
	}
	return b.metadataTopic(c, req, im, t)
}

func (b *Broker) metadataByName(c *server.Call, req *kmsg.MetadataRequest, im *metadata.Image, name string, refusals map[string]moldau.Code) kmsg.MetadataResponseTopic {
	if !b.allowedTopic(c, access.Describe, name) {
		return metadataError(&name, moldau.TopicID{}, moldau.TopicAuthorizationFailed)
	}
	if t := im.Topic(name); t != nil {
		return b.metadataTopic(c, req, im, t)
	}
	code := moldau.UnknownTopicOrPartition
	if r, ok := refusals[name]; ok {
		code = r
	} else if moldau.CheckTopicName(name) != nil {
		code = moldau.InvalidTopicException
	}
	out := metadataError(&name, moldau.TopicID{}, code)
	if req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = access.Operations(access.Topic)
	}
	return out
}

func metadataError(name *string, id moldau.TopicID, code moldau.Code) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.ErrorCode = name, id, int16(code)
	t.IsInternal = name != nil && moldau.IsInternalTopic(*name)
	t.AuthorizedOperations = noOperations
	return t
}

func (b *Broker) metadataTopic(c *server.Call, req *kmsg.MetadataRequest, im *metadata.Image, t *metadata.Topic) kmsg.MetadataResponseTopic {
	out := metadataError(kmsg.StringPtr(t.Name), t.ID, moldau.None)
	if req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = access.Operations(access.Topic)
	}
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i, p := range t.Partitions {
		out.Partitions[i] = kmsg.MetadataResponseTopicPartition{
			ErrorCode: int16(leaderCode(im, c, p)), Partition: int32(i), Leader: int32(p.Leader),
			LeaderEpoch: int32(p.LeaderEpoch), Replicas: ids(p.Replicas), ISR: ids(p.ISR), OfflineReplicas: offline(im, p),
		}
	}
	return out
}

func offline(im *metadata.Image, p *metadata.Partition) []int32 {
	out := []int32{}
	for _, id := range p.Replicas {
		if node := im.Broker(id); node == nil || node.Fenced {
			out = append(out, int32(id))
		}
	}
	return out
}

func ids(brokers []moldau.BrokerID) []int32 {
	out := make([]int32, len(brokers))
	for i, id := range brokers {
		out[i] = int32(id)
	}
	return out
}
