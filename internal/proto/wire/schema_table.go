package wire

// schemaText tells, for each request that is decoded, the order and types of its fields on the wire. It is what a walk
// over a body goes by before kmsg reads it. The names are those of kmsg's structs (which give each element's size in
// memory), the rest is Kafka's protocol.
//
// A field is its name, its type, the versions that have it (3+, 0-12 or 1; none: all) and, for a tagged field, # and
// its tag. [a, b] is an array of structs, []int32 one of numbers, {a, b} a struct inside. A question mark says that null
// is allowed, and from which version on if not from the field's first.
//
// A tag is known in every flexible version, also in those that came before its field: that is how kmsg reads it.
var schemaText = [...]string{
	Produce: `
		TransactionID string? 3+, Acks int16, TimeoutMillis int32,
		Topics [Topic string 0-12, TopicID uuid 13+, Partitions [Partition int32, Records bytes?]]`,

	Fetch: `
		ReplicaID int32 0-14, MaxWaitMillis int32, MinBytes int32, MaxBytes int32 3+, IsolationLevel int8 4+,
		SessionID int32 7+, SessionEpoch int32 7+,
		Topics [
			Topic string 0-12, TopicID uuid 13+,
			Partitions [
				Partition int32, CurrentLeaderEpoch int32 9+, FetchOffset int64, LastFetchedEpoch int32 12+,
				LogStartOffset int64 5+, PartitionMaxBytes int32, ReplicaDirectoryID uuid #0, HighWatermark int64 #1
			]
		],
		ForgottenTopics [Topic string 7-12, TopicID uuid 13+, Partitions []int32] 7+, Rack string 11+,
		ClusterID string? #0, ReplicaState {ID int32, Epoch int64} #1`,

	ListOffsets: `
		ReplicaID int32, IsolationLevel int8 2+,
		Topics [
			Topic string,
			Partitions [Partition int32, CurrentLeaderEpoch int32 4+, Timestamp int64, MaxNumOffsets int32 0]
		],
		TimeoutMillis int32 10+`,

	Metadata: `
		Topics [TopicID uuid 10+, Topic string?10+]?1+, AllowAutoTopicCreation bool 4+,
		IncludeClusterAuthorizedOperations bool 8-10, IncludeTopicAuthorizedOperations bool 8+`,

	OffsetCommit: `
		Group string, Generation int32 1+, MemberID string 1+, InstanceID string? 7+, RetentionTimeMillis int64 2-4,
		Topics [
			Topic string 0-9, TopicID uuid 10+,
			Partitions [Partition int32, Offset int64, Timestamp int64 1, LeaderEpoch int32 6+, Metadata string?]
		]`,

	OffsetFetch: `
		Group string 0-7, Topics [Topic string, Partitions []int32]?2+ 0-7,
		Groups [
			Group string, MemberID string? 9+, MemberEpoch int32 9+,
			Topics [Topic string 8-9, TopicID uuid 10+, Partitions []int32]?
		] 8+,
		RequireStable bool 7+`,

	FindCoordinator: `
		CoordinatorKey string 0-3, CoordinatorType int8 1+, CoordinatorKeys []string 4+`,

	JoinGroup: `
		Group string, SessionTimeoutMillis int32, RebalanceTimeoutMillis int32 1+, MemberID string,
		InstanceID string? 5+, ProtocolType string, Protocols [Name string, Metadata bytes], Reason string? 8+`,

	Heartbeat: `
		Group string, Generation int32, MemberID string, InstanceID string? 3+`,

	LeaveGroup: `
		Group string, MemberID string 0-2, Members [MemberID string, InstanceID string?, Reason string? 5+] 3+`,

	SyncGroup: `
		Group string, Generation int32, MemberID string, InstanceID string? 3+, ProtocolType string? 5+,
		Protocol string? 5+, GroupAssignment [MemberID string, MemberAssignment bytes]`,

	DescribeGroups: `
		Groups []string, IncludeAuthorizedOperations bool 3+`,

	ListGroups: `
		StatesFilter []string 4+, TypesFilter []string 5+`,

	SaslHandshake: `
		Mechanism string`,

	ApiVersions: `
		ClientSoftwareName string 3+, ClientSoftwareVersion string 3+, ClusterID string? 5+, NodeID int32 5+`,

	CreateTopics: `
		Topics [
			Topic string, NumPartitions int32, ReplicationFactor int16,
			ReplicaAssignment [Partition int32, Replicas []int32], Configs [Name string, Value string?]
		],
		TimeoutMillis int32, ValidateOnly bool 1+`,

	DeleteTopics: `
		TopicNames []string 0-5, Topics [Topic string?, TopicID uuid] 6+, TimeoutMillis int32`,

	DeleteRecords: `
		Topics [Topic string, Partitions [Partition int32, Offset int64]], TimeoutMillis int32`,

	InitProducerID: `
		TransactionalID string?, TransactionTimeoutMillis int32, ProducerID int64 3+, ProducerEpoch int16 3+`,

	OffsetForLeaderEpoch: `
		ReplicaID int32 3+,
		Topics [Topic string, Partitions [Partition int32, CurrentLeaderEpoch int32 2+, LeaderEpoch int32]]`,

	AddPartitionsToTxn: `
		TransactionalID string 0-3, ProducerID int64 0-3, ProducerEpoch int16 0-3,
		Topics [Topic string, Partitions []int32] 0-3,
		Transactions [
			TransactionalID string, ProducerID int64, ProducerEpoch int16, VerifyOnly bool,
			Topics [Topic string, Partitions []int32]
		] 4+`,

	AddOffsetsToTxn: `
		TransactionalID string, ProducerID int64, ProducerEpoch int16, Group string`,

	EndTxn: `
		TransactionalID string, ProducerID int64, ProducerEpoch int16, Commit bool`,

	WriteTxnMarkers: `
		Markers [
			ProducerID int64, ProducerEpoch int16, Committed bool, Topics [Topic string, Partitions []int32],
			CoordinatorEpoch int32, TransactionVersion int8 2+
		]`,

	TxnOffsetCommit: `
		TransactionalID string, Group string, ProducerID int64, ProducerEpoch int16, Generation int32 3+,
		MemberID string 3+, InstanceID string? 3+,
		Topics [
			Topic string 0-5, TopicID uuid 6+,
			Partitions [Partition int32, Offset int64, LeaderEpoch int32 2+, Metadata string?]
		]`,

	DescribeAcls: `
		ResourceType int8, ResourceName string?, ResourcePatternType int8 1+, Principal string?, Host string?,
		Operation int8, PermissionType int8`,

	CreateAcls: `
		Creations [
			ResourceType int8, ResourceName string, ResourcePatternType int8 1+, Principal string, Host string,
			Operation int8, PermissionType int8
		]`,

	DeleteAcls: `
		Filters [
			ResourceType int8, ResourceName string?, ResourcePatternType int8 1+, Principal string?, Host string?,
			Operation int8, PermissionType int8
		]`,

	DescribeConfigs: `
		Resources [ResourceType int8, ResourceName string, ConfigNames []string?], IncludeSynonyms bool 1+,
		IncludeDocumentation bool 3+`,

	AlterConfigs: `
		Resources [ResourceType int8, ResourceName string, Configs [Name string, Value string?]], ValidateOnly bool`,

	AlterReplicaLogDirs: `
		Dirs [Dir string, Topics [Topic string, Partitions []int32]]`,

	DescribeLogDirs: `
		Topics [Topic string, Partitions []int32]?`,

	SaslAuthenticate: `
		SASLAuthBytes bytes`,

	CreatePartitions: `
		Topics [Topic string, Count int32, Assignment [Replicas []int32]?], TimeoutMillis int32, ValidateOnly bool`,

	CreateDelegationToken: `
		OwnerPrincipalType string? 3+, OwnerPrincipalName string? 3+,
		Renewers [PrincipalType string, PrincipalName string], MaxLifetimeMillis int64`,

	RenewDelegationToken: `
		HMAC bytes, RenewTimeMillis int64`,

	ExpireDelegationToken: `
		HMAC bytes, ExpiryPeriodMillis int64`,

	DescribeDelegationToken: `
		Owners [PrincipalType string, PrincipalName string]?`,

	DeleteGroups: `
		Groups []string`,

	ElectLeaders: `
		ElectionType int8 1+, Topics [Topic string, Partitions []int32]?, TimeoutMillis int32`,

	IncrementalAlterConfigs: `
		Resources [ResourceType int8, ResourceName string, Configs [Name string, Op int8, Value string?]],
		ValidateOnly bool`,

	AlterPartitionReassignments: `
		TimeoutMillis int32, AllowReplicationFactorChange bool 1+,
		Topics [Topic string, Partitions [Partition int32, Replicas []int32?]]`,

	ListPartitionReassignments: `
		TimeoutMillis int32, Topics [Topic string, Partitions []int32]?`,

	OffsetDelete: `
		Group string, Topics [Topic string, Partitions [Partition int32]]`,

	DescribeClientQuotas: `
		Components [EntityType string, MatchType int8, Match string?], Strict bool`,

	AlterClientQuotas: `
		Entries [Entity [Type string, Name string?], Ops [Key string, Value float64, Remove bool]], ValidateOnly bool`,

	DescribeUserScramCredentials: `
		Users [Name string]?`,

	AlterUserScramCredentials: `
		Deletions [Name string, Mechanism int8],
		Upsertions [Name string, Mechanism int8, Iterations int32, Salt bytes, SaltedPassword bytes]`,

	Vote: `
		ClusterID string?, VoterID int32 1+,
		Topics [
			Topic string,
			Partitions [
				Partition int32, CandidateEpoch int32, CandidateID int32, CandidateDirectoryID uuid 1+,
				VoterDirectoryID uuid 1+, LastOffsetEpoch int32, LastOffset int64, PreVote bool 2+
			]
		]`,

	BeginQuorumEpoch: `
		ClusterID string?, VoterID int32 1+,
		Topics [
			Topic string, Partitions [Partition int32, VoterDirectoryID uuid 1+, LeaderID int32, LeaderEpoch int32]
		],
		LeaderEndpoints [Name string, Host string, Port uint16] 1+`,

	EndQuorumEpoch: `
		ClusterID string?,
		Topics [
			Topic string,
			Partitions [
				Partition int32, LeaderID int32, LeaderEpoch int32, PreferredSuccessors []int32 0,
				PreferredCandidates [CandidateID int32, CandidateDirectoryID uuid] 1+
			]
		],
		LeaderEndpoints [Name string, Host string, Port uint16] 1+`,

	DescribeQuorum: `
		Topics [Topic string, Partitions [Partition int32]]`,

	AlterPartition: `
		BrokerID int32, BrokerEpoch int64,
		Topics [
			Topic string 0-1, TopicID uuid 2+,
			Partitions [
				Partition int32, LeaderEpoch int32, NewISR []int32 0-2,
				NewEpochISR [BrokerID int32, BrokerEpoch int64] 3+, LeaderRecoveryState int8 1+, PartitionEpoch int32
			]
		]`,

	UpdateFeatures: `
		TimeoutMillis int32,
		FeatureUpdates [Feature string, MaxVersionLevel int16, AllowDowngrade bool 0, UpgradeType int8 1+],
		ValidateOnly bool 1+`,

	Envelope: `
		RequestData bytes, RequestPrincipal bytes?, ClientHostAddress bytes`,

	FetchSnapshot: `
		ReplicaID int32, MaxBytes int32,
		Topics [
			Topic string,
			Partitions [
				Partition int32, CurrentLeaderEpoch int32, SnapshotID {EndOffset int64, Epoch int32}, Position int64,
				ReplicaDirectoryID uuid #0
			]
		],
		ClusterID string? #0`,

	DescribeCluster: `
		IncludeClusterAuthorizedOperations bool, EndpointType int8 1+, IncludeFencedBrokers bool 2+`,

	DescribeProducers: `
		Topics [Topic string, Partitions []int32]`,

	BrokerRegistration: `
		BrokerID int32, ClusterID string, IncarnationID uuid,
		Listeners [Name string, Host string, Port uint16, SecurityProtocol int16],
		Features [Name string, MinSupportedVersion int16, MaxSupportedVersion int16], Rack string?,
		IsMigratingZkBroker bool 1+, LogDirs []uuid 2+, PreviousBrokerEpoch int64 3+`,

	BrokerHeartbeat: `
		BrokerID int32, BrokerEpoch int64, CurrentMetadataOffset int64, WantFence bool, WantShutdown bool,
		OfflineLogDirs []uuid #0, CordonedLogDirs []uuid? #1`,

	UnregisterBroker: `
		BrokerID int32`,

	DescribeTransactions: `
		TransactionalIDs []string`,

	ListTransactions: `
		StateFilters []string, ProducerIDFilters []int64, DurationFilterMillis int64 1+,
		TransactionalIDPattern string? 2+`,

	AllocateProducerIDs: `
		BrokerID int32, BrokerEpoch int64`,

	ConsumerGroupHeartbeat: `
		Group string, MemberID string, MemberEpoch int32, InstanceID string?, RackID string?,
		RebalanceTimeoutMillis int32, SubscribedTopicNames []string?, SubscribedTopicRegex string? 1+,
		ServerAssignor string?, Topics [TopicID uuid, Partitions []int32]?`,

	ConsumerGroupDescribe: `
		Groups []string, IncludeAuthorizedOperations bool`,

	ControllerRegistration: `
		ControllerID int32, IncarnationID uuid, ZkMigrationReady bool,
		Listeners [Name string, Host string, Port uint16, SecurityProtocol int16],
		Features [Name string, MinSupportedVersion int16, MaxSupportedVersion int16]`,

	GetTelemetrySubscriptions: `
		ClientInstanceID uuid`,

	PushTelemetry: `
		ClientInstanceID uuid, SubscriptionID int32, Terminating bool, CompressionType int8, Metrics bytes`,

	AssignReplicasToDirs: `
		BrokerID int32, BrokerEpoch int64, Directories [ID uuid, Topics [TopicID uuid, Partitions [Partition int32]]]`,

	ListConfigResources: `
		ResourceTypes []int8 1+`,

	DescribeTopicPartitions: `
		Topics [Topic string], ResponsePartitionLimit int32, Cursor {Topic string, Partition int32}?`,

	ShareGroupHeartbeat: `
		GroupID string, MemberID string, MemberEpoch int32, RackID string?, SubscribedTopicNames []string?`,

	ShareGroupDescribe: `
		GroupIDs []string, IncludeAuthorizedOperations bool`,

	ShareFetch: `
		GroupID string?, MemberID string?, ShareSessionEpoch int32, MaxWaitMillis int32, MinBytes int32,
		MaxBytes int32, MaxRecords int32 1+, BatchSize int32 1+, ShareAcquireMode int8 2+, IsRenewAck bool 2+,
		Topics [
			TopicID uuid,
			Partitions [
				Partition int32, PartitionMaxBytes int32 0,
				AcknowledgementBatches [FirstOffset int64, LastOffset int64, AcknowledgeTypes []int8]
			]
		],
		ForgottenTopicsData [TopicID uuid, Partitions []int32]`,

	ShareAcknowledge: `
		GroupID string?, MemberID string?, ShareSessionEpoch int32, IsRenewAck bool 2+,
		Topics [
			TopicID uuid,
			Partitions [
				Partition int32, AcknowledgementBatches [FirstOffset int64, LastOffset int64, AcknowledgeTypes []int8]
			]
		]`,

	AddRaftVoter: `
		ClusterID string?, TimeoutMillis int32, VoterID int32, VoterDirectoryID uuid,
		Listeners [Name string, Host string, Port uint16], AckWhenCommitted bool 1+`,

	RemoveRaftVoter: `
		ClusterID string?, VoterID int32, VoterDirectoryID uuid`,

	UpdateRaftVoter: `
		ClusterID string?, CurrentLeaderEpoch int32, VoterID int32, VoterDirectoryID uuid,
		Listeners [Name string, Host string, Port uint16],
		KRaftVersionFeature {MinSupportedVersion int16, MaxSupportedVersion int16}`,

	InitializeShareGroupState: `
		GroupID string, Topics [TopicID uuid, Partitions [Partition int32, StateEpoch int32, StartOffset int64]]`,

	ReadShareGroupState: `
		GroupID string, Topics [TopicID uuid, Partitions [Partition int32, LeaderEpoch int32]]`,

	WriteShareGroupState: `
		GroupID string,
		Topics [
			TopicID uuid,
			Partitions [
				Partition int32, StateEpoch int32, LeaderEpoch int32, StartOffset int64,
				DeliveryCompleteCount int32 1+,
				StateBatches [FirstOffset int64, LastOffset int64, DeliveryState int8, DeliveryCount int16]
			]
		]`,

	DeleteShareGroupState: `
		GroupID string, Topics [TopicID uuid, Partitions [Partition int32]]`,

	ReadShareGroupStateSummary: `
		GroupID string, Topics [TopicID uuid, Partitions [Partition int32, LeaderEpoch int32]]`,

	StreamsGroupHeartbeat: `
		Group string, MemberID string, MemberEpoch int32, EndpointInformationEpoch int32, InstanceID string?,
		RackID string?, RebalanceTimeoutMillis int32,
		Topology {
			Epoch int32,
			Subtopologies [
				SubtopologyID string, SourceTopics []string, SourceTopicRegex []string,
				StateChangelogTopics [
					Topic string, NumPartitions int32, ReplicationFactor int16, Configs [Key string, Value string]
				],
				RepartitionSinkTopics []string,
				RepartitionSourceTopics [
					Topic string, NumPartitions int32, ReplicationFactor int16, Configs [Key string, Value string]
				],
				CopartitionGroups [SourceTopics []int16, SourceTopicRegex []int16, RepartitionSourceTopics []int16]
			]
		}?,
		ActiveTasks [SubtopologyID string, Partitions []int32]?,
		StandbyTasks [SubtopologyID string, Partitions []int32]?,
		WarmupTasks [SubtopologyID string, Partitions []int32]?, ProcessID string?,
		UserEndpoint {Host string, Port uint16}?, ClientTags [Key string, Value string]?,
		TaskOffsets [SubtopologyID string, Partition int32, Offset int64]?,
		TaskEndOffsets [SubtopologyID string, Partition int32, Offset int64]?, ShutdownApplication bool`,

	StreamsGroupDescribe: `
		Groups []string, IncludeAuthorizedOperations bool, IncludeTopologyDescription bool 1+`,

	DescribeShareGroupOffsets: `
		Groups [GroupID string, Topics [Topic string, Partitions []int32]?]`,

	AlterShareGroupOffsets: `
		GroupID string, Topics [Topic string, Partitions [Partition int32, StartOffset int64]]`,

	DeleteShareGroupOffsets: `
		GroupID string, Topics [Topic string]`,

	StreamsGroupTopologyDescriptionUpdate: `
		Group string, MemberID string, TopologyEpoch int32,
		TopologyDescription {
			Subtopologies [
				SubtopologyID string,
				Nodes [
					Name string, NodeType int8, SourceTopics []string, SinkTopic string?, Stores []string,
					Successors []string
				]
			],
			GlobalStores [
				Source {
					Name string, NodeType int8, SourceTopics []string, SinkTopic string?, Stores []string,
					Successors []string
				},
				Processor {
					Name string, NodeType int8, SourceTopics []string, SinkTopic string?, Stores []string,
					Successors []string
				}
			]
		}`,

	UnregisterController: `
		ControllerID int32`,
}
