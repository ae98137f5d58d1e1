package takeover

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
)

// topicSet is a topic with its partitions and configuration.
type topicSet struct {
	name       string
	partitions int32
	config     map[string]string
}

// topics are what the tests write to.
var topics = []topicSet{
	{"plain", 3, map[string]string{"segment.bytes": "1048576", "retention.ms": "-1"}},
	{"transactions", 2, nil},
	{"keyed", 1, map[string]string{"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"}},
	{"trimmed", 1, nil},
	{"empty", 2, nil},
}

// seen is one record as a consumer gets it.
type seen struct {
	offset    int64
	timestamp int64
	key       string
	value     string
	headers   string
	control   bool
}

// content is the records of each partition, in the order of offsets.
type content map[string]map[int32][]seen

func client(t *testing.T, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(32 << 10), kgo.ProducerLinger(0)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func send(t *testing.T, c *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// create makes the topics.
func create(t *testing.T, address string) {
	t.Helper()
	admin := kadm.NewClient(client(t, address))
	for _, topic := range topics {
		set := map[string]*string{}
		for k, v := range topic.config {
			set[k] = &v
		}
		if _, err := admin.CreateTopic(t.Context(), topic.partitions, 1, set, topic.name); err != nil {
			t.Fatalf("create topic %s: %v", topic.name, err)
		}
	}
}

var codecs = []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}

// write appends to every topic but the empty one: batches in all codecs, over several segments. Transactions only where the
// broker has them.
func write(t *testing.T, address string, round int, transactions bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(round), 1))
	for i, codec := range codecs {
		c := client(t, address, kgo.ProducerBatchCompression(codec))
		var records []*kgo.Record
		for n := range 1200 {
			value := make([]byte, 1000)
			for i := range value {
				value[i] = byte('0' + random.IntN(64))
			}
			key := fmt.Sprintf("%d.%d.%d", round, i, n)
			records = append(records, &kgo.Record{Topic: "plain", Partition: int32(n % 3), Key: []byte(key), Value: value,
				Headers: []kgo.RecordHeader{{Key: "round", Value: strconv.AppendInt(nil, int64(round), 10)}}})
			if n%2 == 0 {
				records = append(records, &kgo.Record{Topic: "keyed", Key: fmt.Appendf(nil, "k%d", n%50), Value: append(value, key...)})
			}
		}
		for range 20 {
			records = append(records, &kgo.Record{Topic: "trimmed", Value: []byte("x")}, &kgo.Record{Topic: "transactions", Value: []byte("outside")})
		}
		send(t, c, records...)
	}
	if !transactions {
		return
	}
	c := client(t, address, kgo.TransactionalID("mover"), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	for n := range 10 {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		send(t, c, &kgo.Record{Topic: "transactions", Partition: int32(n % 2), Value: fmt.Appendf(nil, "%d.%d", round, n)})
		if err := c.EndTransaction(t.Context(), kgo.TransactionEndTry(n%3 != 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// trim deletes the records of the topic trimmed below an offset.
func trim(t *testing.T, address string, to int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "trimmed", Partition: 0, At: to, LeaderEpoch: -1})
	got, err := kadm.NewClient(client(t, address)).DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		t.Fatalf("delete records: %v", err)
	}
}

// read reads everything, as committed or with what was aborted and the markers.
func read(t *testing.T, address string, committed bool) content {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin := kadm.NewClient(client(t, address))
	got := content{}
	for _, topic := range topics {
		got[topic.name] = map[int32][]seen{}
		ends, err := admin.ListEndOffsets(ctx, topic.name)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			t.Fatalf("ends of %s: %v", topic.name, err)
		}
		starts, err := admin.ListStartOffsets(ctx, topic.name)
		if err != nil {
			t.Fatal(err)
		}
		for p := range topic.partitions {
			from, to := starts[topic.name][p].Offset, ends[topic.name][p].Offset
			got[topic.name][p] = readPartition(t, ctx, address, topic.name, p, from, to, committed)
		}
	}
	return got
}

