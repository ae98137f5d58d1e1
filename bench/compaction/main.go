// Command compaction measures what it costs to compact a topic, and what producers of other topics notice of it. It prints each figure
// with the bar that it is measured against.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/bench/load"
	"github.com/moldau/moldau/bench/process"
)

const usage = `compaction measures the rate at which Moldau compacts a topic, and how long a producer waits beside it.

A topic is filled with -keys different keys, and a quarter of them once more; then it is compacted as a whole, by
several rounds where its keys do not fit into the memory for them. A producer of another topic goes on at -rate,
in turns without a compaction and beside one.

Usage:
  compaction [flags]

Example:
  make build && go run ./bench/compaction
  go run ./bench/compaction -keys 10000000 -o json

Flags:
`

type options struct {
	binary string
	dir    string
	keys   int
	size   int
	reps   int
	rate   int
	output string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	flags := flag.NewFlagSet("compaction", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.binary, "moldau", "bin/moldau", "the binary of Moldau")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where the broker keeps its data; 2.5 times keys times size, and for the turns 4 GiB, are needed")
	flags.IntVar(&o.keys, "keys", 1_000_000, "different keys")
	flags.IntVar(&o.size, "size", 1024, "bytes of a record's value, random")
	flags.IntVar(&o.reps, "reps", 3, "turns with and without a compaction beside the producer; the medians count")
	flags.IntVar(&o.rate, "rate", 10_000, "records of 1 KiB a second that the producer sends")
	flags.StringVar(&o.output, "o", "table", "table or json")
	if err := flags.Parse(os.Args[1:]); err != nil || flags.NArg() > 0 || o.output != "table" && o.output != "json" {
		os.Exit(2)
	}
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compaction:", err)
		os.Exit(1)
	}
}

// figures are what is printed.
type figures struct {
	Keys        int     `json:"keys"`
	MBs         float64 `json:"megabytes"`             // of the topic before
	MBPerCore   float64 `json:"megabytes_per_core"`    // a second of CPU time
	MBPerSecond float64 `json:"megabytes_per_second"`  // by the clock
	Rounds      float64 `json:"rounds"`                // passes
	Memory      float64 `json:"memory_mib"`            // that the broker had more at its highest than before
	Alone       float64 `json:"p99_alone_ms"`          // of the producer
	Beside      float64 `json:"p99_beside_ms"`         // beside a compaction
	Ratio       float64 `json:"p99_beside_over_alone"` //
}

func measure(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "moldau-compaction-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	b, err := process.Start(o.binary, filepath.Join(dir, "data"), "log.cleaner.threads=1", "log.cleaner.dedupe.buffer.size="+strconv.Itoa(256<<20),
		"log.cleaner.backoff.ms=100", "log.segment.bytes="+strconv.Itoa(256<<20))
	if err != nil {
		return err
	}
	defer b.Kill()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(50_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer client.Close()
	r := runner{o: o, b: b, client: client, admin: kadm.NewClient(client)}
	f := figures{Keys: o.keys}
	if err := r.wholeTopic(ctx, &f); err != nil {
		return err
	}
	if err := r.beside(ctx, &f); err != nil {
		return err
	}
	return f.print(o)
}

type runner struct {
	o      options
	b      *process.Broker
	client *kgo.Client
	admin  *kadm.Client
}

// wholeTopic compacts one topic alone.
func (r *runner) wholeTopic(ctx context.Context, f *figures) error {
	fmt.Fprintf(os.Stderr, "writing %d keys\n", r.o.keys)
	if err := r.fill(ctx, "whole", r.o.keys); err != nil {
		return err
	}
	before, err := r.take()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "compacting them")
	begun, highest := time.Now(), int64(0)
	if err := r.release(ctx, "whole"); err != nil {
		return err
	}
	if err := r.awaitClean(ctx, before.passes, func() error {
		now, err := r.b.Resident()
		highest = max(highest, now)
		return err
	}); err != nil {
		return err
	}
	took := time.Since(begun)
	after, err := r.take()
	if err != nil {
		return err
	}
	f.MBs = float64(r.o.keys) * 1.25 * float64(r.o.size) / 1e6
	f.MBPerCore, f.MBPerSecond = f.MBs/(after.cpu-before.cpu).Seconds(), f.MBs/took.Seconds()
	f.Rounds, f.Memory = after.passes-before.passes, float64(highest-before.memory)/(1<<20)
	return nil
}

// taken is what the broker has used so far.
type taken struct {
	cpu    time.Duration
	memory int64
	passes float64
}

func (r *runner) take() (t taken, err error) {
	if t.cpu, err = r.b.CPU(); err != nil {
		return t, err
	}
	if t.memory, err = r.b.Resident(); err != nil {
		return t, err
	}
	t.passes, err = r.b.Metric("moldau_cleaner_passes_total")
	return t, err
}

