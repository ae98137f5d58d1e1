package api

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/proto/wire"
)

// needs is what each route must ask the authorizer for, from the table in section 7.3 of the contract. A route without a
// row fails the test.
var needs = map[wire.Key]struct {
	request func() kmsg.Request
	asks    []access.Action
}{
	wire.Produce: {func() kmsg.Request { return produceRequest("t", 0, 1, []byte("x")) }, topicAction(access.Write)},
	wire.Fetch: {func() kmsg.Request {
		r := kmsg.NewPtrFetchRequest()
		r.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}}}
		return r
	}, topicAction(access.Read)},
	wire.ListOffsets: {func() kmsg.Request {
		r := kmsg.NewPtrListOffsetsRequest()
		r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{kmsg.NewListOffsetsRequestTopicPartition()}}}
		return r
	}, topicAction(access.Describe)},
	wire.Metadata: {func() kmsg.Request {
		r := kmsg.NewPtrMetadataRequest()
		r.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("t")}}
		return r
	}, topicAction(access.Describe)},
	wire.FindCoordinator: {func() kmsg.Request {
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.CoordinatorKeys, r.CoordinatorKey = []string{"g"}, "g"
		return r
	}, []access.Action{{Operation: access.Describe, Resource: access.Group, Name: "g"}}},
	wire.OffsetCommit: {func() kmsg.Request {
		r := kmsg.NewPtrOffsetCommitRequest()
		r.Group = "g"
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.Partitions = "t", []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}
		r.Topics = append(r.Topics, t)
		return r
	}, groupAction(access.Read)},
	wire.OffsetFetch: {func() kmsg.Request {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.Group, r.Groups = "g", []kmsg.OffsetFetchRequestGroup{{Group: "g"}}
		return r
	}, groupAction(access.Describe)},
	wire.JoinGroup: {func() kmsg.Request {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Group = "g"
		return r
	}, groupAction(access.Read)},
	wire.Heartbeat: {func() kmsg.Request {
		r := kmsg.NewPtrHeartbeatRequest()
		r.Group = "g"
		return r
	}, groupAction(access.Read)},
	wire.LeaveGroup: {func() kmsg.Request {
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Group = "g"
		return r
	}, groupAction(access.Read)},
	wire.SyncGroup: {func() kmsg.Request {
		r := kmsg.NewPtrSyncGroupRequest()
		r.Group, r.ProtocolType, r.Protocol = "g", kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		return r
	}, groupAction(access.Read)},
	wire.DescribeGroups: {func() kmsg.Request {
		r := kmsg.NewPtrDescribeGroupsRequest()
		r.Groups = []string{"g"}
		return r
	}, groupAction(access.Describe)},
	wire.ListGroups: {func() kmsg.Request { return kmsg.NewPtrListGroupsRequest() }, clusterAction(access.Describe)},
	wire.DeleteGroups: {func() kmsg.Request {
		r := kmsg.NewPtrDeleteGroupsRequest()
		r.Groups = []string{"g"}
		return r
	}, groupAction(access.Delete)},
	wire.OffsetDelete: {func() kmsg.Request {
		r := kmsg.NewPtrOffsetDeleteRequest()
		r.Group = "g"
		return r
	}, groupAction(access.Delete)},
	wire.SaslHandshake: {request: func() kmsg.Request { return kmsg.NewPtrSASLHandshakeRequest() }},
	wire.ApiVersions: {request: func() kmsg.Request {
		r := kmsg.NewPtrApiVersionsRequest()
		r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1"
		return r
	}},
	wire.CreateTopics: {func() kmsg.Request {
		r := kmsg.NewPtrCreateTopicsRequest()
		r.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}
		return r
	}, append(clusterAction(access.Create), access.Action{Operation: access.Create, Resource: access.Topic, Name: "new"})},
	wire.DeleteTopics: {func() kmsg.Request {
		r := kmsg.NewPtrDeleteTopicsRequest()
		r.TopicNames, r.Topics = []string{"t"}, []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("t")}}
		return r
	}, append(clusterAction(access.Delete), topicAction(access.Delete)...)},
	wire.DeleteRecords: {func() kmsg.Request {
		r := kmsg.NewPtrDeleteRecordsRequest()
		r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{}}}}
		return r
	}, topicAction(access.Delete)},
	wire.InitProducerID: {func() kmsg.Request { return kmsg.NewPtrInitProducerIDRequest() }, clusterAction(access.IdempotentWrite)},
	wire.OffsetForLeaderEpoch: {func() kmsg.Request {
		r := kmsg.NewPtrOffsetForLeaderEpochRequest()
		r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{kmsg.NewOffsetForLeaderEpochRequestTopicPartition()}}}
		return r
	}, append(topicAction(access.Describe), clusterAction(access.ClusterAction)...)},
	wire.DescribeAcls: {func() kmsg.Request { return kmsg.NewPtrDescribeACLsRequest() }, clusterAction(access.Describe)},
	wire.DescribeConfigs: {func() kmsg.Request {
		r := kmsg.NewPtrDescribeConfigsRequest()
		r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"}}
		return r
	}, topicAction(access.DescribeConfigs)},
	wire.AlterConfigs: {func() kmsg.Request {
		r := kmsg.NewPtrAlterConfigsRequest()
		r.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"}}
		return r
	}, topicAction(access.AlterConfigs)},
	wire.IncrementalAlterConfigs: {func() kmsg.Request {
		r := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"}}
		return r
	}, clusterAction(access.AlterConfigs)},
	wire.AlterReplicaLogDirs: {func() kmsg.Request {
		r := kmsg.NewPtrAlterReplicaLogDirsRequest()
		r.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/data", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: "t", Partitions: []int32{0}}}}}
		return r
	}, clusterAction(access.Alter)},
	wire.DescribeLogDirs: {func() kmsg.Request { return kmsg.NewPtrDescribeLogDirsRequest() }, clusterAction(access.Describe)},
	wire.CreatePartitions: {func() kmsg.Request {
		r := kmsg.NewPtrCreatePartitionsRequest()
		r.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 2}}
		return r
	}, topicAction(access.Alter)},
	wire.DescribeDelegationToken: {request: func() kmsg.Request { return kmsg.NewPtrDescribeDelegationTokenRequest() }},
	wire.ElectLeaders:            {func() kmsg.Request { return kmsg.NewPtrElectLeadersRequest() }, clusterAction(access.Alter)},
	wire.ListPartitionReassignments: {func() kmsg.Request { return kmsg.NewPtrListPartitionReassignmentsRequest() },
		clusterAction(access.Describe)},
	wire.DescribeClientQuotas: {func() kmsg.Request { return kmsg.NewPtrDescribeClientQuotasRequest() },
		clusterAction(access.DescribeConfigs)},
	wire.DescribeUserScramCredentials: {func() kmsg.Request { return kmsg.NewPtrDescribeUserSCRAMCredentialsRequest() },
		clusterAction(access.Describe)},
	wire.DescribeQuorum: {func() kmsg.Request { return kmsg.NewPtrDescribeQuorumRequest() }, clusterAction(access.Describe)},
	wire.UpdateFeatures: {func() kmsg.Request { return kmsg.NewPtrUpdateFeaturesRequest() }, clusterAction(access.Alter)},
	wire.DescribeCluster: {func() kmsg.Request {
		r := kmsg.NewPtrDescribeClusterRequest()
		r.IncludeClusterAuthorizedOperations, r.EndpointType = true, 1
		return r
	}, clusterAction(access.Describe)},
	wire.DescribeProducers: {func() kmsg.Request {
		r := kmsg.NewPtrDescribeProducersRequest()
		r.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		return r
	}, topicAction(access.Read)},
	wire.AddPartitionsToTxn: {func() kmsg.Request {
		r := kmsg.NewPtrAddPartitionsToTxnRequest()
		r.TransactionalID = "x"
		return r
	}, []access.Action{{Operation: access.Write, Resource: access.TransactionalID, Name: "x"}}},
	wire.AddOffsetsToTxn: {func() kmsg.Request {
		r := kmsg.NewPtrAddOffsetsToTxnRequest()
		r.TransactionalID = "x"
		return r
	}, []access.Action{{Operation: access.Write, Resource: access.TransactionalID, Name: "x"}}},
	wire.EndTxn: {func() kmsg.Request {
		r := kmsg.NewPtrEndTxnRequest()
		r.TransactionalID = "x"
		return r
	}, []access.Action{{Operation: access.Write, Resource: access.TransactionalID, Name: "x"}}},
	wire.WriteTxnMarkers: {func() kmsg.Request {
		r := kmsg.NewPtrWriteTxnMarkersRequest()
		r.Markers = []kmsg.WriteTxnMarkersRequestMarker{{Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: []int32{0}}}}}
		return r
	}, append(clusterAction(access.Alter), clusterAction(access.ClusterAction)...)},
	wire.TxnOffsetCommit: {func() kmsg.Request {
		r := kmsg.NewPtrTxnOffsetCommitRequest()
		r.TransactionalID, r.Group = "x", "g"
		return r
	}, []access.Action{{Operation: access.Write, Resource: access.TransactionalID, Name: "x"}}},
	wire.DescribeTransactions: {func() kmsg.Request {
		r := kmsg.NewPtrDescribeTransactionsRequest()
		r.TransactionalIDs = []string{"x"}
		return r
	}, []access.Action{{Operation: access.Describe, Resource: access.TransactionalID, Name: "x"}}},
	wire.ListTransactions:    {func() kmsg.Request { return kmsg.NewPtrListTransactionsRequest() }, nil},
	wire.ListConfigResources: {func() kmsg.Request { return kmsg.NewPtrListConfigResourcesRequest() }, clusterAction(access.DescribeConfigs)},
	wire.DescribeTopicPartitions: {func() kmsg.Request {
		r := kmsg.NewPtrDescribeTopicPartitionsRequest()
		r.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}
		return r
	}, topicAction(access.Describe)},
}

