package group

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// offsets is what a group has committed.
type offsets struct {
	byPartition map[moldau.TopicPartition]Offset
	pending     map[moldau.ProducerID]map[moldau.TopicPartition]Offset // by the transaction with whose end they count
}

// Offset is a committed position in a partition.
type Offset struct {
	Next     moldau.Offset // the record that the group reads next
	Epoch    moldau.LeaderEpoch
	Metadata string
	At       time.Time // of the commit
	Expires  time.Time // where the commit came with a retention time of its own; else zero

	record moldau.Offset // where its record is
}

func (o *offsets) replay(at moldau.TopicPartition, v *kmsg.OffsetCommitValue, record moldau.Offset) {
	if v == nil {
		delete(o.byPartition, at)
		o.dropPending(at)
		return
	}
	o.set(at, offsetOf(v, record))
}

func (o *offsets) set(at moldau.TopicPartition, c Offset) {
	if o.byPartition == nil {
		o.byPartition = map[moldau.TopicPartition]Offset{}
	}
	o.byPartition[at] = c
}

// offsetOf is what a record says.
func offsetOf(v *kmsg.OffsetCommitValue, record moldau.Offset) Offset {
	c := Offset{record: record, Next: moldau.Offset(v.Offset), Epoch: moldau.LeaderEpoch(v.LeaderEpoch), Metadata: v.Metadata, At: time.UnixMilli(v.CommitTimestamp)}
	if v.Version < offsetValueVersion {
		c.Epoch = moldau.NoEpoch // which older values cannot say
	}
	if v.Version == offsetExpiryVersion && v.ExpireTimestamp >= 0 {
		c.Expires = time.UnixMilli(v.ExpireTimestamp)
	}
	return c
}

// in reports whether there is an offset in the topic, or one that may come to count.
func (o *offsets) in(topic string) bool {
	return slices.ContainsFunc(o.all(), func(at moldau.TopicPartition) bool { return at.Topic == topic })
}

// sorted lists the partitions by topic and number.
func (o *offsets) sorted() []moldau.TopicPartition {
	list := make([]moldau.TopicPartition, 0, len(o.byPartition))
	for at := range o.byPartition { // order does not matter: they are sorted below
		list = append(list, at)
	}
	slices.SortFunc(list, comparePartitions)
	return list
}

