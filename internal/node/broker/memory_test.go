package broker

import (
	"errors"
	"runtime"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
)

// What an idle partition may cost, in bytes: all that this broker has of it but its part of the metadata. One that was written
// has rows in three checkpoints and in the manifest, and mostly an open file, as long as the cache has room.
const (
	unwrittenBytesMax = 2048
	idleBytesMax      = 3584
)

func TestMemoryOfUnwrittenPartitions(t *testing.T) {
	idleBytes(t, 10_000, unwrittenBytesMax, func(*partition.Partition) error { return nil })
}

// TestMemoryOfIdlePartitions is about partitions that were written to, a while ago, and a little.
func TestMemoryOfIdlePartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes some hundred files")
	}
	bd := record.NewBuilder(0)
	bd.Add(record.Record{Timestamp: 1000, Value: make([]byte, 1000)})
	batch, err := bd.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	idleBytes(t, 500, idleBytesMax, func(p *partition.Partition) error {
		if err := p.Log().Create(p.ID); err != nil {
			return err
		}
		for range 2 {
			if _, code, err := p.Append(batch, true, nil, 0); code != moldau.None {
				return errors.Join(errors.New(code.String()), err)
			}
		}
		return nil
	})
}

// idleBytes holds n partitions, which write has written to, to their budget.
func idleBytes(t *testing.T, n, most int, write func(*partition.Partition) error) {
	b, _ := start(t, t.TempDir())
	used := func() int {
		runtime.GC()
		runtime.GC() // pools are emptied by the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	replicas := []moldau.BrokerID{b.config.NodeID}
	before := used()
	c := change{b: b, im: metadata.Empty(), settings: make(map[string]*partition.Settings), arrivals: make(map[*logDir]*arrival)}
	for i := range int32(n) {
		c.lead(metadata.BecomeLeader{Topic: "a-topic-with-a-name", TopicID: moldau.TopicID{1}, Partition: i, LeaderEpoch: 3, Replicas: replicas, ISR: replicas})
		if err := write(b.partitions.Get(moldau.TopicID{1}, i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what the task for retention does now and then
		b.retain()
	}
	each := (used() - before) / n
	t.Logf("%d bytes for each of %d partitions", each, n)
	if each > most {
		t.Errorf("%d bytes for each of %d partitions, %d may be", each, n, most)
	}
}
