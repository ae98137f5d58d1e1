package broker

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/status"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// cleaner compacts the logs of compacted topics (L-60 to L-66). One goroutine looks for the filthiest and starts a pass over it,
// as long as fewer than log.cleaner.threads are under way; between two looks in vain it waits for log.cleaner.backoff.ms. While
// nothing is compacted it holds no memory.
type cleaner struct {
	b      *Broker
	secret [16]byte // that keys are hashed with, new in each life
	pace   pace
	wake   chan struct{} // a pass has ended, or settings have changed

	mu struct {
		sync.Mutex
		underway map[*partition.Partition]bool
		failed   map[*partition.Partition]error // uncleanable until the next start
		status   status.Cleaner
		last     time.Time
	}
}

func newCleaner(b *Broker) *cleaner {
	c := &cleaner{b: b, wake: make(chan struct{}, 1)}
	b.env.Rand(c.secret[:])
	c.mu.underway = make(map[*partition.Partition]bool)
	c.mu.failed = make(map[*partition.Partition]error)
	c.mu.last = b.env.Clock.Now()
	return c
}

// nudge has the cleaner look at once.
func (c *cleaner) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run looks for work until ctx is done, and then waits for the passes under way, which end soon.
func (c *cleaner) run(ctx context.Context) {
	var passes sync.WaitGroup
	defer passes.Wait()
	for ctx.Err() == nil {
		live := c.b.liveConfig()
		c.pace.set(live.Cleaner.BytesPerSecond)
		p := c.choose(live.Cleaner)
		if p != nil {
			passes.Add(1)
			c.b.env.Go("compaction", func() { // ends with its pass, which ends with ctx
				defer passes.Done()
				c.pass(ctx, p, live.Cleaner)
				c.nudge()
			})
			continue
		}
		timer := c.b.env.Clock.NewTimer(max(live.Cleaner.Backoff, time.Millisecond))
		select {
		case <-timer.C():
		case <-c.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// choose takes the log with the highest share of dirty bytes of those that are dirty enough, or have dirty records for too long.
func (c *cleaner) choose(o config.Cleaner) *partition.Partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.b.env.Clock.Now()
	var best *partition.Partition
	highest, delay := 0.0, time.Duration(0)
	c.mu.status.DirtyRatioMax = 0
	for _, p := range c.b.partitions.All() {
		if c.mu.underway[p] || c.mu.failed[p] != nil {
			continue
		}
		d, ok, err := p.Dirt(now, math.MaxInt64)
		if err != nil {
			c.b.logger.Debug("the dirty part of a log cannot be told", "partition", p.Name.String(), "error", err)
		}
		if !ok || d.DirtyBytes == 0 {
			continue
		}
		s := p.Settings()
		ratio, overdue := d.Ratio(), d.Overdue(now, s.Log.MaxCompactionLagMs)
		c.mu.status.DirtyRatioMax = max(c.mu.status.DirtyRatioMax, ratio)
		if overdue {
			delay = max(delay, now.Sub(time.UnixMilli(int64(d.Oldest)))-time.Duration(s.Log.MaxCompactionLagMs)*time.Millisecond)
		}
		if (overdue || ratio > s.DirtyRatioMin) && (best == nil || ratio > highest) {
			best, highest = p, ratio
		}
	}
	c.mu.status.DelayMax = delay
	if best == nil || len(c.mu.underway) >= int(o.Threads) {
		return nil
	}
	c.mu.underway[best] = true
	return best
}

// pass compacts one log.
func (c *cleaner) pass(ctx context.Context, p *partition.Partition, o config.Cleaner) {
	begun := c.b.env.Clock.Now()
	done, err := c.compact(ctx, p, o)
	took := c.b.env.Clock.Now().Sub(begun)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.underway, p)
	c.mu.last = c.b.env.Clock.Now()
	s := &c.mu.status
	s.BytesRead += done.BytesRead
	s.BytesWritten += done.BytesWritten
	s.RecordsDropped += done.RecordsDropped
	if err == nil {
		s.Passes++
		s.TookLast, s.MapFillLast = took, done.MapFill
		if done.BytesRead > 0 {
			s.RecopyLast = float64(done.BytesWritten) / float64(done.BytesRead)
		}
		c.b.logger.Debug("a log was compacted", "partition", p.Name.String(), "from", int64(done.From), "to", int64(done.End),
			"read", done.BytesRead, "written", done.BytesWritten, "dropped", done.RecordsDropped, "took", took)
		return
	}
	switch {
	case ctx.Err() != nil || p.IsGone() || errors.Is(err, partition.ErrNotCompacted) || errors.Is(err, commitlog.ErrTruncated):
	case errors.Is(err, partition.ErrOffline) || errors.Is(err, commitlog.ErrClosed): // or it has moved to another directory
	case commitlog.Transient(err) || errors.Is(err, errNotDurable):
		c.b.logger.Warn("a log could not be compacted now; it is tried again", "partition", p.Name.String(), "error", err)
		c.mu.failed[p] = err // for a backoff: it would be chosen again at once
		c.b.env.Clock.AfterFunc(max(o.Backoff, time.Second), func() {
			c.mu.Lock()
			delete(c.mu.failed, p)
			c.mu.Unlock()
		})
	default:
		c.mu.failed[p] = err
		c.b.logger.Error("a log cannot be compacted, and is left alone until the next start", "partition", p.Name.String(), "error", err)
	}
}

// errNotDurable: what a pass relies on could not be synced or checkpointed.
var errNotDurable = errors.New("what it relies on could not be made durable")

// compact makes durable what the pass relies on, and runs it: only what is synced, and checkpointed so, is compacted, since a start
// takes a gap behind the checkpointed recovery point for a loss.
func (c *cleaner) compact(ctx context.Context, p *partition.Partition, o config.Cleaner) (commitlog.Compacted, error) {
	b := c.b
	if err := p.Flush(); err != nil {
		return commitlog.Compacted{}, err
	}
	err := errors.Join(b.storage.checkpoint(recoveryPoints), b.storage.checkpoint(firstDirty))
	if err != nil {
		return commitlog.Compacted{}, errors.Join(errNotDurable, err)
	}
	limit, ok := b.storage.savedRecoveryPoint(p)
	if !ok {
		return commitlog.Compacted{}, partition.ErrOffline
	}
	threads := int64(max(o.Threads, 1))
	done, err := p.Compact(commitlog.CompactionOptions{
		Limit: limit, Now: b.env.Clock.Now(), MapBytes: o.MapBytes / threads, MapLoad: o.MapLoad,
		BufferBytes: int(int64(o.BufferBytes) / threads / 2), Secret: c.secret,
	}, c.courteous(ctx))
	if err == nil && done.End <= done.From {
		return done, errNotDurable // a full volume could not be synced, perhaps: at once it would be chosen for nothing again
	}
	if err == nil {
		_ = b.storage.checkpoint(firstDirty) // told there, and tried again before the next pass
	}
	return done, err
}

// restMax bounds a rest.
const restMax = 10 * time.Millisecond

// courteous returns what a pass calls after each step. It keeps to log.cleaner.io.max.bytes.per.second, and rests for as long as a step
// took while clients produce or fetch: on two cores a pass at full speed made the p99 of a producer 9 times as long, and one with
// rests 2 to 4 times (ADR 0013).
func (c *cleaner) courteous(ctx context.Context) func(bytes int64) error {
	clock, metrics := c.b.env.Clock, c.b.server.Metrics()
	served, since := metrics.Transfers(), clock.Now()
	return func(n int64) error {
		worked := clock.Now().Sub(since)
		if err := c.pace.wait(ctx, clock, n); err != nil {
			return err
		}
		if now := metrics.Transfers(); now != served {
			served = now
			if err := env.Sleep(ctx, clock, min(worked, restMax)); err != nil {
				return err
			}
		}
		since = clock.Now()
		return nil
	}
}

// savedRecoveryPoint is the recovery point of a partition as its directory's checkpoint has it.
func (s *storage) savedRecoveryPoint(p *partition.Partition) (moldau.Offset, bool) {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	o := p.Saved[recoveryPoints]
	return o, o >= 0
}

// told is what the status pages tell of the cleaner.
func (c *cleaner) told() status.Cleaner {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.status
	s.Now = c.b.env.Clock.Now()
	s.SinceLast = s.Now.Sub(c.mu.last)
	s.Underway = len(c.mu.underway)
	s.Uncleanable = make(map[*partition.Partition]error, len(c.mu.failed))
	for p, err := range c.mu.failed {
		if p.IsGone() {
			delete(c.mu.failed, p)
			continue
		}
		s.Uncleanable[p] = err
	}
	return s
}

// pace bounds the bytes that all passes together move in a second.
type pace struct {
	rate atomic.Uint64 // bytes a second, the bits of a float

	mu   sync.Mutex
	next time.Time // when the bytes so far will have had their time
}

func (r *pace) set(rate float64) { r.rate.Store(math.Float64bits(rate)) }

// wait waits until n more bytes may have been moved. It returns the error of ctx once that is done.
func (r *pace) wait(ctx context.Context, clock env.Clock, n int64) error {
	rate := math.Float64frombits(r.rate.Load())
	took := float64(n) / max(rate, 1) * float64(time.Second)
	if took < 1 {
		return ctx.Err()
	}
	r.mu.Lock()
	now := clock.Now()
	if r.next.Before(now) {
		r.next = now
	}
	r.next = r.next.Add(time.Duration(min(took, float64(time.Hour))))
	left := r.next.Sub(now)
	r.mu.Unlock()
	return env.Sleep(ctx, clock, left)
}
