package controller

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// oneBroker is a cluster of one broker with its Env.
func oneBroker(t testing.TB) (*metadata.Image, Env) {
	static := map[string]string{"node.id": "1", "broker.id": "1"}
	broker, err := config.ResolveBroker(static)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	env := Env{ClusterID: "c", Config: &broker, Static: static, NewTopicID: func() moldau.TopicID {
		n++
		return moldau.TopicID{byte(n >> 8), byte(n), 15: 1}
	}}
	recs := append(Bootstrap(), &schema.RegisterBroker{Broker: 1, Epoch: 1, LogDirs: []moldau.DirectoryID{{1, 15: 1}}, Features: SupportedFeatures()})
	im, _ := metadata.Empty().Apply(1, 1, recs)
	return im, env
}

// What a response says is so once the records are applied, whatever was asked: topics that it calls made or deleted are,
// all others are as they were.
func TestAnswersComeTrue(t *testing.T) {
	im0, env := oneBroker(t)
	rapid.Check(t, func(t *rapid.T) {
		im := im0
		name := func() string {
			return rapid.SampledFrom([]string{"a", "b", "c.d", "c_d", "e", "", "bad name"}).Draw(t, "topic")
		}
		for range rapid.IntRange(1, 15).Draw(t, "requests") {
			var recs []schema.Record
			gone, made := map[string]bool{}, map[string]int32{}
			if rapid.Bool().Draw(t, "delete") {
				req := kmsg.NewPtrDeleteTopicsRequest()
				req.Version = 5
				for range rapid.IntRange(0, 3).Draw(t, "topics") {
					req.TopicNames = append(req.TopicNames, name())
				}
				var resp *kmsg.DeleteTopicsResponse
				resp, recs = DeleteTopics(im, req, env)
				for _, rt := range resp.Topics {
					if rt.ErrorCode == 0 {
						gone[*rt.Topic] = true
					}
				}
			} else {
				req := kmsg.NewPtrCreateTopicsRequest()
				for range rapid.IntRange(0, 3).Draw(t, "topics") {
					rt := kmsg.NewCreateTopicsRequestTopic()
					rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name(), int32(rapid.IntRange(-2, 3).Draw(t, "partitions")), int16(rapid.IntRange(-1, 2).Draw(t, "replicas"))
					req.Topics = append(req.Topics, rt)
				}
				req.ValidateOnly = rapid.Bool().Draw(t, "validate")
				var resp *kmsg.CreateTopicsResponse
				resp, recs = CreateTopics(im, req, env)
				for _, rt := range resp.Topics {
					if rt.ErrorCode == 0 && !req.ValidateOnly {
						made[rt.Topic] = rt.NumPartitions
					}
				}
			}
			next, _ := im.Apply(im.Offset()+1, 1, recs)
			checkTopics(t, im, next, gone, made)
			im = next
		}
	})
}

func checkTopics(t *rapid.T, before, after *metadata.Image, gone map[string]bool, made map[string]int32) {
	count := before.TopicCount() - len(gone) + len(made)
	if after.TopicCount() != count {
		t.Fatalf("%d topics, want %d", after.TopicCount(), count)
	}
	for topic, partitions := range made {
		if got := after.Topic(topic); got == nil || int32(len(got.Partitions)) != partitions || before.Topic(topic) != nil {
			t.Fatalf("%q with %d partitions: %+v", topic, partitions, got)
		}
	}
	for topic := range before.Topics() {
		if got := after.Topic(topic.Name); gone[topic.Name] != (got == nil) || got != nil && got != topic {
			t.Fatalf("%q was %+v and is %+v", topic.Name, topic, got)
		}
	}
}

// C-3: the records of one operation are bounded whatever the request is, and a refusal by size makes none at all.
func TestOperationsAreBounded(t *testing.T) {
	im, env := oneBroker(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	for i := range 4000 {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = fmt.Sprint("t", i), 2, 1
		create.Topics = append(create.Topics, rt)
	}
	resp, recs := CreateTopics(im, create, env)
	if len(recs) != 0 || len(resp.Topics) != 4000 || resp.Topics[3999].ErrorCode != int16(moldau.PolicyViolation) {
		t.Fatalf("%d records, %d answers", len(recs), len(resp.Topics))
	}

	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType = kmsg.ConfigResourceTypeBroker
	for i := range operationRecordsMax + 1 {
		e := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		e.Name, e.Value = fmt.Sprint("custom.", i), new("v")
		r.Configs = append(r.Configs, e)
	}
	alter.Resources = append(alter.Resources, r)
	altered, recs := IncrementalAlterConfigs(im, alter, env)
	if len(recs) != 0 || altered.Resources[0].ErrorCode != int16(moldau.PolicyViolation) {
		t.Fatalf("%d records, code %d", len(recs), altered.Resources[0].ErrorCode)
	}
}

func TestHideConfigs(t *testing.T) {
	im, env := oneBroker(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	for _, topic := range []string{"a", ""} {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
		req.Topics = append(req.Topics, rt)
	}
	resp, _ := CreateTopics(im, req, env)
	refused := resp.Topics[1]
	HideConfigs(&resp.Topics[0])
	HideConfigs(&resp.Topics[1])
	a := resp.Topics[0]
	if a.ErrorCode != 0 || a.ConfigErrorCode != int16(moldau.TopicAuthorizationFailed) || a.NumPartitions != -1 || a.ReplicationFactor != -1 || a.Configs == nil || len(a.Configs) > 0 {
		t.Errorf("%+v", a)
	}
	if !reflect.DeepEqual(resp.Topics[1], refused) {
		t.Errorf("a refusal has nothing to hide: %+v", resp.Topics[1])
	}
}

// every topic key of Apache Kafka is there, sorted, and what nobody set says so.
func TestTopicConfigurationIsWhole(t *testing.T) {
	im, env := oneBroker(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "a", -1, -1
	create.Topics = append(create.Topics, rt)
	created, recs := CreateTopics(im, create, env)
	im, _ = im.Apply(9, 1, recs)

	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeDocumentation, req.IncludeSynonyms = 4, true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "a"
	req.Resources = append(req.Resources, r)
	described := DescribeConfigs(im, req, env, nil).Resources[0].Configs

	var names []string
	for i, e := range described {
		names = append(names, e.Name)
		c := created.Topics[0].Configs[i]
		if c.Name != e.Name || *c.Value != *e.Value || c.Source != int8(e.Source) {
			t.Errorf("created with %+v, described as %+v", c, e)
		}
		if e.Source != kmsg.ConfigSourceDefaultConfig || e.Documentation == nil || *e.Documentation == "" || e.ConfigType == 0 {
			t.Errorf("%+v", e)
		}
	}
	if !slices.IsSorted(names) || len(names) != 33 || !slices.Contains(names, "cleanup.policy") || !slices.Contains(names, "min.insync.replicas") {
		t.Errorf("%d keys: %v", len(names), names)
	}
}
