package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// EndToEndSpec describes a run that measures how long records take from when they are due to when a consumer has them.
// All go through partition 0.
type EndToEndSpec struct {
	Topic string
	// Rate is records a second. What is due in the same Tick leaves as one batch.
	Rate float64
	// Tick is the distance between two batches; default 1 ms.
	Tick     time.Duration
	ValueLen int // bytes; at least and by default 100
	Duration time.Duration
	// Ignore is how much of the beginning is left out of the latencies.
	Ignore time.Duration
	// Stop, when closed, ends the run before Duration has passed: nothing more is sent, and what was sent is awaited.
	Stop  <-chan struct{}
	Meter *Meter
}

// A value begins with the identity of the run, the number of the record and when it was due, in nanoseconds from the
// start of the run.
const (
	runLen      = 8
	valueMarked = runLen + 8 + 8
)

// endToEnd is the state that sender and consumer of one run share.
type endToEnd struct {
	spec    EndToEndSpec
	run     [runLen]byte
	start   time.Time
	batches atomic.Int64 // to be sent; fewer from when the run is stopped
	each    int          // records in a batch
}

// inFlightMax is how many unanswered batches the sender allows, as Java clients do.
const inFlightMax = 5

// patience is how long after the last record was due the consumer still hopes.
const patience = 30 * time.Second

// EndToEnd runs the spec. The report fails when a record of the run is lost, comes twice or out of order.
func (c Cluster) EndToEnd(ctx context.Context, s EndToEndSpec) (*Report, error) {
	if s.Tick == 0 {
		s.Tick = time.Millisecond
	}
	each := max(int(s.Rate*s.Tick.Seconds()+0.5), 1)
	s.Tick = time.Duration(float64(each) / s.Rate * float64(time.Second))
	s.ValueLen = max(s.ValueLen, 100)
	leaders, err := c.Leaders(ctx, s.Topic)
	if err != nil {
		return &Report{}, err
	}
	e := &endToEnd{spec: s, each: each}
	e.batches.Store(int64(s.Duration / s.Tick))
	_, _ = rand.Read(e.run[:]) // crypto/rand.Read never fails
	sender, err := c.Connect(ctx, leaders[0])
	if err != nil {
		return &Report{}, err
	}
	defer sender.Close()
	consumer, err := c.Connect(ctx, leaders[0])
	if err != nil {
		return &Report{}, err
	}
	defer consumer.Close()
	for _, conn := range [...]*Conn{sender, consumer} {
		if err := conn.block(ctx); err != nil {
			return &Report{}, err
		}
	}
	from, err := consumer.offsets(s.Topic, []int32{0}, latest)
	if err != nil {
		return &Report{}, err
	}
	// The consumer's first request is on its way before the first record is due.
	e.start = time.Now().Add(100 * time.Millisecond)
	sent := make(chan error, 1)
	go func() { sent <- e.send(ctx, sender) }() // ends after the batches, or when the connection is closed
	report, err := e.consume(newFetcher(consumer, s.Topic, from, nil, 1<<20), sent)
	if err != nil {
		return report, fmt.Errorf("end to end through %s: %w", s.Topic, err)
	}
	return report, nil
}

// send produces the batches by the clock; it returns when all are acknowledged.
func (e *endToEnd) send(ctx context.Context, conn *Conn) error {
	keepTime()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	window := make(chan struct{}, inFlightMax-1) // and one whose answer is awaited
	answered := make(chan error, 1)
	first := conn.next + 1
	version := conn.version((&kmsg.ProduceRequest{}).Key(), produceVersionMax)
	go func() { // ends when the window is closed, or with the connection
		defer cancel()
		answered <- e.answers(conn, first, version, window)
	}()
	err := e.requests(ctx, conn, version, window)
	close(window)
	if err != nil {
		_ = conn.SetDeadline(time.Unix(1, 0)) // so that answers ends too
		<-answered
		return err
	}
	return <-answered
}

// requests sends a request for each batch when it is due, until the last, the stop of the run or the end of ctx.
func (e *endToEnd) requests(ctx context.Context, conn *Conn, version int16, window chan<- struct{}) error {
	due := pace{start: e.start, every: e.spec.Tick}
	var out []byte
	for n := range e.batches.Load() {
		due.wait(ctx)
		if e.stopped() {
			e.batches.Store(n)
			return nil
		}
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return nil // who ended it knows why
		}
		conn.next++
		out = conn.format.AppendRequest(out[:0], e.request(version, n), conn.next)
		if _, err := conn.Write(out); err != nil {
			return fmt.Errorf("send Produce to %s: %w", conn.address, err)
		}
	}
	return nil
}

func (e *endToEnd) stopped() bool {
	select {
	case <-e.spec.Stop:
		return true
	default:
		return false
	}
}

// answers reads the answer to each request that is in the window, until that is closed.
func (e *endToEnd) answers(conn *Conn, id int32, version int16, window <-chan struct{}) error {
	answer := kmsg.ProduceResponse{Version: version}
	for range window {
		if err := conn.receive(id, &answer); err != nil {
			return err
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("batch refused: %w", err)
				}
			}
		}
		id++
	}
	return nil
}

// request is the Produce request of the n-th batch.
func (e *endToEnd) request(version int16, n int64) *kmsg.ProduceRequest {
	due := time.Duration(n) * e.spec.Tick
	value := make([]byte, e.spec.ValueLen)
	copy(value, e.run[:])
	var body []byte
	for i := range e.each {
		binary.BigEndian.PutUint64(value[runLen:], uint64(n)*uint64(e.each)+uint64(i))
		binary.BigEndian.PutUint64(value[runLen+8:], uint64(due))
		body = appendRecord(body, int64(i), value)
	}
	batch := append(appendHeader(nil, e.each, 0, time.Now().UnixMilli(), len(body)), body...)
	stampCRC(batch)
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks, r.TimeoutMillis = version, -1, 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = e.spec.Topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	return r
}

// consume reads until it has every record that sent acknowledges.
func (e *endToEnd) consume(f *fetcher, sent <-chan error) (*Report, error) {
	report := &Report{}
	var next uint64
	for {
		batches := e.batches.Load()
		total := uint64(batches) * uint64(e.each)
		if next >= total {
			break
		}
		if late := time.Since(e.start) - time.Duration(batches)*e.spec.Tick; late > patience {
			return report, fmt.Errorf("%d of %d records have not come %v after the last was due", total-next, total, late.Round(time.Second))
		}
		err := f.fetch(func(batch []byte) error {
			now := time.Since(e.start)
			var wrong error
			err := eachValue(batch, func(v []byte) {
				if len(v) < valueMarked || [runLen]byte(v[:runLen]) != e.run {
					return // somebody else's
				}
				if n := binary.BigEndian.Uint64(v[runLen:]); n != next && wrong == nil {
					wrong = fmt.Errorf("record %d came where %d was due: lost, doubled or out of order", n, next)
				}
				next++
				report.Records++
				if due := time.Duration(binary.BigEndian.Uint64(v[runLen+8:])); due >= e.spec.Ignore {
					report.Latency.Add(now - due)
				}
			})
			if err == nil {
				err = wrong
			}
			e.spec.Meter.add(count(batch), len(batch))
			report.Bytes += int64(len(batch))
			report.Requests++
			return err
		})
		select {
		case failed := <-sent:
			if failed != nil {
				return report, failed
			}
			sent = nil // all acknowledged; what is left is on its way
		default:
		}
		if err != nil {
			return report, err
		}
	}
	report.Elapsed = time.Since(e.start)
	return report, nil
}
