package group

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/kit/script"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print as what they should print")

// TestScripts plays the stories in testdata.
//
//	set KEY=VALUE…                                a setting: delay, size, retention, check
//	join GROUP MEMBER [KEY=VALUE…] PROTOCOL:METADATA…  "-" is a member without an id; keys: as (an instance), client, v,
//	                                              session, rebalance, type
//	sync GROUP MEMBER GENERATION [as=INSTANCE] [MEMBER=ASSIGNMENT…]
//	heartbeat, leave GROUP MEMBER [GENERATION] [as=INSTANCE]
//	commit GROUP MEMBER GENERATION [v=, keep=] TOPIC-PARTITION=OFFSET…
//	commit … by=PRODUCER                          within the transaction of a producer
//	end PRODUCER commit|abort                     the marker of a transaction
//	fetch GROUP [stable=yes] [TOPIC-PARTITION…], forget GROUP TOPIC-PARTITION…, drop TOPIC
//	describe GROUP, list [STATE…], delete GROUP
//	wait DURATION                                 time passes, and what is due is done
//	reload                                        the machine is lost and loaded again
//
// A request prints the number of its ticket; what is told to whom stands behind "N ←", records behind "+". After each
// command the machine is compared with one that is loaded from the records (O4).
func TestScripts(t *testing.T) {
	script.Play(t, *rewrite, func(t *testing.T) func([]string) string {
		s := newStage(t)
		return func(commands []string) string {
			var out strings.Builder
			for _, c := range commands {
				out.WriteString(s.run(c))
			}
			return out.String()
		}
	})
}

// stage is a machine and its log.
type stage struct {
	t       *testing.T
	cfg     Config
	m       *Groups
	log     []Record
	now     time.Time
	tickets rsm.Ticket
	ids     int
	by      *rsm.Producer // whose transaction the command's records belong to
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, now: time.Unix(1_000_000, 0), cfg: Config{
		SessionTimeoutMin: 6 * time.Second, SessionTimeoutMax: 30 * time.Minute, InitialDelay: 3 * time.Second, MembersMax: 100,
		MetadataBytesMax: 20, OffsetRetention: time.Hour, OffsetCheck: 10 * time.Minute,
	}}
	s.m = New(s.cfg)
	s.m.Loaded(s.now)
	return s
}

// words takes a command apart: positional words, and those with an equals sign that are keys of it.
type words struct {
	t    *testing.T
	list []string
	keys map[string]string
}

func (s *stage) parse(command string, keys ...string) words {
	w := words{t: s.t, keys: map[string]string{}}
	for _, word := range strings.Fields(command) {
		if k, v, ok := strings.Cut(word, "="); ok && slices.Contains(keys, k) {
			w.keys[k] = v
		} else {
			w.list = append(w.list, word)
		}
	}
	return w
}

func (w words) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w words) int(key string, otherwise int64) int64 {
	if text, ok := w.keys[key]; ok {
		return w.number(text)
	}
	return otherwise
}

func (w words) millis(key string, otherwise time.Duration) int32 {
	if text, ok := w.keys[key]; ok {
		d, err := time.ParseDuration(text)
		if err != nil {
			w.t.Fatal(err)
		}
		otherwise = d
	}
	return int32(otherwise.Milliseconds())
}

func (w words) instance() *string {
	if as, ok := w.keys["as"]; ok {
		return &as
	}
	return nil
}

func memberID(word string) string {
	if word == "-" {
		return ""
	}
	return word
}

func (w words) partition(text string) moldau.TopicPartition {
	at, err := moldau.ParseTopicPartition(text)
	if err != nil {
		w.t.Fatal(err)
	}
	return at
}

func (s *stage) run(command string) string {
	w := s.parse(command, "as", "client", "v", "session", "rebalance", "type", "keep", "delay", "size", "retention", "check", "by", "stable")
	name := w.list[0]
	switch name {
	case "set":
		s.set(w)
		return ""
	case "wait":
		return s.wait(w.list[1])
	case "reload":
		s.m = s.loaded()
		return ""
	case "end":
		e := &Ended{Producer: rsm.Producer{ID: moldau.ProducerID(w.number(w.list[1]))}, Commit: w.list[2] == "commit"}
		s.replay(e, e)
		s.compare()
		return ""
	}
	if s.by = nil; w.keys["by"] != "" {
		s.by = &rsm.Producer{ID: moldau.ProducerID(w.int("by", 0))}
	}
	s.tickets++
	return fmt.Sprintf("%d %s\n", s.tickets, name) + s.take(s.request(w, s.tickets))
}

