package traps

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

// topicKeys is every topic configuration of Apache Kafka 4, with its default, sorted.
var topicKeys = []struct{ name, value string }{
	{"cleanup.policy", "delete"}, {"compression.gzip.level", "-1"}, {"compression.lz4.level", "9"},
	{"compression.type", "producer"}, {"compression.zstd.level", "3"}, {"delete.retention.ms", "86400000"},
	{"file.delete.delay.ms", "60000"}, {"flush.messages", "9223372036854775807"}, {"flush.ms", "9223372036854775807"},
	{"follower.replication.throttled.replicas", ""}, {"index.interval.bytes", "4096"}, {"leader.replication.throttled.replicas", ""},
	{"local.retention.bytes", "-2"}, {"local.retention.ms", "-2"}, {"max.compaction.lag.ms", "9223372036854775807"},
	{"max.message.bytes", "1048588"}, {"message.timestamp.after.max.ms", "3600000"},
	{"message.timestamp.before.max.ms", "9223372036854775807"}, {"message.timestamp.type", "CreateTime"},
	{"min.cleanable.dirty.ratio", "0.5"}, {"min.compaction.lag.ms", "0"}, {"min.insync.replicas", "1"}, {"preallocate", "false"},
	{"remote.log.copy.disable", "false"}, {"remote.log.delete.on.disable", "false"}, {"remote.storage.enable", "false"},
	{"retention.bytes", "-1"}, {"retention.ms", "604800000"}, {"segment.bytes", "1073741824"}, {"segment.index.bytes", "10485760"},
	{"segment.jitter.ms", "0"}, {"segment.ms", "604800000"}, {"unclean.leader.election.enable", "false"},
}

// Sources and types of configurations in the protocol.
const (
	fromTopic   = 1
	fromDefault = 5
)

// eligible has a value for all brokers where eligible leader replicas are on, so it may have that source.
const eligible = "min.insync.replicas"

// configsOf describes the configurations of a topic or a broker.
func configsOf(c *client, kind kmsg.ConfigResourceType, name string) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	c.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
	r := ask[*kmsg.DescribeConfigsResponse](c, 4, req).Resources[0]
	if r.ErrorCode != 0 {
		c.t.Fatalf("DescribeConfigs: error %d %s", r.ErrorCode, orNothing(r.ErrorMessage))
	}
	all := make(map[string]kmsg.DescribeConfigsResponseResourceConfig)
	for _, k := range r.Configs {
		all[k.Name] = k
	}
	return all
}

// Kafka Streams creates its topics with replication factor -1, and shuts down where that is refused.
func TestX50ReplicationFactorByDefault(t *testing.T) {
	c := shared(t)
	for v := int16(4); v <= 7; v++ {
		name := fresh(t)
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: 4, ReplicationFactor: -1}, {Topic: name + "-d", NumPartitions: -1, ReplicationFactor: -1}}
		resp := ask[*kmsg.CreateTopicsResponse](c, v, req)
		for _, r := range resp.Topics {
			equal(t, fmt.Sprintf("error of CreateTopics v%d of %s", v, r.Topic), r.ErrorCode, 0)
		}
		within(t, answerTimeout, func() string {
			made, byDefault := topicOf(c, name), topicOf(c, name+"-d")
			if len(made.Partitions) != 4 || len(byDefault.Partitions) != 1 || len(made.Partitions[3].Replicas) != 1 {
				return fmt.Sprintf("v%d: %+v and %+v", v, made, byDefault)
			}
			return ""
		})
	}
}

// ksqlDB describes the configuration of the broker and the ACLs before it starts.
func TestX50BrokerConfigsAndACLs(t *testing.T) {
	c := shared(t)
	brokers := ask[*kmsg.MetadataResponse](c, 9, kmsg.NewPtrMetadataRequest()).Brokers
	configs := configsOf(c, kmsg.ConfigResourceTypeBroker, fmt.Sprint(brokers[0].NodeID))
	for _, name := range []string{"default.replication.factor", "auto.create.topics.enable", "log.retention.ms", "message.max.bytes",
		"authorizer.class.name", "delete.topic.enable", "log.cleanup.policy", "inter.broker.listener.name", "num.partitions"} {
		if _, ok := configs[name]; !ok {
			t.Errorf("the broker's configuration has no %s", name)
		}
	}
	acls := kmsg.NewPtrDescribeACLsRequest()
	acls.ResourceType, acls.ResourcePatternType, acls.Operation, acls.PermissionType = 1, 1, 1, 1 // any
	for v := int16(1); v <= 3; v++ {
		equal(t, fmt.Sprintf("error of DescribeAcls v%d", v), ask[*kmsg.DescribeACLsResponse](c, v, acls).ErrorCode, securityDisabled)
	}
}

