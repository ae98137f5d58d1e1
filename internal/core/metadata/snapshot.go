package metadata

import (
	"iter"
	"maps"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/schema"
)

// Records walks the Image as records: applied to Empty, in one batch or many, they make an equal Image. Features come
// first, since they say how to read the rest, and brokers before partitions, so that no registration ends a leadership.
// The records share their slices with the Image.
func (im *Image) Records() iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		_ = im.featureRecords(yield) && im.brokerRecords(yield) && im.topicRecords(yield) && im.configRecords(yield) &&
			(im.nextProducerID == 0 || yield(&schema.ProducerIDs{Broker: moldau.NoBroker, Epoch: -1, Next: im.nextProducerID}))
	}
}

func (im *Image) featureRecords(yield func(schema.Record) bool) bool {
	for name, level := range im.features.all() {
		if !yield(&schema.FeatureLevel{Name: name, Level: level}) {
			return false
		}
	}
	return true
}

func (im *Image) brokerRecords(yield func(schema.Record) bool) bool {
	for b := range im.Brokers() {
		if !yield(&schema.RegisterBroker{
			Broker: b.ID, Incarnation: b.Incarnation, Epoch: b.Epoch, Endpoints: b.Endpoints, Features: b.Features,
			Rack: b.Rack, Fenced: b.Fenced, ShuttingDown: b.ShuttingDown, LogDirs: b.LogDirs, CordonedLogDirs: b.CordonedLogDirs,
		}) {
			return false
		}
	}
	return true
}

func (im *Image) topicRecords(yield func(schema.Record) bool) bool {
	for t := range im.Topics() {
		if !yield(&schema.Topic{Name: t.Name, ID: t.ID}) {
			return false
		}
		for i, p := range t.Partitions {
			if !yield(p.record(t.ID, int32(i))) {
				return false
			}
		}
	}
	return true
}

// record is the partition as the record that creates it.
func (p *Partition) record(topic moldau.TopicID, partition int32) *schema.Partition {
	rare := p.Exceptional()
	r := &schema.Partition{
		Partition: partition, TopicID: topic, Replicas: p.Replicas, ISR: p.ISR, Removing: rare.Removing, Adding: rare.Adding,
		Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Directories: p.Directories,
		ELR: rare.ELR, LastKnownELR: rare.LastKnownELR,
	}
	if p.Recovering {
		r.Recovering = 1
	}
	return r
}

func (im *Image) configRecords(yield func(schema.Record) bool) bool {
	for res, entries := range im.configs.all() {
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			value := entries[name]
			if !yield(&schema.Config{ResourceType: res.Type, ResourceName: res.Name, Name: name, Value: &value}) {
				return false
			}
		}
	}
	return true
}
