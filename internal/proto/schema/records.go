package schema

import "github.com/moldau/moldau"

// Endpoint is where a broker listens: the listener's name, the advertised host and port, and Kafka's number of the
// security protocol (0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL).
type Endpoint struct {
	Name             string
	Host             string
	Port             uint16
	SecurityProtocol int16
}

// Feature is a feature with the levels of it that a broker can run.
type Feature struct {
	Name string
	Min  int16
	Max  int16
}

// RegisterBroker makes a broker known, or known anew after a restart; it replaces all that was known of it. Versions 0–4.
type RegisterBroker struct {
	Broker          moldau.BrokerID
	Incarnation     moldau.UUID
	Epoch           moldau.BrokerEpoch
	Endpoints       []Endpoint
	Features        []Feature
	Rack            *string // nil: none
	Fenced          bool
	ShuttingDown    bool // in controlled shutdown; version 1
	LogDirs         []moldau.DirectoryID
	CordonedLogDirs []moldau.DirectoryID // take no new replicas; nil: never said; version 4
}

// Type is RegisterBrokerType.
func (*RegisterBroker) Type() Type { return RegisterBrokerType }

func (r *RegisterBroker) fields(c *codec) {
	int32Field(c, &r.Broker)
	if c.version >= 2 {
		var migratingFromZooKeeper bool // of migrations that ended with Kafka 3.9
		c.bool(&migratingFromZooKeeper)
	}
	c.uuid(&r.Incarnation)
	int64Field(c, &r.Epoch)
	array(c, &r.Endpoints, 7, func(e *Endpoint) {
		c.string(&e.Name)
		c.string(&e.Host)
		c.uint16(&e.Port)
		c.int16(&e.SecurityProtocol)
		c.tags()
	})
	array(c, &r.Features, 6, func(f *Feature) {
		c.string(&f.Name)
		c.int16(&f.Min)
		c.int16(&f.Max)
		c.tags()
	})
	c.nullableString(&r.Rack)
	c.bool(&r.Fenced)
	if c.version >= 1 {
		c.bool(&r.ShuttingDown)
	}
	var tagged []tag
	if c.version >= 3 {
		tagged = append(tagged, tag{0, len(r.LogDirs) > 0, func(c *codec) { c.uuids(&r.LogDirs) }})
	}
	if c.version >= 4 {
		tagged = append(tagged, tag{1, r.CordonedLogDirs != nil, func(c *codec) { c.nullableUUIDs(&r.CordonedLogDirs) }})
	}
	c.tags(tagged...)
}

// UnregisterBroker forgets a broker.
type UnregisterBroker struct {
	Broker moldau.BrokerID
	Epoch  moldau.BrokerEpoch
}

// Type is UnregisterBrokerType.
func (*UnregisterBroker) Type() Type { return UnregisterBrokerType }

func (r *UnregisterBroker) fields(c *codec) {
	int32Field(c, &r.Broker)
	int64Field(c, &r.Epoch)
	c.tags()
}

// Topic creates a topic that has no partitions yet.
type Topic struct {
	Name string
	ID   moldau.TopicID
}

// Type is TopicType.
func (*Topic) Type() Type { return TopicType }

func (r *Topic) fields(c *codec) {
	c.string(&r.Name)
	c.uuid(&r.ID)
	c.tags()
}

// Partition creates a partition of a topic. Versions 0–2. R-1.
type Partition struct {
	Partition      int32
	TopicID        moldau.TopicID
	Replicas       []moldau.BrokerID
	ISR            []moldau.BrokerID
	Removing       []moldau.BrokerID
	Adding         []moldau.BrokerID
	Leader         moldau.BrokerID
	LeaderEpoch    moldau.LeaderEpoch
	PartitionEpoch int32
	Directories    []moldau.DirectoryID // one per replica, or none; version 1
	Recovering     int8                 // leader recovery state: 0 recovered, 1 recovering from an unclean election
	ELR            []moldau.BrokerID    // eligible leader replicas, nil: none; version 2
	LastKnownELR   []moldau.BrokerID    // version 2
}

// Type is PartitionType.
func (*Partition) Type() Type { return PartitionType }