// Connect and the schema registry refuse to start without cleanup.policy; what nobody set must say that it is the
// default, since tools compare sources.
func TestX51CleanupPolicyAndItsSource(t *testing.T) {
	address := subject.Address(t)
	unset, set := subject.Topic(t, address, 1), subject.Topic(t, address, 1, "cleanup.policy=compact")
	c := shared(t)
	for name, k := range configsOf(c, kmsg.ConfigResourceTypeTopic, unset) {
		if name != eligible {
			equal(t, "source of "+name, k.Source, fromDefault)
		}
		equal(t, "default flag of "+name, k.IsDefault, false) // v1 and later have the source instead
	}
	policy := configsOf(c, kmsg.ConfigResourceTypeTopic, set)["cleanup.policy"]
	equal(t, "cleanup.policy", orNothing(policy.Value), "compact")
	equal(t, "source of cleanup.policy", policy.Source, fromTopic)
	if len(policy.ConfigSynonyms) != 2 || policy.ConfigSynonyms[1].Name != "log.cleanup.policy" || policy.ConfigSynonyms[1].Source != fromDefault {
		t.Errorf("synonyms of cleanup.policy: %+v", policy.ConfigSynonyms)
	}
	one := kmsg.NewPtrDescribeConfigsRequest()
	one.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: set, ConfigNames: []string{"cleanup.policy"}}}
	for v := int16(1); v <= 4; v++ {
		got := ask[*kmsg.DescribeConfigsResponse](c, v, one).Resources[0]
		if got.ErrorCode != 0 || len(got.Configs) != 1 || orNothing(got.Configs[0].Value) != "compact" {
			t.Errorf("DescribeConfigs v%d of cleanup.policy alone: %+v", v, got)
		}
	}
}

// an unknown but standard topic configuration fails those who set it: all of Apache's are taken, at creation and
// later, one by one and together; and those that are gone since 4.0 are not.
func TestX52EveryTopicConfigIsAccepted(t *testing.T) {
	c := shared(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.CreateTopicsRequestTopic{Topic: fresh(t), NumPartitions: 1, ReplicationFactor: 1}
	for _, k := range topicKeys {
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k.name, Value: &k.value})
	}
	req.Topics = []kmsg.CreateTopicsRequestTopic{topic}
	made := ask[*kmsg.CreateTopicsResponse](c, 7, req).Topics[0]
	if made.ErrorCode != 0 {
		t.Fatalf("a topic with all configurations: error %d %s", made.ErrorCode, orNothing(made.ErrorMessage))
	}
	within(t, answerTimeout, func() string {
		return map[bool]string{true: "the topic is not there"}[topicOf(c, topic.Topic).ErrorCode != 0]
	})
	set := func(name, value string) kmsg.IncrementalAlterConfigsResponseResource {
		alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
		alter.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic.Topic,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}}}
		return ask[*kmsg.IncrementalAlterConfigsResponse](c, 1, alter).Resources[0]
	}
	for _, k := range topicKeys {
		if r := set(k.name, k.value); r.ErrorCode != 0 {
			t.Errorf("%s=%s: error %d %s", k.name, k.value, r.ErrorCode, orNothing(r.ErrorMessage))
		}
		equal(t, "source of "+k.name, configsOf(c, kmsg.ConfigResourceTypeTopic, topic.Topic)[k.name].Source, fromTopic)
	}
	for _, gone := range []string{"message.format.version", "message.downconversion.enable", "message.timestamp.difference.max.ms", "no.such.key"} {
		equal(t, "error of "+gone, set(gone, "1").ErrorCode, invalidConfig)
	}
}

