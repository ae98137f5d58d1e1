// Package crash kills the broker in the middle of producing, again and again, and then looks at what is left. The letters
// are those of the properties that must hold for acks=all and one idempotent producer: R2 no acknowledged record is lost,
// R3 none is invented, R4 none is there twice, R5 each partition has them in the order in which they were sent.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

const partitions = 3

// history is what the producer knows: for each partition the values that were sent, in order, and the offset that was
// acknowledged for each value.
type history struct {
	mu     sync.Mutex
	sent   [partitions]int
	acked  [partitions]map[int]int64
	total  int
	failed error
}

func newHistory() *history {
	h := &history{}
	for p := range h.acked {
		h.acked[p] = map[int]int64{}
	}
	return h
}

func (h *history) acks() (n int, failed error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total, h.failed
}

// produce sends until ctx is done: unique counters, each partition its own.
func (h *history) produce(ctx context.Context, client *kgo.Client, topic string) {
	pad := make([]byte, 200)
	for p := int32(0); ctx.Err() == nil; p = (p + 1) % partitions {
		h.mu.Lock()
		n := h.sent[p]
		h.sent[p]++
		h.mu.Unlock()
		value := append(strconv.AppendInt(nil, int64(n), 10), ' ')
		// Records wait here when too many are unacknowledged, as while the broker is down.
		client.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: p, Value: append(value, pad...)}, func(r *kgo.Record, err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if err != nil {
				h.failed = err
				return
			}
			h.acked[p][n] = r.Offset
			h.total++
		})
	}
}

func TestKillNineTwentyTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts a broker twenty times")
	}
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, partitions, "segment.bytes=1048576")
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxBufferedRecords(2000), kgo.StopProducerOnDataLossDetected(),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHistory()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		h.produce(ctx, client, topic)
	}()
	const kills = 20
	epoch := int32(-1)
	for kill := range kills {
		before, _ := h.acks()
		await(t, b, h, before+500+random.IntN(3000))
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		b.Kill()
		b.Restart(t)
		epoch = risen(t, b.Address, topic, epoch)
		if n, _ := h.acks(); kill%5 == 4 {
			t.Logf("%d kills, %d records acknowledged", kill+1, n)
		}
	}
	n, _ := h.acks()
	await(t, b, h, n+500)
	stop()
	<-done
	flushing, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.Flush(flushing); err != nil {
		t.Fatalf("what was sent is not acknowledged a minute after the last restart: %v", err)
	}
	check(t, h, b.Address, topic)

	// What the last kill left is still so after a clean stop, and after one more kill without any load.
	b.Stop(t)
	b.Restart(t)
	check(t, h, b.Address, topic)
	b.Kill()
	b.Restart(t)
	check(t, h, b.Address, topic)
}

// await waits until so many records are acknowledged.
func await(t *testing.T, b *subject.Broker, h *history, want int) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		n, failed := h.acks()
		switch {
		case failed != nil:
			t.Fatalf("after %d acknowledgements the producer failed: %v", n, failed)
		case n >= want:
			return
		case !b.Alive():
			t.Fatalf("after %d acknowledgements the broker ended by itself", n)
		case time.Since(begun) > time.Minute:
			t.Fatalf("no progress within a minute: %d records acknowledged, %d wanted", n, want)
		}
	}
}