func readPartition(t *testing.T, ctx context.Context, address, topic string, p int32, from, to int64, committed bool) (list []seen) {
	t.Helper()
	if from == to {
		return nil
	}
	opts := []kgo.Opt{kgo.SeedBrokers(address), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().At(from)}})}
	if committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for at := from; at < to; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s-%d at offset %d of %d: %v", topic, p, at, to, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			list = append(list, seen{r.Offset, r.Timestamp.UnixMilli(), string(r.Key), string(r.Value), fmt.Sprint(r.Headers), r.Attrs.IsControl()})
			at = r.Offset + 1
		})
	}
	return list
}

// compare complains where a partition does not begin with what is wanted, record by record. Of the compacted topic, which
// may lose records at any time, the latest value of each key counts, and that nothing is in it that was never written.
func compare(t *testing.T, when string, got, want content) {
	t.Helper()
	for topic, partitions := range want {
		for p, records := range partitions {
			have := got[topic][p]
			if topic == "keyed" {
				compareKeyed(t, when, have, records)
				continue
			}
			if len(have) < len(records) {
				t.Errorf("%s: %s-%d has %d records, want at least %d", when, topic, p, len(have), len(records))
				continue
			}
			for i, r := range records {
				if have[i] != r {
					t.Errorf("%s: record %d of %s-%d is %.120v, want %.120v", when, i, topic, p, have[i], r)
					break
				}
			}
		}
	}
}

func compareKeyed(t *testing.T, when string, have, want []seen) {
	t.Helper()
	latest := map[string]seen{}
	known := map[int64]seen{}
	for _, r := range want {
		latest[r.key] = r
		known[r.offset] = r
	}
	for _, r := range have {
		if old, ok := known[r.offset]; ok && old != r {
			t.Errorf("%s: keyed has %.120v at offset %d, want %.120v", when, r, r.offset, old)
		}
		if old, ok := latest[r.key]; ok && r.offset >= old.offset {
			delete(latest, r.key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(latest)) {
		t.Errorf("%s: the latest record of key %s, at offset %d, is gone", when, key, latest[key].offset)
	}
}

// awaitCleaner waits until Apache's cleaner has been through the compacted topic.
func awaitCleaner(t *testing.T, k *peers.Broker) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		all := read(t, k.Address, false)["keyed"][0]
		if n := all[len(all)-1].offset + 1; int64(len(all)) < n*3/4 {
			return
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("Apache Kafka's cleaner has not run within a minute")
		}
	}
}

// producers are the idempotent producers of a partition: id, epoch and last sequence.
func producers(t *testing.T, address, topic string, partition int32) []string {
	t.Helper()
	var set kadm.TopicsSet
	set.Add(topic, partition)
	got, err := kadm.NewClient(client(t, address)).DescribeProducers(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range got[topic].Partitions[partition].ActiveProducers {
		list = append(list, fmt.Sprintf("%d %d %d", p.ProducerID, p.ProducerEpoch, p.LastSequence))
	}
	slices.Sort(list)
	return list
}

// group is a consumer group that commits an offset of trimmed-0.
const group = "readers"

func commitOffset(t *testing.T, address string, at int64) {
	t.Helper()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "trimmed", Partition: 0, At: at, LeaderEpoch: -1})
	got, err := kadm.NewClient(client(t, address)).CommitOffsets(t.Context(), group, offsets)
	if err == nil {
		err = got.Error()
	}
	if err != nil {
		t.Fatalf("commit offset %d: %v", at, err)
	}
}

func committedOffset(t *testing.T, address string) int64 {
	t.Helper()
	got, err := kadm.NewClient(client(t, address)).FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatalf("fetch the committed offset: %v", err)
	}
	o, _ := got.Lookup("trimmed", 0)
	return o.At
}
