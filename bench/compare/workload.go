package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/moldau/moldau/bench/load"
	"github.com/moldau/moldau/bench/subject"
	"github.com/moldau/moldau/examples/pageviews"
)

// workload is one thing that every subject has to do.
type workload struct {
	name, title string
	// metrics in the order of the table.
	metrics []metric
	spec    any // produceLoad, fetchLoad, acksLoad or endToEndLoad
}

type (
	// produceLoad writes 1 KiB records in 64 KiB batches, acks=all, as fast as it goes.
	produceLoad struct {
		partitions, clients int
		codec               string
		synced              bool
	}
	// fetchLoad reads what an uncompressed produceLoad of one partition writes.
	fetchLoad struct{}
	// acksLoad has clients that each wait for the acknowledgement of every 100-byte record, one partition a request. Where it is
	// synced, the topic has flush.messages=1: no record is acknowledged that is not on disk.
	acksLoad struct {
		clients, partitions int
		synced              bool
	}
	// endToEndLoad sends at a fixed rate and measures how long records take to the consumer.
	endToEndLoad struct{ rate float64 }
)

// metric is something that a run yields.
type metric struct {
	name, unit string
	of         func(m *measurement) float64
}

var (
	cpuPerGB     = metric{"CPU per GB", "s", func(m *measurement) float64 { return m.cpu.Seconds() / (float64(m.Bytes) / 1e9) }}
	cpuPerRecord = metric{"CPU per record", "µs", func(m *measurement) float64 { return m.cpu.Seconds() * 1e6 / float64(m.Records) }}
	megabytes    = metric{"rate", "MB/s", func(m *measurement) float64 { return m.BytesPerSecond() / 1e6 }}
	records      = metric{"rate", "records/s", func(m *measurement) float64 { return m.RecordsPerSecond() }}
	p50          = metric{"p50", "ms", func(m *measurement) float64 { return m.Latency.Quantile(0.5).Seconds() * 1e3 }}
	p99          = metric{"p99", "ms", func(m *measurement) float64 { return m.Latency.Quantile(0.99).Seconds() * 1e3 }}
)

var workloads = []workload{
	{"produce", "1 KiB records in 64 KiB batches, acks=all, one partition", []metric{cpuPerGB, megabytes, p50, p99}, produceLoad{1, 1, "none", false}},
	{"produce-6", "the same to six partitions from two clients", []metric{cpuPerGB, megabytes, p50, p99}, produceLoad{6, 2, "none", false}},
	{"produce-lz4", "the same to one partition with lz4 (GB as before compression)", []metric{cpuPerGB, megabytes, p50, p99}, produceLoad{1, 1, "lz4", false}},
	{"produce-zstd", "the same with zstd", []metric{cpuPerGB, megabytes, p50, p99}, produceLoad{1, 1, "zstd", false}},
	{"fetch", "one partition read by one client, 1 MiB a response", []metric{cpuPerGB, megabytes}, fetchLoad{}},
	{"acks-50", "50 clients that each wait for every 100-byte record's ack, acks=all", []metric{cpuPerRecord, records, p50, p99}, acksLoad{50, 1, false}},
	{"synced-50", "the same with flush.messages=1: every ack waits for the disk", []metric{records, p50, p99, cpuPerRecord}, acksLoad{50, 1, true}},
	{"synced-produce", "1 KiB records in 64 KiB batches, acks=all, one partition, every ack waits for the disk", []metric{megabytes, p50, p99, cpuPerGB}, produceLoad{1, 1, "none", true}},
	{"synced-50-200", "the same over 200 partitions", []metric{records, p50, p99, cpuPerRecord}, acksLoad{50, 200, true}},
	{"e2e-1000", "end to end at 1,000 records a second, one a millisecond", []metric{p50, p99, cpuPerRecord}, endToEndLoad{1000}},
	{"e2e-20000", "end to end at 20,000 records a second, 20 a millisecond", []metric{p50, p99, cpuPerRecord}, endToEndLoad{20000}},
}

// measurement is one run and what it cost the broker.
type measurement struct {
	load.Report
	cpu time.Duration
}

func (m *measurement) String() string {
	return fmt.Sprintf("%.0f MB/s, %.0f records/s, %.2f s CPU, p50 %v, p99 %v", m.BytesPerSecond()/1e6, m.RecordsPerSecond(), m.cpu.Seconds(),
		m.Latency.Quantile(0.5).Round(time.Microsecond), m.Latency.Quantile(0.99).Round(time.Microsecond))
}

