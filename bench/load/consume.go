package load

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsumeSpec describes a consume run: each client reads its partitions from the start, Passes times, up to the end that
// the log had when the run began.
type ConsumeSpec struct {
	Topic string
	// Clients is the number of connections (default 1). Partitions are dealt out among those of one leader.
	Clients int
	// Passes is how often the log is read (default 1).
	Passes int
	// Duration, when given, ends the run earlier, or with Passes 0 is what ends it.
	Duration time.Duration
	// Rate is how many bytes a second each client reads at most; 0 means as fast as they come.
	Rate float64
	// PartitionBytes is how much a response may hold of one partition; default 1 MiB, as with Java clients.
	PartitionBytes int32
	Meter          *Meter
}

// Fetch asks by topic name up to this version, and waits for data as Java clients do.
const (
	fetchVersionMax  = 12
	fetchWaitMs      = 500
	fetchResponseMax = 50 << 20
)

// Consume runs the spec and reports what was read, before an error too.
func (c Cluster) Consume(ctx context.Context, s ConsumeSpec) (*Report, error) {
	if s.Passes == 0 && s.Duration == 0 {
		s.Passes = 1
	}
	leaders, err := c.Leaders(ctx, s.Topic)
	if err != nil {
		return &Report{}, err
	}
	all := deal(clients(s.Clients, leaders))
	r, err := c.run(ctx, all, func(_ context.Context, i int, conn *Conn) (*Report, error) {
		report := &Report{}
		start := time.Now()
		over := func() bool { return s.Duration > 0 && time.Since(start) >= s.Duration }
		for pass := 0; (s.Passes == 0 || pass < s.Passes) && !over(); pass++ {
			if err := consumeOnce(conn, s, all[i].partitions, report, over); err != nil {
				return report, err
			}
		}
		return report, nil
	})
	if err != nil {
		err = fmt.Errorf("consume from %s: %w", s.Topic, err)
	}
	return r, err
}

// deal gives each partition to one client of its leader only, and drops clients that get none.
func deal(all []client) []client {
	n := map[string]int{}
	for _, c := range all {
		n[c.address]++
	}
	turn := map[string]int{}
	var dealt []client
	for _, c := range all {
		var mine []int32
		for i, p := range c.partitions {
			if i%n[c.address] == turn[c.address] {
				mine = append(mine, p)
			}
		}
		turn[c.address]++
		if len(mine) > 0 {
			dealt = append(dealt, client{address: c.address, partitions: mine})
		}
	}
	return dealt
}

func consumeOnce(conn *Conn, s ConsumeSpec, partitions []int32, report *Report, over func() bool) error {
	from, err := conn.offsets(s.Topic, partitions, earliest)
	if err != nil {
		return err
	}
	end, err := conn.offsets(s.Topic, partitions, latest)
	if err != nil {
		return err
	}
	if s.PartitionBytes == 0 {
		s.PartitionBytes = 1 << 20
	}
	f := newFetcher(conn, s.Topic, from, end, s.PartitionBytes)
	start, earlier := time.Now(), report.Bytes
	for len(f.at) > 0 && !over() {
		begun := time.Now()
		records, size := 0, 0
		err := f.fetch(func(batch []byte) error {
			records += count(batch)
			size += len(batch)
			return nil
		})
		if err != nil {
			return err
		}
		report.Latency.Add(time.Since(begun))
		report.Requests++
		report.Records += int64(records)
		report.Bytes += int64(size)
		s.Meter.add(records, size)
		if s.Rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(float64(report.Bytes-earlier) / s.Rate * float64(time.Second)))))
		}
	}
	return nil
}

// fetcher reads partitions of one leader without a fetch session.
type fetcher struct {
	conn    *Conn
	request *kmsg.FetchRequest
	answer  kmsg.FetchResponse
	at, end map[int32]int64 // next offset; where to stop, for partitions that have such an end
}

// newFetcher reads each partition in from, at the offset there; one that reaches its end is left out from then on. A nil
// end never comes.
func newFetcher(conn *Conn, topic string, from, end map[int32]int64, partitionBytes int32) *fetcher {
	r := kmsg.NewPtrFetchRequest()
	r.Version = conn.version(r.Key(), fetchVersionMax)
	r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionEpoch = fetchWaitMs, 1, fetchResponseMax, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for n := range from {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = n, partitionBytes
		t.Partitions = append(t.Partitions, p)
	}
	r.Topics = append(r.Topics, t)
	f := &fetcher{conn: conn, request: r, at: from, end: end}
	f.answer.Version = r.Version
	f.leaveOut()
	return f
}

// leaveOut removes partitions that have reached their end and sets the others' offsets.
func (f *fetcher) leaveOut() {
	t := &f.request.Topics[0]
	kept := t.Partitions[:0]
	for _, p := range t.Partitions {
		if end, ok := f.end[p.Partition]; ok && f.at[p.Partition] >= end {
			delete(f.at, p.Partition)
			continue
		}
		p.FetchOffset = f.at[p.Partition]
		kept = append(kept, p)
	}
	t.Partitions = kept
}

// fetch sends one request and gives each whole batch of the answer to each, which borrows it.
func (f *fetcher) fetch(each func(batch []byte) error) error {
	f.conn.next++
	f.conn.out = f.conn.format.AppendRequest(f.conn.out[:0], f.request, f.conn.next)
	if _, err := f.conn.Write(f.conn.out); err != nil {
		return fmt.Errorf("send Fetch to %s: %w", f.conn.address, err)
	}
	if err := f.conn.receive(f.conn.next, &f.answer); err != nil {
		return err
	}
	if err := kerr.ErrorForCode(f.answer.ErrorCode); err != nil {
		return fmt.Errorf("fetch refused: %w", err)
	}
	for _, t := range f.answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("fetch from partition %s-%d at offset %d refused: %w", t.Topic, p.Partition, f.at[p.Partition], err)
			}
			var failed error
			f.at[p.Partition] = eachBatch(p.RecordBatches, f.at[p.Partition], func(batch []byte) {
				if failed == nil {
					failed = each(batch)
				}
			})
			if failed != nil {
				return fmt.Errorf("batch in partition %s-%d: %w", t.Topic, p.Partition, failed)
			}
		}
	}
	f.leaveOut()
	return nil
}
