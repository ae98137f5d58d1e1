package wire

import "strconv"

// Key names a request of the protocol, as the first two bytes of its header do. Its constants are all keys of Apache
// Kafka 4.3 and those that kmsg knows beyond. Keys 4 to 7 belonged to the controller of ZooKeeper's days: they are no
// longer served by anybody and are unknown here too.
type Key int16

// The keys, named as Kafka names them.
const (
	Produce                               Key = 0
	Fetch                                 Key = 1
	ListOffsets                           Key = 2
	Metadata                              Key = 3
	OffsetCommit                          Key = 8
	OffsetFetch                           Key = 9
	FindCoordinator                       Key = 10
	JoinGroup                             Key = 11
	Heartbeat                             Key = 12
	LeaveGroup                            Key = 13
	SyncGroup                             Key = 14
	DescribeGroups                        Key = 15
	ListGroups                            Key = 16
	SaslHandshake                         Key = 17
	ApiVersions                           Key = 18
	CreateTopics                          Key = 19
	DeleteTopics                          Key = 20
	DeleteRecords                         Key = 21
	InitProducerID                        Key = 22
	OffsetForLeaderEpoch                  Key = 23
	AddPartitionsToTxn                    Key = 24
	AddOffsetsToTxn                       Key = 25
	EndTxn                                Key = 26
	WriteTxnMarkers                       Key = 27
	TxnOffsetCommit                       Key = 28
	DescribeAcls                          Key = 29
	CreateAcls                            Key = 30
	DeleteAcls                            Key = 31
	DescribeConfigs                       Key = 32
	AlterConfigs                          Key = 33
	AlterReplicaLogDirs                   Key = 34
	DescribeLogDirs                       Key = 35
	SaslAuthenticate                      Key = 36
	CreatePartitions                      Key = 37
	CreateDelegationToken                 Key = 38
	RenewDelegationToken                  Key = 39
	ExpireDelegationToken                 Key = 40
	DescribeDelegationToken               Key = 41
	DeleteGroups                          Key = 42
	ElectLeaders                          Key = 43
	IncrementalAlterConfigs               Key = 44
	AlterPartitionReassignments           Key = 45
	ListPartitionReassignments            Key = 46
	OffsetDelete                          Key = 47
	DescribeClientQuotas                  Key = 48
	AlterClientQuotas                     Key = 49
	DescribeUserScramCredentials          Key = 50
	AlterUserScramCredentials             Key = 51
	Vote                                  Key = 52
	BeginQuorumEpoch                      Key = 53
	EndQuorumEpoch                        Key = 54
	DescribeQuorum                        Key = 55
	AlterPartition                        Key = 56
	UpdateFeatures                        Key = 57
	Envelope                              Key = 58
	FetchSnapshot                         Key = 59
	DescribeCluster                       Key = 60
	DescribeProducers                     Key = 61
	BrokerRegistration                    Key = 62
	BrokerHeartbeat                       Key = 63
	UnregisterBroker                      Key = 64
	DescribeTransactions                  Key = 65
	ListTransactions                      Key = 66
	AllocateProducerIDs                   Key = 67
	ConsumerGroupHeartbeat                Key = 68
	ConsumerGroupDescribe                 Key = 69
	ControllerRegistration                Key = 70
	GetTelemetrySubscriptions             Key = 71
	PushTelemetry                         Key = 72
	AssignReplicasToDirs                  Key = 73
	ListConfigResources                   Key = 74
	DescribeTopicPartitions               Key = 75
	ShareGroupHeartbeat                   Key = 76
	ShareGroupDescribe                    Key = 77
	ShareFetch                            Key = 78
	ShareAcknowledge                      Key = 79
	AddRaftVoter                          Key = 80
	RemoveRaftVoter                       Key = 81
	UpdateRaftVoter                       Key = 82
	InitializeShareGroupState             Key = 83
	ReadShareGroupState                   Key = 84
	WriteShareGroupState                  Key = 85
	DeleteShareGroupState                 Key = 86
	ReadShareGroupStateSummary            Key = 87
	StreamsGroupHeartbeat                 Key = 88
	StreamsGroupDescribe                  Key = 89
	DescribeShareGroupOffsets             Key = 90
	AlterShareGroupOffsets                Key = 91
	DeleteShareGroupOffsets               Key = 92
	StreamsGroupTopologyDescriptionUpdate Key = 93
	UnregisterController                  Key = 94
)

