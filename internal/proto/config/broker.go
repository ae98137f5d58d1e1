package config

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/moldau/moldau"
)

// Broker is the configuration of one node, typed and checked as a whole. Sizes are bytes.
type Broker struct {
	NodeID moldau.BrokerID
	Roles  []string // broker and controller, in the order given
	Rack   string   // empty: none

	Listeners               []Listener // for clients and brokers, at least one
	ControllerListeners     []Listener // for the controller's keys; may be empty on a single node
	AdvertisedListeners     []Listener // what clients may be told. Host "": the machine's name; Port 0: the bound port
	AdvertisedControllers   []Listener // the same of the controller listeners, for those who ask on one
	ControllerListenerNames []string   // in upper case
	InterBrokerListener     string     // a name among Listeners
	HTTPListener            string     // host:port; empty: off

	LogDirs        []string // at least one
	MetadataLogDir string
	// MoveBytesPerSecond bounds moves of replicas between log directories.
	MoveBytesPerSecond int64
	DiskReserve        int64 // bytes kept back on each volume; negative: the broker's choice

	NumPartitions            int32 // of a new topic
	DefaultReplicationFactor int16 // of a new topic
	AutoCreateTopics         bool
	DeleteTopicEnable        bool
	OffsetsTopic             InternalTopic
	TransactionTopic         InternalTopic
	ShareTopic               InternalTopic

	Groups       Groups
	Transactions Transactions

	SocketRequestMaxBytes        int32 // of one request
	RequestMemoryBytes           int64 // of the requests that one listener holds, at least SocketRequestMaxBytes
	MessageMaxBytes              int32 // of one batch where the topic does not say
	ScrubBytesPerSecond          int64 // of each log directory; 0: none
	DecompressedMaxBytes         int64 // of one batch that must be opened
	FetchMaxBytes                int32 // of one answer
	FetchSessionSlots            int32
	MaxRequestPartitionSizeLimit int32         // partitions in one DescribeTopicPartitions
	RequestTimeout               time.Duration // within which another node must answer

	ConnectionsMaxIdle        time.Duration // negative: no limit
	MaxConnections            int32
	MaxConnectionsPerIP       int32
	MaxConnectionsPerIPByHost map[string]int32 // exceptions from MaxConnectionsPerIP, by address or host name
	MaxConnectionCreationRate int32            // a second
	SocketSendBufferBytes     int32            // -1: the operating system's choice
	SocketReceiveBufferBytes  int32            // -1: the operating system's choice

	Cleaner Cleaner

	RetentionCheckInterval        time.Duration
	FlushCheckpointInterval       time.Duration // of recovery points
	StartOffsetCheckpointInterval time.Duration // of log start offsets
	ProducerExpiryCheckInterval   time.Duration // between two looks for silent producers
	HWCheckpointInterval          time.Duration // of high watermarks
	RecoveryThreadsPerDir         int32
	ProducerIDExpiration          time.Duration // the state of an idempotent producer is forgotten after this silence

	LogFormat string // text or json
	LogLevel  string // debug, info, warn or error
}

// Groups is how the group coordinator treats classic groups and the offsets of all groups.
type Groups struct {
	Loops                  int32 // group.coordinator.threads
	SessionTimeoutMin      time.Duration
	SessionTimeoutMax      time.Duration
	InitialDelay           time.Duration // before the first rebalance of an empty group
	MembersMax             int32
	OffsetMetadataBytesMax int32
	OffsetRetention        time.Duration
	OffsetRetentionCheck   time.Duration
}

// Transactions is how the transaction coordinator treats transactional ids.
type Transactions struct {
	TimeoutMax time.Duration
	Expiration time.Duration // of a transactional id that is not used
}

// InternalTopic is how a coordinator's topic is made.
type InternalTopic struct {
	NumPartitions     int32
	ReplicationFactor int16 // 0: nobody set it, so min(3, brokers) at creation
	MinInSyncReplicas int32 // 0: nobody set it, or the topic has no key for it
	SegmentBytes      int32
}

// Cleaner is how compacted topics are compacted. What it may take is for all passes that are under way at the same time.
type Cleaner struct {
	Enabled        bool
	Threads        int32
	MapBytes       int64   // of the maps of keys
	MapLoad        float64 // share of a map that may be filled
	BufferBytes    int32   // to read and to write with
	BytesPerSecond float64
	Backoff        time.Duration
}

// ResolveBroker reads the configuration of a broker out of the static values (Settings.Static). The error names everything
// that is wrong by itself or in combination; the Broker is of no use then. Names that are no key are not looked at.
func ResolveBroker(static map[string]string) (Broker, error) {
	return ResolveBrokerLayers(Layers{Static: static})
}