func (s *stage) set(w words) {
	duration := func(key string, into *time.Duration) { *into = time.Duration(w.millis(key, *into)) * time.Millisecond }
	duration("delay", &s.cfg.InitialDelay)
	duration("retention", &s.cfg.OffsetRetention)
	duration("check", &s.cfg.OffsetCheck)
	s.cfg.MembersMax = int(w.int("size", int64(s.cfg.MembersMax)))
	s.m = s.loaded()
}

func (s *stage) request(w words, to rsm.Ticket) Output {
	switch group := w.list[min(1, len(w.list)-1)]; w.list[0] {
	case "join":
		return s.join(w, to)
	case "sync":
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID = group, w.list[2], int32(w.number(w.list[3])), w.instance()
		for _, word := range w.list[4:] {
			m, a, _ := strings.Cut(word, "=")
			req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: m, MemberAssignment: []byte(a)})
		}
		return s.m.Sync(s.now, to, req)
	case "heartbeat":
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID = group, w.list[2], int32(w.number(w.list[3])), w.instance()
		return s.m.Heartbeat(s.now, to, req)
	case "leave":
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group = 5, group
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: memberID(w.list[2]), InstanceID: w.instance()}}
		return s.m.Leave(s.now, to, req)
	case "commit":
		return s.commit(w, to)
	case "fetch":
		f := &Fetch{Group: group, All: len(w.list) == 2, Stable: w.keys["stable"] != ""}
		for _, word := range w.list[2:] {
			f.Partitions = append(f.Partitions, w.partition(word))
		}
		return s.m.FetchOffsets(s.now, to, f)
	case "forget":
		var list []moldau.TopicPartition
		for _, word := range w.list[2:] {
			list = append(list, w.partition(word))
		}
		return s.m.DeleteOffsets(s.now, to, group, list)
	case "drop":
		return s.m.ForgetTopic(s.now, to, group)
	case "describe":
		return s.m.Describe(s.now, to, group, int16(w.int("v", 6)))
	case "list":
		return s.m.List(to, Filter{States: w.list[1:]})
	case "delete":
		return s.m.Delete(s.now, to, group)
	}
	s.t.Fatalf("no command %q", w.list)
	return Output{}
}

func (s *stage) join(w words, to rsm.Ticket) Output {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = int16(w.int("v", 9)), w.list[1], memberID(w.list[2]), w.instance()
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = w.millis("session", 10*time.Second), w.millis("rebalance", time.Minute)
	req.ProtocolType = "consumer"
	if kind, ok := w.keys["type"]; ok {
		req.ProtocolType = kind
	}
	for _, word := range w.list[3:] {
		name, metadata, _ := strings.Cut(word, ":")
		req.Protocols = append(req.Protocols, kmsg.JoinGroupRequestProtocol{Name: name, Metadata: []byte(metadata)})
	}
	client := "c"
	if c, ok := w.keys["client"]; ok {
		client = c
	}
	s.ids++
	return s.m.Join(s.now, to, Client{client, "/host"}, req, strconv.Itoa(s.ids))
}

func (s *stage) commit(w words, to rsm.Ticket) Output {
	c := &Commit{Group: w.list[1], Member: memberID(w.list[2]), Generation: int32(w.number(w.list[3])), Version: int16(w.int("v", 9)), Retention: -1, Within: s.by != nil}
	if _, ok := w.keys["keep"]; ok {
		c.Retention = time.Duration(w.millis("keep", 0)) * time.Millisecond
	}
	for _, word := range w.list[4:] {
		at, position, _ := strings.Cut(word, "=")
		next, metadata, _ := strings.Cut(position, "/")
		c.Offsets = append(c.Offsets, CommitOffset{At: w.partition(at), Next: moldau.Offset(w.number(next)), Epoch: 7, Metadata: metadata})
	}
	return s.m.CommitOffsets(s.now, to, c)
}

