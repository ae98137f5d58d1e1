package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/schema"
)

// model is the Image said plainly: maps that are modified in place, and nothing shared.
type model struct {
	brokers  map[moldau.BrokerID]schema.RegisterBroker
	topics   map[string]moldau.TopicID
	parts    map[moldau.TopicID][]schema.Partition
	configs  map[string]string // type/name key
	features map[string]int16
	next     moldau.ProducerID
}

func newModel() *model {
	return &model{map[moldau.BrokerID]schema.RegisterBroker{}, map[string]moldau.TopicID{}, map[moldau.TopicID][]schema.Partition{},
		map[string]string{}, map[string]int16{}, 0}
}

func (m *model) apply(r schema.Record) {
	fence := func(id moldau.BrokerID, epoch moldau.BrokerEpoch, fenced, down bool) {
		if b, ok := m.brokers[id]; ok && b.Epoch == epoch {
			b.Fenced, b.ShuttingDown = fenced, b.ShuttingDown || down
			m.brokers[id] = b
		}
	}
	switch r := r.(type) {
	case *schema.RegisterBroker:
		if before, ok := m.brokers[r.Broker]; !ok || before.Incarnation != r.Incarnation {
			for _, parts := range m.parts {
				for i := range parts {
					if parts[i].Leader == r.Broker {
						parts[i].LeaderEpoch++
						parts[i].PartitionEpoch++
					}
				}
			}
		}
		m.brokers[r.Broker] = *r
	case *schema.UnregisterBroker:
		if m.brokers[r.Broker].Epoch == r.Epoch {
			delete(m.brokers, r.Broker)
		}
	case *schema.FenceBroker:
		fence(r.Broker, r.Epoch, true, false)
	case *schema.UnfenceBroker:
		fence(r.Broker, r.Epoch, false, false)
	case *schema.BrokerRegistrationChange:
		fence(r.Broker, r.Epoch, r.Fenced == 1 || r.Fenced == 0 && m.brokers[r.Broker].Fenced, r.ShuttingDown == 1)
	case *schema.Topic:
		_, taken := m.parts[r.ID]
		if _, ok := m.topics[r.Name]; !ok && !taken {
			m.topics[r.Name], m.parts[r.ID] = r.ID, []schema.Partition{}
		}
	case *schema.Partition:
		if parts, ok := m.parts[r.TopicID]; ok && int(r.Partition) == len(parts) {
			m.parts[r.TopicID] = append(parts, *r)
		}
	case *schema.PartitionChange:
		if parts := m.parts[r.TopicID]; int(r.Partition) < len(parts) {
			changePart(&parts[r.Partition], r)
		}
	case *schema.RemoveTopic:
		for name, id := range m.topics {
			if id == r.TopicID {
				delete(m.topics, name)
				maps.DeleteFunc(m.configs, func(k, _ string) bool { return strings.HasPrefix(k, "2/"+name+" ") })
			}
		}
		delete(m.parts, r.TopicID)
	case *schema.Config:
		key := fmt.Sprintf("%d/%s %s", r.ResourceType, r.ResourceName, r.Name)
		delete(m.configs, key)
		if r.Value != nil {
			m.configs[key] = *r.Value
		}
	case *schema.FeatureLevel:
		delete(m.features, r.Name)
		if r.Level > 0 {
			m.features[r.Name] = r.Level
		}
	case *schema.ProducerIDs:
		m.next = max(m.next, r.Next)
	}
}

func changePart(p *schema.Partition, r *schema.PartitionChange) {
	p.PartitionEpoch++
	if r.Leader != schema.NoLeaderChange {
		p.Leader = r.Leader
		p.LeaderEpoch++
	}
	if r.ISR != nil {
		p.ISR = r.ISR
	}
	if r.Replicas != nil {
		p.Replicas = r.Replicas
	}
}

func (m *model) dump(offset moldau.Offset, epoch moldau.LeaderEpoch) string {
	n := 0
	for _, parts := range m.parts {
		n += len(parts)
	}
	s := fmt.Sprintf("offset %d epoch %d partitions %d\n", offset, epoch, n)
	for _, name := range slices.Sorted(maps.Keys(m.features)) {
		r := &schema.FeatureLevel{Name: name, Level: m.features[name]}
		s += fmt.Sprintf("%T%+v\n", r, r)
	}
	for _, id := range slices.Sorted(maps.Keys(m.brokers)) {
		b := m.brokers[id]
		s += fmt.Sprintf("%T%+v\n", &b, &b)
	}
	for _, name := range slices.Sorted(maps.Keys(m.topics)) {
		r := &schema.Topic{Name: name, ID: m.topics[name]}
		s += fmt.Sprintf("%T%+v\n", r, r)
		for _, p := range m.parts[r.ID] {
			p.ELR = nil // drawn as empty
			s += fmt.Sprintf("%T%+v\n", &p, &p)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.configs)) {
		s += "config " + key + "=" + m.configs[key] + "\n"
	}
	if m.next > 0 {
		r := &schema.ProducerIDs{Broker: -1, Epoch: -1, Next: m.next}
		s += fmt.Sprintf("%T%+v\n", r, r)
	}
	return s
}
