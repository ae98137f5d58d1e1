package txn

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
//	init ID [as=PRODUCER/EPOCH] [timeout=]      as: what a producer that goes on had
//	add ID PRODUCER/EPOCH [v=] PARTITION…      v: the transaction version of the client, 2 if not said
//	verify ID PRODUCER/EPOCH PARTITION…
//	commit, abort ID PRODUCER/EPOCH [v=]
//	marked ID [PARTITION…]                     the markers that were asked for last are written: all, or only these
//	describe ID, list [longer=] [STATE…]
//	wait DURATION                              time passes, and what is due is done
//	reload                                     the machine is lost and loaded again
//	exhaust ID                                 its epochs are used up but for the last
//
// A request prints the number of its ticket; what is told to whom stands behind "N ←", records behind "+", effects behind
// "!". Fresh producer ids are handed out from 100 on, as a caller does. After each command, what is due is done, as in a
// loop, and the machine is compared with one that is loaded from the records (O4).
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
	t       testing.TB
	cfg     Config
	m       *Transactions
	log     []Record
	now     time.Time
	tickets rsm.Ticket
	fresh   moldau.ProducerID
	asked   map[string]*Markers // markers that were asked for last, by transactional id
	grammar map[moldau.ProducerID]moldau.ProducerEpoch
}

func newStage(t testing.TB) *stage {
	s := &stage{t: t, now: time.Unix(1_000_000, 0), fresh: 99, asked: map[string]*Markers{}, grammar: map[moldau.ProducerID]moldau.ProducerEpoch{}, cfg: Config{
		TimeoutMax: 15 * time.Minute, Expiration: 7 * 24 * time.Hour, Hold: 5 * time.Second,
	}}
	s.m = New(s.cfg)
	s.m.Loaded(s.now)
	return s
}

func (s *stage) run(command string) string {
	keys := map[string]string{}
	var words []string
	for _, word := range strings.Fields(command) {
		if k, v, ok := strings.Cut(word, "="); ok {
			keys[k] = v
		} else {
			words = append(words, word)
		}
	}
	switch words[0] {
	case "wait":
		return s.wait(duration(s.t, words[1]))
	case "reload":
		s.m = s.loaded()
		return s.wait(0)
	case "exhaust":
		v := *s.log[s.m.byID[words[1]].last].Value
		v.ProducerEpoch = int16(epochLast)
		return s.take(Output{Records: []Record{{words[1], &v}}, After: noOffset})
	}
	s.tickets++
	out := fmt.Sprintf("%d %s\n", s.tickets, words[0])
	o := s.request(words, keys, s.tickets)
	if len(o.Replies) == 1 {
		if g, ok := o.Replies[0].Response.(Granted); ok && g.NeedsFresh {
			s.fresh++
			keys["fresh"] = strconv.Itoa(int(s.fresh))
			o = s.request(words, keys, s.tickets)
		}
	}
	return out + s.take(o) + s.wait(0)
}

func (s *stage) request(words []string, keys map[string]string, to rsm.Ticket) Output {
	id := ""
	if len(words) > 1 {
		id = words[1]
	}
	fresh := moldau.NoProducer
	if text, ok := keys["fresh"]; ok {
		fresh = moldau.ProducerID(number(s.t, text))
	}
	version := int16(2)
	if text, ok := keys["v"]; ok {
		version = int16(number(s.t, text))
	}
	switch words[0] {
	case "init":
		q := &Init{ID: id, Timeout: time.Minute, Expected: rsm.NoProducer(), Fresh: fresh}
		if text, ok := keys["timeout"]; ok {
			q.Timeout = duration(s.t, text)
		}
		if text, ok := keys["as"]; ok {
			q.Expected = producer(s.t, text)
		}
		return s.m.InitProducer(s.now, to, q)
	case "add", "verify":
		return s.m.AddPartitions(s.now, to, &Add{
			ID: id, Producer: producer(s.t, words[2]), Partitions: partitions(s.t, words[3:]), VerifyOnly: words[0] == "verify", Version: version,
		})
	case "commit", "abort":
		return s.m.EndTransaction(s.now, to, &End{ID: id, Producer: producer(s.t, words[2]), Commit: words[0] == "commit", Version: version, Fresh: fresh})
	case "marked":
		m := s.asked[id]
		written := m.Partitions
		if len(words) > 2 {
			written = partitions(s.t, words[2:])
		}
		return s.m.Marked(s.now, to, m, written)
	case "describe":
		return s.m.Describe(s.now, to, id)
	case "list":
		f := &Filter{States: words[1:], Longer: -1}
		if text, ok := keys["longer"]; ok {
			f.Longer = duration(s.t, text)
		}
		return s.m.List(s.now, to, f)
	}
	s.t.Fatalf("no command %q", words)
	return Output{}
}

