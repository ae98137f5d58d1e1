package metadata

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/schema"
	"pgregory.net/rapid"
)

// dump is all that an Image says, by way of its snapshot.
func dump(im *Image) string {
	s := fmt.Sprintf("offset %d epoch %d partitions %d\n", im.Offset(), im.Epoch(), im.PartitionCount())
	for r := range im.Records() {
		switch r := r.(type) {
		case *schema.Config:
			s += fmt.Sprintf("config %d/%s %s=%s\n", r.ResourceType, r.ResourceName, r.Name, *r.Value)
		default:
			s += fmt.Sprintf("%T%+v\n", r, r)
		}
	}
	return s
}

func topicID(n int) moldau.TopicID { return moldau.TopicID{15: byte(n)} }

// draw makes a random record over a few topics, brokers and keys, so that records meet each other.
func draw(t *rapid.T) schema.Record {
	small := func(label string, max int) int { return rapid.IntRange(1, max).Draw(t, label) }
	broker := moldau.BrokerID(small("broker", 3))
	epoch := moldau.BrokerEpoch(small("broker epoch", 2))
	topic, part := small("topic", 4), int32(small("partition", 3))-1
	replicas := []moldau.BrokerID{broker, broker%3 + 1}
	switch small("kind", 14) {
	case 1:
		return &schema.RegisterBroker{Broker: broker, Incarnation: moldau.UUID{byte(small("incarnation", 3))}, Epoch: epoch, Fenced: rapid.Bool().Draw(t, "fenced")}
	case 2:
		return &schema.UnregisterBroker{Broker: broker, Epoch: epoch}
	case 3:
		return &schema.FenceBroker{Broker: broker, Epoch: epoch}
	case 4:
		return &schema.UnfenceBroker{Broker: broker, Epoch: epoch}
	case 5:
		return &schema.BrokerRegistrationChange{Broker: broker, Epoch: epoch, Fenced: int8(small("fence", 3)) - 2, ShuttingDown: int8(small("down", 2)) - 1}
	case 6, 7:
		return &schema.Topic{Name: fmt.Sprint("t", small("name", 4)), ID: topicID(topic)}
	case 8, 9:
		return &schema.Partition{Partition: part, TopicID: topicID(topic), Replicas: replicas, ISR: replicas, Leader: broker, ELR: []moldau.BrokerID{}}
	case 10:
		c := schema.NewPartitionChange()
		c.Partition, c.TopicID = part, topicID(topic)
		if rapid.Bool().Draw(t, "lead") {
			c.Leader = moldau.BrokerID(small("leader", 4)) - 1
		}
		if rapid.Bool().Draw(t, "shrink") {
			c.ISR = replicas[:1]
		}
		if rapid.Bool().Draw(t, "move") {
			c.Replicas = replicas
		}
		return c
	case 11:
		return &schema.RemoveTopic{TopicID: topicID(topic)}
	case 12:
		c := &schema.Config{ResourceType: schema.TopicResource, ResourceName: fmt.Sprint("t", topic), Name: fmt.Sprint("k", small("key", 2))}
		if rapid.Bool().Draw(t, "broker config") {
			c.ResourceType, c.ResourceName = schema.BrokerResource, []string{"", "1", "2"}[part]
		}
		if rapid.Bool().Draw(t, "set") {
			v := fmt.Sprint(small("value", 3))
			c.Value = &v
		}
		return c
	case 13:
		return &schema.FeatureLevel{Name: fmt.Sprint("f", small("feature", 2)), Level: int16(small("level", 3)) - 1}
	default:
		return &schema.ProducerIDs{Broker: broker, Epoch: epoch, Next: moldau.ProducerID(small("next", 5) * 1000)}
	}
}

func drawBatch(t *rapid.T) []schema.Record {
	recs := make([]schema.Record, rapid.IntRange(0, 8).Draw(t, "records"))
	for i := range recs {
		recs[i] = draw(t)
	}
	return recs
}

