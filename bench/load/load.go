// Package load drives a Kafka-compatible broker and measures it, with as little work of its own as can be, so that on a
// machine shared with the broker most of the time is the broker's.
//
// Batches are encoded once and written as whole frames over plain connections; answers are read with no more care than
// an offset and an error code need. Produce is a closed loop (each client keeps a number of requests in flight) or an
// open one (requests leave by the clock, at Rate). In the open loop, and in EndToEnd, time counts from when a request was
// due, not from when it was sent: a broker that stalls is charged for everyone who would have come meanwhile
// ("coordinated omission").
package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Report is what one run measured.
type Report struct {
	Requests int64
	Records  int64
	Bytes    int64 // of batches, as they would be without compression
	Elapsed  time.Duration
	// Latency is of requests for Produce, of responses for Consume, and of records for EndToEnd.
	Latency Histogram
}

// RecordsPerSecond is the rate of records.
func (r *Report) RecordsPerSecond() float64 { return float64(r.Records) / r.Elapsed.Seconds() }

// BytesPerSecond is the rate of bytes.
func (r *Report) BytesPerSecond() float64 { return float64(r.Bytes) / r.Elapsed.Seconds() }

func (r *Report) merge(o *Report) {
	r.Requests += o.Requests
	r.Records += o.Records
	r.Bytes += o.Bytes
	r.Latency.Merge(&o.Latency)
}

// Meter shows how far a run is while it runs; a nil Meter is fine.
type Meter struct{ records, bytes atomic.Int64 }

func (m *Meter) add(records, bytes int) {
	if m != nil {
		m.records.Add(int64(records))
		m.bytes.Add(int64(bytes))
	}
}

// Records is the number of records so far.
func (m *Meter) Records() int64 { return m.records.Load() }

// Bytes is the number of bytes so far.
func (m *Meter) Bytes() int64 { return m.bytes.Load() }

// client is one connection's share of a run: a leader and the partitions there that it uses.
type client struct {
	address    string
	partitions []int32
}

// clients spreads n clients over the leaders of a topic; a client may use every partition of its leader.
func clients(n int, leaders []string) []client {
	var addresses []string
	at := map[string][]int32{}
	for p, a := range leaders {
		if at[a] == nil {
			addresses = append(addresses, a)
		}
		at[a] = append(at[a], int32(p))
	}
	all := make([]client, max(n, 1))
	for i := range all {
		a := addresses[i%len(addresses)]
		all[i] = client{address: a, partitions: at[a]}
	}
	return all
}

// run connects all clients, starts work on each at the same moment, waits for all and adds up their reports. The first
// error cancels the others; the report then tells what was done until then. work always returns a report.
func (c Cluster) run(ctx context.Context, all []client, work func(ctx context.Context, i int, conn *Conn) (*Report, error)) (*Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]*Conn, len(all))
	for i, cl := range all {
		conn, err := c.Connect(ctx, cl.address)
		if err != nil {
			for _, open := range conns[:i] {
				_ = open.Close() // nothing was sent on it
			}
			return &Report{}, err
		}
		conns[i] = conn
	}
	total := &Report{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for i, conn := range conns {
		wg.Go(func() { // ends when its work ends, which ctx cuts short
			defer conn.Close()
			r, err := work(ctx, i, conn)
			if err != nil {
				cancel(fmt.Errorf("client %d: %w", i, err))
			}
			mu.Lock()
			defer mu.Unlock()
			total.merge(r)
		})
	}
	wg.Wait()
	total.Elapsed = time.Since(start)
	return total, context.Cause(ctx)
}
