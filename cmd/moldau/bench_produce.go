package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newBenchProduce(c *cli) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "produce",
		Short: "Measure how fast records are written, and how long an acknowledgement takes",
		Long: `Measure how fast records are written, and how long an acknowledgement takes.

With --rate, records have a schedule that does not wait for the broker, and their latency counts from
the moment at which they were to be sent: a broker that stalls pays for every record that it kept waiting
(no coordinated omission). Without --rate it is as fast as it goes, and latency counts from the call.

--inflight 1 with several --clients is the case of callers that each wait for every acknowledgement.`,
		Example: `  moldau bench produce --records 5000000 --size 1024 --batch-bytes 65536
  moldau bench produce --rate 20000 --duration 30s --size 100
  moldau bench produce --clients 50 --inflight 1 --size 100 --duration 20s
  moldau bench produce -z zstd --payload text -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.benchRun(cmd.Context(), &o, func(ctx context.Context, topic string) (benchReport, error) {
				return c.benchProduce(ctx, &o, topic)
			})
		},
	}
	o.topicFlags(cmd)
	o.recordFlags(cmd)
	f := cmd.Flags()
	f.Int64VarP(&o.records, "records", "n", 0, "stop after this many records; 0 for no limit")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure, where --records gives no limit")
	f.DurationVar(&o.warmup, "warmup", time.Second, "how long to run before anything is counted")
	f.Float64Var(&o.rate, "rate", 0, "records a second over all clients; 0 for as fast as it goes")
	f.IntVar(&o.inflight, "inflight", 0, "records that a client may have unacknowledged; 0 for no limit")
	return cmd
}

// benchProduce runs the clients of `bench produce` and sums them up.
func (c *cli) benchProduce(ctx context.Context, o *benchOptions, topic string) (benchReport, error) {
	meters := newMeters(o.clients)
	load, err := c.newLoad(ctx, o, topic, meters)
	if err != nil {
		return benchReport{}, err
	}
	defer load.close()
	watchCtx, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { watch(watchCtx, newProgress(c.stderr), meters) }) // ends with watchCtx, below
	load.begin()
	load.run(ctx)
	stop()
	watcher.Wait()
	all := sum(meters)
	if all.records == 0 {
		return benchReport{}, errors.Join(errors.New("not one record was acknowledged"), all.err)
	}
	report := newReport("produce", all, all.last.Sub(load.counting))
	report.TargetRate, report.Batches, report.BatchBytes = o.rate, load.batches.number.Load(), load.batches.bytes.Load()
	ack := all.latency.latencies()
	report.Ack = &ack
	if o.rate > 0 {
		lag := all.lag.latencies()
		report.ScheduleLag = &lag
	}
	if all.err != nil {
		fmt.Fprintf(c.stderr, "moldau: %s not written, the first because: %v\n", plural(all.failed, "record"), explain(all.err, topic, ""))
	}
	return report, nil
}

// load is a set of producing clients.
type load struct {
	o        *benchOptions
	clients  []*client
	meters   []*meter
	payload  []byte       // values are cut out of it
	stamp    bool         // values begin with the moment at which they were to be sent
	start    time.Time    // the schedule's zero
	counting time.Time    // the end of the warm-up
	end      time.Time    // zero where the number of records is the limit
	left     atomic.Int64 // records that may still be sent, where that is the limit
	batches  batchCounter
}

// batchCounter counts the batches that the clients write, warm-up included: what a broker has to do depends on their size more
// than on anything else.
type batchCounter struct{ number, bytes atomic.Int64 }

// OnProduceBatchWritten is called by the client for each batch of a request.
func (b *batchCounter) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	b.number.Add(1)
	b.bytes.Add(int64(m.CompressedBytes))
}

// payloadBytes is the length of the bytes that values are cut out of: longer than a compressor's window of 64 KiB.
const payloadBytes = 4 << 20

// newLoad connects the clients, so that no connection is made in the measured time.
func (c *cli) newLoad(ctx context.Context, o *benchOptions, topic string, meters []*meter) (*load, error) {
	l := &load{o: o, meters: meters, payload: payload(o.payload, payloadBytes+o.size)}
	l.left.Store(o.records)
	for range o.clients {
		cl, err := c.connect(ctx, append(o.producerOptions(topic), kgo.WithHooks(&l.batches))...)
		if err == nil {
			l.clients = append(l.clients, cl)
			err = cl.EnsureProduceConnectionIsOpen(ctx)
		}
		if err != nil {
			l.close()
			return nil, explain(err, topic, "")
		}
	}
	return l, nil
}

func (l *load) close() {
	for _, cl := range l.clients {
		cl.Close()
	}
}

// begin makes now the zero of the schedule.
func (l *load) begin() {
	l.start = time.Now()
	l.counting = l.start.Add(l.o.warmup)
	if l.o.records == 0 {
		l.end = l.counting.Add(l.o.duration)
	}
}

// run sends until the limit or the end of ctx, and waits for the acknowledgements. begin comes before it.
func (l *load) run(ctx context.Context) {
	var senders sync.WaitGroup
	for i := range l.clients {
		senders.Go(func() { l.send(ctx, i) }) // ends with the limit, or with ctx
	}
	senders.Wait()
}

// send is one client. With a rate, its records are due at fixed moments: client i of n has every n-th of the schedule.
func (l *load) send(ctx context.Context, client int) {
	cl, m := l.clients[client].Client, l.meters[client]
	random := rand.New(rand.NewPCG(uint64(client), 1))
	var interval time.Duration
	if l.o.rate > 0 {
		interval = time.Duration(float64(time.Second) / l.o.rate * float64(len(l.clients)))
	}
	for n := 0; ctx.Err() == nil; n++ {
		due := time.Now()
		if interval > 0 {
			due = l.start.Add(interval*time.Duration(n) + interval*time.Duration(client)/time.Duration(len(l.clients)))
			sleepUntil(due)
		}
		counted := !due.Before(l.counting)
		if !l.end.IsZero() && !due.Before(l.end) || counted && l.end.IsZero() && l.left.Add(-1) < 0 {
			break
		}
		if interval > 0 && counted {
			lag := time.Since(due)
			m.Lock()
			m.lag.add(lag)
			m.Unlock()
		}
		at := random.IntN(payloadBytes)
		value := l.payload[at : at+l.o.size]
		if l.stamp {
			value = stamped(value, due.Sub(l.start))
		}
		r := &kgo.Record{Value: value}
		cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				if ctx.Err() == nil {
					m.fail(err)
				}
				return
			}
			now := time.Now()
			m.done(now, len(r.Value), now.Sub(due), counted)
		})
		if l.o.inflight == 1 {
			_ = cl.Flush(ctx) // waits for the one; it fails with ctx only
		}
	}
	_ = cl.Flush(ctx) // it fails with ctx only: what was acknowledged until an interrupt is reported
}

// payload makes n bytes of a kind, always the same.
func payload(kind string, n int) []byte {
	out := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	switch kind {
	case "random":
		_, _ = random.Read(out) // it never fails
	case "text":
		fillText(out, rand.New(random))
	}
	return out
}

// fillText writes lines as web servers log them, which lz4 and zstd compress about as well as real ones.
func fillText(out []byte, random *rand.Rand) {
	paths := []string{"/", "/index.html", "/news", "/api/v1/orders", "/static/app.js", "/images/logo.svg", "/search?q="}
	for at := 0; at < len(out); {
		text := fmt.Sprintf("%d.%d.%d.%d - - [01/Jan/2026:%02d:%02d:%02d +0000] \"GET %s%d HTTP/1.1\" 200 %d\n",
			random.IntN(256), random.IntN(256), random.IntN(256), random.IntN(256), random.IntN(24), random.IntN(60), random.IntN(60),
			paths[random.IntN(len(paths))], random.IntN(1000), random.IntN(100_000))
		at += copy(out[at:], text)
	}
}
