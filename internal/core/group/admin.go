package group

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// sorted lists the groups by id.
func (s *Groups) sorted() []*group {
	list := make([]*group, 0, len(s.byID))
	for _, g := range s.byID { // order does not matter: they are sorted below
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	return list
}

// Describe tells of one group. The reply is a kmsg.DescribeGroupsResponseGroup.
func (s *Groups) Describe(now time.Time, to rsm.Ticket, id string, version int16) Output {
	return s.step(s.find(id), now, func(t *turn) { t.reply(to, t.describe(version)) })
}

func (t *turn) describe(version int16) kmsg.DescribeGroupsResponseGroup {
	r := kmsg.NewDescribeGroupsResponseGroup()
	r.Group = t.id
	if !t.exists() {
		r.State = string(Dead)
		if version >= 6 {
			message := "there is no group " + t.id
			r.ErrorCode, r.ErrorMessage = int16(moldau.GroupIDNotFound), &message
		}
		return r
	}
	r.State, r.ProtocolType = string(t.state), t.protocolType
	settled := t.state == Stable
	if settled {
		r.Protocol = t.protocol
	}
	for _, m := range t.members {
		d := kmsg.NewDescribeGroupsResponseGroupMember()
		d.MemberID, d.InstanceID, d.ClientID, d.ClientHost = m.id, m.instance, m.client.ID, m.client.Host
		if settled {
			d.ProtocolMetadata, d.MemberAssignment = m.metadata(t.protocol), m.assignment
		}
		r.Members = append(r.Members, d)
	}
	return r
}

// Filter says which groups a listing has; what is empty lets all pass. Names are compared without regard to case.
type Filter struct{ States, Types []string }

// classicType is the type of the groups here, as listings name it.
const classicType = "classic"

// List lists groups by id. The reply is a []kmsg.ListGroupsResponseGroup.
func (s *Groups) List(to rsm.Ticket, f Filter) Output {
	passes := func(list []string, word string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(w string) bool { return strings.EqualFold(w, word) })
	}
	out := Output{After: noOffset}
	list := []kmsg.ListGroupsResponseGroup{}
	for _, g := range s.sorted() {
		if !g.exists() || !passes(f.States, string(g.state)) || !passes(f.Types, classicType) {
			continue
		}
		l := kmsg.NewListGroupsResponseGroup()
		l.Group, l.ProtocolType, l.GroupState, l.GroupType = g.id, g.protocolType, string(g.state), classicType
		list = append(list, l)
		out.After = max(out.After, g.last)
	}
	out.Replies = []rsm.Reply{{To: to, Response: list}}
	return out
}

// Delete ends a group that nobody is in, with its offsets. The reply is a moldau.Code.
func (s *Groups) Delete(now time.Time, to rsm.Ticket, id string) Output {
	return s.step(s.find(id), now, func(t *turn) {
		code := moldau.None
		switch {
		case !t.exists():
			code = moldau.GroupIDNotFound
		case t.state != Empty || len(t.members) > 0:
			code = moldau.NonEmptyGroup
		default:
			for _, at := range t.offsets.all() {
				t.record(&Committed{ID: t.id, At: at})
			}
			t.record(&Stored{ID: t.id})
		}
		t.reply(to, code)
	})
}

// Counts are how many groups are in each state, and how many offsets they have committed.
type Counts struct {
	ByState map[State]int
	Offsets int
}

// Count counts the groups, for metrics.
func (s *Groups) Count() Counts {
	c := Counts{ByState: map[State]int{}}
	for _, g := range s.byID { // order does not matter: they are counted
		c.ByState[g.state]++
		c.Offsets += len(g.offsets.byPartition)
	}
	return c
}