// measure runs the workload once on s; before the first repetition it warms s up.
func (w workload) measure(ctx context.Context, s *subject.Subject, o *options, rep int) (*measurement, error) {
	topic := fmt.Sprintf("%s-%d", w.name, rep)
	partitions, config := 1, map[string]string{"retention.ms": "-1"} // nothing but the load
	switch l := w.spec.(type) {
	case produceLoad:
		partitions = l.partitions
	case acksLoad:
		partitions = l.partitions
	}
	if w.synced() {
		config["flush.messages"] = "1"
	}
	if err := s.Cluster.CreateTopic(ctx, topic, partitions, config); err != nil {
		return nil, err
	}
	run, err := w.prepare(ctx, s, o, topic)
	if err != nil {
		return nil, err
	}
	if rep == 0 && o.warmup > 0 {
		if _, err := run(o.warmup); err != nil {
			return nil, fmt.Errorf("warm up: %w", err)
		}
	}
	settle()
	before, err := s.CPUTime()
	if err != nil {
		return nil, err
	}
	report, err := run(0)
	if err != nil {
		return nil, err
	}
	after, err := s.CPUTime()
	if err != nil {
		return nil, err
	}
	return &measurement{*report, after - before}, s.Cluster.DeleteTopic(ctx, topic)
}

// suits reports whether s can be measured by the workload: the floor syncs nothing.
func (w workload) suits(s *subject.Subject) bool {
	return !w.synced() || s.Name != "floor"
}

// synced reports whether every acknowledgement waits for the disk.
func (w workload) synced() bool {
	switch l := w.spec.(type) {
	case produceLoad:
		return l.synced
	case acksLoad:
		return l.synced
	}
	return false
}

// prepare returns what runs the workload: for so long, or to its end with 0.
func (w workload) prepare(ctx context.Context, s *subject.Subject, o *options, topic string) (func(d time.Duration) (*load.Report, error), error) {
	switch l := w.spec.(type) {
	case produceLoad:
		batch, err := kibibytes(l.codec)
		return func(d time.Duration) (*load.Report, error) {
			return s.Cluster.Produce(ctx, l.produce(o, topic, batch, d))
		}, err
	case fetchLoad:
		batch, err := kibibytes("none")
		if err != nil {
			return nil, err
		}
		if _, err := s.Cluster.Produce(ctx, produceLoad{1, 1, "none", false}.produce(o, topic, batch, 0)); err != nil {
			return nil, err
		}
		return func(d time.Duration) (*load.Report, error) {
			c := load.ConsumeSpec{Topic: topic, Passes: 2, Duration: d}
			if d > 0 {
				c.Passes = 0
			}
			return s.Cluster.Consume(ctx, c)
		}, nil
	case acksLoad:
		batch, err := load.NewBatch(1, 100, 0, "none", fill())
		return func(d time.Duration) (*load.Report, error) {
			p := load.ProduceSpec{Topic: topic, Batch: batch, Clients: l.clients, PartitionsPerRequest: 1, Acks: -1, Duration: d}
			if d == 0 {
				p.Duration = time.Duration(o.seconds) * time.Second
			}
			return s.Cluster.Produce(ctx, p)
		}, err
	case endToEndLoad:
		return func(d time.Duration) (*load.Report, error) {
			e := load.EndToEndSpec{Topic: topic, Rate: l.rate, Duration: d, Ignore: time.Second}
			if d == 0 {
				e.Duration = time.Duration(o.seconds) * time.Second
			}
			return s.Cluster.EndToEnd(ctx, e)
		}, nil
	}
	return nil, fmt.Errorf("no workload is described by %T", w.spec)
}

// produce is the spec that writes for d, or as much as the options say.
func (l produceLoad) produce(o *options, topic string, b load.Batch, d time.Duration) load.ProduceSpec {
	p := load.ProduceSpec{Topic: topic, Batch: b, Clients: l.clients, InFlight: 5, Acks: -1, Duration: d}
	if d == 0 {
		p.Requests = int64(o.mib) << 20 / int64(b.Plain*l.partitions)
	}
	return p
}

// kibibytes is a batch of 64 KiB with records of 1 KiB, cut from a web access log.
func kibibytes(codec string) (load.Batch, error) {
	return load.NewBatch(0, 1024, 64<<10, codec, fill())
}

// fill is what records are made of: text, which compresses as text does.
func fill() []byte {
	var b bytes.Buffer
	_ = pageviews.Generate(&b, 1, 2000) // a buffer takes everything
	return b.Bytes()
}
