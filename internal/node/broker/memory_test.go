package broker

import (
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
)

// What an idle partition may cost, in bytes: all that this broker has of it, its part of the metadata too. One that was written
// has rows in the checkpoints and in the manifest, and shares the cache of open files.
const idleBytesMax = 2048

func TestMemoryOfUnwrittenPartitions(t *testing.T) {
	const n = 5000
	before := heap()
	b := startFrugal(t, t.TempDir())
	own := heap() - before
	createIdle(t, b, n)
	if each := (heap() - before - own) / n; each > idleBytesMax {
		t.Errorf("%d bytes for each of %d partitions, %d may be", each, n, idleBytesMax)
	} else {
		t.Logf("%d bytes", each)
	}
}

// TestMemoryOfIdlePartitions is about partitions that were written to, a while ago, and a little; before a restart and after it.
func TestMemoryOfIdlePartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes some thousand files")
	}
	const n = 2000
	dir, own := t.TempDir(), 0
	run := func(name string, prepare func(t *testing.T, b *Broker)) {
		t.Run(name, func(t *testing.T) {
			before := heap()
			b := startFrugal(t, dir)
			if own == 0 {
				own = heap() - before
			}
			prepare(t, b)
			upkeep(t, b)
			if each := (heap() - before - own) / n; each > idleBytesMax {
				t.Errorf("%d bytes for each of %d partitions, %d may be", each, n, idleBytesMax)
			} else {
				t.Logf("%d bytes", each)
			}
		})
	}
	run("written", func(t *testing.T, b *Broker) {
		createIdle(t, b, n)
		writeIdle(t, b.partitions.All())
	})
	run("opened", func(t *testing.T, b *Broker) {
		for _, p := range b.partitions.All() {
			if <-p.Settled(); p.Log().End() != 2 {
				t.Fatalf("partition %v ends at %d", p.Name, p.Log().End())
			}
		}
	})
}

// startFrugal starts a broker that has only some files open at a time: what those cost is bounded, however many partitions
// there are.
func startFrugal(t *testing.T, dir string) *Broker {
	t.Helper()
	e := env.Real()
	e.FilesMax = func() int { return 64 }
	b, _ := startIn(t, e, dir)
	return b
}

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// createIdle makes a topic of n partitions.
func createIdle(t *testing.T, b *Broker, n int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "a-topic-with-a-name", n, 1
	req.Topics = append(req.Topics, topic)
	c := client(t, b)
	resp, err := req.RequestWith(t.Context(), c)
	c.Close()
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatal(err, resp)
	}
}

// writeIdle appends two batches to each partition.
func writeIdle(t *testing.T, all []*partition.Partition) {
	t.Helper()
	bd := record.NewBuilder(0)
	bd.Add(record.Record{Timestamp: moldau.Timestamp(time.Now().UnixMilli()), Value: make([]byte, 1000)})
	batch, err := bd.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		p.Writable() // together, with one sync for many
	}
	for _, p := range all {
		<-p.Writable()
		for range 2 {
			if _, code, err := p.Append(batch, true, nil, 0); code != moldau.None {
				t.Fatal(code, err)
			}
		}
	}
}

// upkeep does what the tasks of a broker do now and then.
func upkeep(t *testing.T, b *Broker) {
	t.Helper()
	for range 2 {
		for _, p := range b.partitions.All() {
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		b.retain()
		for c := range column(len(columns)) {
			if err := b.storage.checkpoint(c); err != nil {
				t.Fatal(err)
			}
		}
	}
}
