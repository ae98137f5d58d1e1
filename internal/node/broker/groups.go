package broker

import (
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/api"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/status"
)

// newGroups makes the coordinator of groups; it coordinates nothing before partitions of __consumer_offsets are led.
func (b *Broker) newGroups() *api.GroupCoordinator {
	c := b.config.Groups
	settings := group.Config{
		SessionTimeoutMin: c.SessionTimeoutMin, SessionTimeoutMax: c.SessionTimeoutMax, InitialDelay: c.InitialDelay,
		MembersMax: int(c.MembersMax), MetadataBytesMax: int(c.OffsetMetadataBytesMax),
		OffsetRetention: c.OffsetRetention, OffsetCheck: c.OffsetRetentionCheck,
	}
	return coordinator.New(coordinator.Kind[*group.Groups, group.Record]{
		Name: "group coordinator", New: func() *group.Groups { return group.New(settings) }, Encode: group.Encode, Decode: group.Decode,
		Within: group.Within, Marker: group.Marker,
	}, coordinator.Options{Env: b.env, Logger: b.logger, Loops: int(c.Loops)})
}

// Groups implements status.Source.
func (s source) Groups() status.Groups {
	g := status.Groups{ByState: make(map[group.State]int)}
	g.Loading = s.b.groups.Each(func(_ int32, m *group.Groups) {
		c := m.Count()
		for state, n := range c.ByState {
			g.ByState[state] += n
		}
		g.Offsets += c.Offsets
		g.Active++
	})
	g.Waiting, g.Limit = s.b.groups.Waiting()
	return g
}

// stopCoordinators ends the coordinators; a second call does nothing.
func (b *Broker) stopCoordinators() {
	b.transactions.Stop()
	b.groups.Stop()
}

// coordinate puts a partition that this broker has begun to lead into the hands of its coordinator, if it has one.
func (b *Broker) coordinate(p *partition.Partition) {
	switch p.Name.Topic {
	case moldau.OffsetsTopic:
		b.groups.Lead(p)
	case moldau.TransactionTopic:
		b.transactions.Lead(p)
	}
}

// resign ends what a coordinator has to do with a partition that is not here any more.
func (b *Broker) resign(topic string, index int32) {
	switch topic {
	case moldau.OffsetsTopic:
		b.groups.Resign(index)
	case moldau.TransactionTopic:
		b.transactions.Resign(index)
	}
}

// forgetOffsets has all groups forget their offsets in a topic that was deleted.
func (b *Broker) forgetOffsets(topic string) {
	offsets := b.cluster.Image().Topic(moldau.OffsetsTopic)
	if offsets == nil {
		return
	}
	for index := range offsets.Partitions {
		b.groups.Do(int32(index), coordinator.Command[*group.Groups, group.Record]{
			Decide: func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output { return g.ForgetTopic(now, to, topic) },
			Done:   func(any, error) {}, // a machine that is loaded later has them until they expire
		})
	}
}