// risen checks that the leader epochs have risen since the start before, so that clients can see a lost tail (KIP-320).
func risen(t *testing.T, address, topic string, before int32) int32 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := topics[topic].Partitions[0]; ok && p.Err == nil && p.Leader >= 0 {
			if p.LeaderEpoch <= before {
				t.Errorf("after kill -9 the leader epoch is %d, before it was %d", p.LeaderEpoch, before)
			}
			return p.LeaderEpoch
		}
		if ctx.Err() != nil {
			t.Fatalf("topic %s has no leader: %v", topic, topics[topic].Err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// check reads everything and compares it with the history, in which every record is acknowledged by now.
func check(t *testing.T, h *history, address, topic string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed != nil {
		t.Fatalf("the producer failed: %v", h.failed)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for p, sent := range h.sent {
		if len(h.acked[p]) != sent {
			t.Fatalf("partition %d: %d of %d records are acknowledged after a flush", p, len(h.acked[p]), sent)
		}
		end, ok := ends.Lookup(topic, int32(p))
		if !ok || end.Err != nil {
			t.Fatalf("partition %d has no end: %v", p, end.Err)
		}
		left += int(end.Offset)
	}
	v := newVerifier(h)
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records before the end: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			v.read(r.Partition, r.Offset, r.Value)
		})
	}
	for _, wrong := range v.verdict() {
		t.Error(wrong)
	}
}

// verifier compares what is read, partition by partition in the order of offsets, with a history in which every record
// is acknowledged.
type verifier struct {
	h     *history
	last  [partitions]int // the latest record
	seen  [partitions]int // how many different ones
	wrong []string
}

func newVerifier(h *history) *verifier {
	v := &verifier{h: h}
	for p := range v.last {
		v.last[p] = -1
	}
	return v
}

// wrongMax is how many complaints are kept: one bug makes thousands.
const wrongMax = 20

func (v *verifier) complain(format string, args ...any) {
	if len(v.wrong) < wrongMax {
		v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
	}
}

func (v *verifier) read(p int32, offset int64, value []byte) {
	n, err := counter(value)
	if err != nil || n < 0 || n >= v.h.sent[p] {
		v.complain("R3: partition %d has %.20q at offset %d, which was never sent", p, value, offset)
		return
	}
	if n <= v.last[p] {
		v.complain("R4, R5: partition %d has record %d at offset %d, behind record %d", p, n, offset, v.last[p])
		return
	}
	v.last[p] = n
	v.seen[p]++
	if at := v.h.acked[p][n]; at != offset {
		v.complain("R2: partition %d has record %d at offset %d, but %d was acknowledged", p, n, offset, at)
	}
}

// verdict lists what is wrong, once everything is read.
func (v *verifier) verdict() []string {
	for p, sent := range v.h.sent {
		if v.seen[p] != sent {
			v.complain("R2: partition %d has %d of %d acknowledged records", p, v.seen[p], sent)
		}
	}
	return v.wrong
}

// TestVerifierSees plants each kind of damage and sees it found.
func TestVerifierSees(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string // of partition 0, from offset 0 on
		want   string   // how the first complaint begins, "" for none
	}{
		{"all well", []string{"0 ", "1 ", "2 "}, ""},
		{"a lost tail", []string{"0 ", "1 "}, "R2: partition 0 has 2 of 3"},
		{"a lost record", []string{"0 ", "2 "}, "R2: partition 0 has record 2 at offset 1"},
		{"a record twice", []string{"0 ", "1 ", "1 ", "2 "}, "R4, R5"},
		{"two swapped", []string{"0 ", "2 ", "1 "}, "R2"},
		{"an invented record", []string{"0 ", "1 ", "2 ", "3 "}, "R3"},
		{"nonsense", []string{"0 ", "1 ", "2 ", "\x00"}, "R3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHistory()
			h.sent[0] = 3
			for n := range 3 {
				h.acked[0][n] = int64(n)
			}
			v := newVerifier(h)
			for offset, value := range c.values {
				v.read(0, int64(offset), []byte(value))
			}
			wrong := v.verdict()
			if c.want == "" && len(wrong) > 0 || c.want != "" && (len(wrong) == 0 || !strings.HasPrefix(wrong[0], c.want)) {
				t.Errorf("found %q, want %q", wrong, c.want)
			}
		})
	}
}

func counter(value []byte) (int, error) {
	for i, c := range value {
		if c == ' ' {
			return strconv.Atoi(string(value[:i]))
		}
	}
	return 0, strconv.ErrSyntax
}
