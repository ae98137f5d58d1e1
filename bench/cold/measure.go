package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/moldau/moldau/bench/load"
	"github.com/moldau/moldau/bench/subject"
)

const (
	// ignored is how much of the beginning of a run of the tail is left out.
	ignored = time.Second
	// longest bounds a run of the tail.
	longest = 30 * time.Minute
)

// bench is one run of the command.
type bench struct {
	*options
	progress io.Writer
	begun    time.Time
	subjects []*subject.Subject
	readLast map[*subject.Subject]time.Time
	result   *result
}

// measure starts the subjects, measures each in turns and stops them again.
func measure(ctx context.Context, o *options, progress io.Writer) (*result, error) {
	dir, err := os.MkdirTemp(o.dir, "moldau-cold-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, progress: progress, begun: time.Now(), readLast: map[*subject.Subject]time.Time{}, result: newResult(o)}
	defer func() {
		for _, s := range b.subjects {
			s.Stop()
		}
	}()
	for _, name := range b.result.Subjects {
		b.tell("starting %s", name)
		s, err := subject.Start(ctx, name, subject.Options{Moldau: o.moldau, Heap: o.heap}, dir)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		b.subjects = append(b.subjects, s)
		if err := b.prepare(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	ways := b.ways()
	for rep := range o.reps {
		for _, w := range ways {
			for i := range b.subjects {
				s := b.subjects[(i+rep)%len(b.subjects)]
				if err := b.run(ctx, s, w, rep); err != nil {
					return nil, fmt.Errorf("%s %s: %w", s.Name, w.name, err)
				}
			}
		}
	}
	b.result.judge()
	return b.result, nil
}

func (b *bench) tell(format string, args ...any) {
	fmt.Fprintf(b.progress, "[%s] %s\n", time.Since(b.begun).Round(time.Second), fmt.Sprintf(format, args...))
}

// prepare writes what will be cold, and warms the tail up.
func (b *bench) prepare(ctx context.Context, s *subject.Subject) error {
	for _, topic := range [...]string{coldTopic, tailTopic} {
		if err := s.Cluster.CreateTopic(ctx, topic, 1, map[string]string{"retention.ms": "-1"}); err != nil {
			return err
		}
	}
	b.tell("writing %g GiB to %s", b.gib, s.Name)
	batch, err := load.NewBatch(0, 1024, 64<<10, "none", bytes.Repeat([]byte("moldau "), 10_000))
	if err != nil {
		return err
	}
	requests := max(int64(b.gib*(1<<30))/int64(batch.Plain), 1)
	if _, err := s.Cluster.Produce(ctx, load.ProduceSpec{Topic: coldTopic, Batch: batch, InFlight: 5, Acks: -1, Requests: requests}); err != nil {
		return err
	}
	b.tell("warming %s up", s.Name)
	if _, err := b.tail(ctx, s, b.warmup, nil); err != nil {
		return err
	}
	settle()
	files, err := segments(s)
	if err == nil {
		err = b.cool(ctx, files)
	}
	return err
}

// segments are the files of the cold topic in the order of their offsets; the last one is the active segment.
func segments(s *subject.Subject) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "data", coldTopic+"-0", "*.log"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no segments of the cold topic below %s", s.Dir)
	}
	return files, err
}

// cool takes files out of the page cache, and waits until the machine has got over that.
func (b *bench) cool(ctx context.Context, files []string) error {
	if err := evict(files); err != nil {
		return err
	}
	return pause(ctx, b.rest)
}

// pause waits for so long, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// way is a way to read the old data.
type way struct {
	name    string
	command string  // of this program
	rate    float64 // in bytes a second, 0 for full speed
}

// ways are in an order that leaves time between those that consume.
func (b *bench) ways() []way {
	pace := fmt.Sprintf(" at %g MB/s", b.pace)
	return []way{
		{"a reader at full speed", consume, 0},
		{"plain reads" + pace, plain, b.pace * 1e6},
		{"a reader" + pace, consume, b.pace * 1e6},
	}
}

// run measures the tail of one subject alone, and beside one who reads the old data.
func (b *bench) run(ctx context.Context, s *subject.Subject, w way, rep int) error {
	files, err := segments(s)
	if err != nil {
		return err
	}
	from := files
	if w.command == consume {
		from = []string{s.Cluster.Address}
		if err := b.keepApart(ctx, s); err != nil {
			return err
		}
	}
	report, err := b.tail(ctx, s, time.Duration(b.seconds)*time.Second, nil)
	if err != nil {
		return err
	}
	b.result.addTail(alone, s.Name, report)
	was := latencies(report)
	var r reading
	report, err = b.tail(ctx, s, longest, func(ctx context.Context) (err error) {
		r, err = readElsewhere(ctx, w.command, w.rate, from)
		return err
	})
	if err != nil {
		return err
	}
	b.result.addTail(beside+w.name, s.Name, report)
	b.result.add("rate of "+w.name, "MB/s", s.Name, r.rate())
	b.tell("%d of %d, %s, alone: %s; beside %s, %.0f MB/s: %s", rep+1, b.reps, s.Name, was, w.name, r.rate(), latencies(report))
	if w.command == consume {
		b.readLast[s] = time.Now()
		if err := b.addKept(s, w, files); err != nil {
			return err
		}
	}
	return b.cool(ctx, files)
}

// keepApart waits until nobody has consumed the old data from Moldau for a while.
func (b *bench) keepApart(ctx context.Context, s *subject.Subject) error {
	wait := time.Until(b.readLast[s].Add(b.apart))
	if s.Name != ours || wait <= 0 {
		return nil
	}
	b.tell("waiting %v, so that the next reader is the only one", wait.Round(time.Second))
	return pause(ctx, wait)
}

// addKept notes what a reader has left in the page cache. The active segment is meant to stay there.
func (b *bench) addKept(s *subject.Subject, w way, files []string) error {
	in, _, err := resident(files)
	if err != nil {
		return err
	}
	b.result.add("old data in the page cache after "+w.name, "MiB", s.Name, float64(in)/(1<<20))
	if sealed := files[:len(files)-1]; len(sealed) > 0 {
		in, size, err := resident(sealed)
		if err != nil {
			return err
		}
		b.result.add(kept+w.name, "%", s.Name, 100*float64(in)/float64(size))
	}
	return nil
}

// tail sends records at a steady rate and receives them, for so long, or until meanwhile is done, which begins when measuring does.
func (b *bench) tail(ctx context.Context, s *subject.Subject, d time.Duration, meanwhile func(ctx context.Context) error) (*load.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var meter load.Meter
	stop, over := make(chan struct{}), make(chan struct{})
	go func() { // ends with meanwhile, which ctx cuts short
		defer close(over)
		if meanwhile == nil {
			return
		}
		defer close(stop)
		var err error
		for err == nil && meter.Records() < int64(b.rate*ignored.Seconds()) {
			err = pause(ctx, time.Millisecond)
		}
		if err == nil {
			err = meanwhile(ctx)
		}
		if err != nil {
			cancel(err)
		}
	}()
	report, err := s.Cluster.EndToEnd(ctx, load.EndToEndSpec{
		Topic: tailTopic, Rate: b.rate, Duration: d + ignored, Ignore: ignored, Stop: stop, Meter: &meter,
	})
	failed := context.Cause(ctx)
	cancel(nil)
	<-over
	if failed != nil {
		err = failed
	}
	if err == nil && report.Latency.Count() == 0 {
		err = errors.New("it was over before any record was measured")
	}
	return report, err
}

func latencies(r *load.Report) string {
	return fmt.Sprintf("p50 %v, p99 %v, longest %v", r.Latency.Quantile(0.5).Round(time.Microsecond),
		r.Latency.Quantile(0.99).Round(time.Microsecond), r.Latency.Max().Round(time.Microsecond))
}
