package load

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ProduceSpec describes a produce run. It ends after Requests or after Duration, whichever is given and comes first.
type ProduceSpec struct {
	Topic string
	Batch Batch
	// Clients is the number of connections (default 1); InFlight how many requests each keeps unanswered (default 1).
	Clients, InFlight int
	// PartitionsPerRequest is how many batches a request carries, each for another partition; 0 means one for each
	// partition that the leader has. Requests of a client go through all partitions in turn.
	PartitionsPerRequest int
	Acks                 int16 // -1 or 1
	// Idempotent gives each client a producer id, and batches their sequences, as Java clients do unless told otherwise.
	Idempotent bool
	Requests   int64
	Duration   time.Duration
	// Rate in records a second makes the loop open: requests leave by the clock. 0 means as fast as answers come.
	Rate  float64
	Meter *Meter
}

// produceVersionMax is the last version that names topics by name.
const produceVersionMax = 12

// Produce runs the spec and reports the acknowledged requests, those before an error too.
func (c Cluster) Produce(ctx context.Context, s ProduceSpec) (*Report, error) {
	if s.Requests == 0 && s.Duration == 0 {
		return &Report{}, fmt.Errorf("produce to %s: neither a number of requests nor a duration is given", s.Topic)
	}
	s.InFlight = max(s.InFlight, 1)
	leaders, err := c.Leaders(ctx, s.Topic)
	if err != nil {
		return &Report{}, err
	}
	all := clients(s.Clients, leaders)
	var taken atomic.Int64
	r, err := c.run(ctx, all, func(ctx context.Context, i int, conn *Conn) (*Report, error) {
		p, err := newProducer(conn, s, all[i].partitions, i)
		if err != nil {
			return &Report{}, err
		}
		p.pace = pace{start: time.Now()}
		if s.Rate > 0 {
			p.pace.every = time.Duration(float64(len(all)*s.Batch.Records*p.perRequest) / s.Rate * float64(time.Second))
			p.pace.start = p.pace.start.Add(p.pace.every * time.Duration(i) / time.Duration(len(all)))
		}
		p.taken = &taken
		if s.InFlight == 1 && s.Rate == 0 {
			return &p.report, p.takeTurns()
		}
		return &p.report, p.pipeline(ctx)
	})
	if err != nil {
		err = fmt.Errorf("produce to %s: %w", s.Topic, err)
	}
	return r, err
}

// frame is one encoded Produce request and where its batches lie.
type frame struct {
	bytes      []byte
	batchAt    []int
	partitions []int32
}

// producer is one client of a produce run.
type producer struct {
	conn       *Conn
	spec       ProduceSpec
	perRequest int
	frames     []frame // sent in turn
	turn       int
	answer     kmsg.ProduceResponse
	id         int64
	epoch      int16
	sequences  map[int32]int32
	pace       pace
	taken      *atomic.Int64 // requests that all clients have begun
	report     Report
}

func newProducer(conn *Conn, s ProduceSpec, partitions []int32, turn int) (*producer, error) {
	p := &producer{conn: conn, spec: s, turn: turn, id: -1, sequences: map[int32]int32{}, perRequest: s.PartitionsPerRequest}
	if p.perRequest <= 0 || p.perRequest > len(partitions) {
		p.perRequest = len(partitions)
	}
	version := conn.version((&kmsg.ProduceRequest{}).Key(), produceVersionMax)
	p.answer.Version = version
	for from := 0; from < len(partitions); from += p.perRequest {
		p.frames = append(p.frames, p.encode(version, partitions[from:min(from+p.perRequest, len(partitions))]))
	}
	if s.Idempotent {
		r := kmsg.NewPtrInitProducerIDRequest()
		answer, err := conn.Do(r)
		if err != nil {
			return nil, err
		}
		a := answer.(*kmsg.InitProducerIDResponse)
		if err := kerr.ErrorForCode(a.ErrorCode); err != nil {
			return nil, fmt.Errorf("ask for a producer id: %w", err)
		}
		p.id, p.epoch = a.ProducerID, a.ProducerEpoch
	}
	return p, nil
}

