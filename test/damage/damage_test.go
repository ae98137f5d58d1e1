// Package damage changes bytes in the directory of a broker that was killed, and follows a user through what comes then: what
// is served, what is told, what moldau log finds, and what a repair gives back.
package damage

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// batches is how many batches of ten records a test writes.
const batches = 6

func client(t *testing.T, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address), kgo.ProducerBatchCompression(kgo.NoCompression())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// write appends batches of ten records each, whose values tell batch and record.
func write(t *testing.T, address, topic string, from, to int) {
	t.Helper()
	c := client(t, address)
	for i := from; i < to; i++ {
		var records []*kgo.Record
		for j := range 10 {
			records = append(records, &kgo.Record{Topic: topic, Key: []byte("k"), Value: fmt.Appendf(nil, "%d/%d %s", i, j, strings.Repeat("x", 200))})
		}
		if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns the batches that a consumer gets from the start until an error or the end that it is told.
func read(t *testing.T, address, topic string, n int) (got []int, err error) {
	t.Helper()
	c := client(t, address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}), kgo.KeepRetryableFetchErrors())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for records := 0; records < n; {
		fetches := c.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) {
			batch, record := 0, 0
			if _, err := fmt.Sscanf(string(r.Value), "%d/%d", &batch, &record); err == nil && record == 0 {
				got = append(got, batch)
			}
			records++
		})
		if err := fetches.Err(); err != nil {
			return got, err
		}
	}
	return got, nil
}

