// Package takeover moves a directory from Apache Kafka to Moldau and back: what one has written the other reads, appends to,
// and gives back.
package takeover

import (
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// properties are those of every broker of Apache Kafka here.
var properties = []string{
	"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS",
	"offsets.topic.num.partitions=2", "transaction.state.log.num.partitions=2", "log.cleaner.backoff.ms=100",
	"log.initial.task.delay.ms=100", "log.cleaner.dedupe.buffer.size=4194304",
}

func apache(t *testing.T, dir string) *peers.Broker {
	t.Helper()
	return peers.Start(t, dir, properties...)
}

// TestThereAndBack: Apache writes, we take over, serve the same and append, and Apache gets it back and reads it all.
func TestThereAndBack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Apache Kafka twice")
	}
	subject.OnlyOurs(t)
	theirs, ours := t.TempDir(), filepath.Join(t.TempDir(), "moldau")
	k := apache(t, theirs)
	create(t, k.Address)
	write(t, k.Address, 1, true)
	trim(t, k.Address, 7)
	awaitCleaner(t, k)
	if _, errs, code := subject.Command(t, "import", k.DataDir, "--to", ours); code != 1 || !strings.Contains(errs, "Apache Kafka runs on") {
		t.Errorf("an import beside a running broker: exit code %d, %s", code, errs)
	}
	commitOffset(t, k.Address, 11)
	raw, committed, known := read(t, k.Address, false), read(t, k.Address, true), producers(t, k.Address, "plain", 0)
	k.Stop()

	before := listing(t, k.DataDir)
	takeOver(t, k.DataDir, ours)
	if _, errs, code := subject.Command(t, "serve", "--set", "log.dirs="+k.DataDir); code != 1 || !strings.Contains(errs, "moldau import") {
		t.Errorf("serve on the directory of Apache Kafka: exit code %d, %s", code, errs)
	}
	if after := listing(t, k.DataDir); !slices.Equal(before, after) {
		t.Errorf("the source was changed:\n%s\nbecame\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}

	b := subject.Start(t, ours)
	compare(t, "taken over", read(t, b.Address, false), raw)
	compare(t, "taken over, as committed", read(t, b.Address, true), committed)
	if got := producers(t, b.Address, "plain", 0); !slices.Equal(got, known) {
		t.Errorf("the producers of plain-0 are %v, want %v", got, known)
	}
	if got := committedOffset(t, b.Address); got != 11 {
		t.Errorf("the group has committed %d, want 11", got)
	}
	commitOffset(t, b.Address, 12)
	write(t, b.Address, 2, false)
	trim(t, b.Address, 30)
	raw, committed = read(t, b.Address, false), read(t, b.Address, true)
	b.Stop(t)
	dump(t, ours)
	linked(t, k.DataDir)

	giveBack(t, ours, k.DataDir)
	k = apache(t, theirs)
	compare(t, "given back", read(t, k.Address, false), raw)
	compare(t, "given back, as committed", read(t, k.Address, true), committed)
	if got := committedOffset(t, k.Address); got != 12 {
		t.Errorf("given back, the group has committed %d, want 12", got)
	}
	for line := range strings.Lines(k.Log()) {
		recovers := strings.Contains(line, "Recovering unflushed segment") && !strings.Contains(line, "__cluster_metadata") // that one it always does
		if strings.Contains(line, " ERROR ") || strings.Contains(line, "orrupt") || recovers {
			t.Errorf("Apache Kafka complains: %s", line)
		}
	}
	write(t, k.Address, 3, true)
	compare(t, "appended to by Apache Kafka again", read(t, k.Address, false), raw)
}

// TestKilled: Apache Kafka was killed. Nothing is taken without a word, and with it all that was acknowledged is there.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	subject.OnlyOurs(t)
	k, ours := apache(t, t.TempDir()), filepath.Join(t.TempDir(), "moldau")
	create(t, k.Address)
	write(t, k.Address, 1, true)
	raw, committed := read(t, k.Address, false), read(t, k.Address, true)
	k.Kill()
	before := listing(t, k.DataDir)
	if _, errs, code := subject.Command(t, "import", k.DataDir, "--to", ours); code != 1 || !strings.Contains(errs, "--recover") {
		t.Errorf("without a word: exit code %d, %s", code, errs)
	}
	if out, errs, code := subject.Command(t, "import", k.DataDir, "--to", ours, "--recover"); code != 0 {
		t.Fatalf("import: exit code %d\n%s%s", code, out, errs)
	}
	if after := listing(t, k.DataDir); !slices.Equal(before, after) {
		t.Errorf("the source was changed:\n%s\nbecame\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	b := subject.Start(t, ours)
	compare(t, "taken over after a kill", read(t, b.Address, false), raw)
	compare(t, "taken over after a kill, as committed", read(t, b.Address, true), committed)
	write(t, b.Address, 2, false)
	compare(t, "appended to", read(t, b.Address, false), raw)
}

// takeOver imports a directory, after a dry run that changes nothing.
func takeOver(t *testing.T, from, to string) {
	t.Helper()
	out, errs, code := subject.Command(t, "import", from, "--to", to, "--dry-run", "-o", "json")
	var plan struct {
		Topics []struct {
			Name    string
			LeftOut string `json:"left_out"`
		}
		Partitions int
		LeftOut    []struct{ Kind, Name string } `json:"left_out"`
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != 0 {
		t.Fatalf("the dry run: exit code %d, %v\n%s%s", code, err, out, errs)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("the dry run has made the target")
	}
	if want := 3 + 2 + 1 + 1 + 2 + 2 + 2; plan.Partitions != want { // with those of __transaction_state and __consumer_offsets
		t.Errorf("the plan has %d partitions, want %d", plan.Partitions, want)
	}
	for _, l := range plan.LeftOut {
		if l.Kind != "feature" {
			t.Errorf("the plan leaves out: %v", l)
		}
	}
	if out, errs, code := subject.Command(t, "import", from, "--to", to); code != 0 {
		t.Fatalf("import: exit code %d\n%s%s", code, out, errs)
	}
}

// linked takes the directory over a second time, with names of sealed segments in place of copies, and works on it: the
// source stays as it is.
func linked(t *testing.T, from string) {
	t.Helper()
	before, to := listing(t, from), filepath.Join(filepath.Dir(from), "linked") // on the same volume
	if out, errs, code := subject.Command(t, "import", from, "--to", to, "--link"); code != 0 {
		t.Fatalf("import --link: exit code %d\n%s%s", code, out, errs)
	}
	b := subject.Start(t, to, "log.cleaner.backoff.ms=10")
	write(t, b.Address, 4, false)
	trim(t, b.Address, 60)
	b.Kill()
	b.Restart(t)
	read(t, b.Address, true)
	b.Stop(t)
	if after := listing(t, from); !slices.Equal(before, after) {
		t.Errorf("the source was changed through links:\n%s\nbecame\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// giveBack puts the partitions back where Apache Kafka has them, as docs/import.md tells.
func giveBack(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	offsets := topicSet{"__consumer_offsets", 2, nil} // what groups committed
	for _, topic := range append(slices.Clone(topics), offsets) {
		for p := range topic.partitions {
			name := fmt.Sprintf("%s-%d", topic.name, p)
			if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// listing is every file with its size, time and content's sum.
func listing(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%d bytes %08x", len(b), crc32.ChecksumIEEE(b))
		}
		list = append(list, fmt.Sprintf("%s %s %s", path, info.ModTime().Format(time.RFC3339Nano), sum))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// dump has kafka-dump-log read every segment and index of what we wrote.
func dump(t *testing.T, dir string) {
	t.Helper()
	var segments, indexes []string
	for _, topic := range topics {
		for p := range topic.partitions {
			at := filepath.Join(dir, fmt.Sprintf("%s-%d", topic.name, p))
			for _, pattern := range []string{"*.log", "*.index", "*.timeindex"} {
				names, err := filepath.Glob(filepath.Join(at, pattern))
				if err != nil {
					t.Fatal(err)
				}
				if pattern == "*.log" {
					segments = append(segments, names...)
				} else {
					indexes = append(indexes, names...)
				}
			}
		}
	}
	out, _, err := peers.Tool(t.Context(), nil, "kafka-dump-log", "--files", strings.Join(segments, ","), "--deep-iteration")
	if err != nil {
		t.Fatal(err)
	}
	batches := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "baseOffset: ") {
			batches++
			if !strings.Contains(line, "isvalid: true") {
				t.Errorf("kafka-dump-log says: %s", line)
			}
		}
	}
	if batches == 0 {
		t.Errorf("kafka-dump-log found no batches:\n%s", out)
	}
	out, errs, err := peers.Tool(t.Context(), nil, "kafka-dump-log", "--files", strings.Join(indexes, ","))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out + errs) {
		for _, word := range []string{"ismatch", "out of order", "orrupt", "Exception"} {
			if strings.Contains(line, word) {
				t.Errorf("kafka-dump-log says of the indexes: %s", line)
			}
		}
	}
}

var record = flag.String("record", "", "a directory that gets the log directory of Apache Kafka that tests of the importer read")

// TestRecord writes internal/node/importer/testdata/apache anew.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("-record DIR writes what other tests read")
	}
	k := apache(t, t.TempDir())
	tool := func(name string, args ...string) {
		peers.RunTool(t, name, append([]string{"--bootstrap-server", k.Address}, args...)...)
	}
	tool("kafka-topics", "--create", "--topic", "orders", "--partitions", "2", "--config", "retention.ms=-1", "--config", "segment.bytes=1048576")
	tool("kafka-topics", "--create", "--topic", "gone")
	tool("kafka-topics", "--delete", "--topic", "gone")
	tool("kafka-configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "SCRAM-SHA-256=[iterations=4096,password=x]")
	tool("kafka-configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "producer_byte_rate=1000")
	tool("kafka-configs", "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.cleaner.threads=2")
	tool("kafka-acls", "--add", "--allow-principal", "User:alice", "--operation", "Read", "--topic", "orders")
	tool("kafka-acls", "--add", "--deny-principal", "User:bob", "--operation", "Write", "--topic", "orders")
	tool("kafka-acls", "--remove", "--force", "--deny-principal", "User:bob", "--operation", "Write", "--topic", "orders")
	c := client(t, k.Address)
	for n := range 20 {
		send(t, c, &kgo.Record{Topic: "orders", Partition: int32(n % 2), Value: fmt.Appendf(nil, "%d", n)})
	}
	tx := client(t, k.Address, kgo.TransactionalID("mover"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	send(t, tx, &kgo.Record{Topic: "orders", Value: []byte("in doubt")})
	k.Stop()
	// Its last snapshot and its log tell all; a second start would find the transaction too old or not.
	k, err := peers.Run(t.Context(), peers.Options{Dir: filepath.Dir(k.DataDir), Properties: append(properties, "metadata.log.max.record.bytes.between.snapshots=100")})
	if err != nil {
		t.Fatal(err)
	}
	tool("kafka-topics", "--create", "--topic", "later", "--partitions", "1")
	k.Stop()
	keep(t, k.DataDir, *record)
}

// keep copies what a start would need, without the snapshots of the metadata that a later one has made superfluous.
func keep(t *testing.T, from, to string) {
	t.Helper()
	snapshots, err := filepath.Glob(filepath.Join(from, "__cluster_metadata-0", "*.checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(snapshots)
	for _, old := range snapshots[:max(len(snapshots)-1, 0)] {
		if err := os.Remove(old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	removed, err := filepath.Glob(filepath.Join(to, "*-delete"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range removed {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}
