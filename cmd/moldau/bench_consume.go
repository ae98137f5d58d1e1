package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newBenchConsume(c *cli) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Measure how fast records are read",
		Long: `Measure how fast records are read from the start of a topic. Without --topic, one is filled first.

Several clients each read the whole of it.`,
		Example: `  moldau bench consume --records 5000000
  moldau bench consume --topic orders --records 100000 --clients 4 -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.benchRun(cmd.Context(), &o, func(ctx context.Context, topic string) (benchReport, error) {
				return c.benchConsume(ctx, &o, topic)
			})
		},
	}
	o.topicFlags(cmd)
	o.recordFlags(cmd)
	cmd.Flags().Int64VarP(&o.records, "records", "n", 1_000_000, "records that each client reads")
	return cmd
}

// benchConsume fills the topic if it has too few records, and reads it with every client at once.
func (c *cli) benchConsume(ctx context.Context, o *benchOptions, topic string) (benchReport, error) {
	if err := c.fill(ctx, o, topic); err != nil {
		return benchReport{}, err
	}
	meters := newMeters(o.clients)
	readers := make([]*client, 0, o.clients)
	defer func() {
		for _, cl := range readers {
			cl.Close()
		}
	}()
	started := time.Now()
	for range o.clients {
		cl, err := c.connect(ctx, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			return benchReport{}, err
		}
		readers = append(readers, cl)
	}
	watchCtx, stop := context.WithCancel(ctx)
	var watcher, reading sync.WaitGroup
	watcher.Go(func() { watch(watchCtx, newProgress(c.stderr), meters) }) // ends with watchCtx, below
	for i, cl := range readers {
		reading.Go(func() { // ends with the records, or with ctx
			if err := readBench(ctx, cl, meters[i], o.records); err != nil {
				meters[i].fail(err)
			}
		})
	}
	reading.Wait()
	stop()
	watcher.Wait()
	all := sum(meters)
	if all.records == 0 {
		return benchReport{}, errors.Join(errors.New("not one record was read"), explain(all.err, topic, ""))
	}
	return newReport("consume", all, all.last.Sub(started)), explain(all.err, topic, "")
}

// readBench reads n records and counts them.
func readBench(ctx context.Context, cl *client, m *meter, n int64) error {
	for n > 0 {
		fetches := cl.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		now := time.Now()
		for it := fetches.RecordIter(); !it.Done() && n > 0; n-- {
			m.done(now, len(it.Next().Value), -1, true)
		}
	}
	return nil
}

// fill produces what a topic lacks to the number of records that are to be read.
func (c *cli) fill(ctx context.Context, o *benchOptions, topic string) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	details, err := cl.topicDetails(ctx, topic)
	if err != nil {
		return err
	}
	b, err := cl.bounds(ctx, map[string][]int32{topic: details[topic].Partitions.Numbers()}, readUncommitted)
	if err != nil {
		return err
	}
	missing := o.records
	for p, end := range b.end[topic] {
		missing -= end - b.start[topic][p]
	}
	if missing <= 0 {
		return nil
	}
	fmt.Fprintf(c.stderr, "filling %s with %s\n", topic, plural(missing, "record"))
	filler := *o
	filler.records, filler.clients = missing, 1
	_, err = c.benchProduce(ctx, &filler, topic)
	return err
}

func newBenchE2E(c *cli) *cobra.Command {
	o := benchOptions{}
	cmd := &cobra.Command{
		Use:   "e2e",
		Short: "Measure how long a record takes from producer to consumer",
		Long: `Measure how long a record takes from producer to consumer, at a rate.

Records have a schedule that does not wait for the broker. The end-to-end latency counts from the moment at
which a record was to be sent until a consumer has it, so stalls count in full (no coordinated omission).`,
		Example: `  moldau bench e2e --rate 1000 --duration 30s --size 100
  moldau bench e2e --rate 20000 --duration 30s --warmup 5s -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rate == 0 {
				return usagef("--rate must be more than 0: end-to-end latency is measured at a rate")
			}
			if o.size < stampBytes {
				return usagef("--size must be at least %d: values bear the moment at which they were to be sent", stampBytes)
			}
			return c.benchRun(cmd.Context(), &o, func(ctx context.Context, topic string) (benchReport, error) {
				return c.benchE2E(ctx, &o, topic)
			})
		},
	}
	o.topicFlags(cmd)
	o.recordFlags(cmd)
	f := cmd.Flags()
	f.Float64Var(&o.rate, "rate", 1000, "records a second over all clients")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&o.warmup, "warmup", 2*time.Second, "how long to run before anything is counted")
	return cmd
}

