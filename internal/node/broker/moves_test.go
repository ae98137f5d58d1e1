package broker

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/node/partition"
)

// askMove asks for partition 0 of a topic to be moved, and returns the code.
func askMove(t *testing.T, b *Broker, topic, dir string) error {
	t.Helper()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	d := kmsg.NewAlterReplicaLogDirsRequestDir()
	d.Dir = dir
	one := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
	one.Topic, one.Partitions = topic, []int32{0}
	d.Topics = append(d.Topics, one)
	req.Dirs = append(req.Dirs, d)
	resp, err := client(t, b).Broker(int(b.config.NodeID)).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return kerr.ErrorForCode(resp.(*kmsg.AlterReplicaLogDirsResponse).Topics[0].Partitions[0].ErrorCode)
}

func onlyPartition(t *testing.T, b *Broker, topic string) *partition.Partition {
	t.Helper()
	p := b.partitions.Get(b.cluster.Image().Topic(topic).ID, 0)
	<-p.Settled()
	return p
}

// settledIn waits until the metadata says that the partition is in the directory, and its list of moves is empty.
func settledIn(t *testing.T, b *Broker, p *partition.Partition, path string) {
	t.Helper()
	await(t, "the move has ended", func() bool {
		id := moldau.DirectoryID{}
		for _, d := range b.storage.dirs {
			if d.path == path {
				id = d.id
			}
			if d.moved(p) {
				return false
			}
		}
		return p.Home().Path == path && b.cluster.Image().TopicByID(p.ID).Partitions[0].Directory(b.config.NodeID) == id
	})
}

// A replica moves to and fro while idempotent producers write and a consumer reads: nothing is lost, doubled or refused, and a
// start finds it where it went.
func TestReplicaMovesUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a second of load")
	}
	root := t.TempDir()
	dirs := []string{filepath.Join(root, "a"), filepath.Join(root, "b")}
	b, stop := start(t, strings.Join(dirs, ","))
	small := "1048576"
	if _, err := kadm.NewClient(client(t, b)).CreateTopic(t.Context(), 1, 1, map[string]*string{"segment.bytes": &small}, "t"); err != nil {
		t.Fatal(err)
	}
	p := onlyPartition(t, b, "t")
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int64
	var writers sync.WaitGroup
	for w := range 3 {
		c := client(t, b)
		writers.Add(1)
		go func() { // ends with ctx
			defer writers.Done()
			for i := 0; ctx.Err() == nil; i++ {
				r := &kgo.Record{Topic: "t", Key: []byte(fmt.Sprint(w)), Value: []byte(fmt.Sprintf("%d %s", i, strings.Repeat("x", 2000)))}
				if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Errorf("record %d of writer %d: %v", i, w, err)
					return
				}
				sent.Add(1)
			}
		}()
	}
	for range 4 {
		to := dirs[0]
		if p.Home().Path == to {
			to = dirs[1]
		}
		before := sent.Load()
		if err := askMove(t, b, "t", to); err != nil {
			t.Fatal(err)
		}
		settledIn(t, b, p, to)
		await(t, "records behind the move", func() bool { return sent.Load() > before+50 })
	}
	cancel()
	writers.Wait()
	checkOrder(t, b, int(sent.Load()))
	where := p.Home().Path
	stop()
	b, _ = start(t, strings.Join(dirs, ","))
	if p = onlyPartition(t, b, "t"); !p.Online() || p.Home().Path != where {
		t.Fatalf("after a start it is in %s, not in %s: %v", p.Home().Path, where, p.Failure())
	}
	checkOrder(t, b, int(sent.Load()))
	for _, d := range dirs {
		left, err := filepath.Glob(filepath.Join(d, "t-0*"))
		if err != nil || (len(left) > 0) != (d == where) {
			t.Errorf("%s holds %v, %v", d, left, err)
		}
	}
}

// checkOrder expects each writer's records once and in their order.
func checkOrder(t *testing.T, b *Broker, n int) {
	t.Helper()
	next := map[string]int{}
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
	for got := 0; got < n; {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got++
			var i int
			if _, err := fmt.Sscan(string(r.Value), &i); err != nil || i != next[string(r.Key)] {
				t.Fatalf("offset %d has record %d of writer %s, want %d", r.Offset, i, r.Key, next[string(r.Key)])
			}
			next[string(r.Key)]++
		})
	}
}