// Apply equals a fold over plain maps, whatever the batches, and leaves the Images before as they were.
func TestImageIsAFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		images, dumps := []*Image{Empty()}, []string{dump(Empty())}
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			recs := drawBatch(t)
			im := images[len(images)-1]
			next, delta := im.Apply(im.Offset()+moldau.Offset(len(recs)), 7, recs)
			for _, r := range recs {
				m.apply(r)
			}
			if got, want := dump(next), m.dump(next.Offset(), 7); got != want {
				t.Fatalf("after %v\n%s\nwant\n%s", recs, got, want)
			}
			if delta.Old != im || delta.New != next {
				t.Fatal("the delta stands between other images")
			}
			images, dumps = append(images, next), append(dumps, dump(next))
		}
		for i, im := range images {
			if dump(im) != dumps[i] {
				t.Fatalf("image %d was modified:\n%s\nwas\n%s", i, dump(im), dumps[i])
			}
		}
	})
}

// C-4: the snapshot of an Image, through bytes and back, is the Image.
func TestSnapshotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := Empty()
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			im, _ = im.Apply(im.Offset()+1, 3, drawBatch(t))
		}
		loaded := Empty()
		for r := range im.Records() {
			decoded, err := schema.Decode(schema.Append(nil, r))
			if err != nil {
				t.Fatal(err)
			}
			loaded, _ = loaded.Apply(im.Offset(), im.Epoch(), []schema.Record{decoded})
		}
		loaded, _ = loaded.Apply(im.Offset(), im.Epoch(), nil)
		if dump(loaded) != dump(im) {
			t.Fatalf("loaded\n%s\nwant\n%s", dump(loaded), dump(im))
		}
		if steps := Diff(im, loaded).Steps(1); steps != nil {
			t.Fatalf("equal images, yet %v", steps)
		}
	})
}

// Steps says the same whether the Delta comes from Apply or from Diff, and a broker that follows them holds what the
// Image says.
func TestStepsLeadToTheImage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const self = moldau.BrokerID(1)
		im, held := Empty(), map[string]Step{}
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			next, delta := im.Apply(im.Offset()+1, 3, drawBatch(t))
			steps := delta.Steps(self)
			if other := Diff(im, next).Steps(self); !reflect.DeepEqual(steps, other) {
				t.Fatalf("apply: %+v\ndiff: %+v", steps, other)
			}
			follow(held, steps)
			im = next
			want := map[string]Step{}
			follow(want, Diff(Empty(), im).Steps(self))
			if !reflect.DeepEqual(held, want) {
				t.Fatalf("holds %+v\nwant %+v", held, want)
			}
		}
	})
}

func follow(held map[string]Step, steps []Step) {
	for _, s := range steps {
		switch s := s.(type) {
		case BecomeLeader:
			held[fmt.Sprint(s.TopicID, s.Partition)] = s
		case BecomeFollower:
			held[fmt.Sprint(s.TopicID, s.Partition)] = s
		case Delete:
			delete(held, fmt.Sprint(s.TopicID, s.Partition))
		}
	}
}

// a partition's leader epoch never falls, and another leader has another epoch.
func TestLeaderEpochsRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := Empty()
		for range rapid.IntRange(1, 60).Draw(t, "records") {
			next, _ := im.Apply(im.Offset()+1, 3, []schema.Record{draw(t)})
			for topic := range im.Topics() {
				after := next.TopicByID(topic.ID)
				if after == nil {
					continue
				}
				for i, p := range topic.Partitions {
					q := after.Partitions[i]
					if q.LeaderEpoch < p.LeaderEpoch || q.Leader != p.Leader && q.LeaderEpoch == p.LeaderEpoch {
						t.Fatalf("%s-%d went from leader %d epoch %d to leader %d epoch %d", topic.Name, i, p.Leader, p.LeaderEpoch, q.Leader, q.LeaderEpoch)
					}
					if q != p && q.PartitionEpoch <= p.PartitionEpoch {
						t.Fatalf("%s-%d changed within partition epoch %d", topic.Name, i, p.PartitionEpoch)
					}
				}
			}
			im = next
		}
	})
}

