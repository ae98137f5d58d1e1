package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Config is what the broker's settings say of groups.
type Config struct {
	SessionTimeoutMin, SessionTimeoutMax time.Duration
	// InitialDelay is how long the first rebalance of an empty group waits for more members.
	InitialDelay     time.Duration
	MembersMax       int
	MetadataBytesMax int           // of what a client may say about an offset
	OffsetRetention  time.Duration // of the offsets of a group that nobody is in
	OffsetCheck      time.Duration // between two looks for expired offsets
}

// Output is what a step of Groups leads to.
type Output = rsm.Output[Record]

// Groups is the groups of one partition of __consumer_offsets. It is an rsm.Machine.
type Groups struct {
	cfg     Config
	byID    map[string]*group
	open    map[moldau.ProducerID][]string // the groups in which a transaction has offsets
	wakeups rsm.Wakeups[*group]
	expiry  time.Time // of offsets is looked for then
}

var _ rsm.Machine[Record] = (*Groups)(nil)

// New returns the machine before anything was replayed.
func New(cfg Config) *Groups {
	return &Groups{cfg: cfg, byID: map[string]*group{}, open: map[moldau.ProducerID][]string{}}
}

// noOffset is before the first offset of a log.
const noOffset moldau.Offset = -1

// Replay implements rsm.Machine.
func (s *Groups) Replay(at moldau.Offset, r Record) {
	if e, ok := r.(*Ended); ok {
		s.replayEnd(at, e)
		return
	}
	g := s.byID[r.Group()]
	if g == nil {
		g = newGroup(r.Group())
		s.byID[g.id] = g
	}
	switch r := r.(type) {
	case *Stored:
		g.replayStored(r.Value)
	case *Committed:
		if r.Within != nil && r.Value != nil {
			s.replayWithin(g, at, r)
		} else {
			g.offsets.replay(r.At, r.Value, at)
		}
	}
	g.last = at
	if !g.exists() {
		s.forget(g)
	}
}

// Loaded implements rsm.Machine.
func (s *Groups) Loaded(now time.Time) {
	s.expiry = now.Add(s.cfg.OffsetCheck)
	for _, g := range s.sorted() {
		for _, m := range g.members {
			m.alive(now)
		}
		s.wakeups.Schedule(g)
	}
}

// Deadline implements rsm.Machine.
func (s *Groups) Deadline() (time.Time, bool) {
	if at, ok := s.wakeups.Next(); ok && at.Before(s.expiry) {
		return at, true
	}
	return s.expiry, !s.expiry.IsZero()
}

// Tick implements rsm.Machine. It deals with one group, so that what it leads to stays small; Deadline tells whether there
// is more.
func (s *Groups) Tick(now time.Time) Output {
	if g, ok := s.wakeups.Take(now); ok {
		return s.step(g, now, (*turn).expire)
	}
	if !s.expiry.IsZero() && !now.Before(s.expiry) {
		s.expiry = now.Add(s.cfg.OffsetCheck)
		for _, g := range s.sorted() {
			if at, ok := g.offsetExpiry(s.cfg); ok && !now.Before(at) {
				g.sweepAt = now
				s.wakeups.Schedule(g)
			}
		}
	}
	return Output{After: noOffset}
}

// step runs fn on a group and sees to what has to hold afterwards.
func (s *Groups) step(g *group, now time.Time, fn func(*turn)) Output {
	t := &turn{cfg: &s.cfg, group: g, now: now, out: Output{After: g.last}}
	fn(t)
	if g.exists() {
		s.byID[g.id] = g
		s.wakeups.Schedule(g)
	} else if len(t.out.Records) == 0 {
		s.forget(g)
	}
	return t.out
}

// find returns a group, or one that is not there yet.
func (s *Groups) find(id string) *group {
	if g := s.byID[id]; g != nil {
		return g
	}
	return newGroup(id)
}

func (s *Groups) forget(g *group) {
	delete(s.byID, g.id)
	s.wakeups.Cancel(g)
}

// turn is one step of one group, and what it leads to.
type turn struct {
	*group
	cfg *Config
	now time.Time
	out Output
}

// record notes a record; it takes effect when it is replayed.
func (t *turn) record(r Record) { t.out.Records = append(t.out.Records, r) }

func (t *turn) reply(to rsm.Ticket, response any) {
	if to != rsm.NoTicket {
		t.out.Replies = append(t.out.Replies, rsm.Reply{To: to, Response: response})
	}
}

// store records the group's generation as it is, with the members' assignments that are given.
func (t *turn) store(assignments map[string][]byte) {
	v := kmsg.NewGroupMetadataValue()
	v.Version, v.ProtocolType, v.Generation = groupValueVersion, t.protocolType, t.generation
	v.CurrentStateTimestamp = t.now.UnixMilli()
	if len(t.members) > 0 {
		v.Protocol, v.Leader = &t.protocol, &t.leader
	}
	for _, m := range t.members {
		v.Members = append(v.Members, m.stored(t.protocol, assignments[m.id]))
	}
	t.record(&Stored{ID: t.id, Value: &v})
}
