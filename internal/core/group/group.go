package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// State is how far a classic group is (G-1).
type State string

// The states, in Kafka's words.
const (
	Empty      State = "Empty"               // no members; perhaps offsets
	Preparing  State = "PreparingRebalance"  // members join; their answers wait for the others
	Completing State = "CompletingRebalance" // a generation began; its leader has not sent the assignment
	Stable     State = "Stable"              // the members have their assignment
	Dead       State = "Dead"                // told of a group that is not there
)

// group is a classic group and its offsets.
type group struct {
	id   string
	last moldau.Offset // of its newest record

	state        State
	since        time.Time // when it became Empty
	stored       bool      // there is a record of it that says more than nothing
	generation   int32
	protocolType string
	protocol     string // of this generation
	leader       string // a member's id, or empty
	members      []*member
	// promised is the ids that were given to members that have yet to join with them, and until when they count (KIP-394).
	promised []promise

	// While Preparing.
	joinBy  time.Time     // then those who joined go on without the others
	gather  time.Duration // of an initial rebalance: how much longer joinBy may still be put off
	initial bool          // the group was empty
	arrived bool          // a member came since joinBy was set
	// syncBy is when members that have not sent SyncGroup in this generation are given up; zero where none owes it.
	syncBy time.Time

	offsets offsets
	sweepAt time.Time // offsets that are not needed any longer are forgotten then; zero: not due
	lost    []string  // topics that were deleted: their offsets are not needed either

	alarm rsm.Alarm
}

type promise struct {
	id      string
	expires time.Time
}

func newGroup(id string) *group {
	return &group{id: id, last: noOffset, state: Empty}
}

// exists reports whether there is anything to say of the group.
func (g *group) exists() bool {
	return g.stored || len(g.members) > 0 || len(g.promised) > 0 || len(g.offsets.byPartition) > 0 || len(g.offsets.pending) > 0
}

// Alarm implements rsm.Sleeper.
func (g *group) Alarm() *rsm.Alarm { return &g.alarm }

// Due implements rsm.Sleeper.
func (g *group) Due() (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	sooner(g.joinBy)
	sooner(g.syncBy)
	sooner(g.sweepAt)
	for _, m := range g.members {
		if !m.waits() {
			sooner(m.expires)
		} else if m.fresh {
			sooner(m.expires)
		}
	}
	for _, p := range g.promised {
		sooner(p.expires)
	}
	return at, ok
}

func (g *group) member(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// instance finds the static member of an instance id.
func (g *group) instance(id string) *member {
	for _, m := range g.members {
		if m.static() && *m.instance == id {
			return m
		}
	}
	return nil
}

// check finds the member that a request names, or says why it is none (G-1).
func (g *group) check(id string, instance *string) (*member, moldau.Code) {
	if instance != nil {
		m := g.instance(*instance)
		switch {
		case m == nil:
			return nil, moldau.UnknownMemberID
		case m.id != id:
			return nil, moldau.FencedInstanceID
		}
		return m, moldau.None
	}
	if m := g.member(id); m != nil {
		return m, moldau.None
	}
	return nil, moldau.UnknownMemberID
}

// replayStored makes the group what its record says. Members that are here keep what only those who live know.
func (g *group) replayStored(v *kmsg.GroupMetadataValue) {
	if v == nil {
		*g = group{id: g.id, state: Empty, offsets: g.offsets, last: g.last, alarm: g.alarm}
		return
	}
	before := g.members
	g.stored = true
	g.generation, g.protocolType = v.Generation, v.ProtocolType
	g.protocol, g.leader = deref(v.Protocol), deref(v.Leader)
	g.members = nil
	for i := range v.Members {
		stored := &v.Members[i]
		m := &member{id: stored.MemberID}
		if at := slices.IndexFunc(before, func(m *member) bool { return m.id == stored.MemberID }); at >= 0 {
			m = before[at]
		}
		m.replay(stored, g.protocol)
		g.members = append(g.members, m)
	}
	g.since = time.UnixMilli(v.CurrentStateTimestamp)
	g.state = Stable
	if len(g.members) == 0 {
		g.state = Empty
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// rebalanceTimeout is the longest of the members'.
func (g *group) rebalanceTimeout() (longest time.Duration) {
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// supports reports whether a member with these protocols could be in the group: they have one in common (G-3).
func (g *group) supports(kind string, list []protocol) bool {
	if kind == "" || len(list) == 0 {
		return false
	}
	if len(g.members) == 0 {
		return true
	}
	counts := g.supporters()
	return kind == g.protocolType && slices.ContainsFunc(list, func(p protocol) bool { return counts[p.name] == len(g.members) })
}

// supporters counts the members that offer each protocol.
func (g *group) supporters() map[string]int {
	counts := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			counts[p.name]++
		}
	}
	return counts
}

// choose is the protocol that most members like best among those that all support; of equals the one that the earliest
// member likes (G-3).
func (g *group) choose() string {
	counts := g.supporters()
	votes := map[string]int{}
	best := ""
	for _, m := range g.members {
		if v := m.vote(counts, len(g.members)); v != "" {
			votes[v]++
		}
	}
	for _, m := range g.members {
		if v := m.vote(counts, len(g.members)); votes[v] > votes[best] {
			best = v
		}
	}
	return best
}

// remove takes a member out and answers what it waits for.
func (t *turn) remove(m *member, code moldau.Code) {
	t.answerJoin(m, &kmsg.JoinGroupResponse{ErrorCode: int16(code), MemberID: m.id, Generation: -1})
	t.answerSync(m, code)
	t.members = slices.DeleteFunc(t.members, func(o *member) bool { return o == m })
	if t.leader == m.id {
		t.leader = ""
		if len(t.members) > 0 {
			t.leader = t.members[0].id
		}
	}
}

func (t *turn) answerJoin(m *member, r *kmsg.JoinGroupResponse) {
	to := m.joining
	m.joining = rsm.NoTicket
	t.reply(to, r)
}
