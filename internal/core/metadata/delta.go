package metadata

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/schema"
)

// Delta is the way from one Image to a later one.
type Delta struct {
	Old, New  *Image
	topics    []moldau.TopicID // that may differ
	resources []Resource       // that may differ
}

// Step is one thing that a broker has to do: a BecomeLeader, BecomeFollower, Delete or Reconfigure.
type Step interface{ step() }

// BecomeLeader says that the broker leads the partition, under this leader epoch and with this in-sync set. It comes for
// each change of the partition: with a leader epoch that the replica has already, only the sets have changed.
type BecomeLeader struct {
	TopicID        moldau.TopicID
	Topic          string
	Partition      int32
	LeaderEpoch    moldau.LeaderEpoch
	PartitionEpoch int32
	ISR            []moldau.BrokerID
	Replicas       []moldau.BrokerID
	Directory      moldau.DirectoryID // where the replica belongs; zero: not assigned
}

// BecomeFollower says that the broker holds a replica of the partition and Leader, which may be NoBroker, leads it.
type BecomeFollower struct {
	TopicID        moldau.TopicID
	Topic          string
	Partition      int32
	Leader         moldau.BrokerID
	LeaderEpoch    moldau.LeaderEpoch
	PartitionEpoch int32
	ISR            []moldau.BrokerID
	Replicas       []moldau.BrokerID
	Directory      moldau.DirectoryID // where the replica belongs; zero: not assigned
}

// Delete says that the broker's replica of the partition is no longer wanted.
type Delete struct {
	TopicID   moldau.TopicID
	Topic     string
	Partition int32
}

// Reconfigure says that the entries of a resource's configuration have changed. It comes for topics that were there
// before and still are, for the default of all brokers and for the broker itself, and for client metrics and groups.
type Reconfigure struct {
	Resource Resource
}

func (BecomeLeader) step()   {}
func (BecomeFollower) step() {}
func (Delete) step()         {}
func (Reconfigure) step()    {}

// Diff is the Delta between two Images that need not follow each other: for snapshots, and from Empty for a start. It
// costs a walk over both.
func Diff(old, new *Image) *Delta {
	d := &Delta{Old: old, New: new}
	for id, t := range old.topicsByID.all() {
		if new.TopicByID(id) != t {
			d.topics = append(d.topics, id)
		}
	}
	for id := range new.topicsByID.all() {
		if old.TopicByID(id) == nil {
			d.topics = append(d.topics, id)
		}
	}
	for r := range old.configs.all() {
		d.resources = append(d.resources, r)
	}
	for r := range new.configs.all() {
		if old.Config(r) == nil {
			d.resources = append(d.resources, r)
		}
	}
	return d
}

// Steps is what the Delta means for the broker self, in the order in which to do it: deletions, then leaderships and
// followerships, both by topic name and partition, then configurations by resource.
func (d *Delta) Steps(self moldau.BrokerID) []Step {
	var steps []Step
	changes := d.changes()
	for _, c := range changes {
		steps = c.deletes(steps, self)
	}
	for _, c := range changes {
		steps = c.becomes(steps, self)
	}
	resources := slices.Clone(d.resources)
	slices.SortFunc(resources, compareResources)
	for _, r := range resources {
		if d.concerns(r, self) && !maps.Equal(d.Old.Config(r), d.New.Config(r)) {
			steps = append(steps, Reconfigure{r})
		}
	}
	return steps
}

// change is a topic before and after, nil where it was not or is no more.
type change struct {
	id            moldau.TopicID
	name          string
	before, after *Topic
}

// changes are the topics that may differ, by name; of two with one name, the deleted and its successor, by id.
func (d *Delta) changes() []change {
	var changes []change
	for _, id := range d.topics {
		c := change{id: id, before: d.Old.TopicByID(id), after: d.New.TopicByID(id)}
		switch {
		case c.after != nil:
			c.name = c.after.Name
		case c.before != nil:
			c.name = c.before.Name
		}
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(strings.Compare(a.name, b.name), bytes.Compare(a.id[:], b.id[:]))
	})
	return changes
}

func (c change) deletes(steps []Step, self moldau.BrokerID) []Step {
	if c.before == nil {
		return steps
	}
	for i, p := range c.before.Partitions {
		stays := c.after != nil && i < len(c.after.Partitions) && c.after.Partitions[i].Has(self)
		if p.Has(self) && !stays {
			steps = append(steps, Delete{c.id, c.before.Name, int32(i)})
		}
	}
	return steps
}

func (c change) becomes(steps []Step, self moldau.BrokerID) []Step {
	if c.after == nil {
		return steps
	}
	for i, p := range c.after.Partitions {
		same := c.before != nil && i < len(c.before.Partitions) && c.before.Partitions[i].equal(p)
		switch {
		case same || !p.Has(self):
		case p.Leader == self:
			steps = append(steps, BecomeLeader{c.id, c.name, int32(i), p.LeaderEpoch, p.PartitionEpoch, p.ISR, p.Replicas, p.Directory(self)})
		default:
			steps = append(steps, BecomeFollower{c.id, c.name, int32(i), p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR, p.Replicas, p.Directory(self)})
		}
	}
	return steps
}

// concerns reports whether a change of r is a step of its own for self. A topic that begins or ends with this Delta
// takes its configuration with it.
func (d *Delta) concerns(r Resource, self moldau.BrokerID) bool {
	switch r.Type {
	case schema.TopicResource:
		before, after := d.Old.Topic(r.Name), d.New.Topic(r.Name)
		return before != nil && after != nil && before.ID == after.ID
	case schema.BrokerResource:
		return r.Name == "" || r.Name == strconv.Itoa(int(self))
	default:
		return true
	}
}
