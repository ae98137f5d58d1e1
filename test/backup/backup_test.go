// Package backup takes backups of a broker under load, brings them back, and looks at what is in them.
package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

const partitions = 3

// load writes to a topic until it is stopped, and knows what was acknowledged.
type load struct {
	topic string
	mu    sync.Mutex
	value [partitions]map[int64]int // by offset
	end   [partitions]int64         // behind the last that was acknowledged
	fail  error
}

// run produces until ctx is done: numbers, each partition its own.
func (l *load) run(ctx context.Context, client *kgo.Client) {
	pad := make([]byte, 2000)
	for n := 0; ctx.Err() == nil; n++ {
		p := int32(n % partitions)
		client.Produce(context.Background(), &kgo.Record{Topic: l.topic, Partition: p, Value: append(strconv.AppendInt(nil, int64(n), 10), pad...)},
			func(r *kgo.Record, err error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if err != nil {
					l.fail = err
					return
				}
				l.value[p][r.Offset] = n
				l.end[p] = max(l.end[p], r.Offset+1)
			})
		if n%50 == 0 {
			time.Sleep(5 * time.Millisecond) // a rate that a busy machine keeps up with
		}
	}
}

// commit commits, for a group, all that is acknowledged, again and again until ctx is done.
func (l *load) commit(ctx context.Context, t *testing.T, client *kgo.Client) {
	admin := kadm.NewClient(client)
	for ctx.Err() == nil {
		var offsets kadm.Offsets
		for p, end := range l.ends() {
			offsets.Add(kadm.Offset{Topic: l.topic, Partition: int32(p), At: end, LeaderEpoch: -1})
		}
		if _, err := admin.CommitOffsets(ctx, group, offsets); err != nil && ctx.Err() == nil {
			t.Errorf("commit offsets: %v", err)
			return
		}
	}
}

// group is the consumer group that commits.
const group = "readers"

func (l *load) ends() [partitions]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// taken is a backup, with what was acknowledged before it began and where the logs began when it was done.
type taken struct {
	id     string
	before [partitions]int64
	starts [partitions]int64
}

// TestUnderLoad: producers write, segments roll and retention deletes while backups are taken, and one is killed. Each of the
// others comes back as a prefix of what was acknowledged, with nothing missing that was acknowledged before it began.
func TestUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("writes and restores some hundred megabytes")
	}
	subject.OnlyOurs(t)
	data, repo := t.TempDir(), filepath.Join(t.TempDir(), "repo")
	b := subject.Start(t, data, "log.retention.check.interval.ms=100")
	l := &load{topic: subject.Topic(t, b.Address, partitions, "segment.bytes=1048576", "retention.bytes=8388608", "file.delete.delay.ms=0")}
	for p := range l.value {
		l.value[p] = map[int64]int{}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		l.run(ctx, client)
	}()
	committing := make(chan struct{})
	go func() { // ends with ctx
		defer close(committing)
		l.commit(ctx, t, client)
	}()
	var all []taken
	for len(all) < 3 {
		written := l.ends()[0] + 2500
		for begun := time.Now(); l.ends()[0] < written; time.Sleep(5 * time.Millisecond) {
			if time.Since(begun) > time.Minute {
				t.Fatalf("no progress within a minute: %v", l.ends())
			}
		}
		all = append(all, take(t, b, repo, l))
		if len(all) == 1 {
			killOne(t, b, repo, all[0].id)
		}
	}
	stop()
	<-done
	<-committing
	if err := client.Flush(t.Context()); err != nil || l.fail != nil {
		t.Fatal(err, l.fail)
	}
	if all[2].starts[0] == 0 {
		t.Error("retention has deleted nothing: the test does not show what it is for")
	}
	b.Stop(t)
	for _, one := range all {
		if out, errs, code := subject.Command(t, "backup", "verify", repo, one.id); code != 0 {
			t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
		}
		to := filepath.Join(t.TempDir(), "restored")
		if out, errs, code := subject.Command(t, "backup", "restore", repo, one.id, "--to", to); code != 0 {
			t.Fatalf("restore: exit code %d\n%s%s", code, out, errs)
		}
		r := subject.Start(t, to)
		for p := range int32(partitions) {
			l.check(t, r.Address, p, one)
		}
		r.Stop(t)
	}
	damageIsFound(t, filepath.Join(repo, all[1].id), l.topic)
}

