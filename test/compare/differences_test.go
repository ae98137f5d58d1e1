package compare

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// difference is where Moldau means to answer differently. It covers as little as it can: fields of one key, in steps and
// with values that match. Empty expressions match everything; the others match as a whole.
type difference struct {
	key     kmsg.Key
	step    string // "script: step"
	field   string
	kafka   string
	ours    string
	because string
}

func (i difference) covers(d deviation) bool {
	return int16(i.key) == d.key && matches(i.step, d.step) && matches(i.field, d.path) && matches(i.kafka, d.kafka) && matches(i.ours, d.ours)
}

func matches(expression, s string) bool {
	return expression == "" || regexp.MustCompile("^(?s:"+expression+")$").MatchString(s)
}

const (
	aMap      = "Kafka puts what a request names into a map, where one entry for each thing is left and none for a topic without partitions; every entry gets its answer here"
	closing   = "Kafka fails inside and stays silent or hangs up; a client is told what is wrong"
	unknown   = "Kafka fails inside and says UNKNOWN_SERVER_ERROR, which clients take for a fault of the broker; here it is told as the fault of the request that it is"
	isolation = "any isolation but read committed reads everything; Kafka fails inside on one that it does not know"
)

// intended is the list of all of them. One that does not show any more fails the test.
var intended = []difference{
	// What is not there yet.
	{kmsg.ApiVersions, "", `ApiKeys\[(3[01469]|38|40|45|49|51|64|6[7-9]|7[6-9]|8[013-9]|9[0-2])\]`, "", "nothing",
		"newer groups, access control, quotas, credentials, tokens, reassignments and share groups are not served yet, and what is not served is not advertised"},
	{kmsg.ApiVersions, "", `FinalizedFeatures\[(group|share|streams|eligible.leader.replicas)\.version\]`, "", "nothing",
		"these stay at level 0 until what they switch on is there (X-58)"},
	{kmsg.ApiVersions, "", `SupportedFeatures\[(group|share|streams|eligible.leader.replicas)\.version\]`, "", "nothing",
		"a feature that cannot be switched on is not supported"},
	{kmsg.FindCoordinator, "coordinators: coordinator (of type (group|transaction)|without a type|of an empty group)",
		`(Coordinators\[.*\]\.)?(NodeID|Host|Port|ErrorCode)`, "", "", "Kafka tells the first to ask to come again, and makes the topic meanwhile; here they are answered when it is there"},
	{kmsg.DescribeTransactions, "transactions: describe in the transaction", `.*\.Partitions`, `\[2,0\]`, `\[0,2\]`, "by number; Kafka has them in the order of a hash"},
	{kmsg.ListGroups, "groups: list.*", `Groups\[refused\]`, "", "nothing", "a member that was refused leaves no group behind"},
	{kmsg.InitProducerID, "coordinators: producer id of a transaction", "ErrorCode|ProducerID|ProducerEpoch", "", "", "how soon after the topic the coordinator is ready is another matter on each"},

	// Where Kafka fails inside.
	{kmsg.DescribeACLs, "cluster: acls of unknown types", "Connection|ErrorCode", "", "", closing},
	{kmsg.AlterConfigs, "alter configs: replace: one resource twice", "", "", "", closing},
	{kmsg.Produce, "produce: null records", "", "", "", closing},
	{kmsg.Metadata, "metadata: by a null name without id", "", "", "", unknown},
	{kmsg.DescribeTopicPartitions, "metadata: pages, an empty name", "", "", "", unknown},
	{kmsg.IncrementalAlterConfigs, "alter configs: an (unknown operation|operation below all).*", `.*\.ErrorCode`, "-1", "42", unknown},
	{kmsg.ListOffsets, "offsets: with an unknown isolation", "", "", "", isolation},
	{kmsg.Fetch, "fetch: with an unknown isolation", "", "", "", isolation},
	{kmsg.Fetch, "fetch: (several with )?negative bytes", "", "", "", "a negative limit is none at all for Kafka, which fails on it; here it is 0"},
	{kmsg.Produce, "produce: (an unknown codec|all codec bits|records that are no records)", `.*\.ErrorCode`, "-1", "87", unknown},
	{kmsg.Produce, "produce: .* with (garbage|no bytes|half of its bytes) to .*", `.*\.ErrorCode`, "-1", "87", unknown},

	// Topics.
	{kmsg.CreateTopics, "create topics: time-out of 0", `.*\.ErrorCode`, "7", "36",
		"a time-out of 0 is one that has passed before Kafka looks at the request; the answer is known at once here"},
	{kmsg.DeleteTopics, "delete topics: one (id )?twice|forbidding: not deleted", `Topics\[(one-2|kept|gone-id|id\(gone-id\))\](\.TopicID)?`, "", "",
		"a topic is told with name and id wherever it exists"},
	{kmsg.Metadata, "metadata: that may be created", `Topics\[auto-.*\]\.(ErrorCode|TopicID|Partitions.*)`, "", "",
		"the answer waits for the creation and shows the topic, so that clients need not ask again"},
	{kmsg.Metadata, "metadata: that may be created and collides", `.*\.ErrorCode`, "3", "17",
		"a client that is told UNKNOWN_TOPIC_OR_PARTITION asks for ever for a topic that cannot be created"},
	{kmsg.Metadata, "metadata: of an internal one", `Topics\[__cluster_metadata\]\.IsInternal`, "", "", "the metadata log counts as internal also where it is no topic"},
	{kmsg.DescribeTopicPartitions, "metadata: pages, internal ones", `Topics\[0:__cluster_metadata\]\.IsInternal`, "", "",
		"the metadata log counts as internal also where it is no topic"},
	{kmsg.Metadata, "metadata: by id and by name", `Topics\[meta-b\].*`, "nothing", "", "Kafka drops the names of a request that has an id"},

	// The quorum.
	{kmsg.DescribeQuorum, "cluster: describe the quorum", `.*\.ReplicaDirectoryID`, "", "",
		"voters are known by their directories from the start, as in Kafka's dynamic quorums"},
	{kmsg.DescribeQuorum, "cluster: describe the quorum", `Nodes\[1\]\.Listeners\[(CONTROLLER|PLAINTEXT)\]`, "", "",
		"one node needs no listener for controllers; the way to the quorum is the one that there is"},

	// Configuration: the keys of which the two brokers under test have other values, and those that only one has.
	{kmsg.DescribeConfigs, "configs: a broker", `.*\[(listeners|advertised\.listeners|controller\.listener\.names|controller\.quorum\.voters|listener\.security\.protocol\.map|process\.roles)\].*`,
		"", "", "Kafka does not start without these; Moldau does, and listens to its own machine alone unless told otherwise"},
	{kmsg.DescribeConfigs, "configs: a broker( without synonyms)?", `.*\[(node\.id|log\.dirs?)\].*`, "", "", "node id 1 and ./moldau-data by default: nothing has to be set, and no data under /tmp"},
	{kmsg.DescribeConfigs, "configs: a broker", `.*\[socket\.receive\.buffer\.bytes\].*`, "102400", "-1",
		"the system's own tuning took an eighth off the CPU per GB produced"},
	{kmsg.DescribeConfigs, "configs: a broker", `.*\[moldau\..*\]`, "nothing", "", "settings of our own"},

	// Offsets.
	{kmsg.ListOffsets, "offsets: (one twice|of no partition)", "", "nothing", "", aMap},
	{kmsg.DeleteRecords, "offsets: delete records (of nothing|one twice)", "", "", "", aMap},
	{kmsg.ListOffsets, "offsets: after deletions at -3", "", "", "", "the record with the highest timestamp is one that can still be read, not one that was deleted"},
	{kmsg.OffsetForLeaderEpoch, "offsets: epochs, asked for -2", "", "", "", "-2 is no epoch, and nothing is known of it"},

	// Produce.
	{kmsg.Produce, "", `.*\.LogStartOffset`, "0", unset, "where nothing was appended no offset is told; Kafka tells the log's start in some of these answers"},
	{kmsg.Produce, "produce: internal topic", `.*\.ErrorCode`, "3", "17", "clients never write to internal topics, also to those that are not there yet (L-11)"},
	{kmsg.Produce, "produce: (no partitions|one partition twice|one topic twice)", "", "", "", aMap},
	{kmsg.Produce, "produce: a producer without an epoch", "", "", "", "for Kafka the first such batch goes in, and the next is a duplicate of it; here a producer id needs an epoch to count"},
	{kmsg.Produce, "produce: log append time set by the client(, gzip,)? to p-mess", "", "", "",
		"the log sets this attribute where the topic wants it; Kafka refuses it from clients on topics with log append time alone"},
	{kmsg.Produce, "produce: .* with .* to p-sealed", `.*\.(ErrorCode|BaseOffset)`, "-1|87", "",
		"a compressed batch that can be stored as it came is not opened: what is inside is the readers' and costs most of a broker's time (L-4)"},
	{kmsg.Produce, "(idempotence: .*|transactions: produce again)", `.*\.LogAppendTime`, "170000000000[0-2]", unset,
		"Kafka tells the timestamp of a duplicate as if it were log append time, and clients take it for that of their records"},
	{kmsg.Fetch, "produce: stored in p-odd", `.*\.RecordBatches\[(19|2[0-6])\]\.(Payload|Holds)`, "", "",
		"records numbered with gaps or backwards are numbered anew; Kafka stores them, and consumers see offsets beyond the batch or twice"},
	{kmsg.Fetch, "produce: stored in p", `.*\.MaxTime`, "-1", "-2", "the highest of two times of -2"},
	{kmsg.Fetch, "produce: stored in p-(gzip|snappy|lz4|zstd)|forbidding: stored", `.*\.(Bytes|Payload)`, "", "", "each broker's own compressors"},
	{kmsg.DescribeLogDirs, "log dirs: of all", `.*\[p-(gzip|snappy|lz4|zstd|mess|sealed|odd)\].*`, "", "",
		"each broker's own compressors, and what one of them refuses"},

	// Fetch.
	{kmsg.Fetch, "", `.*\.AbortedTransactions`, `\[\]`, unset, "null unless committed records are asked for, as in all other answers; Kafka has an empty list in some errors"},
	{kmsg.Fetch, "fetch: (bytes for one batch and a half|several with bytes for two batches|waiting for more bytes than may be)", `.*\.RecordBatches\[\d+\]`, "it Truncated=true", "nothing",
		"batches are sent whole (L-10)"},
	{kmsg.Fetch, "fetch: one partition twice", "", "", "", aMap},
	{kmsg.Fetch, "fetch: absent ones", `Topics\[(f|id\(f\))(#2)?\](\.Partitions\[(-1|9)\])?`, "", "", "partitions come in the order of the request; Kafka tells those that are not there apart from the others"},
	{kmsg.Fetch, "fetch: as replica 99", `Brokers\[1\]`, "nothing", "", "whoever is told of a leader is told where it is; Kafka leaves that out for followers"},
	{kmsg.Fetch, "sessions: begin with nothing", "SessionID", "<positive>", unset, "a session without partitions is none"},
	{kmsg.Fetch, "sessions: created again(, from the start)?", `.*\.Partitions\[1\]\.ErrorCode`, "3", "103",
		"the topic of this name is another one now, also for partitions that it does not have"},
}
