package broker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
)

// logsIn lists the directories of partitions in dir.
func logsIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if _, err := moldau.ParseTopicPartition(e.Name()); err == nil && e.IsDir() && e.Name() != metadataDir {
			names = append(names, e.Name())
		}
	}
	return names
}

// A partition that was never written has no file and is in no list, answers like every empty one, and gets its files with its
// first record; its neighbours do not.
func TestUnwrittenPartitionsHaveNoFiles(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	create(t, client(t, b), "t", 3)
	ask := func(wrote bool) {
		t.Helper()
		admin := kadm.NewClient(client(t, b))
		if starts, err := admin.ListStartOffsets(t.Context(), "t"); err != nil || starts.Error() != nil {
			t.Fatal(err, starts.Error())
		}
		ends, err := admin.ListEndOffsets(t.Context(), "t")
		if o, _ := ends.Lookup("t", 0); err != nil || o.Err != nil || o.Offset != 0 {
			t.Errorf("partition 0 ends at %d, %v %v", o.Offset, o.Err, err)
		}
		offsets := make(kadm.Offsets)
		offsets.AddOffset("t", 0, 0, -1)
		if _, err := admin.DeleteRecords(t.Context(), offsets); err != nil {
			t.Error("DeleteRecords:", err)
		}
		epochs := kmsg.NewPtrOffsetForLeaderEpochRequest()
		epochs.ReplicaID = -1
		part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		part.CurrentLeaderEpoch, part.LeaderEpoch = -1, 0
		topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
		topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
		epochs.Topics = append(epochs.Topics, topic)
		resp, err := epochs.RequestWith(t.Context(), client(t, b))
		if err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Errorf("OffsetForLeaderEpoch: %+v, %v", resp, err)
		}
		dirs, err := admin.DescribeAllLogDirs(t.Context(), nil)
		if n := len(dirs[int32(b.config.NodeID)][dir].Topics["t"]); err != nil || n != 3 {
			t.Errorf("DescribeLogDirs tells of %d partitions, %v", n, err)
		}
		want := []string(nil)
		if wrote {
			want = []string{"t-1"}
		}
		if got := logsIn(t, dir); !slices.Equal(got, want) {
			t.Errorf("there are %q, want %q", got, want)
		}
	}
	ask(false)
	stop()
	for _, name := range []string{"recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint", "moldau.manifest"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); strings.Contains(string(text), "t") && name != "moldau.manifest" {
			t.Errorf("%s has rows: %s", name, text)
		} else if err == nil && len(text) > 12 && name == "moldau.manifest" {
			t.Errorf("%s has entries", name)
		}
	}
	b, stop = start(t, dir)
	ask(false)
	if err := produceTo(t.Context(), client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner())), "t", 1, "a"); err != nil {
		t.Fatal(err)
	}
	ask(true)
	stop()
	if err := os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")); err != nil { // as after a kill
		t.Fatal(err)
	}
	b, _ = start(t, dir)
	ask(true)
	for _, p := range b.partitions.All() {
		if <-p.Settled(); !p.Online() || (p.Name.Partition == 1) == p.Log().Unwritten() {
			t.Errorf("partition %v: %v", p.Name, p.Failure())
		}
	}
}

// A topic that is written, deleted and made again over and over has the records of its last life only.
func TestRecreatedTopicIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	for range 20 {
		c := client(t, b)
		create(t, c, "t", 4)
		produce(t, c, "t", "a", "b", "c")
		if _, err := kadm.NewClient(c).DeleteTopic(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
	}
	c := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	create(t, c, "t", 4)
	if err := produceTo(t.Context(), c, "t", 0, "last"); err != nil {
		t.Fatal(err)
	}
	stop()
	b, _ = start(t, dir)
	if got := read(t, b, "t", 1); len(got) != 1 || got[0] != "last" {
		t.Errorf("it reads %q", got)
	}
	if got := logsIn(t, dir); !slices.Equal(got, []string{"t-0"}) {
		t.Errorf("there are %q", got)
	}
}

// First writes that come together share the syncs of the directory and of its manifest.
func TestFirstWritesShareSyncs(t *testing.T) {
	dir := t.TempDir()
	disk := healthyDisk()
	b, _ := startOn(t, disk, dir)
	const partitions = 60
	create(t, client(t, b), "t", partitions)
	var mu sync.Mutex
	manifest := 0
	count := func(kind, name string) error {
		if kind == "sync" && filepath.Base(name) == "moldau.manifest" {
			mu.Lock()
			manifest++
			mu.Unlock()
		}
		return nil
	}
	disk.fail.Store(&count)
	c := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ManualFlushing())
	for i := range int32(partitions) {
		c.Produce(t.Context(), &kgo.Record{Topic: "t", Partition: i, Value: []byte("a")}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if workers := len(b.storage.dirs[0].workers); manifest > 3*workers {
		t.Errorf("%d syncs of the manifest for %d partitions and %d workers", manifest, partitions, workers)
	}
	if n := len(logsIn(t, dir)); n != partitions {
		t.Errorf("%d directories, want %d", n, partitions)
	}
}

// A volume without room for the files of a partition refuses its first record, and takes it once there is room.
func TestFirstWriteOnAFullVolume(t *testing.T) {
	dir := t.TempDir()
	disk := healthyDisk()
	b, _ := startOn(t, disk, dir)
	c := client(t, b, kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	create(t, c, "t", 1)
	for _, file := range []string{"moldau.manifest", "partition.metadata.tmp"} {
		full := func(kind, name string) error {
			if kind == "write" && filepath.Base(name) == file {
				return syscall.ENOSPC
			}
			return nil
		}
		disk.fail.Store(&full)
		if err := produceTo(t.Context(), c, "t", 0, "a"); err == nil || !strings.Contains(err.Error(), "NOT_ENOUGH_REPLICAS") {
			t.Errorf("without room for %s: %v", file, err)
		}
	}
	disk.fail.Store(nil)
	if err := produceTo(t.Context(), c, "t", 0, "a"); err != nil {
		t.Error(err)
	}
}