// ResolveBrokerLayers is ResolveBroker with the dynamic values of the cluster on top.
func ResolveBrokerLayers(l Layers) (Broker, error) {
	l.Resource = nil
	r := reader{layers: l, scope: ScopeBroker}
	if r.checkEach(); r.err() != nil {
		return Broker{}, r.err()
	}
	var b Broker
	r.identity(&b)
	r.directories(&b)
	r.listeners(&b)
	r.interBroker(&b)
	r.advertised(&b)
	r.quorum(&b)
	r.topics(&b)
	r.groups(&b)
	r.requests(&b)
	r.connections(&b)
	r.background(&b)
	r.cleaner(&b)
	r.access()
	if _, err := ResolveTopic(l); err != nil {
		r.fail("defaults of topics: %w", err)
	}
	if err := r.err(); err != nil {
		return Broker{}, err
	}
	return b, nil
}

// checkEach checks every value by itself. After it, get cannot fail.
func (r *reader) checkEach() {
	for _, layer := range r.layers.brokerLayers() {
		for _, name := range slices.Sorted(maps.Keys(layer.values)) {
			if k, ok := Lookup(ScopeBroker, name); ok {
				if err := k.Check(layer.values[name]); err != nil {
					r.fail("%w", err)
				}
			}
		}
	}
}

// identity settles node.id against broker.id and what the node is.
func (r *reader) identity(b *Broker) {
	b.NodeID, b.Roles, b.Rack = moldau.BrokerID(r.i32("node.id")), r.list("process.roles"), r.get("broker.rack")
	if id := moldau.BrokerID(r.i32("broker.id")); id >= 0 {
		switch {
		case !r.isSet("node.id"):
			b.NodeID = id
		case id != b.NodeID:
			r.fail("broker.id=%d and node.id=%d differ; leave broker.id out", id, b.NodeID)
		}
	}
	broker, controller := slices.Contains(b.Roles, "broker"), slices.Contains(b.Roles, "controller")
	switch {
	case broker && controller:
	case broker || controller:
		r.fail("process.roles=%s is not supported yet: one node is broker and controller; set process.roles=broker,controller", b.Roles[0])
	default:
		r.fail("process.roles is empty; set process.roles=broker,controller or leave it out")
	}
}

// directories settles log.dirs, its older form log.dir, and where metadata goes.
func (r *reader) directories(b *Broker) {
	key := "log.dirs"
	if !r.isSet(key) && r.isSet("log.dir") {
		key = "log.dir"
	}
	b.LogDirs = r.list(key)
	if len(b.LogDirs) == 0 || slices.Contains(b.LogDirs, "") {
		r.fail("%s names no directory, or an empty one; set %s=DIRECTORY", key, key)
		return
	}
	if b.MetadataLogDir = r.get("metadata.log.dir"); b.MetadataLogDir == "" {
		b.MetadataLogDir = b.LogDirs[0]
	}
	b.MoveBytesPerSecond = r.i64("replica.alter.log.dirs.io.max.bytes.per.second")
	b.DiskReserve = r.i64("moldau.disk.reserve.bytes")
}

func (r *reader) topics(b *Broker) {
	b.NumPartitions = r.i32("num.partitions")
	b.DefaultReplicationFactor = r.replicationFactor("default.replication.factor")
	b.AutoCreateTopics = r.boolean("auto.create.topics.enable")
	b.DeleteTopicEnable = r.boolean("delete.topic.enable")
	b.OffsetsTopic = r.internalTopic("offsets.topic.", "")
	b.TransactionTopic = r.internalTopic("transaction.state.log.", "transaction.state.log.min.isr")
	b.ShareTopic = r.internalTopic("share.coordinator.state.topic.", "share.coordinator.state.topic.min.isr")
}

func (r *reader) groups(b *Broker) {
	b.Groups = Groups{
		Loops:             r.i32("group.coordinator.threads"),
		SessionTimeoutMin: r.ms("group.min.session.timeout.ms"), SessionTimeoutMax: r.ms("group.max.session.timeout.ms"),
		InitialDelay: r.ms("group.initial.rebalance.delay.ms"), MembersMax: r.i32("group.max.size"),
		OffsetMetadataBytesMax: r.i32("offset.metadata.max.bytes"),
		OffsetRetention:        time.Duration(r.i32("offsets.retention.minutes")) * time.Minute,
		OffsetRetentionCheck:   r.ms("offsets.retention.check.interval.ms"),
	}
	b.Transactions = Transactions{TimeoutMax: r.ms("transaction.max.timeout.ms"), Expiration: r.ms("transactional.id.expiration.ms")}
	if g := b.Groups; g.SessionTimeoutMin > g.SessionTimeoutMax {
		r.fail("group.min.session.timeout.ms is more than group.max.session.timeout.ms: no member could join a group")
	}
}

// internalTopic reads the keys behind prefix. minISR names the key for the in-sync replicas, or is empty.
func (r *reader) internalTopic(prefix, minISR string) InternalTopic {
	t := InternalTopic{NumPartitions: r.i32(prefix + "num.partitions"), SegmentBytes: r.i32(prefix + "segment.bytes")}
	if r.isSet(prefix + "replication.factor") {
		t.ReplicationFactor = r.replicationFactor(prefix + "replication.factor")
	}
	if minISR != "" && r.isSet(minISR) {
		t.MinInSyncReplicas = r.i32(minISR)
	}
	return t
}

