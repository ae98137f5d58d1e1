package broker

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/record"
)

// flip changes a bit of a file.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// Bytes that changed in the midst of a partition's log are neither skipped nor cut off: the partition serves what is before,
// and tells everybody who asks for more where the damage is and what to do (NATS 7549).
func TestDamagedPartitionServesWhatIsBefore(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	c := client(t, b)
	create(t, c, "t", 1)
	produce(t, c, "t", "a")
	log := filepath.Join(dir, "t-0", "00000000000000000000.log")
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, c, "t", "b", "c")
	stop()
	flip(t, log, info.Size()+16) // the magic of the second batch
	before, _ := os.ReadFile(log)
	if err := os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b, stop = start(t, dir, "moldau.http.listener=127.0.0.1:0")
		id := b.cluster.Image().Topic("t").ID
		<-b.partitions.Get(id, 0).Settled()
		if got := read(t, b, "t", 1); !slices.Equal(got, []string{"a"}) {
			t.Errorf("it serves %q", got)
		}
		message, code := tryProduce(t, client(t, b), id, "d")
		for _, part := range []string{"offset 1", log, "byte", "moldau log repair " + filepath.Join(dir, "t-0")} {
			if !errors.Is(code, kerr.KafkaStorageError) || !strings.Contains(message, part) {
				t.Errorf("a produce: %v, %q lacks %q", code, message, part)
			}
		}
		if err := fetchAt(t, client(t, b), id, 1); !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("a fetch of the damaged offset: %v", err)
		}
		if err := fetchAt(t, client(t, b), id, 2); !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("a fetch of what is behind: %v", err)
		}
		for page, want := range map[string]string{"healthz": "partition t-0 is damaged: ", "metrics": "moldau_partitions_damaged 1"} {
			if got := httpGet(t, "http://"+b.Info().HTTP+"/"+page); !strings.Contains(got, want) {
				t.Errorf("%s lacks %q: %s", page, want, got)
			}
		}
		b.retain()
		stop()
		if after, _ := os.ReadFile(log); !slices.Equal(before, after) {
			t.Error("the file has changed")
		}
		if _, err := os.Stat(filepath.Join(dir, ".kafka_cleanshutdown")); err == nil {
			t.Error("the stop is marked clean")
		}
	}
}

func httpGet(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tryProduce sends one record, once, and returns what the partition answers.
func tryProduce(t *testing.T, c *kgo.Client, topic moldau.TopicID, value string) (message string, err error) {
	t.Helper()
	part := produceOnce(t, c, topic, value).Topics[0].Partitions[0]
	if part.ErrorMessage != nil {
		message = *part.ErrorMessage
	}
	return message, kerr.ErrorForCode(part.ErrorCode)
}

// produceOnce sends one record to partition 0, once.
func produceOnce(t *testing.T, c *kgo.Client, topic moldau.TopicID, value string) *kmsg.ProduceResponse {
	t.Helper()
	batch := record.NewBuilder(0)
	batch.Add(record.Record{Value: []byte(value)})
	raw, err := batch.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	rt := kmsg.NewProduceRequestTopic()
	rt.TopicID = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = raw
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.Broker(int(broker0(t, c))).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.(*kmsg.ProduceResponse)
}

// fetchAt asks once for what is at an offset.
func fetchAt(t *testing.T, c *kgo.Client, topic moldau.TopicID, at int64) error {
	t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.SessionEpoch = 1, 1<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.TopicID = topic
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch, rp.LastFetchedEpoch, rp.LogStartOffset = at, 1<<20, -1, -1, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.Broker(int(broker0(t, c))).Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return kerr.ErrorForCode(resp.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode)
}

// broker0 is the id of the one broker there is.
func broker0(t *testing.T, c *kgo.Client) int32 {
	t.Helper()
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), c)
	if err != nil || len(resp.Brokers) != 1 {
		t.Fatal(err)
	}
	return resp.Brokers[0].NodeID
}

// The first segment of a log is missed when it is gone, also where the log would start without a word at the next one. What
// retention has deleted is not missed, whenever the broker was killed.
func TestFirstSegmentIsMissed(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir, "log.segment.bytes=1048576")
	c := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	create(t, c, "t", 1)
	for range 10 {
		produce(t, c, "t", strings.Repeat("x", 500_000))
	}
	stop()
	first := filepath.Join(dir, "t-0", "00000000000000000000.log")
	if err := os.Rename(first, first+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b, stop = start(t, dir)
		p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
		<-p.Settled()
		if p.Online() || !strings.Contains(p.Failure().Error(), "it begins at offset") {
			t.Fatalf("it is online: %v", p.Failure())
		}
		stop()
	}
	if err := os.Rename(first+".away", first); err != nil {
		t.Fatal(err)
	}
	b, stop = start(t, dir, "log.retention.bytes=1048576", "log.segment.bytes=1048576")
	read(t, b, "t", 10)
	b.retain()
	p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
	begins := p.Log().Start()
	if _, err := os.Stat(first); begins == 0 || err == nil {
		t.Fatalf("nothing was deleted: it begins at %d, %v", begins, err)
	}
	stop()
	if err := os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")); err != nil {
		t.Fatal(err)
	}
	b, _ = start(t, dir)
	p = b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
	<-p.Settled()
	if !p.Online() || p.Log().Start() != begins {
		t.Errorf("it begins at %v", p.Failure())
	}
}

// A start refuses a metadata log in whose midst an entry is damaged, whatever field it is, and changes nothing: to cut it
// there would take back what was committed (NATS 7556, NATS 4410).
func TestDamagedMetadataIsNotCut(t *testing.T) {
	for name, at := range map[string]int64{"size": 8, "low byte of the size": 11, "magic": 16, "content": 70, "offset": 7} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, stop := start(t, dir)
			create(t, client(t, b), "t", 1)
			stop()
			log := filepath.Join(dir, metadataDir, "00000000000000000000.log")
			content, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			second := int64(len(content)) / 3
			for at := int64(0); ; { // the batch that begins behind the first third
				size := int64(record.Batch(content[at:]).Size())
				if at >= second {
					second = at
					break
				}
				at += size
			}
			flip(t, log, second+at)
			damaged, _ := os.ReadFile(log)
			settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range []string{"", "another boot"} {
				e := env.Real()
				if other != "" { // a reboot in between does not make it a torn write
					e.BootID = func() string { return other }
				}
				b, err := Start(Options{Env: e, Logger: slog.New(slog.DiscardHandler), Static: settings.Static()})
				if err == nil {
					_ = b.Stop()
					t.Fatal("it started")
				}
				if !strings.Contains(err.Error(), "entries that may be committed are damaged") || !strings.Contains(err.Error(), log) {
					t.Error(err)
				}
				if after, _ := os.ReadFile(log); !slices.Equal(damaged, after) {
					t.Fatal("the file has changed")
				}
			}
		})
	}
}