// CreateTopics v5 returns the effective configuration, all of it, sorted, and the counts that were taken.
func TestX53CreateTopicsReturnsItsConfigs(t *testing.T) {
	c := shared(t)
	for v := int16(5); v <= 7; v++ {
		for _, validate := range []bool{true, false} {
			value := "12345"
			req := kmsg.NewPtrCreateTopicsRequest()
			req.TimeoutMillis, req.ValidateOnly = 10_000, validate
			req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: fresh(t), NumPartitions: 2, ReplicationFactor: -1,
				Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: &value}}}}
			made := ask[*kmsg.CreateTopicsResponse](c, v, req).Topics[0]
			if made.ErrorCode != 0 || made.NumPartitions != 2 || made.ReplicationFactor != 1 {
				t.Fatalf("CreateTopics v%d: %+v", v, made)
			}
			got := make(map[string]kmsg.CreateTopicsResponseTopicConfig)
			for i, k := range made.Configs {
				got[k.Name] = k
				if i > 0 && k.Name < made.Configs[i-1].Name {
					t.Errorf("v%d: %s comes after %s", v, k.Name, made.Configs[i-1].Name)
				}
			}
			for _, k := range topicKeys {
				want, source := k.value, int8(fromDefault)
				if k.name == "retention.ms" {
					want, source = value, fromTopic
				}
				is, ok := got[k.name]
				if !ok || orNothing(is.Value) != want || is.Source != source && k.name != eligible {
					t.Errorf("v%d: %s is %q from %d, want %q from %d", v, k.name, orNothing(is.Value), is.Source, want, source)
				}
			}
		}
	}
}

// legacy AlterConfigs, which rpk sends, puts back to its default whatever it does not list.
func TestX54LegacyAlterConfigsResetsWhatItDoesNotList(t *testing.T) {
	topic := subject.Topic(t, subject.Address(t), 1, "retention.ms=1000", "segment.bytes=2000000")
	c := shared(t)
	for v := range int16(3) {
		value := fmt.Sprint(5000 + v)
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic,
			Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}}}}
		req.ValidateOnly = true
		equal(t, "error when only validated", ask[*kmsg.AlterConfigsResponse](c, v, req).Resources[0].ErrorCode, 0)
		if now := configsOf(c, kmsg.ConfigResourceTypeTopic, topic)["retention.ms"]; orNothing(now.Value) == value {
			t.Errorf("AlterConfigs v%d that only validates changed retention.ms", v)
		}
		req.ValidateOnly = false
		equal(t, "error of AlterConfigs", ask[*kmsg.AlterConfigsResponse](c, v, req).Resources[0].ErrorCode, 0)
		within(t, answerTimeout, func() string {
			now := configsOf(c, kmsg.ConfigResourceTypeTopic, topic)
			if orNothing(now["retention.ms"].Value) != value || now["segment.bytes"].Source != fromDefault {
				return fmt.Sprintf("AlterConfigs v%d left retention.ms=%s and segment.bytes from source %d",
					v, orNothing(now["retention.ms"].Value), now["segment.bytes"].Source)
			}
			return ""
		})
	}
}

// deleteRecords deletes what is before an offset in partition 0.
func deleteRecords(c *client, topic string, before int64) kmsg.DeleteRecordsResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: before}}}}
	return ask[*kmsg.DeleteRecordsResponse](c, 2, req).Topics[0].Partitions[0]
}

// Streams purges its repartition topics by DeleteRecords; where that fails, disks fill up.
func TestX55DeleteRecords(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1, "cleanup.policy=delete", "segment.bytes=52428800", "retention.ms=-1") // as Streams makes it
	changelog := subject.Topic(t, b.Address, 1, "cleanup.policy=compact")
	both := subject.Topic(t, b.Address, 1, "cleanup.policy=compact,delete")
	c := dial(t, b.Address)
	for range 4 {
		for _, name := range []string{topic, changelog, both} {
			written(c, name, batch{values: []string{"a", "b", "c"}})
		}
	}
	purge := func(name string, before, low int64) {
		t.Helper()
		if p := deleteRecords(c, name, before); p.ErrorCode != 0 || p.LowWatermark != low {
			t.Errorf("DeleteRecords before %d: error %d, low watermark %d, want %d", before, p.ErrorCode, p.LowWatermark, low)
		}
	}
	purge(topic, 4, 4) // inside a batch
	purge(topic, 2, 4) // never back
	purge(both, -1, 12)
	equal(t, "error above the high watermark", deleteRecords(c, topic, 13).ErrorCode, offsetOutOfRange)
	equal(t, "error on a topic that is only compacted", deleteRecords(c, changelog, 1).ErrorCode, policyViolation)
	check := func(c *client) {
		t.Helper()
		equal(t, "earliest offset", offsetAt(c, topic, -2).Offset, 4)
		equal(t, "error of a fetch below it", fetch(c, topic, 3).ErrorCode, offsetOutOfRange)
		p := fetch(c, topic, 4)
		if p.ErrorCode != 0 || p.LogStartOffset != 4 || len(batches(c, p.RecordBatches)) == 0 {
			t.Errorf("fetch at the start: %+v", p)
		}
	}
	check(c)
	b.Stop(t)
	b.Restart(t)
	c = dial(t, b.Address)
	check(c)
	purge(topic, -1, 12)
	equal(t, "offset of the next record", written(c, topic, batch{values: []string{"d"}}), 12)
}