// The cost of one partition's change does not grow with the number of topics.
func TestChangeCostsWhatItChanges(t *testing.T) {
	var recs []schema.Record
	for i := range 20000 {
		id := moldau.TopicID{byte(i >> 8), byte(i)}
		recs = append(recs, &schema.Topic{Name: fmt.Sprintf("topic-%05d", i), ID: id},
			&schema.Partition{TopicID: id, Replicas: []moldau.BrokerID{1}, ISR: []moldau.BrokerID{1}, Leader: 1})
	}
	im, _ := Empty().Apply(0, 1, recs)
	change := schema.NewPartitionChange()
	change.TopicID = moldau.TopicID{17, 17}
	change.Leader = 1
	allocs := testing.AllocsPerRun(50, func() {
		_, d := im.Apply(1, 1, []schema.Record{change})
		if len(d.Steps(1)) != 1 {
			t.Fatal("not one step")
		}
	})
	if allocs > 100 {
		t.Fatalf("%v allocations", allocs)
	}
}

func TestAccessors(t *testing.T) {
	id, rack := moldau.TopicID{1}, "r"
	im, _ := Empty().Apply(9, 2, []schema.Record{
		&schema.RegisterBroker{Broker: 1, Epoch: 3, Rack: &rack, Endpoints: []schema.Endpoint{{Name: "PLAINTEXT", Host: "h", Port: 1}}},
		&schema.RegisterBroker{Broker: 2, Epoch: 4, Fenced: true},
		&schema.Topic{Name: "b", ID: id},
		&schema.Partition{TopicID: id, Replicas: []moldau.BrokerID{2, 1}, ISR: []moldau.BrokerID{1}, Leader: 1, Directories: []moldau.UUID{{8}, {9}}},
		&schema.Topic{Name: "d", ID: moldau.TopicID{2}},
		&schema.Config{ResourceType: schema.TopicResource, ResourceName: "b", Name: "k", Value: new("v")},
		&schema.Config{ResourceType: schema.BrokerResource, ResourceName: "", Name: "k", Value: new("v")},
		&schema.FeatureLevel{Name: "metadata.version", Level: 30},
	})
	p := im.Partition(moldau.TopicPartition{Topic: "b"})
	if p == nil || p.Directory(1) != (moldau.UUID{9}) || !p.Directory(3).IsZero() || !p.Has(2) || p.Has(3) {
		t.Errorf("partition %+v", p)
	}
	for _, tp := range []moldau.TopicPartition{{Topic: "b", Partition: 1}, {Topic: "b", Partition: -1}, {Topic: "x"}, {Topic: "d"}} {
		if im.Partition(tp) != nil {
			t.Errorf("%v exists", tp)
		}
	}
	if e, ok := im.Broker(1).Endpoint("PLAINTEXT"); !ok || e.Host != "h" || !im.Broker(1).Active() || im.Broker(2).Active() || im.Broker(3) != nil {
		t.Errorf("brokers %+v", slices.Collect(im.Brokers()))
	}
	if _, ok := im.Broker(1).Endpoint("SSL"); ok {
		t.Error("a listener that is not there")
	}
	var names []string
	for topic := range im.TopicsFrom("c") {
		names = append(names, topic.Name)
	}
	if !slices.Equal(names, []string{"d"}) || im.TopicCount() != 2 || im.PartitionCount() != 1 || im.BrokerCount() != 2 {
		t.Errorf("topics from c: %v", names)
	}
	if got := slices.Collect(im.Resources(schema.TopicResource)); !slices.Equal(got, []Resource{{schema.TopicResource, "b"}}) {
		t.Errorf("topic resources %v", got)
	}
	if got := im.Config(Resource{schema.BrokerResource, ""}); !maps.Equal(got, map[string]string{"k": "v"}) {
		t.Errorf("broker default %v", got)
	}
	if im.Offset() != 9 || im.Epoch() != 2 || im.Feature("metadata.version") != 30 || im.Feature("x") != 0 {
		t.Error("offset, epoch or feature")
	}
}