// keyEnd is one more than the highest key.
const keyEnd = UnregisterController + 1

// neverFlexible is above every version: such a request has classic headers and strings for ever (W-2).
const neverFlexible = 1<<15 - 1

// Range is a range of versions, both ends included. It is empty where Max is below Min.
type Range struct{ Min, Max int16 }

// Contains reports whether version lies in the range.
func (r Range) Contains(version int16) bool { return r.Min <= version && version <= r.Max }

// Listeners is the kinds of listener on which Apache Kafka serves a key.
type Listeners uint8

// The kinds of listener.
const (
	OnBroker Listeners = 1 << iota
	OnController
)

// keyFacts tells what is fixed about each key: its name, the first version with compact strings and tagged fields
// (KIP-482), the versions that Apache Kafka 4.3.1 advertises and where. Produce is advertised from 0 though served from
// 3, since librdkafka before 2.8 otherwise forgets compression and idempotence (X-3, KAFKA-18659). Version 6 of
// InitProducerId is in 4.3.1's source, but unstable.
var keyFacts = [...]struct {
	name          string
	flexibleSince int16
	apache        Range
	listeners     Listeners
}{
	Produce:                               {"Produce", 9, Range{0, 13}, OnBroker},
	Fetch:                                 {"Fetch", 12, Range{4, 18}, OnBroker | OnController},
	ListOffsets:                           {"ListOffsets", 6, Range{1, 11}, OnBroker},
	Metadata:                              {"Metadata", 9, Range{0, 13}, OnBroker},
	OffsetCommit:                          {"OffsetCommit", 8, Range{2, 10}, OnBroker},
	OffsetFetch:                           {"OffsetFetch", 6, Range{1, 10}, OnBroker},
	FindCoordinator:                       {"FindCoordinator", 3, Range{0, 6}, OnBroker},
	JoinGroup:                             {"JoinGroup", 6, Range{0, 9}, OnBroker},
	Heartbeat:                             {"Heartbeat", 4, Range{0, 4}, OnBroker},
	LeaveGroup:                            {"LeaveGroup", 4, Range{0, 5}, OnBroker},
	SyncGroup:                             {"SyncGroup", 4, Range{0, 5}, OnBroker},
	DescribeGroups:                        {"DescribeGroups", 5, Range{0, 6}, OnBroker},
	ListGroups:                            {"ListGroups", 3, Range{0, 5}, OnBroker},
	SaslHandshake:                         {"SaslHandshake", neverFlexible, Range{0, 1}, OnBroker | OnController},
	ApiVersions:                           {"ApiVersions", 3, Range{0, 4}, OnBroker | OnController},
	CreateTopics:                          {"CreateTopics", 5, Range{2, 7}, OnBroker | OnController},
	DeleteTopics:                          {"DeleteTopics", 4, Range{1, 6}, OnBroker | OnController},
	DeleteRecords:                         {"DeleteRecords", 2, Range{0, 2}, OnBroker},
	InitProducerID:                        {"InitProducerId", 2, Range{0, 5}, OnBroker},
	OffsetForLeaderEpoch:                  {"OffsetForLeaderEpoch", 4, Range{2, 4}, OnBroker},
	AddPartitionsToTxn:                    {"AddPartitionsToTxn", 3, Range{0, 5}, OnBroker},
	AddOffsetsToTxn:                       {"AddOffsetsToTxn", 3, Range{0, 4}, OnBroker},
	EndTxn:                                {"EndTxn", 3, Range{0, 5}, OnBroker},
	WriteTxnMarkers:                       {"WriteTxnMarkers", 1, Range{1, 2}, OnBroker},
	TxnOffsetCommit:                       {"TxnOffsetCommit", 3, Range{0, 5}, OnBroker},
	DescribeAcls:                          {"DescribeAcls", 2, Range{1, 3}, OnBroker | OnController},
	CreateAcls:                            {"CreateAcls", 2, Range{1, 3}, OnBroker | OnController},
	DeleteAcls:                            {"DeleteAcls", 2, Range{1, 3}, OnBroker | OnController},
	DescribeConfigs:                       {"DescribeConfigs", 4, Range{1, 4}, OnBroker | OnController},
	AlterConfigs:                          {"AlterConfigs", 2, Range{0, 2}, OnBroker | OnController},
	AlterReplicaLogDirs:                   {"AlterReplicaLogDirs", 2, Range{1, 2}, OnBroker},
	DescribeLogDirs:                       {"DescribeLogDirs", 2, Range{1, 5}, OnBroker},
	SaslAuthenticate:                      {"SaslAuthenticate", 2, Range{0, 2}, OnBroker | OnController},
	CreatePartitions:                      {"CreatePartitions", 2, Range{0, 3}, OnBroker | OnController},
	CreateDelegationToken:                 {"CreateDelegationToken", 2, Range{1, 3}, OnBroker | OnController},
	RenewDelegationToken:                  {"RenewDelegationToken", 2, Range{1, 2}, OnBroker | OnController},
	ExpireDelegationToken:                 {"ExpireDelegationToken", 2, Range{1, 2}, OnBroker | OnController},
	DescribeDelegationToken:               {"DescribeDelegationToken", 2, Range{1, 3}, OnBroker | OnController},
	DeleteGroups:                          {"DeleteGroups", 2, Range{0, 2}, OnBroker},
	ElectLeaders:                          {"ElectLeaders", 2, Range{0, 2}, OnBroker | OnController},
	IncrementalAlterConfigs:               {"IncrementalAlterConfigs", 1, Range{0, 1}, OnBroker | OnController},
	AlterPartitionReassignments:           {"AlterPartitionReassignments", 0, Range{0, 1}, OnBroker | OnController},
	ListPartitionReassignments:            {"ListPartitionReassignments", 0, Range{0, 0}, OnBroker | OnController},
	OffsetDelete:                          {"OffsetDelete", neverFlexible, Range{0, 0}, OnBroker},
	DescribeClientQuotas:                  {"DescribeClientQuotas", 1, Range{0, 1}, OnBroker},
	AlterClientQuotas:                     {"AlterClientQuotas", 1, Range{0, 1}, OnBroker | OnController},
	DescribeUserScramCredentials:          {"DescribeUserScramCredentials", 0, Range{0, 0}, OnBroker | OnController},
	AlterUserScramCredentials:             {"AlterUserScramCredentials", 0, Range{0, 0}, OnBroker | OnController},
	Vote:                                  {"Vote", 0, Range{0, 2}, OnController},
	BeginQuorumEpoch:                      {"BeginQuorumEpoch", 1, Range{0, 1}, OnController},
	EndQuorumEpoch:                        {"EndQuorumEpoch", 1, Range{0, 1}, OnController},
	DescribeQuorum:                        {"DescribeQuorum", 0, Range{0, 2}, OnBroker | OnController},
	AlterPartition:                        {"AlterPartition", 0, Range{2, 3}, OnController},
	UpdateFeatures:                        {"UpdateFeatures", 0, Range{0, 2}, OnBroker | OnController},
	Envelope:                              {"Envelope", 0, Range{0, 0}, OnController},
	FetchSnapshot:                         {"FetchSnapshot", 0, Range{0, 1}, OnController},
	DescribeCluster:                       {"DescribeCluster", 0, Range{0, 2}, OnBroker | OnController},
	DescribeProducers:                     {"DescribeProducers", 0, Range{0, 0}, OnBroker},
	BrokerRegistration:                    {"BrokerRegistration", 0, Range{0, 4}, OnController},
	BrokerHeartbeat:                       {"BrokerHeartbeat", 0, Range{0, 2}, OnController},
	UnregisterBroker:                      {"UnregisterBroker", 0, Range{0, 0}, OnBroker | OnController},
	DescribeTransactions:                  {"DescribeTransactions", 0, Range{0, 0}, OnBroker},
	ListTransactions:                      {"ListTransactions", 0, Range{0, 2}, OnBroker},
	AllocateProducerIDs:                   {"AllocateProducerIds", 0, Range{0, 0}, OnController},
	ConsumerGroupHeartbeat:                {"ConsumerGroupHeartbeat", 0, Range{0, 1}, OnBroker},
	ConsumerGroupDescribe:                 {"ConsumerGroupDescribe", 0, Range{0, 1}, OnBroker},
	ControllerRegistration:                {"ControllerRegistration", 0, Range{0, 0}, OnController},
	GetTelemetrySubscriptions:             {"GetTelemetrySubscriptions", 0, Range{0, 0}, OnBroker},
	PushTelemetry:                         {"PushTelemetry", 0, Range{0, 0}, OnBroker},
	AssignReplicasToDirs:                  {"AssignReplicasToDirs", 0, Range{0, 0}, OnController},
	ListConfigResources:                   {"ListConfigResources", 0, Range{0, 1}, OnBroker},
	DescribeTopicPartitions:               {"DescribeTopicPartitions", 0, Range{0, 0}, OnBroker},
	ShareGroupHeartbeat:                   {"ShareGroupHeartbeat", 0, Range{1, 1}, OnBroker},
	ShareGroupDescribe:                    {"ShareGroupDescribe", 0, Range{1, 1}, OnBroker},
	ShareFetch:                            {"ShareFetch", 0, Range{1, 2}, OnBroker},
	ShareAcknowledge:                      {"ShareAcknowledge", 0, Range{1, 2}, OnBroker},
	AddRaftVoter:                          {"AddRaftVoter", 0, Range{0, 1}, OnBroker | OnController},
	RemoveRaftVoter:                       {"RemoveRaftVoter", 0, Range{0, 0}, OnBroker | OnController},
	UpdateRaftVoter:                       {"UpdateRaftVoter", 0, Range{0, 0}, OnController},
	InitializeShareGroupState:             {"InitializeShareGroupState", 0, Range{0, 0}, OnBroker},
	ReadShareGroupState:                   {"ReadShareGroupState", 0, Range{0, 0}, OnBroker},
	WriteShareGroupState:                  {"WriteShareGroupState", 0, Range{0, 1}, OnBroker},
	DeleteShareGroupState:                 {"DeleteShareGroupState", 0, Range{0, 0}, OnBroker},
	ReadShareGroupStateSummary:            {"ReadShareGroupStateSummary", 0, Range{0, 1}, OnBroker},
	StreamsGroupHeartbeat:                 {"StreamsGroupHeartbeat", 0, Range{0, 0}, OnBroker},
	StreamsGroupDescribe:                  {"StreamsGroupDescribe", 0, Range{0, 0}, OnBroker},
	DescribeShareGroupOffsets:             {"DescribeShareGroupOffsets", 0, Range{0, 1}, OnBroker},
	AlterShareGroupOffsets:                {"AlterShareGroupOffsets", 0, Range{0, 0}, OnBroker},
	DeleteShareGroupOffsets:               {"DeleteShareGroupOffsets", 0, Range{0, 0}, OnBroker},
	StreamsGroupTopologyDescriptionUpdate: {"StreamsGroupTopologyDescriptionUpdate", 0, Range{0, -1}, 0},
	UnregisterController:                  {"UnregisterController", 0, Range{0, -1}, 0},
}