// take takes a backup.
func take(t *testing.T, b *subject.Broker, repo string, l *load) taken {
	t.Helper()
	one := taken{before: l.ends()}
	out, errs, code := subject.Command(t, "backup", "create", repo, "-b", b.Address, "-o", "json")
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 {
		t.Fatalf("backup create: exit code %d, %v\n%s%s", code, err, out, errs)
	}
	one.id = made.ID
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	starts, err := kadm.NewClient(client).ListStartOffsets(t.Context(), l.topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range one.starts {
		one.starts[p] = starts[l.topic][int32(p)].Offset
	}
	return one
}

// killOne kills a backup in the middle: what there was is there, and nothing that looks like another.
func killOne(t *testing.T, b *subject.Broker, repo, id string) {
	t.Helper()
	c := subject.Program(t, t.Context(), "backup", "create", repo, "-b", b.Address, "--limit", "1")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if copied, err := filepath.Glob(filepath.Join(repo, "*.unfinished", "*", "*.log")); err == nil && len(copied) > 0 {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the backup that is to be killed has not begun within a minute")
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // it was killed
	out, _, code := subject.Command(t, "backup", "list", repo, "-o", "json")
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 1 || list[0].ID != id {
		t.Errorf("after a backup was killed there are %+v, exit code %d, %v", list, code, err)
	}
}

// check reads a partition of a restored broker and compares it with the load.
func (l *load) check(t *testing.T, address string, p int32, one taken) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {p: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	starts, err := kadm.NewClient(c).ListStartOffsets(ctx, l.topic)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, l.topic)
	if err != nil {
		t.Fatal(err)
	}
	start, end := starts[l.topic][p].Offset, ends[l.topic][p].Offset
	if end < one.before[p] || start > one.starts[p] {
		t.Errorf("backup %s, partition %d: it has offsets %d to %d; %d were acknowledged before, and the log began at %d after", one.id, p, start, end, one.before[p], one.starts[p])
	}
	committed, err := kadm.NewClient(c).FetchOffsets(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := committed.Lookup(l.topic, p); !ok || o.At > end {
		t.Errorf("backup %s, partition %d: the group has committed %d (%t), and the log ends at %d", one.id, p, o.At, ok, end)
	}
	for at := start; at < end; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("backup %s, partition %d at offset %d of %d: %v", one.id, p, at, end, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			digits, _, _ := strings.Cut(string(r.Value), "\x00")
			n, known := l.value[p][r.Offset]
			if !known || digits != strconv.Itoa(n) || r.Offset != at {
				t.Errorf("backup %s, partition %d: offset %d has %.10q where %d is to have %d (acknowledged: %t)", one.id, p, r.Offset, digits, at, n, known)
			}
			at = r.Offset + 1
		})
	}
}

// damageIsFound flips a bit of a segment in a backup and sees it named.
func damageIsFound(t *testing.T, dir, topic string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, topic+"-0", "*.log"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segments in %s, %v", dir, err)
	}
	segment, repo, id := segments[0], filepath.Dir(dir), filepath.Base(dir)
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 4
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, code := subject.Command(t, "backup", "verify", repo, id); code != 1 || !strings.Contains(out, segment) {
		t.Errorf("verify: exit code %d, no word of %s in\n%s", code, segment, out)
	}
	if out, _, code := subject.Command(t, "backup", "restore", repo, id, "--to", filepath.Join(t.TempDir(), "x")); code != 1 {
		t.Errorf("a damaged backup was restored: exit code %d\n%s", code, fmt.Sprint(out))
	}
}
