// Package compaction compares what Apache Kafka and the broker under test leave of the same compacted topic.
package compaction

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

const batches, perBatch = 120, 40

// fill writes batches of records whose keys come again, every seventh a tombstone, and returns the topic.
func fill(t *testing.T, address string) string {
	t.Helper()
	topic := subject.Topic(t, address, 1, "cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.01")
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for i := range batches {
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ManualFlushing(), kgo.DefaultProduceTopic(topic),
			kgo.ProducerBatchCompression(codecs[i%8/2]), kgo.DisableIdempotentWrite(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		for j := range perBatch {
			n := i*perBatch + j
			value := make([]byte, 2000)
			for k := range value {
				value[k] = byte(n*7919 + k*k*(n%13+1)>>3)
			}
			if n%7 == 3 {
				value = nil
			}
			r := &kgo.Record{Key: fmt.Appendf(nil, "key %d", n*n%(n%500+1)), Value: value, Timestamp: time.UnixMilli(1_700_000_000_000 + int64(n))}
			client.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	return topic
}

// left is the records of a topic as a reader from its start sees them.
func left(t *testing.T, address, topic string) (list []string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		end := false
		fetched.EachRecord(func(r *kgo.Record) {
			list = append(list, fmt.Sprintf("%d %s %d %t %x", r.Offset, r.Key, r.Timestamp.UnixMilli(), r.Value == nil, r.Value))
			end = end || r.Offset == batches*perBatch-1
		})
		if end {
			return list
		}
	}
}

// The same input leaves the same offsets, keys, times and values.
func TestTheSameRecordsAreLeft(t *testing.T) {
	subject.OnlyOurs(t)
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	if err := peers.Missing(); err != nil {
		peers.Absent(t, err)
	}
	kafka := peers.Start(t, t.TempDir(), "log.cleaner.backoff.ms=200")
	dir := t.TempDir()
	ours := subject.Start(t, dir, "log.cleaner.backoff.ms=200")
	theirTopic, ourTopic := fill(t, kafka.Address), fill(t, ours.Address)
	var want, got []string
	for range 100 {
		want, got = left(t, kafka.Address, theirTopic), left(t, ours.Address, ourTopic)
		if len(want) < batches*perBatch/3 && slices.Equal(want, got) {
			t.Logf("%d of %d records are left", len(got), batches*perBatch)
			ours.Stop(t)
			dump(t, dir, ourTopic)
			return
		}
		time.Sleep(300 * time.Millisecond) // both compact in their own time
	}
	t.Fatalf("Apache Kafka leaves %d records, the broker under test %d", len(want), len(got))
}

// dump has kafka-dump-log read the compacted files, which it takes for good.
func dump(t *testing.T, dir, topic string) {
	t.Helper()
	for _, suffix := range []string{".log", ".index", ".timeindex"} {
		names, err := filepath.Glob(filepath.Join(dir, topic+"-0", "*"+suffix))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		out, errs, err := peers.Tool(t.Context(), nil, "kafka-dump-log", "--deep-iteration", "--files", strings.Join(names, ","))
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(out + errs) {
			for _, word := range []string{"isvalid: false", "Mismatches", "mismatch", "Found timestamp", "out of order", "corrupt", "Index offset", "Exception"} {
				if strings.Contains(line, word) {
					t.Errorf("%s: %s", suffix, line)
				}
			}
		}
	}
}
