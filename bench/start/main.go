// Command start measures how soon a broker is there: an open port on an empty directory, and after kill -9 with a
// thousand partitions that hold a gigabyte; the memory of an idle broker; the size of the binary. It prints each with the
// bar that it is measured against.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/moldau/moldau/bench/load"
	"github.com/moldau/moldau/bench/process"
)

const usage = `start measures how soon Moldau is there, idle memory and the size of the binary.

Usage:
  start [flags]

Example:
  make build && go run ./bench/start

Flags:
`

type options struct {
	binary     string
	dir        string
	partitions int
	mib        int
	reps       int
	idle       int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.binary, "moldau", "bin/moldau", "the binary of Moldau")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where the broker keeps its data; some 2 GiB are needed")
	flags.IntVar(&o.partitions, "partitions", 1000, "partitions to recover")
	flags.IntVar(&o.mib, "mib", 1024, "MiB in them")
	flags.IntVar(&o.reps, "reps", 7, "how often each start is measured; the median counts")
	flags.IntVar(&o.idle, "idle", 100_000, "partitions without records, for a start after kill -9 and the memory then")
	if err := flags.Parse(os.Args[1:]); err != nil || flags.NArg() > 0 {
		os.Exit(2)
	}
	if err := measure(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

// measure prints the table.
func measure(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "moldau-start-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	size, err := os.Stat(o.binary)
	if err != nil {
		return fmt.Errorf("there is no binary: run make build first, or name another by -moldau: %w", err)
	}
	fmt.Fprintln(os.Stderr, "starting on empty directories")
	var empty []time.Duration
	var idle int64
	for i := range o.reps {
		b, err := process.Start(o.binary, filepath.Join(dir, "empty-"+strconv.Itoa(i)))
		if err != nil {
			return err
		}
		empty = append(empty, b.Opened)
		time.Sleep(200 * time.Millisecond) // until it idles
		idle, err = b.Resident()
		b.Kill()
		if err != nil {
			return err
		}
	}
	after, served, err := afterKill(ctx, o, filepath.Join(dir, "full"))
	if err != nil {
		return err
	}
	many, memory, err := idlePartitions(ctx, o, filepath.Join(dir, "idle"))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tBAR")
	fmt.Fprintf(w, "start to open port, empty directory\t%v\t50ms\n", median(empty))
	fmt.Fprintf(w, "the same after kill -9, %d partitions, %d MiB\t%v\t300ms\n", o.partitions, o.mib, median(after))
	fmt.Fprintf(w, "until every partition serves\t%v\t2s\n", median(served))
	fmt.Fprintf(w, "until every partition serves after kill -9, %d idle partitions\t%v\t5s\n", o.idle, many.Round(time.Millisecond))
	fmt.Fprintf(w, "memory then\t%.1f MiB\t500 MiB\n", float64(memory)/(1<<20))
	fmt.Fprintf(w, "idle memory\t%.1f MiB\t40 MiB\n", float64(idle)/(1<<20))
	fmt.Fprintf(w, "binary\t%.1f MB\t30 MB\n", float64(size.Size())/1e6)
	return w.Flush()
}

// afterKill fills a directory, and measures starts after kill -9: to the open port, and until every partition serves.
func afterKill(ctx context.Context, o options, dir string) (opened, served []time.Duration, err error) {
	b, err := process.Start(o.binary, dir)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(os.Stderr, "writing %d MiB to %d partitions\n", o.mib, o.partitions)
	err = fill(ctx, o, load.Cluster{Address: b.Address})
	b.Kill()
	if err != nil {
		return nil, nil, err
	}
	for i := range o.reps {
		fmt.Fprintf(os.Stderr, "recovery %d of %d\n", i+1, o.reps)
		b, err := process.Start(o.binary, dir)
		if err != nil {
			return nil, nil, err
		}
		opened = append(opened, b.Opened)
		err = b.AwaitReady(ctx)
		served = append(served, time.Since(b.Started))
		b.Kill()
		if err != nil {
			return nil, nil, err
		}
	}
	return opened, served, nil
}

// idlePartitions makes partitions that nobody writes to and measures a start after kill -9: until every one serves, and the
// memory that the broker has then.
func idlePartitions(ctx context.Context, o options, dir string) (served time.Duration, memory int64, err error) {
	b, err := process.Start(o.binary, dir)
	if err != nil {
		return 0, 0, err
	}
	fmt.Fprintf(os.Stderr, "making %d idle partitions\n", o.idle)
	const perTopic = 5000 // below the limit of what one request may make
	for left, i := o.idle, 0; left > 0 && err == nil; left, i = left-perTopic, i+1 {
		err = load.Cluster{Address: b.Address}.CreateTopic(ctx, "idle-"+strconv.Itoa(i), min(left, perTopic), nil)
	}
	b.Kill()
	if err != nil {
		return 0, 0, err
	}
	if b, err = process.Start(o.binary, dir); err != nil {
		return 0, 0, err
	}
	defer b.Kill()
	if err := b.AwaitReady(ctx); err != nil {
		return 0, 0, err
	}
	served = time.Since(b.Started)
	memory, err = b.Resident()
	return served, memory, err
}

// fill spreads batches of 64 KiB over the partitions.
func fill(ctx context.Context, o options, c load.Cluster) error {
	if err := c.CreateTopic(ctx, "full", o.partitions, nil); err != nil {
		return err
	}
	batch, err := load.NewBatch(63, 1024, 1<<16, "none", bytes.Repeat([]byte("moldau "), 10_000))
	if err != nil {
		return err
	}
	const perRequest = 8
	requests := int64(o.mib) << 20 / int64(63*1024*perRequest)
	_, err = c.Produce(ctx, load.ProduceSpec{
		Topic: "full", Batch: batch, Clients: 1, InFlight: 4, PartitionsPerRequest: perRequest, Acks: -1, Requests: requests,
	})
	return err
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2].Round(100 * time.Microsecond)
}
