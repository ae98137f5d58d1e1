package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// benchOptions are the flags of the benches. Each command shows those that concern it.
type benchOptions struct {
	topic       string
	partitions  int32
	replication int16
	configs     []string

	records  int64         // 0 for no limit
	duration time.Duration // used where records is 0
	warmup   time.Duration // what happens in it is not counted
	rate     float64       // records a second over all clients; 0 for as fast as it goes
	clients  int
	inflight int // records that a client may have on their way; 0 for no limit

	size        int
	payload     string
	batchBytes  int32
	linger      time.Duration
	acks        string
	compression string
}

func newBench(c *cli) *cobra.Command {
	return newGroup("bench", "Measure any Kafka-compatible broker", `  moldau bench produce --records 1000000 --size 1024
  moldau bench consume --records 1000000
  moldau bench e2e --rate 20000 --duration 30s`,
		newBenchProduce(c), newBenchConsume(c), newBenchE2E(c))
}

// topicFlags are the flags about the topic: every bench uses one of its own unless it is given one.
func (o *benchOptions) topicFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.topic, "topic", "", "topic to use, created if absent and kept; without it a new one is made and deleted")
	f.Int32VarP(&o.partitions, "partitions", "p", 6, "partitions of a topic that is created")
	f.Int16VarP(&o.replication, "replication-factor", "r", -1, "replicas of a topic that is created; -1 is the brokers' default")
	f.StringArrayVarP(&o.configs, "config", "c", nil, "key=value for a topic that is created; may be repeated")
	f.IntVar(&o.clients, "clients", 1, "clients, each with connections of its own")
}

// recordFlags are the flags about the records and how they are produced.
func (o *benchOptions) recordFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.size, "size", 1024, "bytes of a record's value")
	f.Var(newChoice(&o.payload, "random", "random", "text", "zero"), "payload", "content of the values: not compressible, like logs, or all the same")
	f.Int32Var(&o.batchBytes, "batch-bytes", 64<<10, "the largest batch in bytes")
	f.DurationVar(&o.linger, "linger", 0, "how long to wait for more records to a batch")
	f.Var(newChoice(&o.acks, "all", "all", "1", "0"), "acks", "who must have a record before it counts")
	f.VarP(newChoice(&o.compression, "none", "none", "gzip", "snappy", "lz4", "zstd"), "compression", "z", "compression of batches")
}

// check finds what is wrong with the flags together.
func (o *benchOptions) check() error {
	switch {
	case o.clients < 1:
		return usagef("--clients must be at least 1")
	case o.records < 0 || o.duration < 0 || o.warmup < 0 || o.rate < 0 || o.inflight < 0:
		return usagef("numbers below 0 have no meaning here")
	case o.records == 0 && o.duration == 0:
		return usagef("give --records or --duration")
	case math.IsNaN(o.rate) || math.IsInf(o.rate, 0):
		return usagef("--rate must be a number of records a second")
	case o.size < 0 || int64(o.size) > int64(o.batchBytes):
		return usagef("--size must be between 0 and --batch-bytes (%d)", o.batchBytes)
	}
	return nil
}

// producerOptions are the client options for producing.
func (o *benchOptions) producerOptions(topic string) []kgo.Opt {
	opts := append(acksOptions(o.acks),
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchMaxBytes(o.batchBytes),
		kgo.ProducerLinger(o.linger),
		kgo.ProducerBatchCompression(codecs[o.compression]()),
		kgo.MaxBufferedRecords(1<<20),
		kgo.MaxBufferedBytes(32<<20),
	)
	if o.inflight > 0 {
		opts = append(opts, kgo.MaxBufferedRecords(o.inflight))
	}
	return opts
}

