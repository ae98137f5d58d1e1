package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/examples/pageviews"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/config"
)

const (
	demoTopic      = "pageviews"
	demoPartitions = 4
	demoSeed       = 1
	demoTop        = 10 // pages that the table shows
)

// demo is one run of the demonstration.
type demo struct {
	*cli
	lines int
	dir   string
	once  bool

	taken             []string // usual ports that somebody else has; set before the broker is ready
	produced, counted atomic.Int64
}

// newDemo shows a broker at work.
func newDemo(c *cli) *cobra.Command {
	d := &demo{cli: c}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a broker and count page views through it",
		Long: `Start a broker on its defaults, write a web access log to it through the real protocol,
count the views of each page while they arrive, and compare the counts with a plain count
over the same log. The broker then goes on serving, for clients of your own.`,
		Example: `  moldau demo
  moldau demo --lines 1000000 --dir ./demo-data`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.lines < 1 {
				return usagef("--lines must be at least 1")
			}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&d.lines, "lines", 300_000, "lines of the access log")
	cmd.Flags().StringVar(&d.dir, "dir", "", "where to keep the data; a temporary directory, removed at the end, where it is not given")
	cmd.Flags().BoolVar(&d.once, "once", false, "stop after the count instead of serving on")
	return cmd
}

func (d *demo) run(ctx context.Context) error {
	dir := d.dir
	if dir == "" {
		tmp, err := os.MkdirTemp("", "moldau-demo-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(tmp) }() // a temporary directory
		dir = tmp
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started := make(chan broker.Info, 1)
	ended := make(chan error, 1)
	go func() { // ends with ctx; run waits for it below
		err := d.serveDemo(ctx, dir, func(b *broker.Broker) { started <- b.Info() })
		cancel(err)
		ended <- err
	}()
	select {
	case info := <-started:
		err := d.show(ctx, info)
		if err != nil || d.once {
			cancel(nil)
		}
		return errors.Join(err, <-ended)
	case err := <-ended:
		return err
	}
}

// serveDemo runs the broker on its usual ports, or on free ones where those are taken.
func (d *demo) serveDemo(ctx context.Context, dir string, ready func(*broker.Broker)) error {
	client, status := "9092", "9644"
	for {
		settings, err := config.Merge(nil, nil, []string{
			"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:" + client, "moldau.http.listener=127.0.0.1:" + status,
		})
		if err != nil {
			return err
		}
		err = d.serve(ctx, settings, ready)
		port := &client
		if err != nil && isHTTPListener(err) {
			port = &status
		}
		if !isAddressInUse(err) || *port == "0" {
			return err
		}
		d.taken = append(d.taken, *port)
		*port = "0"
	}
}

// insteadOf tells which ports the broker has for those that are taken.
func insteadOf(taken []string, info broker.Info) string {
	var b strings.Builder
	for _, port := range taken {
		now := info.Bootstrap
		if port == "9644" {
			now = info.HTTP
		}
		fmt.Fprintf(&b, "%s is taken; using %s\n", port, now[strings.LastIndexByte(now, ':')+1:])
	}
	return b.String()
}

// show fills the topic, counts along, compares, and tells how to connect.
func (d *demo) show(ctx context.Context, info broker.Info) error {
	fmt.Fprint(d.stdout, insteadOf(d.taken, info))
	fmt.Fprintf(d.stdout, "broker ready in %s at %s, data in %s\n", info.Opening.Round(100*time.Microsecond), info.Bootstrap, strings.Join(info.LogDirs, ","))
	fmt.Fprintf(d.stdout, "metrics at http://%s/metrics\n", info.HTTP)
	fmt.Fprintf(d.stdout, "writing %d lines of a web access log to topic %q, keyed by page, and counting them as they arrive\n\n", d.lines, demoTopic)
	d.bootstrap = []string{info.Bootstrap}
	begin := d.now()
	counts, err := d.countLive(ctx, info.Bootstrap)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return err
	}
	took := d.now().Sub(begin)
	plain, err := plainCount(d.lines)
	if err != nil {
		return err
	}
	if !maps.Equal(counts, plain) {
		return fmt.Errorf("the counts differ: %d pages through the broker, %d in the plain count", len(counts), len(plain))
	}
	fmt.Fprintf(d.stdout, "\n%d views of %d pages in %s (%.0f a second): the counts equal a plain count over the same log\n",
		d.lines, len(plain), took.Round(time.Millisecond), float64(d.lines)/took.Seconds())
	if !d.once {
		fmt.Fprint(d.stdout, connectHelp(d.program, info.Bootstrap))
	}
	return nil
}

// countLive produces and counts at the same time, and prints the table while it does.
func (d *demo) countLive(ctx context.Context, bootstrap string) (map[string]int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := d.createDemoTopic(ctx, bootstrap); err != nil {
		return nil, err
	}
	produced := make(chan error, 1)
	go func() { // ends when everything is acknowledged, or with ctx
		err := d.produceLog(ctx, bootstrap)
		if err != nil {
			cancel(err)
		}
		produced <- err
	}()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(demoTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	board := newScoreboard(d)
	counts := make(map[string]int)
	for n := 0; n < d.lines; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, fmt.Errorf("read %s: %w", demoTopic, errs[0].Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			counts[string(r.Key)]++
			n++
		})
		d.counted.Store(int64(n))
		if n < d.lines {
			board.show(counts, false)
		}
	}
	if err := <-produced; err != nil { // the last records may be counted before their acknowledgement is here
		return nil, err
	}
	board.show(counts, true)
	return counts, nil
}