// wait lets time pass up to each deadline in turn.
func (s *stage) wait(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	var out strings.Builder
	end := s.now.Add(d)
	for range 10_000 {
		at, ok := s.m.Deadline()
		if !ok || at.After(end) {
			s.now = end
			return out.String()
		}
		if at.After(s.now) {
			s.now = at
		}
		out.WriteString(s.take(s.m.Tick(s.now)))
	}
	s.t.Fatal("something is due for ever")
	return ""
}

// take does what a coordinator does: replay, then tell.
func (s *stage) take(o Output) string {
	var out strings.Builder
	for _, r := range o.Records {
		key, value := Encode(r)
		back, known, err := Decode(key, value)
		if err != nil || !known {
			s.t.Fatalf("record %+v cannot be read back: %v", r, err)
		}
		if s.by != nil {
			r, back = Within(r, *s.by), Within(back, *s.by)
		}
		s.replay(r, back)
		out.WriteString("+ " + tellRecord(r) + "\n")
	}
	if o.After >= moldau.Offset(len(s.log)) {
		s.t.Errorf("replies wait for offset %d of a log of %d records", o.After, len(s.log))
	}
	for _, r := range o.Replies {
		fmt.Fprintf(&out, "%d ← %s\n", r.To, tellReply(r.Response))
	}
	s.compare()
	return out.String()
}

// replay takes a record into the machine, and into the log as it would be read back.
func (s *stage) replay(r, back Record) {
	s.m.Replay(moldau.Offset(len(s.log)), r)
	s.log = append(s.log, back)
}

// loaded is a machine that was loaded from the log.
func (s *stage) loaded() *Groups { return s.load(func(int) bool { return true }) }

// load loads a machine from those records of the log that were kept.
func (s *stage) load(kept func(i int) bool) *Groups {
	m := New(s.cfg)
	for i, r := range s.log {
		if kept(i) {
			m.Replay(moldau.Offset(i), r)
		}
	}
	m.Loaded(s.now)
	return m
}

// compacted tells which records compaction keeps: of each key the newest that was not aborted, up to the first transaction that
// is open, and all from there on (KAFKA-5247, KAFKA-14505).
func (s *stage) compacted(i int) bool {
	c, ok := s.log[i].(*Committed)
	end := s.stable()
	if !ok || i >= end {
		return true
	}
	aborted := func(c *Committed, i int) bool { return c.Within != nil && !s.ending(c.Within.ID, i).Commit }
	for j, r := range s.log[i+1 : end] {
		if later, ok := r.(*Committed); ok && later.ID == c.ID && later.At == c.At && !aborted(later, i+1+j) {
			return false
		}
	}
	return !aborted(c, i)
}

// stable is the first record of a transaction that is open, or the end.
func (s *stage) stable() int {
	for i, r := range s.log {
		if c, ok := r.(*Committed); ok && c.Within != nil && s.ending(c.Within.ID, i) == nil {
			return i
		}
	}
	return len(s.log)
}

// ending is the marker that ends the transaction of a record, or nil.
func (s *stage) ending(id moldau.ProducerID, i int) *Ended {
	for _, r := range s.log[i:] {
		if e, ok := r.(*Ended); ok && e.Producer.ID == id {
			return e
		}
	}
	return nil
}

// compare sees that what the machine remembers is what a restart would find, also in a log that was compacted (O4).
func (s *stage) compare() {
	s.compareWith(s.loaded())
	s.compareWith(s.load(s.compacted))
}

func (s *stage) compareWith(again *Groups) {
	for _, g := range s.m.sorted() {
		other := again.find(g.id)
		agreed := g.state == Stable || g.state == Empty // a generation on which members still agree is not written down
		if live, back := remembered(g, agreed), remembered(other, agreed); live != back {
			s.t.Fatalf("group %s is\n%s\nand after a load\n%s", g.id, live, back)
		}
	}
	for _, g := range again.sorted() {
		if s.m.byID[g.id] == nil {
			s.t.Fatalf("group %s comes back with a load", g.id)
		}
	}
}