// flip changes a byte of batch n of a segment.
func flip(t *testing.T, file string, n, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pos := 0
	for range n {
		pos += 12 + int(binary.BigEndian.Uint32(b[pos+8:]))
	}
	b[pos+at] ^= 0x20
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKilledAndDamaged flips a byte behind the recovery point of a broker that was killed: in the records, in the size, in the
// offset and in the epoch of a batch.
func TestKilledAndDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	for name, at := range map[string]int{"records": 100, "size": 9, "offset": 5, "epoch": 13, "magic": 16} {
		t.Run(name, func(t *testing.T) {
			b := subject.Start(t, t.TempDir())
			topic := subject.Topic(t, b.Address, 1)
			write(t, b.Address, topic, 0, batches)
			b.Kill()
			dir := filepath.Join(b.Dir, topic+"-0")
			segment := filepath.Join(dir, "00000000000000000000.log")
			flip(t, segment, 3, at)
			damaged, err := os.ReadFile(segment)
			if err != nil {
				t.Fatal(err)
			}
			b.Restart(t)
			if got, err := read(t, b.Address, topic, 10*batches); !slices.Equal(got[:3], []int{0, 1, 2}) || !errors.Is(err, kerr.KafkaStorageError) {
				t.Errorf("with the damage it serves the batches %v, then %v", got, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err = client(t, b.Address, kgo.RecordRetries(1), kgo.DisableIdempotentWrite()).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
			if !errors.Is(err, kerr.KafkaStorageError) && !errors.Is(err, kgo.ErrRecordRetries) {
				t.Errorf("an append is answered with %v", err)
			}
			if out := b.Output(); !strings.Contains(out, "a log is damaged") || !strings.Contains(out, "moldau log repair "+dir) {
				t.Errorf("the broker's log does not tell:\n%s", out)
			}
			if _, errs, code := subject.Command(t, "log", "repair", b.Dir, "--leave-out", "--apply"); code != 1 || !strings.Contains(errs, "stop the broker") {
				t.Errorf("a repair beside the broker: exit code %d, %s", code, errs)
			}
			b.Stop(t)
			if now, _ := os.ReadFile(segment); !bytes.Equal(now, damaged) {
				t.Fatal("the broker has changed the damaged file")
			}
			if out, _, code := subject.Command(t, "log", "verify", b.Dir); code != 1 || !strings.Contains(out, "cannot be read") {
				t.Errorf("verify: exit code %d\n%s", code, out)
			}
			if out, errs, code := subject.Command(t, "log", "repair", dir, "--leave-out", "--apply"); code != 0 {
				t.Fatalf("repair: exit code %d\n%s%s", code, out, errs)
			}
			if out, _, code := subject.Command(t, "log", "verify", b.Dir); code != 0 {
				t.Errorf("verify after the repair: exit code %d\n%s", code, out)
			}
			b.Restart(t)
			write(t, b.Address, topic, batches, batches+1)
			if got, err := read(t, b.Address, topic, 10*batches); err != nil || !slices.Equal(got, []int{0, 1, 2, 4, 5, 6}) {
				t.Errorf("after the repair it serves the batches %v, %v", got, err)
			}
			b.Stop(t)
			dumped(t, segment)
		})
	}
}

// dumped lets Apache Kafka's own tool read a segment that was repaired.
func dumped(t *testing.T, segment string) {
	t.Helper()
	if err := peers.Missing(); err != nil {
		t.Logf("Apache Kafka's tool is not asked: %v", err)
		return
	}
	out := peers.RunTool(t, "kafka-dump-log", "--files", segment, "--deep-iteration")
	if !strings.Contains(out, "baseOffset: 30 lastOffset: 39 count: 0") || strings.Count(out, "isvalid: true") != batches+1 {
		t.Errorf("kafka-dump-log reads\n%s", out)
	}
}

// TestKilledWithATornTail cuts the last batch short, as a kill may: that is no damage, and costs nothing but that batch.
func TestKilledWithATornTail(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	write(t, b.Address, topic, 0, batches)
	b.Kill()
	segment := filepath.Join(b.Dir, topic+"-0", "00000000000000000000.log")
	info, err := os.Stat(segment)
	if err == nil {
		err = os.Truncate(segment, info.Size()-7)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, _, code := subject.Command(t, "log", "verify", b.Dir); code != 0 || !strings.Contains(out, "passing") {
		t.Errorf("verify: exit code %d\n%s", code, out)
	}
	b.Restart(t)
	write(t, b.Address, topic, batches, batches+1)
	if got, err := read(t, b.Address, topic, 10*batches); err != nil || !slices.Equal(got, []int{0, 1, 2, 3, 4, 6}) {
		t.Errorf("it serves the batches %v, %v", got, err)
	}
}

// TestKilledWithItsMetadataDamaged flips a byte in an entry of the metadata log that has others behind it.
func TestKilledWithItsMetadataDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	b := subject.Start(t, t.TempDir())
	for range 3 {
		subject.Topic(t, b.Address, 1)
	}
	b.Kill()
	log := filepath.Join(b.Dir, "moldau-metadata", "00000000000000000000.log")
	flip(t, log, 3, 9) // the size
	_, errs, code := subject.Command(t, "serve", "--set", "log.dirs="+b.Dir, "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "moldau.http.listener=")
	if code != 1 || !strings.Contains(errs, log) || !strings.Contains(errs, "may be committed") {
		t.Errorf("serve: exit code %d\n%s", code, errs)
	}
	if out, _, code := subject.Command(t, "log", "verify", b.Dir); code != 1 || !strings.Contains(out, "moldau-metadata") {
		t.Errorf("verify: exit code %d\n%s", code, out)
	}
	flip(t, log, 3, 9)
	if out, _, code := subject.Command(t, "log", "verify", b.Dir); code != 0 {
		t.Errorf("verify of the file brought back: exit code %d\n%s", code, out)
	}
	b.Restart(t)
}

// TestApacheDirectory looks at a directory that Apache Kafka has written: all is sound, each record is shown, and no byte changes.
func TestApacheDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	k := peers.Start(t, t.TempDir())
	topic := subject.Topic(t, k.Address, 1, "segment.bytes=1048576")
	write(t, k.Address, topic, 0, 600) // some 1.3 MB: two segments
	k.Stop()
	out, errs, code := subject.Command(t, "log", "verify", k.DataDir)
	if code != 0 || !strings.Contains(out, "formatted by Apache Kafka") {
		t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
	}
	out, errs, code = subject.Command(t, "log", "dump", filepath.Join(k.DataDir, topic+"-0"), "--records", "-o", "json")
	if code != 0 {
		t.Fatalf("dump: exit code %d %s", code, errs)
	}
	records, segments, entries := 0, 0, 0
	for line := range strings.Lines(out) {
		var it struct {
			Kind     string
			Value    string
			Offset   *int64
			Position *int64
			Damage   string
		}
		if err := json.Unmarshal([]byte(line), &it); err != nil || it.Damage != "" {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case it.Kind == "segment":
			segments++
		case it.Value != "" && it.Offset != nil:
			if *it.Offset != int64(records) || !strings.HasPrefix(it.Value, fmt.Sprintf("%d/%d ", records/10, records%10)) {
				t.Fatalf("record %d: %s", records, line)
			}
			records++
		case it.Position != nil:
			entries++
		}
	}
	if records != 6000 || segments != 2 || entries < 100 {
		t.Errorf("%d records, %d segments, %d index entries", records, segments, entries)
	}
	if _, errs, code := subject.Command(t, "log", "repair", k.DataDir, "--cut", "--apply"); code != 1 || !strings.Contains(errs, "formatted by Apache Kafka") {
		t.Errorf("repair: exit code %d %s", code, errs)
	}
}
