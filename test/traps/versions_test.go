package traps

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/moldau/moldau/test/subject"
)

// apiVersionsRequest is one that v3 and above accept.
func apiVersionsRequest() *kmsg.ApiVersionsRequest {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "traps", "1.0"
	return req
}

// advertised asks what the broker serves, by key.
func advertised(c *client) map[int16]kmsg.ApiVersionsResponseApiKey {
	c.t.Helper()
	resp := ask[*kmsg.ApiVersionsResponse](c, 3, apiVersionsRequest())
	keys := make(map[int16]kmsg.ApiVersionsResponseApiKey)
	for _, k := range resp.ApiKeys {
		keys[k.ApiKey] = k
	}
	return keys
}

// tooNew is an ApiVersions request of a version that no broker knows, with the header that its client would send.
func tooNew(version uint16, correlation uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, 18)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, correlation)
	b = append(b, 0, 5, 't', 'r', 'a', 'p', 's', 0)            // client id, tags
	b = append(b, 6, 't', 'r', 'a', 'p', 's', 2, '1', 0xfe, 1) // something like v3's body, and what nobody knows
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// librdkafka up to 1.6 chokes on a null array of keys in the answer to an ApiVersions that is too new.
func TestX1UnknownApiVersionsVersionGetsV0WithItsOwnRange(t *testing.T) {
	for _, version := range []uint16{5, 99, 0x7fff, 0xffff, 0x8000} { // the last two are below 0
		c := shared(t)
		c.write(tooNew(version, 77))
		want := []byte{
			0, 0, 0, 77, // correlation id, and no tags: header v0
			0, unsupportedVersion,
			0, 0, 0, 1, // one key
			0, 18, 0, 0, 0, 4,
		}
		if got := c.frame(); !bytes.Equal(got, want) {
			t.Errorf("ApiVersions v%d is answered\n%x, want\n%x", int16(version), got, want)
		}
	}
}

// Java from 2.4 on asks ApiVersions v3 or newer first, and goes on over the same connection with what it is told.
func TestX2ConnectionGoesOnAfterUnknownApiVersionsVersion(t *testing.T) {
	c := shared(t)
	c.write(tooNew(99, 1))
	c.frame()
	if n := len(advertised(c)); n < 20 {
		t.Errorf("after the retry %d keys are advertised", n)
	}
	c.write(tooNew(99, 2)) // and once more, after all is known
	c.frame()
	if resp := ask[*kmsg.MetadataResponse](c, 1, kmsg.NewPtrMetadataRequest()); len(resp.Brokers) != 1 {
		t.Errorf("Metadata on that connection names %d brokers", len(resp.Brokers))
	}
}

// librdkafka switches features off where Produce 0 is not advertised, though nobody sends it.
func TestX3ProduceAdvertisedFromZeroAndRefusedBelowThree(t *testing.T) {
	c := shared(t)
	equal(t, "lowest advertised version of Produce", advertised(c)[0].MinVersion, 0)
	topic := subject.Topic(t, subject.Address(t), 1)
	for v := range int16(3) {
		old := shared(t)
		old.send(v, produceOf(topic, batch{values: []string{"old"}}.bytes()))
		old.hangsUp(fmt.Sprintf("Produce v%d", v))
	}
	equal(t, "high watermark after refused requests", fetch(c, topic, 0).HighWatermark, 0)
	resp := ask[*kmsg.ProduceResponse](c, 3, produceOf(topic, batch{values: []string{"old enough"}}.bytes()))
	equal(t, "error of Produce v3", resp.Topics[0].Partitions[0].ErrorCode, 0)
}

// kafka-python and aiokafka send Metadata v0 and v1 as a probe, often without ApiVersions before.
func TestX5MetadataV0AsAProbe(t *testing.T) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 2)
	c := shared(t)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // all topics, in v0 alone
	all := ask[*kmsg.MetadataResponse](c, 0, req)
	found := false
	for _, m := range all.Topics {
		found = found || *m.Topic == topic && len(m.Partitions) == 2
	}
	if !found || len(all.Brokers) != 1 {
		t.Errorf("Metadata v0 of all topics: %d brokers, topic found: %v", len(all.Brokers), found)
	}
	equal(t, "topics in Metadata v1 of none", len(ask[*kmsg.MetadataResponse](c, 1, req).Topics), 0)
	req.Topics = nil
	if len(ask[*kmsg.MetadataResponse](c, 1, req).Topics) == 0 {
		t.Error("Metadata v1 with a null array names no topic")
	}
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	one := ask[*kmsg.MetadataResponse](c, 0, req)
	if len(one.Topics) != 1 || len(one.Topics[0].Partitions) != 2 || one.Topics[0].Partitions[1].Leader != one.Brokers[0].NodeID {
		t.Errorf("Metadata v0 of one topic: %+v", one)
	}
}

