package controller

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateTopics makes topics, each wholly or not at all (C-40). The configuration of each new topic is in the response;
// HideConfigs takes it out for who may not see it.
func CreateTopics(im *metadata.Image, req *kmsg.CreateTopicsRequest, env Env) (*kmsg.CreateTopicsResponse, []schema.Record) {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	c := creation{im: im, env: env, place: newStripes(im)}
	seen := map[string]int{}
	for _, t := range req.Topics {
		seen[t.Topic]++
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		times := seen[t.Topic]
		if times == 0 {
			continue // told with the first of its name
		}
		seen[t.Topic] = 0
		rt, no := c.create(t, times)
		if no != nil {
			rt = notCreated(t.Topic, no)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if c.partitions > operationRecordsMax || len(c.recs) > operationRecordsMax {
		no := tooManyRecords(max(c.partitions, len(c.recs)))
		for i, t := range resp.Topics {
			resp.Topics[i] = notCreated(t.Topic, no)
		}
		return resp, nil
	}
	if req.ValidateOnly {
		return resp, nil
	}
	return resp, c.recs
}

// notCreated is the response for a topic that was refused: no counts, and no configuration rather than an unknown one.
func notCreated(topic string, no *refusal) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor, rt.Configs = topic, -1, -1, []kmsg.CreateTopicsResponseTopicConfig{}
	no.tell(&rt.ErrorCode, &rt.ErrorMessage)
	return rt
}

// HideConfigs takes the configuration and the counts out of a response, for a client without DESCRIBE_CONFIGS on the
// topic.
func HideConfigs(t *kmsg.CreateTopicsResponseTopic) {
	if t.ErrorCode == int16(moldau.None) {
		t.ConfigErrorCode = int16(moldau.TopicAuthorizationFailed)
		t.NumPartitions, t.ReplicationFactor, t.Configs = -1, -1, []kmsg.CreateTopicsResponseTopicConfig{}
	}
}

// creation gathers what a request creates.
type creation struct {
	im         *metadata.Image
	env        Env
	place      stripes
	recs       []schema.Record
	partitions int               // that the request asks for, made or not
	collisions map[string]string // topic names by their metric name; filled by the first that needs it
}

// create makes one topic. times says how often its name is in the request.
func (c *creation) create(req *kmsg.CreateTopicsRequestTopic, times int) (kmsg.CreateTopicsResponseTopic, *refusal) {
	rt := kmsg.NewCreateTopicsResponseTopic()
	if no := c.checkName(req.Topic, times); no != nil {
		return rt, no
	}
	configs, no := c.configs(req.Configs)
	if no != nil {
		return rt, no
	}
	replicas, no := c.replicas(req)
	if no != nil {
		return rt, no
	}
	id := c.env.NewTopicID()
	c.recs = append(c.recs, &schema.Topic{Name: req.Topic, ID: id})
	for _, key := range slices.Sorted(maps.Keys(configs)) {
		value := configs[key]
		c.recs = append(c.recs, &schema.Config{ResourceType: schema.TopicResource, ResourceName: req.Topic, Name: key, Value: &value})
	}
	for n, brokers := range replicas {
		c.recs = append(c.recs, newPartition(c.im, id, int32(n), brokers))
	}
	rt.Topic, rt.TopicID = req.Topic, id
	rt.NumPartitions, rt.ReplicationFactor = int32(len(replicas)), int16(len(replicas[0]))
	layers := topicLayers(c.im, c.env, configs)
	for _, k := range config.Keys(config.ScopeTopic) {
		e := layers.Effective(k)
		rc := kmsg.NewCreateTopicsResponseTopicConfig()
		rc.Name, rc.ReadOnly, rc.Source, rc.IsSensitive = k.Name, k.ReadOnly(), int8(e.Source), k.Sensitive()
		if !e.Null {
			rc.Value = &e.Value
		}
		rt.Configs = append(rt.Configs, rc)
	}
	return rt, nil
}

func (c *creation) checkName(name string, times int) *refusal {
	if times > 1 {
		return refuse(moldau.InvalidRequest, "the topic %.260q is in the request %d times", name, times)
	}
	if name == moldau.MetadataTopic {
		return refuse(moldau.InvalidRequest, "the topic %s is the cluster's own metadata log and cannot be created", name)
	}
	if err := moldau.CheckTopicName(name); err != nil {
		return refuse(moldau.InvalidTopicException, "%v", err)
	}
	if c.im.Topic(name) != nil {
		return refuse(moldau.TopicAlreadyExists, "there is a topic %q already", name)
	}
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	if c.collisions == nil {
		c.collisions = map[string]string{}
		for t := range c.im.Topics() {
			c.collisions[metricName(t.Name)] = t.Name
		}
	}
	if other, ok := c.collisions[metricName(name)]; ok {
		return refuse(moldau.InvalidTopicException, "the topic %q differs from %q only in '.' and '_', which metrics do not tell apart", name, other)
	}
	return nil
}

// metricName is the topic's name as metrics have it, where '.' is not allowed.
func metricName(topic string) string { return strings.ReplaceAll(topic, ".", "_") }

// configs are the overrides of a new topic; of several for one key the last counts.
func (c *creation) configs(req []kmsg.CreateTopicsRequestTopicConfig) (map[string]string, *refusal) {
	configs := map[string]string{}
	for _, e := range req {
		if e.Value == nil {
			return nil, refuse(moldau.InvalidConfig, "the configuration %.100q has no value", e.Name)
		}
		configs[e.Name] = *e.Value
	}
	if err := config.CheckTopic(topicLayers(c.im, c.env, configs)); err != nil {
		return nil, refuse(moldau.InvalidConfig, "%v", err)
	}
	return configs, nil
}

// replicas are the brokers of each partition of a new topic.
func (c *creation) replicas(req *kmsg.CreateTopicsRequestTopic) ([][]moldau.BrokerID, *refusal) {
	if len(req.ReplicaAssignment) > 0 {
		return c.assigned(req)
	}
	if req.ReplicationFactor < -1 || req.ReplicationFactor == 0 {
		return nil, refuse(moldau.InvalidReplicationFactor, "the replication factor %d is neither positive nor -1 for the default", req.ReplicationFactor)
	}
	if req.NumPartitions < -1 || req.NumPartitions == 0 {
		return nil, refuse(moldau.InvalidPartitions, "the number of partitions %d is neither positive nor -1 for the default", req.NumPartitions)
	}
	count, factor := int(req.NumPartitions), int(req.ReplicationFactor)
	if count == -1 {
		count = int(c.env.Config.NumPartitions)
	}
	if factor == -1 {
		factor = int(c.env.Config.DefaultReplicationFactor)
	}
	if no := c.place.check(factor); no != nil {
		return nil, no
	}
	start := c.env.Seed + uint64(c.partitions)
	if c.partitions += count; c.partitions > operationRecordsMax {
		return nil, tooLarge(c.partitions, "partitions")
	}
	replicas := make([][]moldau.BrokerID, count)
	for n := range replicas {
		replicas[n] = c.place.place(start+uint64(n), factor)
	}
	return replicas, nil
}

// assigned are the brokers of each partition as the request says.
func (c *creation) assigned(req *kmsg.CreateTopicsRequestTopic) ([][]moldau.BrokerID, *refusal) {
	switch {
	case req.ReplicationFactor != -1:
		return nil, refuse(moldau.InvalidRequest, "replicas are assigned by hand, so the replication factor must be -1, not %d", req.ReplicationFactor)
	case req.NumPartitions != -1:
		return nil, refuse(moldau.InvalidRequest, "replicas are assigned by hand, so the number of partitions must be -1, not %d", req.NumPartitions)
	}
	if c.partitions += len(req.ReplicaAssignment); c.partitions > operationRecordsMax {
		return nil, tooLarge(c.partitions, "partitions")
	}
	replicas := make([][]moldau.BrokerID, len(req.ReplicaAssignment))
	factor := 0
	for _, a := range req.ReplicaAssignment {
		brokers, no := manual(c.im, a.Partition, a.Replicas, factor)
		switch {
		case no != nil:
			return nil, no
		case a.Partition < 0 || int(a.Partition) >= len(replicas):
			return nil, refuse(moldau.InvalidReplicaAssignment, "partition %d is assigned, yet with %d assignments partitions are 0 to %d", a.Partition, len(replicas), len(replicas)-1)
		case replicas[a.Partition] != nil:
			return nil, refuse(moldau.InvalidReplicaAssignment, "partition %d is assigned more than once", a.Partition)
		}
		replicas[a.Partition], factor = brokers, len(brokers)
	}
	return replicas, nil
}

// AutoTopic is what the creation of a topic that a client merely used asks for: the defaults, or for an internal topic
// what its coordinator needs (C-41). Replication that nobody set is min(3, brokers that can take replicas).
func AutoTopic(im *metadata.Image, name string, env Env) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, -1, -1
	var in config.InternalTopic
	entries := [][2]string{{"cleanup.policy", "compact"}, {"compression.type", "producer"}}
	switch name {
	case moldau.OffsetsTopic:
		in = env.Config.OffsetsTopic
	case moldau.TransactionTopic:
		in = env.Config.TransactionTopic
		entries = [][2]string{{"cleanup.policy", "compact"}, {"compression.type", "uncompressed"}, {"unclean.leader.election.enable", "false"}}
	case moldau.ShareTopic:
		in = env.Config.ShareTopic
		entries = [][2]string{{"cleanup.policy", "delete"}, {"compression.type", "producer"}, {"retention.ms", "-1"}}
	default:
		return t
	}
	t.NumPartitions, t.ReplicationFactor = in.NumPartitions, in.ReplicationFactor
	if t.ReplicationFactor == 0 {
		place := newStripes(im)
		t.ReplicationFactor = int16(min(3, max(1, len(place.active)+len(place.fenced))))
	}
	if name != moldau.OffsetsTopic {
		least := in.MinInSyncReplicas
		if least == 0 {
			least = min(2, int32(t.ReplicationFactor))
		}
		entries = append(entries, [2]string{"min.insync.replicas", strconv.Itoa(int(least))})
	}
	entries = append(entries, [2]string{"segment.bytes", strconv.Itoa(int(in.SegmentBytes))})
	for _, e := range entries {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = e[0], &e[1]
		t.Configs = append(t.Configs, c)
	}
	return t
}