func topicAction(op access.Operation) []access.Action {
	return []access.Action{{Operation: op, Resource: access.Topic, Name: "t"}}
}

func groupAction(op access.Operation) []access.Action {
	return []access.Action{{Operation: op, Resource: access.Group, Name: "g"}}
}

func clusterAction(op access.Operation) []access.Action {
	return []access.Action{{Operation: op, Resource: access.Cluster, Name: access.ClusterName}}
}

// TestEveryRouteAuthorizes denies everything and sees that each route asked for what the contract says, in its lowest and
// its highest version, and that nothing was changed.
func TestEveryRouteAuthorizes(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 1)
	h.auth.deny = func(access.Action) bool { return true }
	before := h.Image()
	for _, r := range Routes() {
		need, ok := needs[r.Key]
		if !ok {
			t.Errorf("%s has no row in the table of rights", r.Key)
			continue
		}
		for _, version := range []int16{r.ServedFrom, min(r.Advertised.Max, 12)} {
			need := need
			if r.Key == wire.AddPartitionsToTxn && version >= 4 { // these are for brokers
				need.asks = clusterAction(access.ClusterAction)
			}
			h.auth.take()
			req := need.request()
			req.SetVersion(version)
			body, err := h.start(req).Await(t.Context().Done())
			if err != nil || body == nil {
				t.Errorf("%s v%d: no response: %v", r.Key, version, err)
			}
			asked := h.auth.take()
			for _, want := range need.asks {
				want.Principal, want.Host, want.Listener = "User:ANONYMOUS", "127.0.0.1", "PLAINTEXT"
				if !slices.Contains(asked, want) {
					t.Errorf("%s v%d did not ask for %+v, but for %+v", r.Key, version, want, asked)
				}
			}
			if len(need.asks) == 0 && len(asked) > 0 {
				t.Errorf("%s v%d needs no right and asked for %+v", r.Key, version, asked)
			}
		}
	}
	if h.Image().Offset() != before.Offset() {
		// Commands of refused requests may be committed empty, but must not change anything.
		if h.Image().TopicCount() != 1 || h.Image().NextProducerID() != before.NextProducerID() {
			t.Error("a refused request changed the metadata")
		}
	}
}

// TestNoRouteWithoutAdvertisedRange: what ApiVersions tells is what Apache Kafka 4.3.1 tells for the keys that are served.
func TestRoutesAreThoseOfKafka(t *testing.T) {
	last := wire.Key(-1)
	for _, r := range Routes() {
		if r.Key <= last {
			t.Errorf("%s is out of order", r.Key)
		}
		last = r.Key
		if r.Advertised != r.Key.Apache() {
			t.Errorf("%s is advertised as %v, Apache Kafka says %v", r.Key, r.Advertised, r.Key.Apache())
		}
	}
}
