package commitlog_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

var me = Identity{ClusterID: "MkU3OEVBNTcwNTJENDM2Qg", NodeID: 1, DirectoryID: moldau.DirectoryID{5}}

func directory(t *testing.T, fsys env.FS) *Directory {
	t.Helper()
	d, err := OpenDirectory(fsys, "/data")
	if err == nil {
		err = d.Claim(me)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, fsys env.FS, name, content string) {
	t.Helper()
	if err := errors.Join(fsys.MkdirAll("/data"), env.WriteFile(fsys, "/data", name, []byte(content))); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("error %v, want one with %q", err, p)
		}
	}
}

// TestIdentity is L-43: whose a directory is.
func TestIdentity(t *testing.T) {
	fsys := memfs.New()
	d := directory(t, fsys)
	_, err := OpenDirectory(fsys, "/data")
	wantError(t, err, "/data is in use", "log.dirs")
	if !errors.Is(err, env.ErrLocked) {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	fsys = fsys.Crash(memfs.None, 0)
	d, err = OpenDirectory(fsys, "/data")
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := d.Identity(); !ok || id != me {
		t.Errorf("identity %+v %v", id, ok)
	}
	wantError(t, d.Claim(Identity{ClusterID: "other", NodeID: 1}), "belongs to cluster MkU3OEVBNTcwNTJENDM2Qg, not other")
	wantError(t, d.Claim(Identity{ClusterID: me.ClusterID, NodeID: 2}), "belongs to node 1, not 2", "node.id=1")
	if err := d.Claim(Identity{ClusterID: me.ClusterID, NodeID: 1}); err != nil {
		t.Error(err)
	}
}

func TestForeignDirectories(t *testing.T) {
	for content, want := range map[string]string{
		"#\n#Mon Nov 23\ncluster.id=x\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\nnode.id=1\nversion=1\n": "was formatted by Apache Kafka",
		"version=0\nbroker.id=1\n":      "version is",
		"":                              "version is",
		"version=1\nmoldau.version=2\n": "later one",
		"version=1\nmoldau.version=1\n": "cluster.id is missing",
		"version=1\nmoldau.version=1\ncluster.id=a\nnode.id=-1": "node.id is",
		"version=1\nmoldau.version=1\ncluster.id=a\nnode.id=1":  "directory.id",
	} {
		fsys := memfs.New()
		put(t, fsys, "meta.properties", content)
		_, err := OpenDirectory(fsys, "/data")
		wantError(t, err, want, "/data")
		if _, err := fsys.Stat("/data/.lock"); err == nil && errors.Is(err, ErrApache) {
			t.Error("a directory of Apache Kafka got a lock file")
		}
		if _, err := fsys.Lock("/data/.lock"); err != nil {
			t.Errorf("the lock is kept: %v", err)
		}
	}
	fsys := memfs.New()
	put(t, fsys, "x", "")
	if err := fsys.MkdirAll("/data/topic-0"); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(fsys, "/data")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, d.Claim(me), "has 1 partitions, such as topic-0, and no meta.properties")
}

// TestCleanMarkerGoesFirst is KAFKA-10471, and AutoMQ 1469: whatever happens after it was taken, it is gone.
func TestCleanMarkerGoesFirst(t *testing.T) {
	fsys := memfs.New()
	d := directory(t, fsys)
	if _, clean, err := d.TakeCleanMarker(); clean || err != nil {
		t.Error("a new directory is clean", err)
	}
	if err := d.WriteCleanMarker(77); err != nil {
		t.Fatal(err)
	}
	fsys = fsys.Crash(memfs.None, 0)
	d = directory(t, fsys)
	if epoch, clean, err := d.TakeCleanMarker(); !clean || err != nil || epoch != 77 {
		t.Error(epoch, clean, err)
	}
	fsys = fsys.Crash(memfs.None, 0)
	d = directory(t, fsys)
	if _, clean, err := d.TakeCleanMarker(); clean || err != nil {
		t.Error("the marker is back", err)
	}
	put(t, fsys, ".kafka_cleanshutdown", "garbage")
	if _, clean, err := d.TakeCleanMarker(); clean || err != nil {
		t.Error("garbage is taken for a marker", err)
	}
}

