package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

// volume mounts a file system of its own, of so many MiB, for the length of the test.
func volume(t *testing.T, mebibytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
		t.Skipf("SKIPPED, a full disk is not tested: this machine lets nobody mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// filler is a producer with all its retries. It stands still while the disk is full.
type filler struct {
	t      *testing.T
	client *kgo.Client
	value  []byte
	acked  int
	last   chan error // the outcome of the record that waits
}

func newFiller(t *testing.T, address string) *filler {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &filler{t: t, client: client, value: make([]byte, 700<<10)}
}

// fill produces until a record has waited for patience.
func (f *filler) fill(topic string, patience time.Duration) {
	f.t.Helper()
	for {
		f.last = make(chan error, 1)
		f.client.Produce(context.Background(), &kgo.Record{Topic: topic, Value: f.value}, func(_ *kgo.Record, err error) { f.last <- err })
		select {
		case err := <-f.last:
			if err != nil {
				f.t.Fatalf("after %d records: %v", f.acked, err)
			}
			f.acked++
		case <-time.After(patience):
			return
		}
	}
}

// resumes expects the record that waits to be taken.
func (f *filler) resumes() {
	f.t.Helper()
	select {
	case err := <-f.last:
		if err != nil {
			f.t.Fatal(err)
		}
		f.acked++
	case <-time.After(time.Minute):
		f.t.Fatal("the producer stands still a minute after there is room again")
	}
}

func ends(t *testing.T, address, topic string) (start, end int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	starts, err1 := admin.ListStartOffsets(t.Context(), topic)
	endings, err2 := admin.ListEndOffsets(t.Context(), topic)
	if err := errors.Join(err1, err2, starts.Error(), endings.Error()); err != nil {
		t.Fatal(err)
	}
	s, _ := starts.Lookup(topic, 0)
	e, _ := endings.Lookup(topic, 0)
	return s.Offset, e.Offset
}

// readAll expects n records.
func readAll(t *testing.T, address, topic string, n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records are read: %v", got, n, err)
		}
		got += fetches.NumRecords()
	}
}

// A disk of 64 MiB fills until the broker refuses records, with what it keeps back still free. All is read, topics are made and
// deleted, a kill and a start in that state lose nothing, and the producer, which has only waited, goes on when a topic is deleted.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a disk")
	}
	b := subject.Start(t, filepath.Join(volume(t, 64), "data"))
	old, topic := subject.Topic(t, b.Address, 1), subject.Topic(t, b.Address, 1)
	ballast := newFiller(t, b.Address)
	for range 20 {
		if err := ballast.client.ProduceSync(t.Context(), &kgo.Record{Topic: old, Value: ballast.value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	f := newFiller(t, b.Address)
	f.fill(topic, 3*time.Second)
	var st syscall.Statfs_t
	if err := syscall.Statfs(b.Dir, &st); err != nil {
		t.Fatal(err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < 4<<20 {
		t.Errorf("%d bytes are kept back", free)
	}
	readAll(t, b.Address, topic, f.acked)
	subject.Topic(t, b.Address, 1)
	b.Kill()
	b.Restart(t)
	if _, end := ends(t, b.Address, topic); end < int64(f.acked) {
		t.Errorf("after a kill the topic ends at %d, and %d records were acknowledged", end, f.acked)
	}
	if _, err := kadm.NewClient(f.client).DeleteTopics(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	f.resumes()
	readAll(t, b.Address, topic, f.acked)
	if !b.Alive() {
		t.Error("the broker has ended")
	}
}

// Nothing is kept back, and the disk fills to the last byte under the broker's writes. It takes back what found no space, goes on
// serving, is killed and started in that state, and goes on producing when somebody else makes room.
func TestDiskWithoutAByteLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a disk")
	}
	dir := volume(t, 64)
	others := filepath.Join(dir, "somebody-elses-file")
	if err := os.WriteFile(others, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	b := subject.Start(t, filepath.Join(dir, "data"), "moldau.disk.reserve.bytes=0")
	topic := subject.Topic(t, b.Address, 1, "segment.bytes=4194304")
	f := newFiller(t, b.Address)
	f.fill(topic, 2*time.Second)
	f.value = nil
	readAll(t, b.Address, topic, f.acked)
	if !b.Alive() {
		t.Fatal("the broker has ended")
	}
	b.Kill()
	b.Restart(t)
	if _, end := ends(t, b.Address, topic); end < int64(f.acked) {
		t.Errorf("after a kill the topic ends at %d, and %d records were acknowledged", end, f.acked)
	}
	if err := os.Remove(others); err != nil {
		t.Fatal(err)
	}
	f.resumes()
	readAll(t, b.Address, topic, f.acked)
	subject.Topic(t, b.Address, 1)
}
