package metadata

import (
	"maps"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/schema"
)

// Apply returns the Image after recs and what they changed. offset and epoch are those of the last of recs; without
// records only they move on. The records are retained: their slices become part of the new Image.
//
// Apply is total. A record that does not fit the Image (a change of an unknown partition, a fencing of a broker's former
// self) changes nothing, so that every replica of the log folds it alike.
func (im *Image) Apply(offset moldau.Offset, epoch moldau.LeaderEpoch, recs []schema.Record) (*Image, *Delta) {
	next := *im
	next.offset, next.epoch = offset, epoch
	e := edit{im: &next, topics: map[moldau.TopicID]*Topic{}, configs: map[Resource]map[string]string{}}
	for _, r := range recs {
		e.apply(r)
	}
	return e.im, &Delta{Old: im, New: e.im, topics: e.topicOrder, resources: e.configOrder}
}

// edit is an Image in the making. What it has copied is its own and may be modified in place until it is published.
type edit struct {
	im          *Image
	topics      map[moldau.TopicID]*Topic      // own copies; nil: removed
	topicOrder  []moldau.TopicID               // the keys of topics, as they came
	configs     map[Resource]map[string]string // own copies; nil: removed
	configOrder []Resource                     // the keys of configs, as they came
}

func (e *edit) apply(r schema.Record) {
	switch r := r.(type) {
	case *schema.RegisterBroker:
		e.registerBroker(r)
	case *schema.UnregisterBroker:
		if b := e.im.Broker(r.Broker); b != nil && b.Epoch == r.Epoch {
			e.im.brokers = e.im.brokers.remove(r.Broker)
		}
	case *schema.FenceBroker:
		e.changeBroker(r.Broker, r.Epoch, func(b *Broker) { b.Fenced = true })
	case *schema.UnfenceBroker:
		e.changeBroker(r.Broker, r.Epoch, func(b *Broker) { b.Fenced = false })
	case *schema.BrokerRegistrationChange:
		e.changeBroker(r.Broker, r.Epoch, func(b *Broker) { changeRegistration(b, r) })
	case *schema.Topic:
		e.createTopic(r)
	case *schema.RemoveTopic:
		e.removeTopic(r.TopicID)
	case *schema.Partition:
		e.setPartition(r)
	case *schema.PartitionChange:
		e.changePartition(r)
	case *schema.Config:
		e.setConfig(Resource{r.ResourceType, r.ResourceName}, r.Name, r.Value)
	case *schema.FeatureLevel:
		if r.Level > 0 {
			e.im.features = e.im.features.set(r.Name, r.Level)
		} else {
			e.im.features = e.im.features.remove(r.Name)
		}
	case *schema.ProducerIDs:
		e.im.nextProducerID = max(e.im.nextProducerID, r.Next)
	}
}

// registerBroker also ends every leadership of a former incarnation: the process that comes back may have lost the
// unsynced tail of its partitions, and only a higher leader epoch lets clients notice (KIP-320). That it is done here
// makes it one record for a broker, not one for each partition.
func (e *edit) registerBroker(r *schema.RegisterBroker) {
	before := e.im.Broker(r.Broker)
	e.im.brokers = e.im.brokers.set(r.Broker, &Broker{
		ID: r.Broker, Incarnation: r.Incarnation, Epoch: r.Epoch, Endpoints: some(r.Endpoints), Features: some(r.Features),
		Rack: r.Rack, Fenced: r.Fenced, ShuttingDown: r.ShuttingDown, LogDirs: some(r.LogDirs), CordonedLogDirs: some(r.CordonedLogDirs),
	})
	if before != nil && before.Incarnation == r.Incarnation {
		return
	}
	for id, t := range e.im.topicsByID.all() {
		for i, p := range t.Partitions {
			if p.Leader != r.Broker {
				continue
			}
			raised := *p
			raised.LeaderEpoch++
			raised.PartitionEpoch++
			e.topic(id).Partitions[i] = &raised
		}
	}
}

// changeBroker changes a copy of the broker's registration, if epoch is that of the registration.
func (e *edit) changeBroker(id moldau.BrokerID, epoch moldau.BrokerEpoch, change func(*Broker)) {
	b := e.im.Broker(id)
	if b == nil || b.Epoch != epoch {
		return
	}
	changed := *b
	change(&changed)
	e.im.brokers = e.im.brokers.set(id, &changed)
}

func changeRegistration(b *Broker, r *schema.BrokerRegistrationChange) {
	switch r.Fenced {
	case 1:
		b.Fenced = true
	case -1:
		b.Fenced = false
	}
	if r.ShuttingDown == 1 {
		b.ShuttingDown = true
	}
	if len(r.LogDirs) > 0 {
		b.LogDirs = r.LogDirs
	}
	if r.CordonedLogDirs != nil {
		b.CordonedLogDirs = some(r.CordonedLogDirs)
	}
}

