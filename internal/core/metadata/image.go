// Package metadata folds the cluster's metadata log into an immutable Image (R-1, C-1).
//
// An Image never changes. Apply makes the next one, which shares all that stayed the same with the one before, so a
// change costs what it changes and not the cluster; whoever holds an Image may read it from any goroutine for as long
// as it likes.
package metadata

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/schema"
)

// Image is the state of the cluster after some record of the metadata log. What its methods return belongs to the Image
// and must not be modified.
type Image struct {
	offset         moldau.Offset
	epoch          moldau.LeaderEpoch
	brokers        tree[moldau.BrokerID, *Broker]
	topics         tree[string, *Topic]
	topicsByID     tree[moldau.TopicID, *Topic]
	configs        tree[Resource, map[string]string]
	features       tree[string, int16]
	partitions     int
	nextProducerID moldau.ProducerID
}

// Empty is the Image before the first record: its offset is -1.
func Empty() *Image {
	return &Image{
		offset:     -1,
		brokers:    tree[moldau.BrokerID, *Broker]{compare: cmp.Compare[moldau.BrokerID]},
		topics:     tree[string, *Topic]{compare: strings.Compare},
		topicsByID: tree[moldau.TopicID, *Topic]{compare: func(a, b moldau.TopicID) int { return bytes.Compare(a[:], b[:]) }},
		configs:    tree[Resource, map[string]string]{compare: compareResources},
		features:   tree[string, int16]{compare: strings.Compare},
	}
}

// Topic is one topic. Its partitions are numbered by their index.
type Topic struct {
	Name       string
	ID         moldau.TopicID
	Partitions []*Partition
}

// Partition is the registration of one partition. The first replica is the preferred leader.
type Partition struct {
	Leader         moldau.BrokerID    // NoBroker: none can lead
	LeaderEpoch    moldau.LeaderEpoch // rises with each leadership, never falls
	PartitionEpoch int32              // rises with each change
	Recovering     bool               // elected uncleanly and not recovered from it yet
	Replicas       []moldau.BrokerID
	ISR            []moldau.BrokerID
	Directories    []moldau.DirectoryID // one per replica, or none where nobody assigned them
	rare           *Rare                // nil, in most, where Exceptional has nothing
}

// Rare is what partitions have while something is the matter with them. It is apart since there are many that are well.
type Rare struct {
	Removing     []moldau.BrokerID // of a reassignment under way
	Adding       []moldau.BrokerID // of a reassignment under way
	ELR          []moldau.BrokerID // out of the ISR, yet with all that was committed. KIP-966
	LastKnownELR []moldau.BrokerID
}

// Exceptional is what is rare of p, empty in most.
func (p *Partition) Exceptional() Rare {
	if p.rare == nil {
		return Rare{}
	}
	return *p.rare
}

// setExceptional keeps r of p, if there is anything in it.
func (p *Partition) setExceptional(r Rare) {
	p.rare = nil
	if len(r.Removing)+len(r.Adding)+len(r.ELR)+len(r.LastKnownELR) > 0 {
		p.rare = &r
	}
}

// Has reports whether broker holds a replica of the partition.
func (p *Partition) Has(broker moldau.BrokerID) bool { return slices.Contains(p.Replicas, broker) }

// Directory is where broker keeps its replica; the zero id where that is open.
func (p *Partition) Directory(broker moldau.BrokerID) moldau.DirectoryID {
	if i := slices.Index(p.Replicas, broker); i >= 0 && i < len(p.Directories) {
		return p.Directories[i]
	}
	return moldau.DirectoryID{}
}

func (p *Partition) equal(o *Partition) bool {
	a, b := p.Exceptional(), o.Exceptional()
	return p == o || p.Leader == o.Leader && p.LeaderEpoch == o.LeaderEpoch && p.PartitionEpoch == o.PartitionEpoch &&
		slices.Equal(p.Replicas, o.Replicas) && slices.Equal(p.ISR, o.ISR) && slices.Equal(a.Removing, b.Removing) &&
		slices.Equal(a.Adding, b.Adding) && slices.Equal(a.ELR, b.ELR) && slices.Equal(a.LastKnownELR, b.LastKnownELR) &&
		slices.Equal(p.Directories, o.Directories) && p.Recovering == o.Recovering
}

