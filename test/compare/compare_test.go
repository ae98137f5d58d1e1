// Package compare tells the same requests, right and wrong ones, to Moldau and to Apache Kafka and compares the decoded
// answers field by field. What Apache Kafka said is recorded in testdata; differences_test.go lists where Moldau means to
// say something else, with the reason.
//
//	go test ./compare           compare with the recorded answers
//	go test ./compare -record   start Apache Kafka and record its answers anew
package compare

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

var record = flag.Bool("record", false, "start Apache Kafka "+peers.Version+" and record its answers anew")

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// setup is a fresh broker with settings of its own and the scripts that are told to it, in this order.
type setup struct {
	name     string // of the file with the recorded answers
	settings []string
	scripts  []script
}

var setups = []setup{{"kafka", []string{"group.initial.rebalance.delay.ms=0"}, scripts}, {"kafka-forbidding", forbidding, []script{{"forbidding", tellForbidding}}}}

var scripts = []script{
	{"cluster", tellCluster},
	{"create topics", tellCreateTopics},
	{"delete topics", tellDeleteTopics},
	{"partitions", tellPartitions},
	{"metadata", tellMetadata},
	{"configs", tellConfigs},
	{"alter configs", tellAlterConfigs},
	{"produce", tellProduce},
	{"idempotence", tellIdempotence},
	{"offsets", tellOffsets},
	{"fetch", tellFetch},
	{"sessions", tellSessions},
	{"log dirs", tellLogDirs},
	{"coordinators", tellCoordinators},
	{"groups", tellGroups},
	{"transactions", tellTransactions},
}

// settings are given to both brokers beside what they need to run, so that their configurations describe alike.
var settings = []string{
	"node.id=1",
	"offsets.topic.replication.factor=1",
	"transaction.state.log.replication.factor=1",
	"transaction.state.log.min.isr=1",
	"share.coordinator.state.topic.replication.factor=1",
	"share.coordinator.state.topic.min.isr=1",
}

// forbidding lets clients do less.
var forbidding = []string{
	"auto.create.topics.enable=false", "delete.topic.enable=false", "num.partitions=3", "compression.type=zstd",
	"log.message.timestamp.type=LogAppendTime", "message.max.bytes=2000", "max.request.partition.size.limit=2",
}

func (s setup) golden() string {
	return filepath.Join("testdata", s.name+"-"+peers.Version+".txt")
}

func TestAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("asks some thousand questions")
	}
	used := make([]bool, len(intended))
	for _, s := range setups {
		t.Run(s.name, func(t *testing.T) { compare(t, s, used) })
	}
	for i, u := range used {
		if !u && !t.Failed() {
			t.Errorf("an intended difference does not show any more, drop it from the list: %+v", intended[i])
		}
	}
}