func (r *Partition) fields(c *codec) {
	int32Field(c, &r.Partition)
	c.uuid(&r.TopicID)
	c.brokers(&r.Replicas)
	c.brokers(&r.ISR)
	c.brokers(&r.Removing)
	c.brokers(&r.Adding)
	int32Field(c, &r.Leader)
	int32Field(c, &r.LeaderEpoch)
	int32Field(c, &r.PartitionEpoch)
	if c.version >= 1 {
		c.uuids(&r.Directories)
	}
	tagged := []tag{{0, r.Recovering != 0, func(c *codec) { c.int8(&r.Recovering) }}}
	if c.version >= 2 {
		tagged = append(tagged,
			tag{1, r.ELR != nil, func(c *codec) { c.nullableBrokers(&r.ELR) }},
			tag{2, r.LastKnownELR != nil, func(c *codec) { c.nullableBrokers(&r.LastKnownELR) }})
	}
	c.tags(tagged...)
}

// ResourceType says what a configuration belongs to; the numbers are those of the wire (C-30).
type ResourceType int8

// The kinds of resources that have a configuration.
const (
	TopicResource         ResourceType = 2
	BrokerResource        ResourceType = 4 // an empty name: the default of all brokers
	BrokerLoggerResource  ResourceType = 8 // never stored
	ClientMetricsResource ResourceType = 16
	GroupResource         ResourceType = 32
)

// Config sets one configuration entry of a resource, or with a nil value removes it.
type Config struct {
	ResourceType ResourceType
	ResourceName string
	Name         string
	Value        *string
}

// Type is ConfigType.
func (*Config) Type() Type { return ConfigType }

func (r *Config) fields(c *codec) {
	c.int8((*int8)(&r.ResourceType))
	c.string(&r.ResourceName)
	c.string(&r.Name)
	c.nullableString(&r.Value)
	c.tags()
}

// NoLeaderChange in PartitionChange.Leader leaves the leader and its epoch as they are.
const NoLeaderChange moldau.BrokerID = -2

// NoRecoveryChange in PartitionChange.Recovering leaves the leader recovery state as it is.
const NoRecoveryChange int8 = -1

// PartitionChange changes what it names of a partition; nil slices change nothing. Make one with NewPartitionChange.
// Versions 0–2.
type PartitionChange struct {
	Partition    int32
	TopicID      moldau.TopicID
	ISR          []moldau.BrokerID
	Leader       moldau.BrokerID // NoLeaderChange: as it is; any other value starts a new leader epoch
	Replicas     []moldau.BrokerID
	Removing     []moldau.BrokerID
	Adding       []moldau.BrokerID
	Recovering   int8                 // 0, 1 or NoRecoveryChange
	ELR          []moldau.BrokerID    // version 2
	LastKnownELR []moldau.BrokerID    // version 2
	Directories  []moldau.DirectoryID // version 1
}

// NewPartitionChange is a change of nothing.
func NewPartitionChange() *PartitionChange {
	return &PartitionChange{Leader: NoLeaderChange, Recovering: NoRecoveryChange}
}

// Type is PartitionChangeType.
func (*PartitionChange) Type() Type { return PartitionChangeType }

func (r *PartitionChange) fields(c *codec) {
	int32Field(c, &r.Partition)
	c.uuid(&r.TopicID)
	tagged := []tag{
		{0, r.ISR != nil, func(c *codec) { c.nullableBrokers(&r.ISR) }},
		{1, r.Leader != NoLeaderChange, func(c *codec) { int32Field(c, &r.Leader) }},
		{2, r.Replicas != nil, func(c *codec) { c.nullableBrokers(&r.Replicas) }},
		{3, r.Removing != nil, func(c *codec) { c.nullableBrokers(&r.Removing) }},
		{4, r.Adding != nil, func(c *codec) { c.nullableBrokers(&r.Adding) }},
		{5, r.Recovering != NoRecoveryChange, func(c *codec) { c.int8(&r.Recovering) }},
	}
	if c.version >= 2 {
		tagged = append(tagged,
			tag{6, r.ELR != nil, func(c *codec) { c.nullableBrokers(&r.ELR) }},
			tag{7, r.LastKnownELR != nil, func(c *codec) { c.nullableBrokers(&r.LastKnownELR) }})
	}
	if c.version >= 1 {
		tagged = append(tagged, tag{8, r.Directories != nil, func(c *codec) { c.nullableUUIDs(&r.Directories) }})
	}
	c.tags(tagged...)
}

