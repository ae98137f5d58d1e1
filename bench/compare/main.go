// Command compare measures Moldau beside Apache Kafka and beside the floor, in one run on one machine.
//
// The three run at the same time; each workload goes to one after another, several times over in changing order, so that
// what disturbs the machine disturbs them alike. What is compared are medians. A broker's CPU time is what the kernel
// charged its process; the load generator's own is not in it.
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

	"github.com/moldau/moldau/bench/subject"
)

const usage = `compare measures Moldau beside Apache Kafka and the floor, and prints how they relate.

Usage:
  compare [flags]

Examples:
  make bench
  go run ./bench/compare -quick
  go run ./bench/compare -only moldau,floor -workloads produce,fetch
  go run ./bench/compare -o json >bench.json

Workloads:
`

// options are the flags.
type options struct {
	moldau    string
	only      string
	workloads string
	reps      int
	mib       int
	seconds   int
	warmup    time.Duration
	heap      string
	dir       string
	format    string
	quick     bool
	strict    bool
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0, 1 failed, 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	o, code := parse(args, stdout, stderr)
	if o == nil {
		return code
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := measure(ctx, o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return 1
	}
	if o.format == "json" {
		err = result.writeJSON(stdout)
	} else {
		err = result.writeTable(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return 1
	}
	if o.strict && result.failed() {
		return 1
	}
	return 0
}

// parse returns nil and an exit code where there is nothing to run.
func parse(args []string, stdout, stderr io.Writer) (*options, int) {
	o := &options{}
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	for _, a := range args {
		if a == "-h" || a == "-help" || a == "--help" {
			flags.SetOutput(stdout)
		}
	}
	flags.Usage = func() {
		w := flags.Output()
		fmt.Fprint(w, usage)
		for _, wl := range workloads {
			fmt.Fprintf(w, "  %-12s %s\n", wl.name, wl.title)
		}
		fmt.Fprint(w, "\nFlags:\n")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.moldau, "moldau", "bin/moldau", "the binary of Moldau")
	flags.StringVar(&o.only, "only", "moldau,kafka,floor", "which of the three")
	flags.StringVar(&o.workloads, "workloads", "", "only those whose names begin with one of these, comma separated")
	flags.IntVar(&o.reps, "reps", 3, "how often each workload is measured")
	flags.IntVar(&o.mib, "mib", 1024, "how much each produce workload writes, before compression")
	flags.IntVar(&o.seconds, "seconds", 6, "how long the workloads run that have a duration")
	flags.DurationVar(&o.warmup, "warmup", 5*time.Second, "how long each workload runs before it is measured, so that Java has compiled what it needs")
	flags.StringVar(&o.heap, "heap", "1g", "Kafka's Java heap")
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where the brokers keep their data; some 10 GiB are needed")
	flags.StringVar(&o.format, "o", "table", "table or json")
	flags.BoolVar(&o.quick, "quick", false, "a first impression: one repetition, 256 MiB, short durations")
	flags.BoolVar(&o.strict, "strict", false, "exit with code 1 when a bar is missed")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return nil, 0
	case err != nil:
		return nil, 2
	case flags.NArg() > 0 || o.reps < 1 || o.mib < 1 || o.seconds < 2 || o.format != "table" && o.format != "json":
		fmt.Fprintln(stderr, "compare: takes flags only; -reps and -mib begin at 1, -seconds at 2, -o is table or json; see compare --help")
		return nil, 2
	}
	if o.quick {
		o.reps, o.mib, o.seconds, o.warmup = 1, min(o.mib, 256), 3, min(o.warmup, 3*time.Second)
	}
	return o, 0
}

// measure starts the subjects, runs every workload on each and stops them again.
func measure(ctx context.Context, o *options, progress io.Writer) (*result, error) {
	var chosen []workload
	for _, w := range workloads {
		if o.workloads == "" || hasAnyPrefix(w.name, strings.Split(o.workloads, ",")) {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no workload begins with %s", o.workloads)
	}
	dir, err := os.MkdirTemp(o.dir, "moldau-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var subjects []*subject.Subject
	defer func() {
		for _, s := range subjects {
			s.Stop()
		}
	}()
	for _, name := range strings.Split(o.only, ",") {
		fmt.Fprintf(progress, "starting %s\n", name)
		s, err := subject.Start(ctx, name, subject.Options{Moldau: o.moldau, Heap: o.heap}, dir)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		subjects = append(subjects, s)
	}
	r := newResult(o, subjects)
	begun := time.Now()
	runs, done := len(chosen)*o.reps*len(subjects), 0
	for _, w := range chosen {
		for rep := range o.reps {
			for i := range subjects {
				s := subjects[(i+rep)%len(subjects)]
				if !w.suits(s) {
					runs--
					continue
				}
				m, err := w.measure(ctx, s, o, rep)
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", w.name, s.Name, err)
				}
				done++
				r.add(w, s, m)
				fmt.Fprintf(progress, "[%d/%d %s] %s on %s, %d of %d: %s\n", done, runs, time.Since(begun).Round(time.Second),
					w.name, s.Name, rep+1, o.reps, m.String())
			}
		}
	}
	for _, s := range subjects {
		if err := r.addMemory(s); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, strings.TrimSpace(p)) {
			return true
		}
	}
	return false
}