func compare(t *testing.T, s setup, used []bool) {
	if *record {
		if err := os.WriteFile(s.golden(), askKafka(t, s).encode(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(s.golden())
	if err != nil {
		t.Fatal(err)
	}
	kafka, err := decode(text)
	if err != nil {
		t.Fatalf("%s: %v", s.golden(), err)
	}
	dir := t.TempDir()
	b := subject.Start(t, dir, slices.Concat(settings, s.settings)...)
	report(t, kafka, tell(t, b.Address, dir, s.scripts), used)
}

// askKafka returns the answers of an Apache Kafka: one that it starts, or the fresh one that MOLDAU_COMPARE_KAFKA names.
func askKafka(t *testing.T, s setup) transcript {
	if address := os.Getenv("MOLDAU_COMPARE_KAFKA"); address != "" {
		return tell(t, address, "", s.scripts)
	}
	b := peers.Start(t, t.TempDir(), s.settings...)
	defer b.Stop() // two brokers at a time are one too many for a small machine
	return tell(t, b.Address, b.DataDir, s.scripts)
}

// report fails the test for each deviation that is not intended, and notes which of the intended ones were used.
func report(t *testing.T, kafka, ours transcript, used []bool) {
	var last string
	n := 0
	var out strings.Builder
	for _, d := range deviations(t, kafka, ours) {
		if i := slices.IndexFunc(intended, func(i difference) bool { return i.covers(d) }); i >= 0 {
			used[i] = true
			continue
		}
		n++
		if head := fmt.Sprintf("%s %s\n", kmsg.NameForKey(d.key), d.step); head != last {
			last = head
			out.WriteString(head)
		}
		fmt.Fprintf(&out, "  %-10s %s: Kafka %s, Moldau %s\n", ranges(d.versions), d.path, d.kafka, d.ours)
	}
	if n > 0 {
		t.Errorf("%d answers differ from those of Apache Kafka:\n%s", n, &out)
	}
}

// deviation is one field that the brokers fill differently.
type deviation struct {
	key         int16
	step        string
	versions    []int16
	path        string
	kafka, ours string
}

// unset is how a field with its default value, or one that is not there, reads.
const unset = "-"

// deviations compares two transcripts; versions in which a field differs alike come together.
func deviations(t *testing.T, kafka, ours transcript) []deviation {
	type id struct {
		key     int16
		step    string
		version int16
	}
	said := map[id]answer{}
	for _, a := range ours {
		k := id{a.key, a.step, a.version}
		if _, twice := said[k]; twice {
			t.Fatalf("a script notes two answers for %s %s v%d", kmsg.NameForKey(a.key), a.step, a.version)
		}
		said[k] = a
	}
	if len(kafka) != len(ours) {
		t.Errorf("%d answers are recorded and %d were given: record anew with -record", len(kafka), len(ours))
	}
	var out []deviation
	at := map[string]int{}
	for _, theirs := range kafka {
		mine, ok := said[id{theirs.key, theirs.step, theirs.version}]
		if !ok {
			t.Errorf("%s %s v%d is recorded and was not asked: record anew with -record", kmsg.NameForKey(theirs.key), theirs.step, theirs.version)
			continue
		}
		for _, d := range differ(theirs, mine) {
			k := fmt.Sprintf("%d %s %s %q %q", d.key, d.step, d.path, d.kafka, d.ours)
			if i, ok := at[k]; ok {
				out[i].versions = append(out[i].versions, theirs.version)
				continue
			}
			at[k] = len(out)
			out = append(out, d)
		}
	}
	return out
}

// differ lists the fields in which two answers to the same request differ. Where one has a struct that the other lacks,
// the struct is one difference, not each of its fields.
func differ(kafka, ours answer) []deviation {
	values := func(a answer) (map[string]string, map[string]bool) {
		m, at := map[string]string{}, map[string]bool{"": true}
		for _, f := range a.fields {
			if at[f.at] = true; f.name != "-" {
				m[f.path()] = f.value
			}
		}
		return m, at
	}
	theirs, theirStructs := values(kafka)
	mine, myStructs := values(ours)
	var out []deviation
	add := func(path, k, o string) {
		d := deviation{kafka.key, kafka.step, []int16{kafka.version}, path, k, o}
		if !slices.ContainsFunc(out, func(e deviation) bool { return e.path == path }) {
			out = append(out, d)
		}
	}
	for _, f := range kafka.fields {
		if missing := missingStruct(f.at, myStructs); missing != "" {
			add(missing, under(kafka.fields, missing), "nothing")
		} else if v, ok := mine[f.path()]; f.name == "-" {
			continue
		} else if !ok {
			add(f.path(), f.value, unset)
		} else if v != f.value {
			add(f.path(), f.value, v)
		}
	}
	for _, f := range ours.fields {
		if missing := missingStruct(f.at, theirStructs); missing != "" {
			add(missing, "nothing", under(ours.fields, missing))
		} else if _, ok := theirs[f.path()]; !ok && f.name != "-" && f.name != "ErrorMessage" { // which may say more than Kafka's
			add(f.path(), unset, f.value)
		}
	}
	return out
}

// missingStruct returns the outermost struct around at that is an element of a list and not there.
func missingStruct(at string, there map[string]bool) string {
	depth := 0
	for i, c := range at {
		switch c {
		case '[':
			depth++
		case ']':
			if depth--; depth == 0 {
				if outer := at[:i+1]; !within(outer, there) {
					return outer
				}
			}
		}
	}
	return ""
}

func within(outer string, there map[string]bool) bool {
	if there[outer] {
		return true
	}
	for at := range there {
		if strings.HasPrefix(at, outer+".") {
			return true
		}
	}
	return false
}

// under is the text of the fields of one struct.
func under(fs []field, at string) string {
	out := []string{"it"}
	for _, f := range fs {
		if f.at == at {
			out = append(out, f.name+"="+f.value)
		}
	}
	return strings.Join(out, " ")
}

func TestRecordedAnswersReadAndWriteAlike(t *testing.T) {
	for _, s := range setups {
		text, err := os.ReadFile(s.golden())
		if err != nil {
			t.Fatal(err)
		}
		said, err := decode(text)
		if err != nil {
			t.Fatalf("%s: %v", s.golden(), err)
		}
		if again := string(said.encode()); again != string(text) {
			at := 0
			for at < min(len(again), len(text)) && again[at] == text[at] {
				at++
			}
			t.Errorf("%s reads and writes as something else from byte %d on: %.80q", s.golden(), at, again[at:])
		}
	}
}