func TestCheckpoints(t *testing.T) {
	fsys := memfs.New()
	d := directory(t, fsys)
	if m, err := d.ReadCheckpoint(HighWatermarks); err != nil || len(m) != 0 {
		t.Error(m, err)
	}
	want := map[moldau.TopicPartition]moldau.Offset{{Topic: "a", Partition: 0}: 7, {Topic: "b-c", Partition: 12}: 1 << 40}
	if err := d.WriteCheckpoint(HighWatermarks, want); err != nil {
		t.Fatal(err)
	}
	b, _ := env.ReadFile(fsys, "/data/replication-offset-checkpoint", 1000)
	if string(b) != "0\n2\na 0 7\nb-c 12 1099511627776\n" {
		t.Errorf("%q", b)
	}
	if m, err := d.ReadCheckpoint(HighWatermarks); err != nil || !maps.Equal(m, want) {
		t.Error(m, err)
	}
	for _, content := range []string{"", "1\n0\n", "0\n1\n", "0\n1\na 0 7", "0\n1\na 0\n", "0\n0\na 0 7\n", "0\n1\na 0 -7\n", "0\n1\na x 7\n", "0\n-1\n"} {
		put(t, fsys, string(LogStarts), content)
		_, err := d.ReadCheckpoint(LogStarts)
		wantError(t, err, "log-start-offset-checkpoint")
	}
}

func TestPartitionDirectories(t *testing.T) {
	fsys := memfs.New()
	d := directory(t, fsys)
	tp := moldau.TopicPartition{Topic: strings.Repeat("x", 249), Partition: 3}
	if err := d.Enlist(map[moldau.TopicPartition]moldau.TopicID{tp: {9}, topic: {1}}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{d.PartitionDir(tp), d.PartitionDir(topic), "/data/lost+found", "/data/a-1.0123456789abcdef0123456789abcdef-delete", "/data/my-delete"} {
		if err := fsys.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := env.WriteFile(fsys, d.PartitionDir(topic), "partition.metadata", []byte("version: 0\ntopic_id: AQAAAAAAAAAAAAAAAAAAAA")); err != nil {
		t.Fatal(err)
	}
	if err := env.WriteFile(fsys, d.PartitionDir(tp), "partition.metadata", []byte("version: 9")); err != nil {
		t.Fatal(err)
	}
	ps, err := d.Partitions()
	if err != nil || len(ps) != 2 || ps[0].Partition != topic || ps[0].TopicID != (moldau.TopicID{1}) || ps[0].Err != nil || ps[1].Err == nil {
		t.Errorf("%+v %v", ps, err)
	}
	gone, err := d.DeletePartition(tp, moldau.UUID{0xab})
	if err != nil || len(gone) != len("/data/")+255 {
		t.Error(gone, err)
	}
	if gone, err := d.DeletePartition(tp, moldau.UUID{0xab}); gone != "" || err != nil {
		t.Error(gone, err)
	}
	fsys = fsys.Crash(memfs.None, 0)
	d = directory(t, fsys)
	if m := d.Listed(); len(m) != 1 || m[topic] != (moldau.TopicID{1}) {
		t.Errorf("listed: %v", m)
	}
	if err := d.PurgeDeleted(); err != nil {
		t.Fatal(err)
	}
	entries, _ := fsys.ReadDir("/data")
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-delete") && e.Name() != "my-delete" {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// TestManifest loses what a crash may tear, and refuses what no crash leaves.
func TestManifest(t *testing.T) {
	fsys := memfs.New()
	d := directory(t, fsys)
	for i := range 400 {
		tp := moldau.TopicPartition{Topic: "t", Partition: int32(i)}
		if err := d.Enlist(map[moldau.TopicPartition]moldau.TopicID{tp: {1}}); err != nil {
			t.Fatal(err)
		}
		if i >= 3 {
			if err := d.Strike(tp); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	const name = "/data/moldau.manifest"
	fsys = fsys.Crash(memfs.None, 0)
	if err := directory(t, fsys).Close(); err != nil { // writes it anew, short
		t.Fatal(err)
	}
	whole, _ := env.ReadFile(fsys, name, 1<<20)
	if len(whole) > 200 {
		t.Errorf("%d bytes for three partitions", len(whole))
	}
	f, _ := fsys.Open(name)
	for cut := 1; cut < 30; cut++ {
		if err := f.Truncate(int64(len(whole) - cut)); err != nil {
			t.Fatal(err)
		}
		d := directory(t, fsys)
		if n := len(d.Listed()); n != 2 {
			t.Errorf("%d partitions with %d bytes cut, want 2", n, cut)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(whole, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []int{0, 9, 25} {
		b := append([]byte(nil), whole...)
		b[at] ^= 1
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		d, err := OpenDirectory(fsys, "/data")
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, d.Claim(me), "manifest")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