func comparePartitions(a, b moldau.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// Commit is an OffsetCommit whose topics were resolved.
type Commit struct {
	Group, Member string
	Instance      *string
	Generation    int32
	Version       int16         // of the request
	Retention     time.Duration // of these offsets alone (versions 2 to 4); negative: as the broker has it
	Within        bool          // a transaction (TxnOffsetCommit)
	Offsets       []CommitOffset
}

// CommitOffset is one position in a Commit.
type CommitOffset struct {
	At       moldau.TopicPartition
	Next     moldau.Offset
	Epoch    moldau.LeaderEpoch
	Metadata string
}

// CommitOffsets takes positions. The reply is a code for each, a []moldau.Code (G-8, G-9).
func (s *Groups) CommitOffsets(now time.Time, to rsm.Ticket, c *Commit) Output {
	return s.step(s.find(c.Group), now, func(t *turn) {
		codes := make([]moldau.Code, len(c.Offsets))
		refusal := t.checkCommit(c)
		for i, o := range c.Offsets {
			switch {
			case refusal != moldau.None:
				codes[i] = refusal
			case len(o.Metadata) > t.cfg.MetadataBytesMax:
				codes[i] = moldau.OffsetMetadataTooLarge
			default:
				t.record(&Committed{ID: t.id, At: o.At, Value: t.value(c, o)})
			}
		}
		t.reply(to, codes)
	})
}

func (t *turn) value(c *Commit, o CommitOffset) *kmsg.OffsetCommitValue {
	v := kmsg.NewOffsetCommitValue()
	v.Version = offsetValueVersion
	v.Offset, v.LeaderEpoch, v.Metadata, v.CommitTimestamp = int64(o.Next), int32(o.Epoch), o.Metadata, t.now.UnixMilli()
	if c.Retention >= 0 {
		v.Version, v.LeaderEpoch, v.ExpireTimestamp = offsetExpiryVersion, -1, t.now.Add(c.Retention).UnixMilli()
	}
	return &v
}

// checkCommit says whether the sender may commit for the group, and takes the commit for a sign of life.
func (t *turn) checkCommit(c *Commit) moldau.Code {
	if c.Within {
		return t.checkCommitWithin(c)
	}
	if !t.exists() {
		switch {
		case c.Generation < 0:
			return moldau.None // a group of offsets alone begins
		case c.Version >= 9:
			return moldau.GroupIDNotFound
		}
		return moldau.IllegalGeneration
	}
	if c.Generation < 0 && t.state == Empty {
		return moldau.None
	}
	if c.Generation < 0 && c.Member == "" && c.Instance == nil {
		return moldau.UnknownMemberID // only members commit for a group that has some
	}
	m, code := t.check(c.Member, c.Instance)
	switch {
	case code != moldau.None:
		return code
	case c.Generation != t.generation:
		return moldau.IllegalGeneration
	case t.state == Completing:
		return moldau.RebalanceInProgress
	}
	m.alive(t.now)
	return moldau.None
}

// Fetch is an OffsetFetch for one group: the offsets of Partitions, or all.
type Fetch struct {
	Group      string
	All        bool
	Stable     bool // no offset that an open transaction may replace (KIP-447)
	Partitions []moldau.TopicPartition
}

// Fetched is the reply to a Fetch: an Offset and a code for each partition, Next -1 where there is none.
type Fetched struct {
	Partitions []moldau.TopicPartition
	Offsets    []Offset
	Codes      []moldau.Code
}

// FetchOffsets is OffsetFetch for one group. A group that is not there has committed nothing.
func (s *Groups) FetchOffsets(now time.Time, to rsm.Ticket, f *Fetch) Output {
	return s.step(s.find(f.Group), now, func(t *turn) {
		r := Fetched{Partitions: f.Partitions}
		if f.All {
			r.Partitions = t.offsets.sorted()
		}
		for _, at := range r.Partitions {
			o, ok := t.offsets.byPartition[at]
			code := moldau.None
			if f.Stable && t.offsets.unstable(at) {
				ok, code = false, moldau.UnstableOffsetCommit
			}
			if !ok {
				o = Offset{Next: -1, Epoch: moldau.NoEpoch}
			}
			r.Offsets, r.Codes = append(r.Offsets, o), append(r.Codes, code)
		}
		t.reply(to, r)
	})
}

// Deleted is the reply to DeleteOffsets: one code for all, or one for each partition.
type Deleted struct {
	Code  moldau.Code
	Codes []moldau.Code
}

// DeleteOffsets is OffsetDelete for one group. Offsets in topics that members subscribe to stay; where it cannot be told what
// they subscribe to, all do.
func (s *Groups) DeleteOffsets(now time.Time, to rsm.Ticket, id string, partitions []moldau.TopicPartition) Output {
	return s.step(s.find(id), now, func(t *turn) {
		subscribed, all := t.subscribed()
		switch {
		case !t.exists():
			t.reply(to, Deleted{Code: moldau.GroupIDNotFound})
			return
		case t.state == Empty:
			subscribed, all = nil, true
		case t.protocolType != consumerType:
			t.reply(to, Deleted{Code: moldau.NonEmptyGroup})
			return
		}
		codes := make([]moldau.Code, len(partitions))
		for i, at := range partitions {
			if _, known := t.offsets.byPartition[at]; !all || slices.Contains(subscribed, at.Topic) {
				codes[i] = moldau.GroupSubscribedToTopic
			} else if known {
				t.record(&Committed{ID: t.id, At: at})
			}
		}
		t.reply(to, Deleted{Codes: codes})
	})
}

// consumerType is the protocol type of consumers; others have subscriptions that mean nothing here.
const consumerType = "consumer"

// subscribed is the topics that members of a group of consumers subscribe to; false where these are not all, or the members
// are no consumers.
func (g *group) subscribed() (topics []string, all bool) {
	all = g.protocolType == consumerType
	for _, m := range g.members {
		for _, p := range m.protocols {
			var s kmsg.ConsumerMemberMetadata
			if !all || s.ReadFrom(p.metadata) != nil {
				all = false
				continue
			}
			topics = append(topics, s.Topics...)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics), all
}

// expiresAt is when an offset of the group is not kept any longer; false while it is needed (G-8).
func (g *group) expiresAt(at moldau.TopicPartition, o Offset, subscribed []string, known bool, retention time.Duration) (time.Time, bool) {
	switch {
	case g.offsets.unstable(at): // what an open transaction has to say of it comes first
		return time.Time{}, false
	case !o.Expires.IsZero():
		return o.Expires, true
	case g.protocolType == "": // nobody ever joined
		return o.At.Add(retention), true
	case g.state == Empty:
		return later(g.since, o.At).Add(retention), true
	case g.state == Stable && known && !slices.Contains(subscribed, at.Topic):
		return o.At.Add(retention), true
	}
	return time.Time{}, false
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// offsetExpiry is the earliest time at which an offset of the group, or the group itself, is not needed any longer.
func (g *group) offsetExpiry(cfg Config) (first time.Time, ok bool) {
	subscribed, known := g.subscribed()
	for at, o := range g.offsets.byPartition { // order does not matter: the earliest is looked for
		if e, is := g.expiresAt(at, o, subscribed, known, cfg.OffsetRetention); is && (!ok || e.Before(first)) {
			first, ok = e, true
		}
	}
	if g.state == Empty && g.stored && len(g.offsets.byPartition) == 0 && len(g.offsets.pending) == 0 {
		return g.since, true
	}
	return first, ok
}

// sweepOffsets forgets the offsets that are not needed any longer or whose topic is gone, and the group with the last of
// them.
func (t *turn) sweepOffsets() {
	subscribed, known := t.subscribed()
	all := t.offsets.all()
	left := len(all)
	for _, at := range all {
		e, is := t.expiresAt(at, t.offsets.byPartition[at], subscribed, known, t.cfg.OffsetRetention)
		if is && !t.now.Before(e) || slices.Contains(t.lost, at.Topic) {
			t.record(&Committed{ID: t.id, At: at})
			left--
		}
	}
	t.lost = nil
	if left == 0 && t.state == Empty && t.stored && len(t.promised) == 0 {
		t.record(&Stored{ID: t.id})
	}
}

// ForgetTopic notes that a topic was deleted: the offsets in it go, group by group, with the ticks that follow.
// The reply is moldau.None.
func (s *Groups) ForgetTopic(now time.Time, to rsm.Ticket, topic string) Output {
	for _, g := range s.sorted() {
		if g.offsets.in(topic) {
			g.lost = append(g.lost, topic)
			g.sweepAt = now
			s.wakeups.Schedule(g)
		}
	}
	return Output{After: noOffset, Replies: []rsm.Reply{{To: to, Response: moldau.None}}}
}