// sarama takes the versions of the Kafka release it is told and checks nothing: of every release since 2.4 each
// key that is served must be served as far, and each version that is advertised must be answered.
func TestX6EveryVersionOfEveryReleaseIsAnswered(t *testing.T) {
	c := shared(t)
	keys := advertised(c)
	for _, release := range []*kversion.Versions{
		kversion.V2_4_0(), kversion.V2_8_0(), kversion.V3_0_0(), kversion.V3_5_0(), kversion.V3_9_0(), kversion.V4_0_0(), kversion.V4_3_0(),
	} {
		release.EachMaxKeyVersion(func(key, highest int16) {
			k, ok := keys[key]
			ok = ok && kmsg.Key(key) != kmsg.WriteTxnMarkers // which no client sends; 4.0 dropped v0
			if ok && (highest < k.MinVersion || highest > k.MaxVersion) {
				t.Errorf("%s: a client of %s sends version %d, and %d to %d are served",
					kmsg.NameForKey(key), release.VersionGuess(), highest, k.MinVersion, k.MaxVersion)
			}
		})
	}
	for key, k := range keys {
		for v := k.MinVersion; v <= k.MaxVersion; v++ {
			switch {
			case kmsg.Key(key) == kmsg.Produce && v < 3:
				continue
			case kmsg.Key(key) == kmsg.AddPartitionsToTxn && v >= 4: // brokers send these; 4.3 does not answer an empty one
				continue
			}
			req := kmsg.RequestForKey(key)
			if q, ok := req.(*kmsg.ApiVersionsRequest); ok {
				q.ClientSoftwareName, q.ClientSoftwareVersion = "traps", "1.0"
			}
			if q, ok := req.(*kmsg.ProduceRequest); ok {
				q.Acks = -1 // with 0 there is no answer
			}
			ask[kmsg.Response](c, v, req)
		}
	}
}

// clients up to 2.4 negotiate wrongly where SaslHandshake has a version above 1. Without SASL it is told so.
func TestX7SaslHandshakeEndsAtVersionOne(t *testing.T) {
	c := shared(t)
	k := advertised(c)[17]
	equal(t, "highest version of SaslHandshake", k.MaxVersion, 1)
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "PLAIN"
	for v := range int16(2) {
		equal(t, fmt.Sprintf("error of SaslHandshake v%d", v), ask[*kmsg.SASLHandshakeResponse](c, v, req).ErrorCode, illegalSaslState)
	}
	frame := c.format.AppendRequest(nil, req, 9)
	binary.BigEndian.PutUint16(frame[6:], 2)
	c.write(frame)
	c.hangsUp("SaslHandshake v2")
}

// one key that is missing or refused fails a whole screen of a UI; here is what they ask, one after another.
func TestX8AdminScreensAreAnswered(t *testing.T) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 2)
	conn, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	admin := kadm.NewClient(conn)
	ask := func(what string, want error, got error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	meta, err := admin.Metadata(ctx)
	ask("metadata", nil, err)
	equal(t, "brokers", len(meta.Brokers), 1)
	_, err = admin.ListTopicsWithInternal(ctx)
	ask("topics", nil, err)
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	ask("log directories", nil, err)
	held := 0
	dirs.Each(func(d kadm.DescribedLogDir) { held += len(d.Topics[topic]) })
	equal(t, "partitions in log directories", held, 2)
	_, err = admin.DescribeUserSCRAMs(ctx)
	ask("SCRAM users", nil, err)
	users, err := admin.DescribeUserSCRAMs(ctx, "nobody")
	ask("SCRAM of nobody", nil, err)
	ask("SCRAM of nobody", kerr.ResourceNotFound, users["nobody"].Err)
	_, err = admin.DescribeClientQuotas(ctx, true, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchType: kmsg.QuotasMatchTypeAny}})
	ask("quotas", nil, err)
	_, err = admin.ListPartitionReassignments(ctx, nil)
	ask("reassignments", nil, err)
	_, err = admin.DescribeDelegationTokens(ctx)
	ask("delegation tokens", kerr.DelegationTokenRequestNotAllowed, err)
	acls, err := admin.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Allow().AllowHosts().Deny().DenyHosts().Operations().ResourcePatternType(kadm.ACLPatternAny))
	if err == nil && len(acls) > 0 {
		err = acls[0].Err
	}
	ask("ACLs", kerr.SecurityDisabled, err)
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	ask("topic configs", nil, err)
	ask("topic configs", nil, configs[0].Err)
	brokers, err := admin.DescribeBrokerConfigs(ctx, int32(meta.Brokers[0].NodeID))
	ask("broker configs", nil, err)
	ask("broker configs", nil, brokers[0].Err)
	if n := len(brokers[0].Configs); n < 200 {
		t.Errorf("%d broker configs are described", n)
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	ask("start offsets", nil, err)
	ends, err := admin.ListEndOffsets(ctx, topic)
	ask("end offsets", nil, err)
	equal(t, "partitions with offsets", len(starts[topic])+len(ends[topic]), 4)
	producers, err := admin.DescribeProducers(ctx, kadm.TopicsSet{topic: {0: {}, 1: {}}})
	ask("producers", nil, err)
	producers.Each(func(p kadm.DescribedProducersTopic) {
		for _, part := range p.Partitions {
			ask("producers of a partition", nil, part.Err)
		}
	})
	elected, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil)
	ask("preferred leaders", nil, err)
	for _, e := range elected[topic] {
		ask("preferred leader", nil, e.Err)
	}
}

// X-8, below what client libraries use: DescribeCluster with its operations, and DescribeQuorum without an error.
func TestX8ClusterOperationsAndQuorum(t *testing.T) {
	c := shared(t)
	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.IncludeClusterAuthorizedOperations = true
	for v := range int16(3) {
		cluster.EndpointType = 1
		resp := ask[*kmsg.DescribeClusterResponse](c, v, cluster)
		if resp.ErrorCode != 0 || len(resp.Brokers) != 1 || resp.ClusterAuthorizedOperations <= 0 {
			t.Errorf("DescribeCluster v%d: %+v", v, resp)
		}
	}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	for v := range int16(3) {
		resp := ask[*kmsg.DescribeQuorumResponse](c, v, quorum)
		if resp.ErrorCode != 0 || len(resp.Topics) != 1 {
			t.Fatalf("DescribeQuorum v%d: %+v", v, resp)
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || len(p.CurrentVoters) != 1 || p.LeaderID != p.CurrentVoters[0].ReplicaID || p.HighWatermark <= 0 {
			t.Errorf("DescribeQuorum v%d: %+v", v, p)
		}
	}
}