// UNKNOWN_SERVER_ERROR on Produce is fatal to Streams. A topic that is deleted, or never was, under producers is
// a code that they know how to take.
func TestX55ProduceHasNoUnknownServerErrors(t *testing.T) {
	codes := make(map[int16]int)
	var mu sync.Mutex
	note := func(code int16) {
		mu.Lock()
		defer mu.Unlock()
		codes[code]++
	}
	name := fresh(t)
	admin := shared(t)
	id := created(admin, name).TopicID
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 2 {
		c := shared(t)
		writers.Go(func() { // ends with stop
			for {
				select {
				case <-stop:
					return
				default:
				}
				note(produce(c, name, batch{values: []string{"x"}}).ErrorCode)
				byID := produceOf("", batch{values: []string{"x"}}.bytes())
				byID.Topics[0].TopicID = id
				note(ask[*kmsg.ProduceResponse](c, 13, byID).Topics[0].Partitions[0].ErrorCode)
			}
		})
	}
	for range 10 {
		remake(admin, name)
	}
	close(stop)
	writers.Wait()
	c := shared(t)
	odd := produceOf(name, batch{values: []string{"x"}}.bytes())
	odd.Topics[0].Partitions[0].Partition = -5
	note(ask[*kmsg.ProduceResponse](c, 9, odd).Topics[0].Partitions[0].ErrorCode)
	for _, topic := range []string{"", "no such/name", "absent", "__consumer_offsets", strings.Repeat("n", 300)} {
		note(produce(c, topic, batch{values: []string{"x"}}).ErrorCode)
	}
	for code, n := range codes {
		switch code {
		case 0, unknownTopicOrPart, notLeader, unknownTopicID, invalidTopic:
		default:
			t.Errorf("Produce answered error %d %d times", code, n)
		}
	}
}

// a broker that does not serve transactions of the second kind must not say that it does: Java 4 falls back.
func TestX58FeaturesAreServed(t *testing.T) {
	c := shared(t)
	for v := int16(3); v <= 4; v++ {
		resp := ask[*kmsg.ApiVersionsResponse](c, v, apiVersionsRequest())
		if resp.FinalizedFeaturesEpoch < 0 {
			t.Errorf("v%d: the epoch of the finalized features is %d", v, resp.FinalizedFeaturesEpoch)
		}
		served := make(map[int16]bool)
		for _, k := range resp.ApiKeys {
			served[k.ApiKey] = true
		}
		found := false
		for _, f := range resp.FinalizedFeatures {
			found = found || f.Name == "metadata.version"
			if f.MaxVersionLevel == 0 {
				t.Errorf("v%d: %s is finalized at 0, and such features are left out", v, f.Name)
			}
			if needs := map[string]kmsg.Key{"transaction.version": kmsg.EndTxn, "group.version": kmsg.ConsumerGroupHeartbeat,
				"share.version": kmsg.ShareFetch, "streams.version": kmsg.StreamsGroupHeartbeat}; needs[f.Name] != 0 && !served[int16(needs[f.Name])] {
				t.Errorf("v%d: %s is finalized at %d, and its requests are not served", v, f.Name, f.MaxVersionLevel)
			}
		}
		if !found {
			t.Errorf("v%d: metadata.version is not finalized", v)
		}
	}
}