func (p *producer) encode(version int16, partitions []int32) frame {
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks, r.TimeoutMillis = version, p.spec.Acks, 30_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = p.spec.Topic
	for _, n := range partitions {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = n, p.spec.Batch.Bytes
		t.Partitions = append(t.Partitions, rp)
	}
	r.Topics = append(r.Topics, t)
	f := frame{bytes: p.conn.format.AppendRequest(nil, r, 0), partitions: partitions}
	at := 0
	for range partitions {
		at += bytes.Index(f.bytes[at:], p.spec.Batch.Bytes)
		f.batchAt = append(f.batchAt, at)
		at += len(p.spec.Batch.Bytes)
	}
	return f
}

// take reports whether there is another request to send.
func (p *producer) take() bool {
	if p.spec.Duration > 0 && time.Since(p.pace.start) >= p.spec.Duration {
		return false
	}
	return p.spec.Requests == 0 || p.taken.Add(1) <= p.spec.Requests
}

// correlationAt is where the correlation id lies in a frame, behind length, key and version.
const correlationAt = 8

// send writes the next frame. The bytes may be changed again once they are written: the kernel has them.
func (p *producer) send() error {
	f := p.frames[p.turn%len(p.frames)]
	p.turn++
	p.conn.next++
	binary.BigEndian.PutUint32(f.bytes[correlationAt:], uint32(p.conn.next))
	if p.spec.Idempotent {
		for i, at := range f.batchAt {
			n := f.partitions[i]
			stampProducer(f.bytes[at:at+len(p.spec.Batch.Bytes)], p.id, p.epoch, p.sequences[n])
			p.sequences[n] += int32(p.spec.Batch.Records)
		}
	}
	if _, err := p.conn.Write(f.bytes); err != nil {
		return fmt.Errorf("send Produce to %s: %w", p.conn.address, err)
	}
	return nil
}

// acknowledged reads one answer to a request that was due at the given time.
func (p *producer) acknowledged(id int32, due time.Time) error {
	if err := p.conn.receive(id, &p.answer); err != nil {
		return err
	}
	p.report.Latency.Add(time.Since(due))
	batches := 0
	for _, t := range p.answer.Topics {
		for _, a := range t.Partitions {
			if err := kerr.ErrorForCode(a.ErrorCode); err != nil {
				return fmt.Errorf("batch for partition %s-%d refused: %w", t.Topic, a.Partition, err)
			}
			batches++
		}
	}
	p.report.Requests++
	p.report.Records += int64(batches * p.spec.Batch.Records)
	p.report.Bytes += int64(batches * p.spec.Batch.Plain)
	p.spec.Meter.add(batches*p.spec.Batch.Records, batches*p.spec.Batch.Plain)
	return nil
}

// takeTurns waits for each answer before it sends the next request: one goroutine, no hand-over.
func (p *producer) takeTurns() error {
	for p.take() {
		begun := time.Now()
		if err := p.send(); err != nil {
			return err
		}
		if err := p.acknowledged(p.conn.next, begun); err != nil {
			return err
		}
	}
	return nil
}

// pipeline keeps up to InFlight requests unanswered. One goroutine sends, this one reads; sent is the window between
// them: a slot is taken before a request leaves and given back when its answer has come.
func (p *producer) pipeline(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	window := make(chan struct{}, p.spec.InFlight)
	due := make(chan time.Time, p.spec.InFlight)
	first := p.conn.next + 1
	failed := make(chan error, 1)
	go func() { // ends with the requests, or with ctx; the receiver below waits for it by the closed channel
		defer close(due)
		for p.take() {
			at := p.pace.wait(ctx)
			select {
			case window <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if p.spec.Rate == 0 {
				at = time.Now()
			}
			due <- at
			if err := p.send(); err != nil {
				failed <- err
				return
			}
		}
	}()
	var err error
	for at := range due {
		if err == nil {
			if err = p.acknowledged(first, at); err != nil {
				cancel()
				_ = p.conn.SetDeadline(time.Unix(1, 0)) // the sender may hang in a write
			}
			first++
		}
		<-window
	}
	select {
	case sending := <-failed:
		if err == nil {
			err = sending
		}
	default:
	}
	return err
}