// Broker is one registered broker.
type Broker struct {
	ID              moldau.BrokerID
	Incarnation     moldau.UUID // of the process: another after each start
	Epoch           moldau.BrokerEpoch
	Endpoints       []schema.Endpoint
	Features        []schema.Feature
	Rack            *string // nil: none
	Fenced          bool
	ShuttingDown    bool // in controlled shutdown
	LogDirs         []moldau.DirectoryID
	CordonedLogDirs []moldau.DirectoryID
}

// Active reports whether the broker can lead partitions and join in-sync sets.
func (b *Broker) Active() bool { return !b.Fenced && !b.ShuttingDown }

// Endpoint is where clients of the named listener reach the broker (W-8).
func (b *Broker) Endpoint(listener string) (schema.Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Name == listener {
			return e, true
		}
	}
	return schema.Endpoint{}, false
}

// Resource is what a configuration belongs to. The default of all brokers is the broker resource without a name (C-30).
type Resource struct {
	Type schema.ResourceType
	Name string
}

func compareResources(a, b Resource) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
}

// Offset is that of the last record in the Image, -1 before the first. It serves as the epoch of the finalised features
// too (W-32).
func (im *Image) Offset() moldau.Offset { return im.offset }

// Epoch is the leader epoch of the metadata log at Offset.
func (im *Image) Epoch() moldau.LeaderEpoch { return im.epoch }

// Topic is the topic of that name, or nil.
func (im *Image) Topic(name string) *Topic {
	t, _ := im.topics.get(name)
	return t
}

// TopicByID is the topic of that id, or nil.
func (im *Image) TopicByID(id moldau.TopicID) *Topic {
	t, _ := im.topicsByID.get(id)
	return t
}

// Partition is the registration of tp, or nil.
func (im *Image) Partition(tp moldau.TopicPartition) *Partition {
	t := im.Topic(tp.Topic)
	if t == nil || tp.Partition < 0 || int(tp.Partition) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[tp.Partition]
}

// Topics walks all topics in the order of their names.
func (im *Image) Topics() iter.Seq[*Topic] { return values(im.topics.all()) }

// TopicsFrom walks the topics in the order of their names, beginning with the first whose name is not before name.
func (im *Image) TopicsFrom(name string) iter.Seq[*Topic] { return values(im.topics.from(name)) }

// TopicCount is the number of topics.
func (im *Image) TopicCount() int { return im.topics.len() }

// PartitionCount is the number of partitions of all topics.
func (im *Image) PartitionCount() int { return im.partitions }

// Broker is the registered broker of that id, or nil.
func (im *Image) Broker(id moldau.BrokerID) *Broker {
	b, _ := im.brokers.get(id)
	return b
}

// Brokers walks all registered brokers in the order of their ids, fenced ones too.
func (im *Image) Brokers() iter.Seq[*Broker] { return values(im.brokers.all()) }

// BrokerCount is the number of registered brokers.
func (im *Image) BrokerCount() int { return im.brokers.len() }

// Config is what was set explicitly on r, nil if nothing was.
func (im *Image) Config(r Resource) map[string]string {
	m, _ := im.configs.get(r)
	return m
}

// Resources walks the resources of one type on which something was set, in the order of their names.
func (im *Image) Resources(t schema.ResourceType) iter.Seq[Resource] {
	return func(yield func(Resource) bool) {
		for r := range im.configs.from(Resource{Type: t}) {
			if r.Type != t || !yield(r) {
				return
			}
		}
	}
}

// Feature is the level at which a feature is finalised, 0 if it is not.
func (im *Image) Feature(name string) int16 {
	level, _ := im.features.get(name)
	return level
}

// Features walks the finalised features and their levels in the order of their names.
func (im *Image) Features() iter.Seq2[string, int16] { return im.features.all() }

// NextProducerID is the first producer id that no broker was given.
func (im *Image) NextProducerID() moldau.ProducerID { return im.nextProducerID }

func values[K, V any](entries iter.Seq2[K, V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range entries {
			if !yield(v) {
				return
			}
		}
	}
}
