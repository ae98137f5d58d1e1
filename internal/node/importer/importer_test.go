package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// testdata/apache was written by Apache Kafka 4.3.1. In the folder test:
//
//	go test ./takeover -run TestRecord -record ../../internal/node/importer/testdata/apache
const apache = "testdata/apache"

// inMemory puts the directory of Apache Kafka into memory, as /kafka.
func inMemory(t *testing.T) (*memfs.FS, env.Env) {
	t.Helper()
	fsys := memfs.New()
	err := filepath.WalkDir(apache, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := "/kafka" + strings.TrimPrefix(filepath.ToSlash(path), apache)
		if d.IsDir() {
			return fsys.MkdirAll(to)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return put(fsys, to, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	e := env.Real()
	e.FS = fsys
	if err := fsys.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return fsys, e
}

// put replaces a file.
func put(fsys *memfs.FS, name string, content []byte) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Sync(), f.Close(), fsys.SyncDir(filepath.Dir(name)))
}

func get(t *testing.T, fsys env.FS, name string) []byte {
	t.Helper()
	b, err := env.ReadFile(fsys, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func options(e env.Env, to string) Options {
	return Options{Env: e, Logger: slog.New(slog.DiscardHandler), To: to, Command: "moldau import /kafka --to " + to}
}

func look(t *testing.T, fsys env.FS, paths ...string) *Plan {
	t.Helper()
	p, err := Look(fsys, paths)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // some tests close it themselves
	return p
}

// lists writes a directory down: every name with its content.
func lists(t *testing.T, fsys env.FS, dir string) (all []string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			all = append(all, path)
			all = append(all, lists(t, fsys, path)...)
			continue
		}
		all = append(all, fmt.Sprintf("%s %x", path, get(t, fsys, path)))
	}
	return all
}

func TestPlan(t *testing.T) {
	p := look(t, env.OS{}, apache)
	if p.ClusterID != "bW9sZGF1LXRlc3QtcGVlcg" || p.NodeID != 1 || !p.Clean || p.NextProducerID == 0 {
		t.Errorf("the plan is of node %d of cluster %s, clean %t, next producer %d", p.NodeID, p.ClusterID, p.Clean, p.NextProducerID)
	}
	var topics []string
	for _, topic := range p.Topics {
		topics = append(topics, fmt.Sprintf("%s/%d", topic.Name, len(topic.Partitions)))
		if topic.Name == "orders" && (topic.Configs["retention.ms"] != "-1" || topic.Configs["segment.bytes"] != "1048576" || topic.Partitions[1].HighWatermark != 10) {
			t.Errorf("orders: %+v", topic)
		}
	}
	if want := []string{"__transaction_state/2", "later/1", "orders/2"}; !slices.Equal(topics, want) {
		t.Errorf("topics %v, want %v", topics, want)
	}
	var left []string
	for _, l := range p.LeftOut {
		if l.Kind != "feature" {
			left = append(left, l.Kind+": "+l.Name)
		}
	}
	want := []string{"acl: User:alice from * may Read topic orders", "quota: user alice: producer_byte_rate", "scram: user alice, SCRAM-SHA-256"}
	if !slices.Equal(left, want) {
		t.Errorf("left out %q, want %q", left, want)
	}
	if i := slices.IndexFunc(p.Configs, func(r Resource) bool { return r.Name == "all brokers" }); i < 0 || p.Configs[i].Set["log.cleaner.threads"] != "2" {
		t.Errorf("configs %+v", p.Configs)
	}
}

// The directory that was made serves what Apache wrote, goes on from there, and the source is what it was.
func TestImportIsServed(t *testing.T) {
	to := filepath.Join(t.TempDir(), "moldau")
	before := lists(t, env.OS{}, apache)
	p := look(t, env.OS{}, apache)
	var last int64
	o := options(env.Real(), to)
	o.Progress = func(done, _ int64) { last = done }
	report, err := p.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Partitions != 5 || last != p.Bytes || len(report.Recovered) > 0 {
		t.Errorf("%+v, the last progress at %d of %d", report, last, p.Bytes)
	}
	if len(report.Open) != 1 || !strings.HasPrefix(report.Open[0], "orders-0: producer ") {
		t.Errorf("open transactions %v", report.Open)
	}
	if after := lists(t, env.OS{}, apache); !slices.Equal(before, after) {
		t.Error("the source was changed")
	}
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + to, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Start(broker.Options{Env: env.Real(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Static: settings.Static()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if info := b.Info(); info.ClusterID != p.ClusterID || info.Recovered {
		t.Errorf("started as %+v", info)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Info().Bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {1: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, err := c.ProduceSync(ctx, &kgo.Record{Topic: "orders", Partition: 1, Value: []byte("21")}).First(); err != nil || r.Offset != 10 {
		t.Fatalf("appended at %+v, %v", r, err)
	}
	var got []string
	for len(got) < 11 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if strings.Join(got, " ") != "1 3 5 7 9 11 13 15 17 19 21" {
		t.Errorf("read %v", got)
	}
}

// A crash at any change of the import leaves the source as it was and a target that no broker takes for whole; the same
// import then succeeds.
func TestCrashAnywhere(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 13
	}
	crashed := errors.New("crash")
	for at := 0; ; at += step {
		fsys, e := inMemory(t)
		before := lists(t, fsys, "/kafka")
		p := look(t, fsys, "/kafka")
		var n atomic.Int64
		fsys.Hook = func(op memfs.Op) error {
			if op.Changes() && n.Add(1) > int64(at) {
				return crashed
			}
			return nil
		}
		_, err := p.Run(t.Context(), options(e, "/data/moldau"))
		fsys.Hook = nil
		if err == nil {
			if at < 100 {
				t.Fatalf("the import makes %d changes only: the hook does not see them", n.Load())
			}
			return
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		for _, keep := range memfs.Keeps {
			after := fsys.Crash(keep, uint64(at))
			if d, err := commitlog.OpenDirectory(after, "/data/moldau"); err == nil {
				_, formatted := d.Identity()
				if formatted { // the mark is gone, and only that the crash came before it was known to be
					checkWhole(t, d)
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				if formatted {
					continue
				}
			}
			e.FS = after
			p := look(t, after, "/kafka")
			if got := lists(t, after, "/kafka"); !slices.Equal(got, before) {
				t.Fatalf("change %d, %v: the source was changed", at, keep)
			}
			if report, err := p.Run(t.Context(), options(e, "/data/moldau")); err != nil || report.Partitions != 5 {
				t.Fatalf("change %d, %v: the second try: %+v, %v", at, keep, report, err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkWhole(t *testing.T, d *commitlog.Directory) {
	t.Helper()
	id, _ := d.Identity()
	if err := d.Claim(id); err != nil {
		t.Fatal(err)
	}
	clean, err := d.Stopped()
	parts, err2 := d.Partitions()
	if !clean || err != nil || err2 != nil || len(parts) != 5 || len(d.Listed()) != 5 {
		t.Fatalf("a broker takes the target for whole: clean %t, %d partitions, %d listed, %v, %v", clean, len(parts), len(d.Listed()), err, err2)
	}
}

func TestCancelled(t *testing.T) {
	fsys, e := inMemory(t)
	p := look(t, fsys, "/kafka")
	ctx, cancel := context.WithCancel(t.Context())
	o := options(e, "/moldau")
	o.Progress = func(int64, int64) { cancel() }
	if _, err := p.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := commitlog.OpenDirectory(fsys, "/moldau"); err == nil || !strings.Contains(err.Error(), "moldau import /kafka --to /moldau") {
		t.Errorf("the target is opened: %v", err)
	}
}

func TestUncleanIsRefusedUnlessRecovered(t *testing.T) {
	fsys, e := inMemory(t)
	if err := fsys.Remove("/kafka/.kafka_cleanshutdown"); err != nil {
		t.Fatal(err)
	}
	segment := "/kafka/orders-1/00000000000000000000.log"
	torn := get(t, fsys, segment)
	if err := put(fsys, segment, torn[:len(torn)-5]); err != nil {
		t.Fatal(err)
	}
	points := "/kafka/recovery-point-offset-checkpoint"
	if err := put(fsys, points, []byte("0\n0\n")); err != nil {
		t.Fatal(err)
	}
	if err := put(fsys, "/kafka/replication-offset-checkpoint", nil); err != nil { // as it is until the first checkpoint
		t.Fatal(err)
	}
	before := lists(t, fsys, "/kafka")
	p := look(t, fsys, "/kafka")
	o := options(e, "/moldau")
	if _, err := p.Run(t.Context(), o); !errors.Is(err, ErrUnclean) {
		t.Errorf("without a word: %v", err)
	}
	o.Recover, o.Link = true, true
	if _, err := p.Run(t.Context(), o); !errors.Is(err, ErrUnclean) {
		t.Errorf("linked: %v", err)
	}
	o.Link = false
	report, err := p.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(report.Recovered, func(s string) bool { return strings.HasPrefix(s, "orders-1: it was cut at offset 9") }) {
		t.Errorf("recovered %q", report.Recovered)
	}
	if !slices.Equal(before, lists(t, fsys, "/kafka")) {
		t.Error("the source was changed")
	}
}

// A batch that has changed in the source is told, serves what is before it, and does not stop the import of the rest.
func TestDamageIsTold(t *testing.T) {
	fsys, e := inMemory(t)
	segment := "/kafka/orders-1/00000000000000000000.log"
	b := get(t, fsys, segment)
	b[len(b)/2] ^= 1
	if err := put(fsys, segment, b); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Remove("/kafka/.kafka_cleanshutdown"); err != nil { // or else nobody reads it
		t.Fatal(err)
	}
	points := "/kafka/recovery-point-offset-checkpoint"
	if err := put(fsys, points, []byte("0\n0\n")); err != nil {
		t.Fatal(err)
	}
	o := options(e, "/moldau")
	o.Recover = true
	report, err := look(t, fsys, "/kafka").Run(t.Context(), o)
	if err != nil || len(report.Damaged) != 1 || !strings.HasPrefix(report.Damaged[0], "orders-1: damaged from offset ") {
		t.Fatalf("%+v, %v", report, err)
	}
	d, err := commitlog.OpenDirectory(fsys, "/moldau")
	if err != nil {
		t.Fatal(err)
	}
	if clean, err := d.Stopped(); clean || err != nil {
		t.Errorf("the target says that it is clean, %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, fsys *memfs.FS)
		want   string
	}{
		"running": {func(t *testing.T, fsys *memfs.FS) {
			if _, err := fsys.Lock("/kafka/.lock"); err != nil {
				t.Fatal(err)
			}
		}, "Apache Kafka runs on /kafka"},
		"no metadata": {func(t *testing.T, fsys *memfs.FS) {
			if err := fsys.RemoveAll("/kafka/__cluster_metadata-0"); err != nil {
				t.Fatal(err)
			}
		}, "metadata.log.dir"},
		"not formatted": {func(t *testing.T, fsys *memfs.FS) {
			if err := fsys.Remove("/kafka/meta.properties"); err != nil {
				t.Fatal(err)
			}
		}, "is no log directory"},
		"ours": {func(t *testing.T, fsys *memfs.FS) {
			text := "version=1\nmoldau.version=1\ncluster.id=x\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\n"
			if err := put(fsys, "/kafka/meta.properties", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}, "a directory of Moldau's own"},
		"damaged metadata": {func(t *testing.T, fsys *memfs.FS) {
			name := "/kafka/__cluster_metadata-0/00000000000000000000.log"
			b := get(t, fsys, name)
			b[len(b)-3] ^= 1
			if err := put(fsys, name, b); err != nil {
				t.Fatal(err)
			}
		}, "no whole batch"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, _ := inMemory(t)
			c.change(t, fsys)
			if p, err := Look(fsys, []string{"/kafka"}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("plan %+v, error %v, want one with %q", p, err, c.want)
			}
		})
	}
	fsys, e := inMemory(t)
	p := look(t, fsys, "/kafka")
	if err := fsys.MkdirAll("/used/photos"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(t.Context(), options(e, "/used")); !errors.Is(err, commitlog.ErrNotEmpty) {
		t.Errorf("a target that holds something: %v", err)
	}
	if _, err := p.Run(t.Context(), options(e, "/kafka/moldau")); err == nil || !strings.Contains(err.Error(), "lies in the source") {
		t.Errorf("a target in the source: %v", err)
	}
	if again, err := Look(fsys, []string{"/kafka", "/kafka/"}); err == nil || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("a source that is named twice: %+v, %v", again, err)
	}
	if got := lists(t, fsys, "/used"); len(got) != 1 {
		t.Errorf("it became %v", got)
	}
}

// Several log directories become one; what the directory that a partition has left still tells of it does not count.
func TestSeveralDirectories(t *testing.T) {
	fsys, e := inMemory(t)
	if err := fsys.MkdirAll("/second"); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"meta.properties": string(get(t, fsys, "/kafka/meta.properties")), ".kafka_cleanshutdown": string(get(t, fsys, "/kafka/.kafka_cleanshutdown")),
		"recovery-point-offset-checkpoint": "0\n1\norders 1 10\n", "replication-offset-checkpoint": "0\n1\norders 1 10\n",
		"log-start-offset-checkpoint": "0\n1\norders 1 4\n",
	} {
		if err := put(fsys, "/second/"+name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.Rename("/kafka/orders-1", "/second/orders-1"); err != nil {
		t.Fatal(err)
	}
	if err := put(fsys, "/kafka/log-start-offset-checkpoint", []byte("0\n1\norders 1 9\n")); err != nil {
		t.Fatal(err)
	}
	if p := look(t, fsys, "/kafka"); !slices.ContainsFunc(p.LeftOut, func(l LeftOut) bool { return l.Name == "orders" && strings.Contains(l.Why, "log.dirs") }) {
		t.Errorf("with one of two directories: %+v", p.LeftOut)
	} else if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p := look(t, fsys, "/second", "/kafka")
	report, err := p.Run(t.Context(), options(e, "/moldau"))
	if err != nil || report.Partitions != 5 {
		t.Fatalf("%+v, %v", report, err)
	}
	if got := string(get(t, fsys, "/moldau/log-start-offset-checkpoint")); !strings.Contains(got, "orders 1 4\n") {
		t.Errorf("log starts %q", got)
	}
}

// A linked segment has the bytes of the source's and no copy; the active one, which is appended to, is always copied.
func TestLinks(t *testing.T) {
	fsys, e := inMemory(t)
	batch := get(t, fsys, "/kafka/orders-1/00000000000000000000.log")
	second := slices.Clone(batch[:len(batch)/10])
	second[7] = 10 // the base offset
	if err := put(fsys, "/kafka/orders-1/00000000000000000010.log", second); err != nil {
		t.Fatal(err)
	}
	p := look(t, fsys, "/kafka")
	linked, mu := []string{}, sync.Mutex{}
	fsys.Hook = func(op memfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind == "link" {
			linked = append(linked, op.Name)
		}
		return nil
	}
	o := options(e, "/moldau")
	o.Link = true
	if _, err := p.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/kafka/orders-1/00000000000000000000.log"}; !slices.Equal(linked, want) {
		t.Errorf("linked %v, want %v", linked, want)
	}
}