// topic is the edit's own copy of a topic, or nil where there is none.
func (e *edit) topic(id moldau.TopicID) *Topic {
	if t, ok := e.topics[id]; ok {
		return t
	}
	t := e.im.TopicByID(id)
	if t == nil {
		return nil
	}
	own := &Topic{t.Name, t.ID, slices.Clone(t.Partitions)}
	e.setTopic(own)
	return own
}

func (e *edit) setTopic(t *Topic) {
	e.touchTopic(t.ID, t)
	e.im.topics = e.im.topics.set(t.Name, t)
	e.im.topicsByID = e.im.topicsByID.set(t.ID, t)
}

func (e *edit) touchTopic(id moldau.TopicID, t *Topic) {
	if _, ok := e.topics[id]; !ok {
		e.topicOrder = append(e.topicOrder, id)
	}
	e.topics[id] = t
}

func (e *edit) createTopic(r *schema.Topic) {
	if e.im.Topic(r.Name) != nil || e.im.TopicByID(r.ID) != nil {
		return
	}
	e.setTopic(&Topic{Name: r.Name, ID: r.ID})
}

func (e *edit) removeTopic(id moldau.TopicID) {
	t := e.im.TopicByID(id)
	if t == nil {
		return
	}
	e.touchTopic(id, nil)
	e.im.partitions -= len(t.Partitions)
	e.im.topics = e.im.topics.remove(t.Name)
	e.im.topicsByID = e.im.topicsByID.remove(id)
	if r := (Resource{schema.TopicResource, t.Name}); e.im.Config(r) != nil {
		e.touchConfig(r, nil)
		e.im.configs = e.im.configs.remove(r)
	}
}

// setPartition adds a partition behind the ones that the topic has: ids are given out without holes, in ascending order.
func (e *edit) setPartition(r *schema.Partition) {
	t := e.topic(r.TopicID)
	if t == nil || int(r.Partition) != len(t.Partitions) {
		return
	}
	p := &Partition{
		Leader: r.Leader, LeaderEpoch: r.LeaderEpoch, PartitionEpoch: r.PartitionEpoch, Replicas: some(r.Replicas), ISR: some(r.ISR),
		Directories: some(r.Directories), Recovering: r.Recovering == 1,
	}
	p.setExceptional(Rare{some(r.Removing), some(r.Adding), some(r.ELR), some(r.LastKnownELR)})
	t.Partitions = append(t.Partitions, p)
	e.im.partitions++
}

func (e *edit) changePartition(r *schema.PartitionChange) {
	t := e.im.TopicByID(r.TopicID)
	if t == nil || r.Partition < 0 || int(r.Partition) >= len(t.Partitions) {
		return
	}
	p := *t.Partitions[r.Partition]
	p.PartitionEpoch++
	if r.Leader != schema.NoLeaderChange {
		p.Leader = r.Leader
		p.LeaderEpoch++
	}
	if r.Recovering != schema.NoRecoveryChange {
		p.Recovering = r.Recovering == 1
	}
	replace(&p.Replicas, r.Replicas)
	replace(&p.ISR, r.ISR)
	replace(&p.Directories, r.Directories)
	rare := p.Exceptional()
	replace(&rare.Removing, r.Removing)
	replace(&rare.Adding, r.Adding)
	replace(&rare.ELR, r.ELR)
	replace(&rare.LastKnownELR, r.LastKnownELR)
	p.setExceptional(rare)
	e.topic(r.TopicID).Partitions[r.Partition] = &p
}

// replace sets *old to new unless new is nil, which in a change means "as it is".
func replace[T any](old *[]T, new []T) {
	if new != nil {
		*old = some(new)
	}
}

// some is s, or nil where s is empty: in an Image nothing tells the two apart.
func some[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// setConfig binds key to *value, or unbinds it where value is nil.
func (e *edit) setConfig(r Resource, key string, value *string) {
	own := e.configs[r]
	if own == nil {
		before := e.im.Config(r)
		if _, ok := before[key]; !ok && value == nil {
			return
		}
		own = maps.Clone(before)
		if own == nil {
			own = map[string]string{}
		}
		e.touchConfig(r, own)
		e.im.configs = e.im.configs.set(r, own)
	}
	if value != nil {
		own[key] = *value
		return
	}
	delete(own, key)
	if len(own) == 0 {
		e.touchConfig(r, nil)
		e.im.configs = e.im.configs.remove(r)
	}
}

func (e *edit) touchConfig(r Resource, m map[string]string) {
	if _, ok := e.configs[r]; !ok {
		e.configOrder = append(e.configOrder, r)
	}
	e.configs[r] = m
}