// Keys returns all known keys in ascending order.
func Keys() []Key {
	keys := make([]Key, 0, keyEnd)
	for k := range keyEnd {
		if k.Known() {
			keys = append(keys, k)
		}
	}
	return keys
}

// Known reports whether the key is one of the constants; every other method is only meaningful if it is.
func (k Key) Known() bool { return k >= 0 && k < keyEnd && keyFacts[k].name != "" }

// String is Kafka's name of the key, as its metrics and logs have it, such as InitProducerId.
func (k Key) String() string {
	if !k.Known() {
		return "key " + strconv.Itoa(int(k))
	}
	return keyFacts[k].name
}

// Flexible reports whether the version of the request has compact strings and tagged fields (KIP-482). It does so for
// versions beyond the known ones too: a header must be read before its version can be refused.
func (k Key) Flexible(version int16) bool {
	return k.Known() && version >= keyFacts[k].flexibleSince
}

// Apache is the range of versions that Apache Kafka 4.3.1 advertises for the key; it is empty for a newer key. What a
// listener of ours serves is the router's decision.
func (k Key) Apache() Range {
	if !k.Known() {
		return Range{0, -1}
	}
	return keyFacts[k].apache
}

// Listeners is where Apache Kafka 4.3.1 serves the key. Two broker keys, GetTelemetrySubscriptions and PushTelemetry,
// are advertised only where a receiver of telemetry is configured.
func (k Key) Listeners() Listeners {
	if !k.Known() {
		return 0
	}
	return keyFacts[k].listeners
}
