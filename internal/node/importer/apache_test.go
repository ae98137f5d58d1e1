package importer

import (
	"slices"
	"strings"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
)

var topicID = moldau.TopicID{1}

// fold applies records as one batch of the metadata log.
func fold(t *testing.T, recs ...schema.Record) *cluster {
	t.Helper()
	b := record.NewBuilder(0)
	for _, r := range recs {
		b.Add(record.Record{Value: schema.Append(nil, r)})
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster()
	if err := c.readBatch(batch, 0); err != nil {
		t.Fatal(err)
	}
	return c
}

// What Apache's controllers aborted, or had not ended, has not happened (KIP-868).
func TestTransactionsOfTheController(t *testing.T) {
	c := newCluster()
	topic := func(name string, id byte) schema.Record { return &schema.Topic{Name: name, ID: moldau.TopicID{id}} }
	for _, r := range []schema.Record{
		schema.Boundary(schema.BeginTransactionType), topic("ended", 1), schema.Boundary(schema.EndTransactionType),
		schema.Boundary(schema.BeginTransactionType), topic("aborted", 2), schema.Boundary(schema.AbortTransactionType),
		topic("alone", 3),
		schema.Boundary(schema.BeginTransactionType), topic("cut off", 4),
	} {
		c.take(r)
	}
	c.image, _ = c.image.Apply(0, 0, c.batch)
	var names []string
	for topic := range c.image.Topics() {
		names = append(names, topic.Name)
	}
	if want := []string{"alone", "ended"}; !slices.Equal(names, want) {
		t.Errorf("topics %q, want %q", names, want)
	}
}

// Apache's controllers write each rise of a leader epoch down: a registration by itself raises none.
func TestRegistrationsRaiseNothing(t *testing.T) {
	broker := &schema.RegisterBroker{Broker: 1, Incarnation: moldau.UUID{7}}
	again := &schema.RegisterBroker{Broker: 1, Incarnation: moldau.UUID{8}}
	one := []moldau.BrokerID{1}
	c := fold(t, broker, &schema.Topic{Name: "t", ID: topicID},
		&schema.Partition{TopicID: topicID, Replicas: one, ISR: one, Leader: 1, LeaderEpoch: 5}, again)
	if got := c.image.Topic("t").Partitions[0].LeaderEpoch; got != 5 {
		t.Errorf("leader epoch %d, want 5", got)
	}
}

// A topic of which this node lacks a replica, or has one that fell behind, is not half taken.
func TestReplicasOfOthersAreTold(t *testing.T) {
	for want, p := range map[string]schema.Partition{
		"is on the brokers [2 3] and not on 1":                      {Replicas: []moldau.BrokerID{2, 3}, ISR: []moldau.BrokerID{2}},
		"on broker 1 was not in sync (those in sync: [2])":          {Replicas: []moldau.BrokerID{1, 2}, ISR: []moldau.BrokerID{2}},
		"has no directory here; name all of log.dirs":               {Replicas: []moldau.BrokerID{1, 2}, ISR: []moldau.BrokerID{1, 2}},
		"partition 0 has no directory here; name all of log.dirs":   {Replicas: []moldau.BrokerID{1, 2}, ELR: []moldau.BrokerID{1}},
		"partition 0 has no directory here; name all of log.dirs, ": {Replicas: []moldau.BrokerID{1}, LastKnownELR: []moldau.BrokerID{1}},
	} {
		p.TopicID, p.Leader = topicID, moldau.NoBroker
		c := fold(t, &schema.RegisterBroker{Broker: 1}, &schema.RegisterBroker{Broker: 2}, &schema.Topic{Name: "t", ID: topicID}, &p)
		c.voters = 3
		plan := &Plan{NodeID: 1, Clean: true}
		if err := plan.fill(memfs.New(), c, shelf{}); err != nil {
			t.Fatal(err)
		}
		if got := plan.Topics[0].LeftOut; !strings.Contains(got+", ", want) {
			t.Errorf("left out since %q, want %q", got, want)
		}
		all := strings.Join(plan.Warnings, "\n")
		for _, want := range []string{"a quorum of 3 voters", "the cluster had 2 brokers"} {
			if !strings.Contains(all, want) {
				t.Errorf("no word of %q in\n%s", want, all)
			}
		}
		if err := plan.Check(Options{}); err == nil || !strings.Contains(err.Error(), "1 of 1, such as t") {
			t.Errorf("the plan is accepted: %v", err)
		}
	}
}

func TestConfigsThatAreNotTaken(t *testing.T) {
	set := func(name, value string) schema.Record {
		return &schema.Config{ResourceType: schema.TopicResource, ResourceName: "t", Name: name, Value: &value}
	}
	c := fold(t, &schema.Topic{Name: "t", ID: topicID}, set("retention.ms", "5"), set("no.such.key", "1"), set("segment.ms", "soon"),
		set("remote.storage.enable", "true"))
	taken, left := c.configs(metadata.Resource{Type: schema.TopicResource, Name: "t"})
	if len(taken) != 1 || taken["retention.ms"] != "5" || len(left) != 3 {
		t.Errorf("taken %v, left out %v", taken, left)
	}
}
