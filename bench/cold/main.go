// Command cold measures what a consumer that catches up over old data does to one that reads at the end of another topic: the tail's
// latency alone and beside the reader, and how much of the old data is in the page cache afterwards, where it takes the place of what
// others use.
//
// A reader at full speed takes a core or two, and the tail suffers from that as well; one at a pace that leaves the processor idle shows
// the rest. What the machine itself makes of such reads is seen beside a process that reads the same files without any broker.
//
// Moldau and Apache Kafka run at the same time and are measured in turns. After each run the old data is taken out of the page cache, so
// that the next one, of either, finds it cold and the memory free. Whoever reads it is a process of its own, so that the tail's client
// shares neither memory nor a scheduler with it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `cold measures a tail reader beside a reader of cold data, on Moldau and on Apache Kafka.

Usage:
  cold [flags]

Examples:
  make build && go run ./bench/cold
  go run ./bench/cold -quick -only moldau
  go run ./bench/cold -pace 100 -o json >cold.json

It needs Linux 6.5 or later, and twice -gib of room on a disk. The commands consume and plain are what it starts itself.

Flags:
`

// options are the flags.
type options struct {
	moldau  string
	only    string
	gib     float64
	rate    float64
	pace    float64
	reps    int
	seconds int
	warmup  time.Duration
	heap    string
	dir     string
	format  string
	quick   bool
	strict  bool
	apart   time.Duration // between two readers of the same data from Moldau, at least
	rest    time.Duration // after data was taken out of the page cache
}

const (
	// apartMin is enough that a reader is the only one: Moldau takes one that comes within a minute for another of several who want the
	// same, and keeps it in the page cache for them.
	apartMin = 65 * time.Second
	// restMin is how long a virtual machine is given to hand the memory that has become free to its host, which stalls everyone.
	restMin = 5 * time.Second
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0, 1 failed, 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return told(read(ctx, args, stdout), stderr)
	}
	o, code := parse(args, stdout, stderr)
	if o == nil {
		return code
	}
	result, err := measure(ctx, o, stderr)
	if err != nil {
		return told(err, stderr)
	}
	if o.format == "json" {
		err = result.writeJSON(stdout)
	} else {
		err = result.writeTable(stdout)
	}
	if err == nil && o.strict && result.failed() {
		return 1
	}
	return told(err, stderr)
}

// told tells of an error, and returns the exit code.
func told(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "cold:", err)
	return 1
}

// parse returns nil and an exit code where there is nothing to run.
func parse(args []string, stdout, stderr io.Writer) (*options, int) {
	o := &options{apart: apartMin, rest: restMin}
	flags := flag.NewFlagSet("cold", flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, a := range args {
		if a == "-h" || a == "-help" || a == "--help" {
			flags.SetOutput(stdout)
		}
	}
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.moldau, "moldau", "bin/moldau", "the binary of Moldau")
	flags.StringVar(&o.only, "only", "moldau,kafka", "which of the two")
	flags.Float64Var(&o.gib, "gib", 10, "GiB of cold data that the reader catches up over")
	flags.Float64Var(&o.rate, "rate", 1000, "records a second through the tail")
	flags.Float64Var(&o.pace, "pace", 250, "MB a second of a reader that leaves the processor idle")
	flags.IntVar(&o.reps, "reps", 3, "how often each is measured; medians count")
	flags.IntVar(&o.seconds, "seconds", 5, "how long the tail is measured alone, before each time that it is measured beside a reader")
	flags.DurationVar(&o.warmup, "warmup", 10*time.Second, "how long the tail runs before all that, so that Java has compiled what it needs")
	flags.StringVar(&o.heap, "heap", "1g", "Kafka's Java heap")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where the brokers keep their data, on a disk")
	flags.StringVar(&o.format, "o", "table", "table or json")
	flags.BoolVar(&o.quick, "quick", false, "a first impression: one repetition, 2 GiB, short durations")
	flags.BoolVar(&o.strict, "strict", false, "exit with code 1 when a bar is missed")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return nil, 0
	case err != nil:
		return nil, 2
	case flags.NArg() > 0 || o.reps < 1 || o.gib <= 0 || o.rate <= 0 || o.pace <= 0 || o.seconds < 1 || o.format != "table" && o.format != "json":
		fmt.Fprintln(stderr, "cold: takes flags only; -gib, -rate and -pace are above 0, -reps and -seconds begin at 1, -o is table or json; see cold --help")
		return nil, 2
	}
	if o.quick {
		o.reps, o.gib, o.seconds, o.warmup = 1, min(o.gib, 2), min(o.seconds, 4), min(o.warmup, 3*time.Second)
	}
	return o, 0
}