// stampBytes is the length of the stamp at the beginning of an end-to-end value: nanoseconds since the schedule's zero, by this
// process' monotonic clock.
const stampBytes = 8

func stamped(value []byte, due time.Duration) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, len(value)), uint64(due))
	return append(out, value[stampBytes:]...)
}

// benchE2E produces at a rate while one consumer follows the topic.
func (c *cli) benchE2E(ctx context.Context, o *benchOptions, topic string) (benchReport, error) {
	reader, err := c.followFromEnd(ctx, topic)
	if err != nil {
		return benchReport{}, err
	}
	defer reader.Close()
	acks := newMeters(o.clients)
	load, err := c.newLoad(ctx, o, topic, acks)
	if err != nil {
		return benchReport{}, err
	}
	defer load.close()
	load.stamp = true
	load.begin()

	arrived := new(meter)
	runCtx, stop := context.WithCancel(ctx)
	var expected atomic.Int64
	expected.Store(-1)
	var side, reading sync.WaitGroup
	side.Go(func() { watch(runCtx, newProgress(c.stderr), []*meter{arrived}) }) // ends with runCtx, below
	reading.Go(func() { arrived.follow(runCtx, reader, load, &expected) })      // ends with the last record or runCtx
	load.run(ctx)
	expected.Store(sum(acks).records)
	giveUp := time.AfterFunc(c.timeout, stop) // records that were acknowledged arrive, or the broker lost them
	reading.Wait()
	giveUp.Stop()
	stop()
	side.Wait()

	produced := sum(acks)
	all := sum([]*meter{arrived})
	if all.records == 0 {
		return benchReport{}, errors.Join(errors.New("not one record arrived"), explain(errors.Join(produced.err, all.err), topic, ""))
	}
	if missing := produced.records - all.records; missing > 0 && ctx.Err() == nil {
		fmt.Fprintf(c.stderr, "moldau: %s acknowledged, but did not arrive within %v\n", plural(missing, "record"), c.timeout)
	}
	report := newReport("e2e", all, all.last.Sub(load.counting))
	report.TargetRate, report.Failed = o.rate, produced.failed
	report.Batches, report.BatchBytes = load.batches.number.Load(), load.batches.bytes.Load()
	endToEnd, ack, lag := all.latency.latencies(), produced.latency.latencies(), produced.lag.latencies()
	report.EndToEnd, report.Ack, report.ScheduleLag = &endToEnd, &ack, &lag
	return report, nil
}

// followFromEnd returns a client that consumes every partition of a topic from where it ends now.
func (c *cli) followFromEnd(ctx context.Context, topic string) (*client, error) {
	cl, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	err = func() error {
		details, err := cl.topicDetails(ctx, topic)
		if err != nil {
			return err
		}
		ends, err := cl.listOffsets(ctx, map[string][]int32{topic: details[topic].Partitions.Numbers()}, timestampLatest, readUncommitted)
		if err == nil {
			cl.AddConsumePartitions(ends.consumable())
		}
		return err
	}()
	if err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// follow counts what arrives until as many records as expected (once that is known) are counted.
func (m *meter) follow(ctx context.Context, cl *client, l *load, expected *atomic.Int64) {
	for counted := int64(0); ; {
		if n := expected.Load(); n >= 0 && counted >= n {
			return
		}
		// The wait is short so that the last record is noticed when the number is known after its arrival.
		pollCtx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		fetches := cl.PollRecords(pollCtx, 0)
		cancel()
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		for it := fetches.RecordIter(); !it.Done(); {
			value := it.Next().Value
			if len(value) < stampBytes {
				continue // not one of ours
			}
			due := l.start.Add(time.Duration(binary.BigEndian.Uint64(value)))
			inTime := !due.Before(l.counting)
			if inTime {
				counted++
			}
			m.done(now, len(value), now.Sub(due), inTime)
		}
		fetches.EachError(func(_ string, _ int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				m.fail(err)
			}
		})
	}
}
