package broker

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/node/partition"
)

// volume is a disk that says that it has as much space as it is told.
type volume struct {
	env.FS
	free *atomic.Int64
}

func (v volume) Space(string) (total, free int64, err error) { return 1 << 30, v.free.Load(), nil }

// A volume fills and is emptied again: the log and the partition's answers go through the levels and back, and nothing has to be
// started again.
func TestFullDiskAndBack(t *testing.T) {
	disk := volume{env.OS{}, new(atomic.Int64)}
	disk.free.Store(1 << 30)
	b, _ := startOn(t, faulty{FS: disk, fail: new(atomic.Pointer[func(kind, name string) error])}, filepath.Join(t.TempDir(), "data"))
	c := client(t, b, kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
	create(t, client(t, b), "t", 1)
	produce(t, c, "t", "a")
	home := b.storage.dirs[0].home
	at := func(free int64, level partition.Level) {
		t.Helper()
		disk.free.Store(free)
		b.storage.wake()
		await(t, fmt.Sprint("level ", level), func() bool { return home.Space().Level == level })
	}
	ask := func() (int32, int16, string) {
		t.Helper()
		resp := produceOnce(t, client(t, b), b.cluster.Image().Topic("t").ID, "x") // a connection of its own: others are muted
		p := resp.Topics[0].Partitions[0]
		message := ""
		if p.ErrorMessage != nil {
			message = *p.ErrorMessage
		}
		return resp.ThrottleMillis, p.ErrorCode, message
	}
	at(60<<20, partition.Scarce)
	if ms, code, _ := ask(); ms != 0 || code != 0 {
		t.Errorf("scarce space: throttled for %d ms, code %d", ms, code)
	}
	at(24<<20, partition.Throttled)
	if ms, code, _ := ask(); ms < 300 || ms > 700 || code != 0 {
		t.Errorf("halfway to the reserve: throttled for %d ms, code %d", ms, code)
	}
	at(10<<20, partition.Refusing)
	ms, code, message := ask()
	if ms != 1000 || code != kerr.NotEnoughReplicas.Code || !strings.Contains(message, home.Path) || !strings.Contains(message, "10485760 bytes") {
		t.Errorf("full: throttled for %d ms, code %d, %s", ms, code, message)
	}
	if got := read(t, b, "t", 1); got[0] != "a" {
		t.Errorf("full: it reads %q", got)
	}
	create(t, client(t, b), "other", 1) // metadata goes on
	at(1<<30, partition.Ample)
	produce(t, client(t, b), "t", "b")
}

// Records go to a disk of a few megabytes until it is full. They are read and metadata goes on; records are deleted, retention
// runs before its time, and the producer, which has only waited, goes on too. A start on the full disk serves what is there.
func TestProducerOutlastsAFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for producers that are slowed down")
	}
	disk := memfs.New()
	disk.Capacity = 16 << 20
	b, _ := startOn(t, faulty{FS: disk, fail: new(atomic.Pointer[func(kind, name string) error])}, "/data")
	small := "1048576"
	if _, err := kadm.NewClient(client(t, b)).CreateTopic(t.Context(), 1, 1, map[string]*string{"segment.bytes": &small}, "old"); err != nil {
		t.Fatal(err)
	}
	c := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	home := b.storage.dirs[0].home
	// fill sends records until one has to wait, and returns what it waits for.
	fill := func(topic string) (sent int, waiting chan error) {
		for {
			outcome := make(chan error, 1)
			c.Produce(t.Context(), &kgo.Record{Topic: topic, Value: make([]byte, 800<<10)}, func(_ *kgo.Record, err error) { outcome <- err })
			for done := false; !done; {
				select {
				case err := <-outcome:
					if err != nil {
						t.Fatal(err)
					}
					sent, done = sent+1, true
				case <-time.After(1500 * time.Millisecond): // longer than a producer is slowed down
					if home.Space().Level == partition.Refusing {
						return sent, outcome
					}
				}
			}
		}
	}
	sent, waiting := fill("old")
	if got := read(t, b, "old", sent); len(got) != sent {
		t.Errorf("%d records are read of %d", len(got), sent)
	}
	create(t, client(t, b), "new", 1) // metadata goes on
	if _, err := kadm.NewClient(client(t, b)).DeleteRecords(t.Context(), kadm.Offsets{"old": {0: {Topic: "old", At: int64(sent)}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(client(t, b)).DeleteTopics(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	create(t, client(t, b), "new", 1)
	if err := <-waiting; err != nil {
		t.Fatal("the producer that waited: ", err)
	}
	if _, waiting = fill("new"); len(waiting) > 0 {
		t.Error("the disk is not full again")
	}
	p := replicaIn(t, b, "new", "/data")
	end := p.Log().End()
	killed := disk.Crash(memfs.All, 0) // before anything is closed
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	b, _ = startOn(t, faulty{FS: killed, fail: new(atomic.Pointer[func(kind, name string) error])}, "/data")
	p = replicaIn(t, b, "new", "/data")
	<-p.Settled()
	if !p.Online() || p.Log().End() != end {
		t.Errorf("after a kill: %v", p.Failure())
	}
}
