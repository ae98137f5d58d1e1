package compare

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tellCluster asks what a fresh broker says of itself, its cluster, and of what it does not have.
func tellCluster(r *run) {
	tellApiVersions(r)
	r.each("describe the cluster", func(v int16) kmsg.Request { return new(kmsg.DescribeClusterRequest) }, 0)
	for _, endpoints := range []int8{0, 1, 2, 3} {
		r.all("describe the cluster, endpoints of type "+string('0'+rune(endpoints)), &kmsg.DescribeClusterRequest{EndpointType: endpoints}, 1, 2)
	}
	r.all("describe the cluster with operations", &kmsg.DescribeClusterRequest{IncludeClusterAuthorizedOperations: true, EndpointType: 1})
	r.all("describe the cluster with fenced brokers", &kmsg.DescribeClusterRequest{IncludeFencedBrokers: true, EndpointType: 1}, 2)
	tellUnserved(r)
	tellQuorum(r)
	tellFeatures(r)
	tellAbsent(r)
	for _, m := range []string{"PLAIN", "", "SCRAM-SHA-256"} {
		r.each("sasl handshake "+m+" on a listener without", func(int16) kmsg.Request { return &kmsg.SASLHandshakeRequest{Mechanism: m} })
	}
}

func tellApiVersions(r *run) {
	good := &kmsg.ApiVersionsRequest{ClientSoftwareName: "compare", ClientSoftwareVersion: "1.0"}
	r.all("api versions", good)
	// The answer to a version that nobody has comes in the encoding of version 0.
	for _, v := range []int16{5, 99} {
		if err := r.conn.send(v, good); err != nil {
			r.Fatal(err)
		}
		resp, err := r.conn.receive(0, good, answerTimeout)
		if err != nil {
			r.Fatalf("ApiVersions v%d: %v", v, err)
		}
		r.note("api versions of the future", v, good, read(&r.known, resp))
	}
	for _, names := range [][2]string{{"", "1"}, {"a", ""}, {"-a", "1"}, {"a-", "1"}, {"a", ".1"}, {"a", "1."}, {"a b", "1"}, {"a_b", "1"},
		{"a..b", "1--2"}, {"ä", "1"}} {
		req := &kmsg.ApiVersionsRequest{ClientSoftwareName: names[0], ClientSoftwareVersion: names[1]}
		r.all("api versions for software "+names[0]+" version "+names[1], req, 3, 4)
	}
	r.all("api versions, no names before they existed", &kmsg.ApiVersionsRequest{}, 0, 1, 2)
}

// tellUnserved asks in versions, and for keys, that are gone or have not come yet (W-4).
func tellUnserved(r *run) {
	r.all("a version that is not served", &kmsg.ProduceRequest{Acks: 1}, 0, 2, 14)
	r.all("a version that is not served", kmsg.NewPtrFetchRequest(), 3, 19)
	r.all("a version that is not served", &kmsg.ListOffsetsRequest{ReplicaID: -1}, 0, 12)
	r.all("a version that is not served", &kmsg.MetadataRequest{}, 14)
	r.all("a version that is not served", &kmsg.CreateTopicsRequest{}, 1, 8)
	r.all("a version that is not served", &kmsg.DeleteTopicsRequest{}, 0)
	r.all("a version that is not served", &kmsg.DescribeConfigsRequest{}, 0)
	r.all("a version that is not served", &kmsg.OffsetForLeaderEpochRequest{ReplicaID: -1}, 1)
	r.all("a version that is not served", &kmsg.SASLHandshakeRequest{Mechanism: "PLAIN"}, 2)
	r.all("a version that is not served", &kmsg.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1}, 6)
	r.all("a key for brokers of old", &kmsg.LeaderAndISRRequest{}, 0)
	r.all("a key for controllers", &kmsg.AlterPartitionRequest{}, 2)
}

// tellCoordinators comes last: Apache Kafka creates its internal topics when it is asked for coordinators.
func tellCoordinators(r *run) {
	for _, kind := range []int8{0, 1, 2, 3, -1} {
		name := map[int8]string{0: "group", 1: "transaction", 2: "share", 3: "unknown", -1: "negative"}[kind]
		r.each("coordinator of type "+name, func(v int16) kmsg.Request {
			if v < 1 && kind != 0 {
				return &kmsg.FindCoordinatorRequest{CoordinatorKey: "g"}
			}
			return &kmsg.FindCoordinatorRequest{CoordinatorKey: "g", CoordinatorKeys: []string{"g", "h"}, CoordinatorType: kind}
		}, 1, 2, 3, 4, 5, 6)
	}
	r.all("coordinator without a type", &kmsg.FindCoordinatorRequest{CoordinatorKey: "g"}, 0)
	r.all("coordinator of an empty group", &kmsg.FindCoordinatorRequest{CoordinatorKey: "", CoordinatorKeys: []string{""}})
	r.all("coordinators of nothing", &kmsg.FindCoordinatorRequest{}, 4, 5, 6)
	r.all("coordinator of a bad share key", &kmsg.FindCoordinatorRequest{CoordinatorType: 2, CoordinatorKeys: []string{"a:b", "g:AAAAAAAAAAAAAAAAAAAAAA:0"}}, 6)
	r.all("producer id of a transaction", &kmsg.InitProducerIDRequest{TransactionalID: ptr("t"), TransactionTimeoutMillis: 60000, ProducerID: -1, ProducerEpoch: -1})
}