// The broker is killed, or loses its power, at each change of the disk that a move makes. A start finds the partition with all its
// records, in one directory or the other; and where one of them is gone, it has all or is offline, and never begins anew.
func TestCrashAtEveryStepOfAMove(t *testing.T) {
	disk := memfs.New()
	b, _ := startOn(t, faulty{FS: disk, fail: new(atomic.Pointer[func(kind, name string) error])}, "/a,/b")
	durable := "1"
	if _, err := kadm.NewClient(client(t, b)).CreateTopic(t.Context(), 1, 1, map[string]*string{"flush.messages": &durable}, "t"); err != nil {
		t.Fatal(err)
	}
	p := onlyPartition(t, b, "t")
	if p.Home().Path != "/a" { // what is lost later is /b: the metadata is in /a
		if err := askMove(t, b, "t", "/a"); err != nil {
			t.Fatal(err)
		}
		settledIn(t, b, p, "/a")
	}
	const records = 20
	c := client(t, b)
	for i := range records {
		produce(t, c, "t", fmt.Sprint(i))
	}
	type image struct {
		fs   *memfs.FS
		at   string
		boot string
	}
	var mu sync.Mutex
	var images []image
	step := 1
	if testing.Short() {
		step = 7
	}
	n := 0
	for _, to := range []string{"/b", "/a"} {
		disk.Hook = func(op memfs.Op) error {
			if op.Changes() {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%step == 0 {
					keep, boot := memfs.Keeps[n/step%len(memfs.Keeps)], "another"
					if keep == memfs.All {
						boot = ""
					}
					images = append(images, image{disk.Crash(keep, uint64(n)), op.String(), boot})
				}
			}
			return nil
		}
		if err := askMove(t, b, "t", to); err != nil {
			t.Fatal(err)
		}
		settledIn(t, b, p, to)
		disk.Hook = nil
	}
	t.Logf("%d images", len(images))
	for _, im := range images {
		for _, lost := range []bool{false, true} {
			checkImage(t, faulty{FS: im.fs.Crash(memfs.All, 0), fail: new(atomic.Pointer[func(kind, name string) error]), boot: im.boot}, im.at, lost, records)
		}
	}
}

func checkImage(t *testing.T, disk faulty, at string, lost bool, records moldau.Offset) {
	t.Helper()
	if lost {
		if err := disk.RemoveAll("/b"); err != nil {
			t.Fatal(err)
		}
		if err := disk.MkdirAll("/b"); err != nil {
			t.Fatal(err)
		}
	}
	b, _ := startOn(t, disk, "/a,/b")
	p := onlyPartition(t, b, "t")
	switch {
	case !p.Online() && !lost:
		t.Errorf("killed before %s: the partition is offline: %v", at, p.Failure())
	case p.Online() && p.Log().End() != records:
		t.Errorf("killed before %s (directory lost: %v): the partition has %d records", at, lost, p.Log().End())
	}
	if err := b.Stop(); err != nil {
		t.Error(err)
	}
}

// What cannot be done is refused with Kafka's codes, and naming the place where a replica is changes nothing.
func TestMovesThatAreRefused(t *testing.T) {
	root := t.TempDir()
	a, other := filepath.Join(root, "a"), filepath.Join(root, "b")
	b, _ := start(t, a+","+other)
	create(t, client(t, b), "t", 1)
	produce(t, client(t, b), "t", "x")
	p := onlyPartition(t, b, "t")
	home := p.Home()
	for _, c := range []struct {
		topic, dir string
		want       error
	}{
		{"t", "/nowhere", kerr.LogDirNotFound}, {"nothing", "/nowhere", kerr.LogDirNotFound}, {"nothing", a, kerr.UnknownTopicOrPartition}, {"t", home.Path, nil},
	} {
		if err := askMove(t, b, c.topic, c.dir); err != c.want {
			t.Errorf("move %s to %s: %v, want %v", c.topic, c.dir, err, c.want)
		}
	}
	if p.Home() != home || len(b.describeDirs()[0].Futures)+len(b.describeDirs()[1].Futures) > 0 {
		t.Error("something is moved")
	}
}

// The checkpoints of a directory that a replica has left have nothing more to say of it, those of the other have it at once, and no
// other checkpoint that is written there takes it out again.
func TestCheckpointsFollowAMove(t *testing.T) {
	root := t.TempDir()
	b, _ := start(t, filepath.Join(root, "a")+","+filepath.Join(root, "b"))
	c := client(t, b)
	create(t, c, "t", 1)
	produce(t, c, "t", "one", "two")
	p := onlyPartition(t, b, "t")
	save := func() {
		for c := range column(len(columns)) {
			if err := b.storage.checkpoint(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	save()
	from := b.storage.dirOf(p.Home())
	to := b.storage.dirs[0]
	if to == from {
		to = b.storage.dirs[1]
	}
	if err := askMove(t, b, "t", to.path); err != nil {
		t.Fatal(err)
	}
	settledIn(t, b, p, to.path)
	for _, when := range []string{"at once", "after the next checkpoints"} {
		for c := range firstDirty { // of what was never compacted there is none
			rows, err := to.ReadCheckpoint(columns[c].file)
			if o, ok := rows[p.Name]; err != nil || !ok || o != c.of(p) {
				t.Errorf("%s: %s says %d %v %v, and it is %d", when, columns[c].file, o, ok, err, c.of(p))
			}
		}
		save()
	}
	for _, kind := range columns {
		if rows, err := from.ReadCheckpoint(kind.file); err != nil || len(rows) > 0 {
			t.Errorf("%s of the directory that it has left: %v %v", kind.file, rows, err)
		}
	}
}