// benchTopic makes sure that the bench has its topic. The returned function, never nil, deletes it if it was made for this run
// only.
func (c *cli) benchTopic(ctx context.Context, cl *client, o *benchOptions) (name string, discard func() error, err error) {
	name, discard = o.topic, func() error { return nil }
	if name != "" {
		details, err := cl.admin.ListTopicsWithInternal(ctx, name)
		if err != nil {
			return name, discard, explain(err, name, "")
		}
		if details.Has(name) {
			return name, discard, nil
		}
	} else {
		name = "moldau-bench-" + rand.Text()[:8]
	}
	settings, err := topicSettings(o.configs)
	if err != nil {
		return name, discard, err
	}
	created, err := cl.admin.CreateTopic(ctx, o.partitions, o.replication, settings, name)
	if err != nil {
		return name, discard, explain(err, name, created.ErrMessage)
	}
	if o.topic == "" {
		discard = func() error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
			defer cancel()
			deleted, err := cl.admin.DeleteTopic(ctx, name)
			return explain(err, name, deleted.ErrMessage)
		}
	}
	_, err = cl.awaitTopic(ctx, name, c.timeout)
	return name, discard, err
}

// benchRun is the frame of a bench: it makes the topic, runs work, deletes the topic and prints the report. An interrupt ends
// the measurement early; what was measured until then is reported.
func (c *cli) benchRun(ctx context.Context, o *benchOptions, work func(ctx context.Context, topic string) (benchReport, error)) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	topic, discard, err := c.benchTopic(ctx, cl, o)
	defer func() { err = errors.Join(err, discard()) }()
	if err != nil {
		return err
	}
	report, err := work(ctx, topic)
	if err != nil {
		return err
	}
	return c.print(report, report.write)
}

// benchReport is the result of a bench.
type benchReport struct {
	Bench         string  `json:"bench"`
	Seconds       float64 `json:"seconds"`
	Records       int64   `json:"records"`
	Bytes         int64   `json:"bytes"`
	RecordsPerSec float64 `json:"recordsPerSecond"`
	MiBPerSec     float64 `json:"mibPerSecond"`
	Failed        int64   `json:"failed"`
	TargetRate    float64 `json:"targetRate,omitempty"`
	// Batches were written, of so many bytes after compression; those of the warm-up count too.
	Batches    int64 `json:"batches,omitempty"`
	BatchBytes int64 `json:"batchBytes,omitempty"`
	// Ack is from the moment at which a record was to be sent (with a rate) or was handed over (without) to its acknowledgement.
	Ack *latencies `json:"ackLatency,omitempty"`
	// EndToEnd is from the moment at which a record was to be sent until a consumer had it.
	EndToEnd *latencies `json:"endToEndLatency,omitempty"`
	// ScheduleLag is how late this program itself was to send: a part of the latencies that is not the broker's.
	ScheduleLag *latencies `json:"scheduleLag,omitempty"`
}

func newReport(bench string, m *meter, elapsed time.Duration) benchReport {
	secs := elapsed.Seconds()
	return benchReport{
		Bench: bench, Seconds: secs, Records: m.records, Bytes: m.bytes, Failed: m.failed,
		RecordsPerSec: float64(m.records) / secs, MiBPerSec: float64(m.bytes) / secs / (1 << 20),
	}
}

func (r benchReport) write(w io.Writer) {
	pairs := []string{
		"records", count(r.Records),
		"time", seconds(time.Duration(r.Seconds * float64(time.Second))),
		"throughput", fmt.Sprintf("%s records/s, %.2f MiB/s", count(int64(r.RecordsPerSec)), r.MiBPerSec),
	}
	if r.Batches > 0 {
		pairs = append(pairs, "batches", fmt.Sprintf("%s of %s on average, warm-up included", count(r.Batches), byteSize(float64(r.BatchBytes)/float64(r.Batches))))
	}
	if r.Failed > 0 {
		pairs = append(pairs, "failed", count(r.Failed))
	}
	fields(w, pairs...)
	var rows [][]string
	row := func(name string, l *latencies) {
		if l != nil && l.Count > 0 {
			rows = append(rows, []string{name, ms(l.Mean), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.P9999), ms(l.Max)})
		}
	}
	row("end to end", r.EndToEnd)
	row("acknowledged", r.Ack)
	row("schedule lag", r.ScheduleLag)
	if len(rows) > 0 {
		fmt.Fprintln(w)
		table(w, []string{"LATENCY (ms)", "MEAN", "P50", "P90", "P99", "P99.9", "P99.99", "MAX"}, rows)
	}
}

func ms(us float64) string { return strconv.FormatFloat(us/1000, 'f', 3, 64) }