// fill makes a topic that is not compacted yet and writes keys to it, and a quarter of them once more.
func (r *runner) fill(ctx context.Context, topic string, keys int) error {
	compact, never := "compact", strconv.Itoa(1<<40)
	if _, err := r.admin.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": &compact, "min.compaction.lag.ms": &never}, topic); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	values := make([]byte, 1<<20+r.o.size)
	for at := 0; at+8 <= len(values); at += 8 {
		binary.LittleEndian.PutUint64(values[at:], random.Uint64())
	}
	failed := make(chan error, 1)
	shown := time.Now()
	for i := range keys + keys/4 {
		n := i
		if i >= keys {
			n = random.IntN(keys)
		}
		at := random.IntN(1 << 20)
		r.client.Produce(ctx, &kgo.Record{Topic: topic, Key: strconv.AppendInt([]byte("key-"), int64(n), 10), Value: values[at : at+r.o.size]}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
		if time.Since(shown) > 5*time.Second {
			shown = time.Now()
			fmt.Fprintf(os.Stderr, "%d of %d records\n", i, keys+keys/4)
		}
	}
	if err := r.client.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return fmt.Errorf("write to %s: %w", topic, err)
	default:
	}
	// One record more in a segment of its own: the active segment is never compacted.
	soon := "1"
	if err := r.alter(ctx, topic, "segment.ms", soon); err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond)
	return r.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte("last"), Value: []byte("last")}).FirstErr()
}

func (r *runner) alter(ctx context.Context, topic, key, value string) error {
	answers, err := r.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, topic)
	for _, a := range answers {
		err = errors.Join(err, a.Err)
	}
	return err
}

// release has a topic compacted.
func (r *runner) release(ctx context.Context, topic string) error {
	if err := r.alter(ctx, topic, "min.compaction.lag.ms", "0"); err != nil {
		return err
	}
	return r.alter(ctx, topic, "min.cleanable.dirty.ratio", "0")
}

// awaitClean waits until passes have been made, and nothing is left for another.
func (r *runner) awaitClean(ctx context.Context, before float64, meanwhile func() error) error {
	for ctx.Err() == nil {
		passes, err := r.b.Metric("moldau_cleaner_passes_total")
		if err != nil {
			return err
		}
		underway, err := r.b.Metric("moldau_cleaner_passes_underway")
		if err != nil {
			return err
		}
		dirty, err := r.b.Metric("moldau_cleaner_dirty_bytes")
		if err != nil {
			return err
		}
		if passes > before && underway == 0 && dirty == 0 {
			return nil
		}
		if err := meanwhile(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ctx.Err()
}

// besideKeys is the size of a topic that is compacted beside a producer: some seconds of work.
const besideKeys = 800_000

// beside measures the producer, in turns.
func (r *runner) beside(ctx context.Context, f *figures) error {
	c := load.Cluster{Address: r.b.Address}
	if err := c.CreateTopic(ctx, "beside", 1, nil); err != nil {
		return err
	}
	batch, err := load.NewBatch(10, 1024, 1<<16, "none", bytes.Repeat([]byte("moldau "), 2000))
	if err != nil {
		return err
	}
	produce := func(d time.Duration) (float64, error) {
		report, err := c.Produce(ctx, load.ProduceSpec{Topic: "beside", Batch: batch, InFlight: 5, Acks: -1, Duration: d, Rate: float64(r.o.rate)})
		return float64(report.Latency.Quantile(0.99)) / float64(time.Millisecond), err
	}
	var alone, beside []float64
	for i := range r.o.reps {
		topic := "turn-" + strconv.Itoa(i)
		fmt.Fprintf(os.Stderr, "turn %d of %d\n", i+1, r.o.reps)
		if err := r.fill(ctx, topic, besideKeys); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // until it idles
		p99, err := produce(4 * time.Second)
		if err != nil {
			return err
		}
		alone = append(alone, p99)
		before, err := r.take()
		if err != nil {
			return err
		}
		if err := r.release(ctx, topic); err != nil {
			return err
		}
		if p99, err = produce(2 * time.Second); err != nil { // shorter than the compaction
			return err
		}
		beside = append(beside, p99)
		if err := r.awaitClean(ctx, before.passes, func() error { return nil }); err != nil {
			return err
		}
		if _, err := r.admin.DeleteTopics(ctx, topic); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "p99 %.2f ms alone, %.2f ms beside\n", alone[i], beside[i])
	}
	f.Alone, f.Beside = median(alone), median(beside)
	f.Ratio = f.Beside / f.Alone
	return nil
}

func (f *figures) print(o options) error {
	if o.output == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(f)
	}
	verdict := map[bool]string{true: "PASS", false: "FAIL"}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tBAR")
	fmt.Fprintf(w, "compaction of %.0f MB, %d keys\t%.0f MB/s a core\t%s ≥ 150\n", f.MBs, f.Keys, f.MBPerCore, verdict[f.MBPerCore >= 150])
	fmt.Fprintf(w, "the same by the clock, %.0f rounds\t%.0f MB/s\t\n", f.Rounds, f.MBPerSecond)
	fmt.Fprintf(w, "memory that it took\t%.0f MiB\t%s ≤ 300 (256 for keys)\n", f.Memory, verdict[f.Memory <= 300])
	fmt.Fprintf(w, "p99 of a producer at %d records a second, alone\t%.2f ms\t\n", o.rate, f.Alone)
	fmt.Fprintf(w, "beside a compaction\t%.2f ms\t%s ≤ 2 times: %.2f\n", f.Beside, verdict[f.Ratio <= 2], f.Ratio)
	return w.Flush()
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
