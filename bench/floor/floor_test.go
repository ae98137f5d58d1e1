package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/bench/load"
)

// startFloor serves the floor on a free port until the test ends.
func startFloor(t *testing.T) load.Cluster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t.TempDir(), l)
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		_ = s.accept()
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return load.Cluster{Address: l.Addr().String()}
}

func batch(t *testing.T, records, valueLen, plainMax int, codec string) load.Batch {
	t.Helper()
	b, err := load.NewBatch(records, valueLen, plainMax, codec, []byte("the quick brown fox "))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLoadAgainstFloor(t *testing.T) {
	c := startFloor(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Await(ctx); err != nil {
		t.Fatal(err)
	}
	for _, run := range []struct {
		name       string
		partitions int
		spec       load.ProduceSpec
		requests   int64
	}{
		{"one", 1, load.ProduceSpec{InFlight: 5, Batch: batch(t, 0, 1024, 65536, "none")}, 200},
		{"turns", 1, load.ProduceSpec{Clients: 10, Batch: batch(t, 1, 100, 0, "none")}, 1000},
		{"several", 6, load.ProduceSpec{Clients: 2, InFlight: 3, Idempotent: true, Batch: batch(t, 0, 1024, 65536, "lz4")}, 50},
		{"paced", 4, load.ProduceSpec{Clients: 2, InFlight: 5, PartitionsPerRequest: 1, Rate: 5000, Batch: batch(t, 10, 100, 0, "zstd")}, 100},
	} {
		t.Run(run.name, func(t *testing.T) {
			if err := c.CreateTopic(ctx, run.name, run.partitions, nil); err != nil {
				t.Fatal(err)
			}
			var meter load.Meter
			run.spec.Topic, run.spec.Requests, run.spec.Acks, run.spec.Meter = run.name, run.requests, -1, &meter
			p, err := c.Produce(ctx, run.spec)
			if err != nil {
				t.Fatal(err)
			}
			per := run.partitions
			if n := run.spec.PartitionsPerRequest; n > 0 {
				per = n
			}
			want := run.requests * int64(per*run.spec.Batch.Records)
			if p.Requests != run.requests || p.Records != want || meter.Records() != want || p.Latency.Count() != uint64(run.requests) {
				t.Errorf("%d requests, %d records, %d on the meter, %d latencies; want %d and %d",
					p.Requests, p.Records, meter.Records(), p.Latency.Count(), run.requests, want)
			}
			f, err := c.Consume(ctx, load.ConsumeSpec{Topic: run.name, Clients: 3, Passes: 2})
			if err != nil {
				t.Fatal(err)
			}
			if f.Records != 2*want {
				t.Errorf("read %d records in two passes, want %d", f.Records, 2*want)
			}
			if run.spec.Rate > 0 && p.Elapsed < 150*time.Millisecond {
				t.Errorf("%d records at %g a second took only %v", want, run.spec.Rate, p.Elapsed)
			}
		})
	}
}

// TestGoClientReadsTheFloor proves that what load and floor agree on is the protocol, not a dialect of theirs.
func TestGoClientReadsTheFloor(t *testing.T) {
	c := startFloor(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	spec := load.ProduceSpec{Topic: "t", Requests: 20, Acks: -1, Batch: batch(t, 0, 1024, 65536, "lz4")}
	if _, err := c.Produce(ctx, spec); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		"t": {0: kgo.NewOffset().AtStart()}}), kgo.DisableFetchSessions(), kgo.DisableIdempotentWrite())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	want := 20 * spec.Batch.Records
	fill := strings.Repeat("the quick brown fox ", 120)
	for n := 0; n < want; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(n) || len(r.Value) != 1024 || !strings.Contains(fill, string(r.Value)) {
				t.Fatalf("record %d has offset %d and a value of %d bytes", n, r.Offset, len(r.Value))
			}
			n++
		})
	}
	r := client.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte("y"), 3)})
	if rec, err := r.First(); err != nil || rec.Offset != int64(want) {
		t.Errorf("produced at offset %d, want %d: %v", rec.Offset, want, err)
	}
}

func TestEndToEnd(t *testing.T) {
	c := startFloor(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := c.EndToEnd(ctx, load.EndToEndSpec{Topic: "t", Rate: 5000, Duration: 200 * time.Millisecond, Ignore: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Records != 1000 || r.Latency.Count() != 500 || r.Latency.Quantile(0.5) <= 0 || r.Latency.Quantile(0.5) > time.Second {
		t.Errorf("%d records, median %v", r.Records, r.Latency.Quantile(0.5))
	}
}

// A run that is stopped has received what it has sent.
func TestEndToEndIsStopped(t *testing.T) {
	c := startFloor(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const enough = 300
	stop, meter := make(chan struct{}), &load.Meter{}
	go func() { // ends with enough records, or with ctx
		defer close(stop)
		for meter.Records() < enough && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}()
	r, err := c.EndToEnd(ctx, load.EndToEndSpec{Topic: "t", Rate: 5000, Duration: time.Hour, Stop: stop, Meter: meter})
	if err != nil {
		t.Fatal(err)
	}
	if r.Records < enough || r.Records != meter.Records() || r.Latency.Count() != uint64(r.Records) {
		t.Errorf("%d records received, %d of them measured", r.Records, r.Latency.Count())
	}
}

// A client reads at its rate, and all of it.
func TestConsumeAtARate(t *testing.T) {
	c := startFloor(t)
	spec := load.ProduceSpec{Topic: "t", Requests: 32, Acks: -1, Batch: batch(t, 0, 1024, 65536, "none")}
	if _, err := c.Produce(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	want := int64(32 * spec.Batch.Plain)
	r, err := c.Consume(t.Context(), load.ConsumeSpec{Topic: "t", PartitionBytes: 1 << 17, Rate: float64(10 * want)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes != want || r.Elapsed < 100*time.Millisecond {
		t.Errorf("%d of %d bytes in %v, which should take 100ms", r.Bytes, want, r.Elapsed)
	}
}

func TestFloorRefusesABrokenBatch(t *testing.T) {
	c := startFloor(t)
	b := batch(t, 3, 10, 0, "none")
	b.Bytes[len(b.Bytes)-1] ^= 1
	if _, err := c.Produce(t.Context(), load.ProduceSpec{Topic: "t", Requests: 1, Acks: -1, Batch: b}); err == nil {
		t.Error("a batch with a wrong CRC was taken")
	}
}