// FenceBroker takes a broker out of service until it is unfenced.
type FenceBroker struct {
	Broker moldau.BrokerID
	Epoch  moldau.BrokerEpoch
}

// Type is FenceBrokerType.
func (*FenceBroker) Type() Type { return FenceBrokerType }

func (r *FenceBroker) fields(c *codec) {
	int32Field(c, &r.Broker)
	int64Field(c, &r.Epoch)
	c.tags()
}

// UnfenceBroker takes a registered broker into service.
type UnfenceBroker struct {
	Broker moldau.BrokerID
	Epoch  moldau.BrokerEpoch
}

// Type is UnfenceBrokerType.
func (*UnfenceBroker) Type() Type { return UnfenceBrokerType }

func (r *UnfenceBroker) fields(c *codec) {
	int32Field(c, &r.Broker)
	int64Field(c, &r.Epoch)
	c.tags()
}

// RemoveTopic deletes a topic, its partitions and its configuration.
type RemoveTopic struct {
	TopicID moldau.TopicID
}

// Type is RemoveTopicType.
func (*RemoveTopic) Type() Type { return RemoveTopicType }

func (r *RemoveTopic) fields(c *codec) {
	c.uuid(&r.TopicID)
	c.tags()
}

// FeatureLevel finalises a feature at a level; level 0 disables it (C-20).
type FeatureLevel struct {
	Name  string
	Level int16
}

// Type is FeatureLevelType.
func (*FeatureLevel) Type() Type { return FeatureLevelType }

func (r *FeatureLevel) fields(c *codec) {
	c.string(&r.Name)
	c.int16(&r.Level)
	c.tags()
}

// ProducerIDs gives a block of producer ids to a broker: those from the last record's Next up to this one's.
type ProducerIDs struct {
	Broker moldau.BrokerID
	Epoch  moldau.BrokerEpoch
	Next   moldau.ProducerID // the first id that nobody has
}

// Type is ProducerIDsType.
func (*ProducerIDs) Type() Type { return ProducerIDsType }

func (r *ProducerIDs) fields(c *codec) {
	int32Field(c, &r.Broker)
	int64Field(c, &r.Epoch)
	int64Field(c, &r.Next)
	c.tags()
}

// BrokerRegistrationChange changes what it names of a broker's registration. Versions 0–3.
type BrokerRegistrationChange struct {
	Broker          moldau.BrokerID
	Epoch           moldau.BrokerEpoch
	Fenced          int8                 // 1 fences, -1 unfences, 0 leaves it
	ShuttingDown    int8                 // 1 starts the controlled shutdown, 0 leaves it; version 1
	LogDirs         []moldau.DirectoryID // empty: as they are; version 2
	CordonedLogDirs []moldau.DirectoryID // nil: as they are; version 3
}

// Type is BrokerRegistrationChangeType.
func (*BrokerRegistrationChange) Type() Type { return BrokerRegistrationChangeType }

func (r *BrokerRegistrationChange) fields(c *codec) {
	int32Field(c, &r.Broker)
	int64Field(c, &r.Epoch)
	tagged := []tag{{0, r.Fenced != 0, func(c *codec) { c.int8(&r.Fenced) }}}
	if c.version >= 1 {
		tagged = append(tagged, tag{1, r.ShuttingDown != 0, func(c *codec) { c.int8(&r.ShuttingDown) }})
	}
	if c.version >= 2 {
		tagged = append(tagged, tag{2, len(r.LogDirs) > 0, func(c *codec) { c.uuids(&r.LogDirs) }})
	}
	if c.version >= 3 {
		tagged = append(tagged, tag{3, r.CordonedLogDirs != nil, func(c *codec) { c.nullableUUIDs(&r.CordonedLogDirs) }})
	}
	c.tags(tagged...)
}

// NoOp changes nothing; it moves the log's end on.
type NoOp struct{}

// Type is NoOpType.
func (*NoOp) Type() Type { return NoOpType }

func (*NoOp) fields(c *codec) { c.tags() }