// replicationFactor reads a count of replicas, for which the wire has 16 bits.
func (r *reader) replicationFactor(name string) int16 {
	n := r.i32(name)
	if n > math.MaxInt16 {
		r.fail("%s=%d: must not be more than %d", name, n, math.MaxInt16)
	}
	return int16(n)
}

func (r *reader) requests(b *Broker) {
	b.SocketRequestMaxBytes = r.i32("socket.request.max.bytes")
	b.MessageMaxBytes = r.i32("message.max.bytes")
	b.ScrubBytesPerSecond = r.i64("moldau.scrub.bytes.per.second")
	b.DecompressedMaxBytes = r.i64("moldau.max.record.bytes.decompressed")
	b.FetchMaxBytes = r.i32("fetch.max.bytes")
	b.FetchSessionSlots = r.i32("max.incremental.fetch.session.cache.slots")
	b.MaxRequestPartitionSizeLimit = r.i32("max.request.partition.size.limit")
	b.RequestTimeout = r.ms("request.timeout.ms")
	const memory = "moldau.request.memory.bytes"
	b.RequestMemoryBytes = r.i64(memory)
	largest := int64(b.SocketRequestMaxBytes)
	if r.isSet(memory) {
		if b.RequestMemoryBytes < largest {
			r.fail("%s=%d is less than socket.request.max.bytes=%d: the largest request could never be read", memory, b.RequestMemoryBytes, largest)
		}
		return
	}
	if queued := r.i64("queued.max.request.bytes"); queued > 0 {
		b.RequestMemoryBytes = queued // Kafka lets the largest request through all the same
	}
	b.RequestMemoryBytes = max(b.RequestMemoryBytes, largest)
}

func (r *reader) connections(b *Broker) {
	b.ConnectionsMaxIdle = r.ms("connections.max.idle.ms")
	b.MaxConnections = r.i32("max.connections")
	b.MaxConnectionsPerIP = r.i32("max.connections.per.ip")
	b.MaxConnectionCreationRate = r.i32("max.connection.creation.rate")
	b.SocketSendBufferBytes = r.i32("socket.send.buffer.bytes")
	b.SocketReceiveBufferBytes = r.i32("socket.receive.buffer.bytes")
	overrides, err := parseIPOverrides(r.get("max.connections.per.ip.overrides"))
	if err != nil {
		r.fail("max.connections.per.ip.overrides: %w", err)
	}
	b.MaxConnectionsPerIPByHost = overrides
}

func (r *reader) cleaner(b *Broker) {
	c := &b.Cleaner
	c.Enabled, c.Threads = r.boolean("log.cleaner.enable"), r.i32("log.cleaner.threads")
	c.MapBytes, c.MapLoad = r.i64("log.cleaner.dedupe.buffer.size"), r.float("log.cleaner.io.buffer.load.factor")
	c.BufferBytes, c.BytesPerSecond = r.i32("log.cleaner.io.buffer.size"), r.float("log.cleaner.io.max.bytes.per.second")
	c.Backoff = r.ms("log.cleaner.backoff.ms")
	if c.MapBytes/int64(max(c.Threads, 1)) <= 1<<20 {
		r.fail("log.cleaner.dedupe.buffer.size=%d is not more than 1 MiB for each of log.cleaner.threads=%d: next to no keys fit", c.MapBytes, c.Threads)
	}
}

func (r *reader) background(b *Broker) {
	b.RetentionCheckInterval = r.ms("log.retention.check.interval.ms")
	b.FlushCheckpointInterval = r.ms("log.flush.offset.checkpoint.interval.ms")
	b.StartOffsetCheckpointInterval = r.ms("log.flush.start.offset.checkpoint.interval.ms")
	b.ProducerExpiryCheckInterval = r.ms("producer.id.expiration.check.interval.ms")
	b.HWCheckpointInterval = r.ms("replica.high.watermark.checkpoint.interval.ms")
	b.RecoveryThreadsPerDir = r.i32("num.recovery.threads.per.data.dir")
	b.ProducerIDExpiration = r.ms("producer.id.expiration.ms")
	b.HTTPListener = r.get("moldau.http.listener")
	b.LogFormat, b.LogLevel = r.get("moldau.log.format"), r.get("moldau.log.level")
}

// access refuses what would look like protection and is none.
func (r *reader) access() {
	if class := r.get("authorizer.class.name"); class != "" {
		r.fail("authorizer.class.name=%s is not supported yet: access rules would not be enforced; leave it out and keep the broker in a trusted network", class)
	}
	if protocol := r.get("security.inter.broker.protocol"); protocol != PLAINTEXT {
		r.fail("security.inter.broker.protocol=%s is not supported yet (TLS and SASL come later); use PLAINTEXT", protocol)
	}
}