func tellQuorum(r *run) {
	ask := func(step, topic string, partitions ...int32) {
		var ps []kmsg.DescribeQuorumRequestTopicPartition
		for _, p := range partitions {
			ps = append(ps, kmsg.DescribeQuorumRequestTopicPartition{Partition: p})
		}
		r.all(step, &kmsg.DescribeQuorumRequest{Topics: []kmsg.DescribeQuorumRequestTopic{{Topic: topic, Partitions: ps}}})
	}
	ask("describe the quorum", "__cluster_metadata", 0)
	ask("describe another partition of the quorum", "__cluster_metadata", 1)
	ask("describe the quorum of another topic", "a", 0)
	ask("describe two partitions of the quorum", "__cluster_metadata", 0, 1)
	ask("describe the quorum without partitions", "__cluster_metadata")
	r.all("describe the quorum of nothing", &kmsg.DescribeQuorumRequest{})
}

func tellFeatures(r *run) {
	update := func(step string, vs []int16, fs ...kmsg.UpdateFeaturesRequestFeatureUpdate) {
		r.each(step, func(v int16) kmsg.Request {
			return &kmsg.UpdateFeaturesRequest{TimeoutMillis: 5000, FeatureUpdates: fs, ValidateOnly: v >= 1}
		}, vs...)
	}
	one := func(name string, level int16, kind int8) kmsg.UpdateFeaturesRequestFeatureUpdate {
		return kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: name, MaxVersionLevel: level, UpgradeType: kind, AllowDowngrade: kind > 1}
	}
	later := []int16{1, 2}
	update("update an unknown feature", later, one("no.such.feature", 1, 1))
	update("update an unknown feature at once", []int16{0}, one("no.such.feature", 1, 1))
	update("update a feature beyond what is known", nil, one("metadata.version", 999, 1))
	update("update a feature below what is known", nil, one("metadata.version", 1, 2))
	update("update a feature to a negative level", nil, one("metadata.version", -1, 1))
	update("downgrade as an upgrade", nil, one("metadata.version", 25, 1))
	update("update with an unknown type", later, one("metadata.version", 25, 9))
	update("update with type 0", later, one("metadata.version", 25, 0))
	update("remove metadata.version", nil, one("metadata.version", 0, 2))
	update("update one feature twice", nil, one("metadata.version", 25, 1), one("metadata.version", 26, 1))
	update("update an unknown feature and a known one", later, one("no.such.feature", 1, 1), one("share.version", 1, 1))
	update("update an empty name", nil, one("", 1, 1))
	update("update nothing", nil)
	update("update kraft.version beyond what is known", later, one("kraft.version", 9, 1))
}

// tellAbsent asks for what neither broker has: each must say so in the same way.
func tellAbsent(r *run) {
	r.all("acls without an authorizer", &kmsg.DescribeACLsRequest{ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1})
	r.all("acls of a topic without an authorizer", &kmsg.DescribeACLsRequest{ResourceType: 2, ResourceName: ptr("a"), ResourcePatternType: 3, Operation: 1, PermissionType: 1})
	r.all("acls of unknown types", &kmsg.DescribeACLsRequest{})
	r.all("delegation tokens of all", &kmsg.DescribeDelegationTokenRequest{})
	r.all("delegation tokens of one", &kmsg.DescribeDelegationTokenRequest{Owners: []kmsg.DescribeDelegationTokenRequestOwner{{PrincipalType: "User", PrincipalName: "a"}}})
	r.all("scram users, all of them", &kmsg.DescribeUserSCRAMCredentialsRequest{})
	r.all("scram users, none of them", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{}})
	r.all("scram users, absent", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "a"}, {Name: "b"}}})
	r.all("scram users, one twice", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "a"}, {Name: "b"}, {Name: "a"}}})
	r.all("scram users, without a name", &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: ""}}})
	tellQuotas(r)
	r.all("reassignments, all", &kmsg.ListPartitionReassignmentsRequest{TimeoutMillis: 1000})
	r.all("reassignments, none", &kmsg.ListPartitionReassignmentsRequest{TimeoutMillis: 1000, Topics: []kmsg.ListPartitionReassignmentsRequestTopic{}})
	r.all("reassignments of topics", &kmsg.ListPartitionReassignmentsRequest{TimeoutMillis: 1000, Topics: []kmsg.ListPartitionReassignmentsRequestTopic{
		{Topic: "absent", Partitions: []int32{0}}, {Topic: barrierTopic, Partitions: []int32{0, 7}}}})
}

func tellQuotas(r *run) {
	type part = kmsg.DescribeClientQuotasRequestComponent
	for _, q := range []struct {
		step  string
		parts []part
	}{
		{"quotas, all", nil},
		{"quotas of a user", []part{{EntityType: "user", Match: ptr("a")}}},
		{"quotas of the default user", []part{{EntityType: "user", MatchType: 1}}},
		{"quotas of any user and client", []part{{EntityType: "user", MatchType: 2}, {EntityType: "client-id", MatchType: 2}}},
		{"quotas of an ip", []part{{EntityType: "ip", Match: ptr("127.0.0.1")}}},
		{"quotas of an ip and a user", []part{{EntityType: "ip", MatchType: 2}, {EntityType: "user", MatchType: 2}}},
		{"quotas of an unknown type", []part{{EntityType: "star", MatchType: 2}}},
		{"quotas of an empty type", []part{{EntityType: "", MatchType: 2}}},
		{"quotas of one type twice", []part{{EntityType: "user", MatchType: 2}, {EntityType: "user", MatchType: 1}}},
		{"quotas with an unknown match", []part{{EntityType: "user", MatchType: 7}}},
		{"quotas with an exact match of nothing", []part{{EntityType: "user", MatchType: 0}}},
		{"quotas with a default match of something", []part{{EntityType: "user", MatchType: 1, Match: ptr("a")}}},
	} {
		r.all(q.step, &kmsg.DescribeClientQuotasRequest{Components: q.parts})
		r.all(q.step+", strict", &kmsg.DescribeClientQuotasRequest{Components: q.parts, Strict: true}, 1)
	}
}
