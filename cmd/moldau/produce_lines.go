package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// lineProducer produces lines and keeps count of what became of them.
type lineProducer struct {
	client     *kgo.Client
	topic      string
	partitions int32 // 0 where the topic is to be created
	bytesMax   int32
	parse      recordParser
	started    time.Time
	progress   *progress

	mu struct {
		sync.Mutex
		read, acked, failed int64
		bytes               int64     // of keys and values acknowledged
		alive               time.Time // when the broker last acknowledged something, or the wait for it began
		err                 error     // the first
	}
}

// produceSummary are the exact counts at the end. Unknown are records that may be written or not: the connection was lost,
// or the user did not wait for the answer.
type produceSummary struct {
	Topic   string  `json:"topic"`
	Read    int64   `json:"read"`
	Written int64   `json:"written"`
	Failed  int64   `json:"failed"`
	Unknown int64   `json:"unknown"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// soFar is the summary as a line of progress.
func (s produceSummary) soFar() string {
	return fmt.Sprintf("%s (%s) written to %s, %s on their way, %.0f s", plural(s.Written, "record"), byteSize(float64(s.Bytes)), s.Topic,
		count(s.Unknown), s.Seconds)
}

func (s produceSummary) String() string {
	text := fmt.Sprintf("%s (%s) written to %s in %.2f s", plural(s.Written, "record"), byteSize(float64(s.Bytes)), s.Topic, s.Seconds)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %s not written", count(s.Failed))
	}
	if s.Unknown > 0 {
		text += fmt.Sprintf(", the outcome of %s is not known", count(s.Unknown))
	}
	return text
}

func (p *lineProducer) summary() produceSummary {
	p.mu.Lock()
	defer p.mu.Unlock()
	return produceSummary{
		Topic: p.topic, Read: p.mu.read, Written: p.mu.acked, Failed: p.mu.failed,
		Unknown: p.mu.read - p.mu.acked - p.mu.failed, Bytes: p.mu.bytes, Seconds: time.Since(p.started).Seconds(),
	}
}

// run produces until the end of the input, the first error or the end of ctx, and then waits for what is on its way.
func (p *lineProducer) run(ctx context.Context, stdin io.Reader, files []string, patience time.Duration) error {
	readCtx, stopReading := context.WithCancel(ctx)
	defer stopReading()
	lines := make(chan line, 1024)
	readErr := make(chan error, 1)
	// Ends at the end of the input or with readCtx; in a read from a terminal it may outlive the command, and with it the process.
	go func() {
		readErr <- readLines(readCtx, stdin, files, lines)
		close(lines)
	}()
	// Records have a context of their own: an interrupt ends the reading, and those that are on their way still count.
	sendCtx, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	var watcher sync.WaitGroup
	watcher.Go(func() { p.watch(ctx, sendCtx, giveUp, patience) }) // ends with sendCtx, below
	err := p.produceAll(ctx, sendCtx, lines)
	if err == nil {
		err = <-readErr
	}
	stopReading()
	if flushErr := p.client.Flush(sendCtx); err == nil && flushErr != nil {
		err = context.Cause(sendCtx)
	}
	giveUp(nil)
	watcher.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err != nil {
		return p.mu.err // it came first
	}
	return err
}

// watch shows the progress each second, and gives up on the records on their way when the broker has acknowledged none for as
// long as patience, or an interrupt is as long ago. The client's own time-out counts from the timestamp of a record, which may
// be years ago.
func (p *lineProducer) watch(ctx, sendCtx context.Context, giveUp context.CancelCauseFunc, patience time.Duration) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	interrupted := ctx.Done()
	for {
		select {
		case <-sendCtx.Done():
			p.progress.clear()
			return
		case <-interrupted:
			interrupted = nil
			defer time.AfterFunc(patience, func() { giveUp(errors.New("interrupted before the broker acknowledged everything")) }).Stop()
		case now := <-tick.C:
			p.progress.show(p.summary().soFar())
			if p.waitedSince(now) > patience {
				giveUp(&failure{
					what: fmt.Sprintf("the broker has acknowledged nothing for %v", patience),
					try:  "look at the partitions' leaders: moldau topic describe " + p.topic,
				})
			}
		}
	}
}

// waitedSince returns how long ago the last sign of life from the broker is, if records are on their way.
func (p *lineProducer) waitedSince(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.read == p.mu.acked+p.mu.failed {
		return 0
	}
	return now.Sub(p.mu.alive)
}

// produceAll hands the lines to the client, in order, until there are no more.
func (p *lineProducer) produceAll(ctx, sendCtx context.Context, lines <-chan line) error {
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				return nil
			}
			if err := p.produceLine(sendCtx, l); err != nil {
				return err
			}
		case <-ctx.Done():
			return errors.New("interrupted before the end of the input")
		}
	}
}

func (p *lineProducer) produceLine(ctx context.Context, l line) error {
	r, err := p.parse(l.text)
	if err != nil {
		return fmt.Errorf("%s: %w", l.place(), err)
	}
	if p.partitions > 0 && r.Partition >= p.partitions {
		return &failure{
			what: fmt.Sprintf("%s: there is no partition %d: %s has %s", l.place(), r.Partition, p.topic, plural(int64(p.partitions), "partition")),
			try:  fmt.Sprintf("use 0 to %d, or add partitions with: moldau topic alter %s --partitions %d", p.partitions-1, p.topic, r.Partition+1),
		}
	}
	if size := recordSize(r); size > int(p.bytesMax) {
		return &failure{
			what: fmt.Sprintf("%s: the record has %s bytes, more than --max-message-bytes %d", l.place(), count(int64(size)), p.bytesMax),
			try:  "a larger --max-message-bytes, if the topic's max.message.bytes allows it",
		}
	}
	p.mu.Lock()
	if p.mu.read == p.mu.acked+p.mu.failed {
		p.mu.alive = time.Now() // the wait begins
	}
	err = p.mu.err
	if err == nil {
		p.mu.read++
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	p.client.Produce(ctx, r, func(r *kgo.Record, err error) { p.finished(ctx, l, r, err) })
	return nil
}

// recordSize is the number of bytes of a batch with this record alone, give or take a few.
func recordSize(r *kgo.Record) int {
	const batchHeader = 61 // of a v2 batch
	size := batchHeader + 10 + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value) + 2
	}
	return size
}

// finished counts one record; the client calls it once for each.
func (p *lineProducer) finished(ctx context.Context, l line, r *kgo.Record, err error) {
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.mu.acked++
		p.mu.alive = time.Now()
		p.mu.bytes += int64(len(r.Key) + len(r.Value))
		return
	case outcomeKnown(err):
		p.mu.failed++
	}
	if p.mu.err == nil {
		err = explain(err, p.topic, "")
		var f *failure
		if errors.As(err, &f) && errors.Is(err, kerr.InvalidRecord) && r.Key == nil {
			f.try = keyedAdvice // the client does not hand on what the broker said
		}
		p.mu.err = atLine(l.place(), err)
	}
}

// outcomeKnown reports whether err means that the record is not in the log. After a time-out or a lost connection nobody knows.
func outcomeKnown(err error) bool {
	var ke *kerr.Error
	return errors.As(err, &ke) && ke != kerr.RequestTimedOut && ke != kerr.NotEnoughReplicasAfterAppend
}