// createDemoTopic makes the topic anew: what an earlier demonstration left in a kept directory would be counted too.
func (d *demo) createDemoTopic(ctx context.Context, bootstrap string) error {
	client, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.admin.DeleteTopics(ctx, demoTopic); err != nil {
		return err
	}
	resp, err := client.admin.CreateTopics(ctx, demoPartitions, 1, nil, demoTopic)
	if err != nil {
		return err
	}
	return resp[demoTopic].Err
}

// produceLog writes the access log, each line keyed by its page.
func (d *demo) produceLog(ctx context.Context, bootstrap string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(demoTopic), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	err = eachLine(d.lines, func(path, line string) {
		client.Produce(ctx, &kgo.Record{Key: []byte(path), Value: []byte(line)}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				return
			}
			d.produced.Add(1)
		})
	})
	if err := errors.Join(err, client.Flush(ctx)); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("write %s: %w", demoTopic, *err)
	}
	return nil
}

// eachLine makes the log and hands on its lines.
func eachLine(lines int, fn func(path, line string)) error {
	r, w := io.Pipe()
	go func() { // ends when all is written, or when the reader goes
		w.CloseWithError(pageviews.Generate(w, demoSeed, lines))
	}()
	defer r.Close()
	log := pageviews.NewReader(r)
	for log.Next() {
		fn(log.Line().Path, log.Text())
	}
	return log.Err()
}

// plainCount counts the views of each page without a broker.
func plainCount(lines int) (map[string]int, error) {
	counts := make(map[string]int)
	err := eachLine(lines, func(path, _ string) { counts[path]++ })
	return counts, err
}

// scoreboard prints the most viewed pages: redrawn in place on a terminal, elsewhere a line of progress now and then.
type scoreboard struct {
	d        *demo
	terminal bool
	drawn    int // lines of the table on the screen
	next     time.Time
}

func newScoreboard(d *demo) *scoreboard {
	s := &scoreboard{d: d}
	if f, ok := d.stdout.(*os.File); ok {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

func (s *scoreboard) show(counts map[string]int, last bool) {
	now := s.d.now()
	if !last && now.Before(s.next) {
		return
	}
	s.next = now.Add(250 * time.Millisecond)
	if !s.terminal {
		s.next = now.Add(time.Second)
	}
	done := s.d.counted.Load()
	acknowledged := max(s.d.produced.Load(), done) // a record that was counted is written, whether or not the producer knows yet
	progress := fmt.Sprintf("acknowledged %d  counted %d of %d  (%d %%)", acknowledged, done, s.d.lines, done*100/int64(s.d.lines))
	if !s.terminal && !last {
		fmt.Fprintln(s.d.stdout, progress)
		return
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.drawn)
	}
	fmt.Fprintln(&b, progress)
	pages := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		if d := counts[y] - counts[x]; d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	var rows [][]string
	for _, page := range pages[:min(demoTop, len(pages))] {
		rows = append(rows, []string{page, fmt.Sprint(counts[page])})
	}
	table(&b, []string{"PAGE", "VIEWS"}, rows)
	s.drawn = strings.Count(b.String(), "\n")
	fmt.Fprint(s.d.stdout, b.String())
}

// connectHelp shows how to read the topic with clients that people have.
func connectHelp(program, bootstrap string) string {
	return fmt.Sprintf(`
The broker goes on serving; stop it with Ctrl-C. Read what it holds with any Kafka client:

  moldau   %[3]s consume %[2]s -b %[1]s --from start --max 5
  kcat     kcat -C -b %[1]s -t %[2]s -o beginning -c 5
  Python   from kafka import KafkaConsumer                      # pip install kafka-python
           for m in KafkaConsumer("%[2]s", bootstrap_servers="%[1]s", auto_offset_reset="earliest"): print(m.key, m.value)
  Java     kafka-console-consumer.sh --bootstrap-server %[1]s --topic %[2]s --partition 0 --offset earliest --max-messages 5
  Go       cl, _ := kgo.NewClient(kgo.SeedBrokers("%[1]s"), kgo.ConsumeTopics("%[2]s"))   // github.com/twmb/franz-go/pkg/kgo
           cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { fmt.Println(string(r.Key)) })
`, bootstrap, demoTopic, program)
}