func duration(t testing.TB, text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func number(t testing.TB, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func producer(t testing.TB, text string) rsm.Producer {
	id, epoch, _ := strings.Cut(text, "/")
	return rsm.Producer{ID: moldau.ProducerID(number(t, id)), Epoch: moldau.ProducerEpoch(number(t, epoch))}
}

func partitions(t testing.TB, words []string) (list []moldau.TopicPartition) {
	for _, word := range words {
		at, err := moldau.ParseTopicPartition(word)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, at)
	}
	return list
}

// wait lets time pass up to each deadline in turn.
func (s *stage) wait(d time.Duration) string {
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
		back, known, err := Decode(Encode(r))
		if err != nil || !known {
			s.t.Fatalf("record %+v cannot be read back: %v", r, err)
		}
		s.m.Replay(moldau.Offset(len(s.log)), r)
		s.log = append(s.log, back)
		out.WriteString("+ " + tellRecord(r) + "\n")
		s.checkEpoch(r)
	}
	if o.After >= moldau.Offset(len(s.log)) {
		s.t.Errorf("replies wait for offset %d of a log of %d records", o.After, len(s.log))
	}
	for _, r := range o.Replies {
		fmt.Fprintf(&out, "%d ← %s\n", r.To, tellReply(r.Response))
	}
	for _, e := range o.Effects {
		m := e.(*Markers)
		s.asked[m.ID] = m
		fmt.Fprintf(&out, "! %s %d/%d commit=%t v%d %v\n", m.ID, m.Producer.ID, m.Producer.Epoch, m.Commit, m.Version, m.Partitions)
	}
	s.compare()
	return out.String()
}

// checkEpoch: the epochs of a producer id never go back (T7).
func (s *stage) checkEpoch(r Record) {
	if r.Value == nil {
		return
	}
	id, epoch := moldau.ProducerID(r.Value.ProducerID), moldau.ProducerEpoch(r.Value.ProducerEpoch)
	if before, ok := s.grammar[id]; ok && epoch < before {
		s.t.Fatalf("the epoch of producer %d goes back from %d to %d", id, before, epoch)
	}
	s.grammar[id] = epoch
}

// loaded is a machine that was loaded from the log.
func (s *stage) loaded() *Transactions {
	m := New(s.cfg)
	for i, r := range s.log {
		m.Replay(moldau.Offset(i), r)
	}
	m.Loaded(s.now)
	return m
}

// compare sees that what the machine remembers is what a restart would find, also from a log that was compacted (O4).
func (s *stage) compare() {
	again := s.loaded()
	compacted := New(s.cfg)
	newest := map[string]int{}
	for i, r := range s.log {
		newest[r.ID] = i
	}
	for i, r := range s.log {
		if newest[r.ID] == i {
			compacted.Replay(moldau.Offset(i), r)
		}
	}
	live := remembered(s.m)
	for _, m := range []*Transactions{again, compacted} {
		if back := remembered(m); back != live {
			s.t.Fatalf("the machine is\n%s\nand after a load\n%s", live, back)
		}
	}
}

// remembered is what records say of all transactional ids.
func remembered(m *Transactions) string {
	var out strings.Builder
	for _, x := range m.sorted() {
		fmt.Fprintf(&out, "%s %d %v %d %d %v %v %v %v %v v%d\n", x.id, x.last, x.producer, x.previous, x.next, x.timeout, x.state, x.partitions,
			x.started.UnixMilli(), x.updated.UnixMilli(), x.version)
	}
	return out.String()
}

func tellRecord(r Record) string {
	if r.Value == nil {
		return r.ID + " forgotten"
	}
	v := r.Value
	out := fmt.Sprintf("%s %d/%d %s", r.ID, v.ProducerID, v.ProducerEpoch, v.State)
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			out += fmt.Sprintf(" %s-%d", t.Topic, p)
		}
	}
	if v.NextProducerID >= 0 {
		out += fmt.Sprintf(" next %d", v.NextProducerID)
	}
	return out
}

func tellReply(response any) string {
	switch r := response.(type) {
	case Granted:
		if r.Code != moldau.None {
			return r.Code.String()
		}
		if r.NeedsFresh {
			return "with a fresh id"
		}
		return fmt.Sprintf("%d/%d", r.Producer.ID, r.Producer.Epoch)
	case kmsg.DescribeTransactionsResponseTransactionState:
		out := fmt.Sprintf("%s %s %d/%d", moldau.Code(r.ErrorCode), r.State, r.ProducerID, r.ProducerEpoch)
		for _, t := range r.Topics {
			out += fmt.Sprintf(" %s%v", t.Topic, t.Partitions)
		}
		return out
	case []kmsg.ListTransactionsResponseTransactionState:
		var out []string
		for _, l := range r {
			out = append(out, l.TransactionalID+" "+l.TransactionState)
		}
		return strings.Join(out, ", ")
	case []moldau.Code:
		if len(r) > 0 && len(slices.Compact(slices.Clone(r))) == 1 {
			return r[0].String()
		}
	}
	return fmt.Sprint(response)
}