// remembered is what records say of a group: its offsets, and its generation.
func remembered(g *group, generation bool) string {
	var out strings.Builder
	for _, at := range g.offsets.sorted() {
		o := g.offsets.byPartition[at]
		fmt.Fprintf(&out, "%v=%d/%d/%q/%v/%v\n", at, o.Next, o.Epoch, o.Metadata, o.At.UnixMilli(), o.Expires.UnixMilli())
	}
	for _, at := range g.offsets.all() {
		for _, id := range []moldau.ProducerID{1, 2, 3} {
			if o, ok := g.offsets.pending[id][at]; ok {
				fmt.Fprintf(&out, "%v=%d by %d\n", at, o.Next, id)
			}
		}
	}
	if generation && g.stored {
		fmt.Fprintf(&out, "%s %d %s %q %q\n", g.state, g.generation, g.protocolType, g.protocol, g.leader)
		for _, m := range g.members {
			fmt.Fprintf(&out, "%s %q %v %v %v %q %q\n", m.id, deref(m.instance), m.client, m.sessionTimeout, m.rebalanceTimeout, m.metadata(g.protocol), m.assignment)
		}
	}
	return out.String()
}

func tellRecord(r Record) string {
	switch r := r.(type) {
	case *Committed:
		if r.Value == nil {
			return fmt.Sprintf("%s %v forgotten", r.ID, r.At)
		}
		if r.Within != nil {
			return fmt.Sprintf("%s %v=%d within %d", r.ID, r.At, r.Value.Offset, r.Within.ID)
		}
		return fmt.Sprintf("%s %v=%d v%d", r.ID, r.At, r.Value.Offset, r.Value.Version)
	case *Stored:
		if r.Value == nil {
			return r.ID + " ended"
		}
		out := fmt.Sprintf("%s generation %d protocol %q leader %q", r.ID, r.Value.Generation, deref(r.Value.Protocol), deref(r.Value.Leader))
		for _, m := range r.Value.Members {
			out += fmt.Sprintf(" %s=%s", m.MemberID, m.Assignment)
		}
		return out
	}
	return "?"
}

func tellReply(response any) string {
	switch r := response.(type) {
	case *kmsg.JoinGroupResponse:
		return tellJoin(r)
	case *kmsg.SyncGroupResponse:
		return fmt.Sprintf("%s %s", moldau.Code(r.ErrorCode), r.MemberAssignment)
	case *kmsg.HeartbeatResponse:
		return moldau.Code(r.ErrorCode).String()
	case *kmsg.LeaveGroupResponse:
		out := moldau.Code(r.ErrorCode).String()
		for _, m := range r.Members {
			out += " " + moldau.Code(m.ErrorCode).String()
		}
		return out
	case Fetched:
		out := "offsets"
		for i, at := range r.Partitions {
			out += fmt.Sprintf(" %v=%d", at, r.Offsets[i].Next)
			if r.Codes[i] != moldau.None {
				out += " " + r.Codes[i].String()
			}
		}
		return out
	case kmsg.DescribeGroupsResponseGroup:
		out := fmt.Sprintf("%s %s %q %q", moldau.Code(r.ErrorCode), r.State, r.ProtocolType, r.Protocol)
		for _, m := range r.Members {
			out += fmt.Sprintf(" %s:%s=%s", m.MemberID, m.ProtocolMetadata, m.MemberAssignment)
		}
		return out
	case []kmsg.ListGroupsResponseGroup:
		var out []string
		for _, g := range r {
			out = append(out, g.Group+" "+g.GroupState)
		}
		return strings.Join(out, ", ")
	case Deleted:
		return fmt.Sprint(r.Code, " ", r.Codes)
	}
	return fmt.Sprint(response)
}

func tellJoin(r *kmsg.JoinGroupResponse) string {
	if r.ErrorCode != 0 {
		return fmt.Sprintf("%s %q", moldau.Code(r.ErrorCode), r.MemberID)
	}
	out := fmt.Sprintf("generation %d %s as %s, led by %s", r.Generation, deref(r.Protocol), r.MemberID, r.LeaderID)
	if r.SkipAssignment {
		out += ", assignment stands"
	}
	for _, m := range r.Members {
		out += fmt.Sprintf(" %s:%s", m.MemberID, m.ProtocolMetadata)
	}
	return out
}
