package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// every runs fn each interval until ctx is done. A negative or huge interval is never.
func (b *Broker) every(ctx context.Context, tasks *sync.WaitGroup, name string, interval time.Duration, fn func()) {
	if interval <= 0 {
		return
	}
	tasks.Add(1)
	b.env.Go(name, func() { // ends with ctx; the stop waits for tasks
		defer tasks.Done()
		for env.Sleep(ctx, b.env.Clock, interval) == nil {
			fn()
		}
	})
}

// checkpointKinds are the checkpoints of a directory.
var checkpointKinds = [...]commitlog.Checkpoint{commitlog.RecoveryPoints, commitlog.HighWatermarks, commitlog.LogStarts, commitlog.FirstDirty}

// checkpoint writes one kind of checkpoint of every directory where it has changed; a partition whose value is negative gets no row. What cannot be written is told once, and
// tried again the next time.
func (b *Broker) checkpoint(kind commitlog.Checkpoint, value func(*partition.Partition, *commitlog.Log) moldau.Offset) error {
	// The lock comes before the look at the partitions: one that is deleted meanwhile, and made again, would otherwise be
	// written down after its successor has had it forgotten.
	b.storage.checkpoints.Lock()
	defer b.storage.checkpoints.Unlock()
	now := make(map[*logDir]map[moldau.TopicPartition]moldau.Offset)
	for _, p := range b.partitions.All() {
		d := b.storage.dirOf(p.Home())
		if d == nil || d.home.Failure() != nil {
			continue // it never had a place, or none any more
		}
		if now[d] == nil {
			now[d] = make(map[moldau.TopicPartition]moldau.Offset)
		}
		if log := p.Log(); log != nil && log.Unwritten() {
			continue // what was saved was of another of the same name
		} else if log != nil && log.Damage() == nil {
			if o := value(p, log); o >= 0 {
				now[d][p.Name] = o
			}
		} else if o, ok := d.saved[kind][p.Name]; ok {
			now[d][p.Name] = o // still to be recovered, offline or damaged: what was saved last holds
		}
	}
	var failed error
	for d, offsets := range now {
		if maps.Equal(offsets, d.saved[kind]) {
			continue
		}
		if err := d.WriteCheckpoint(kind, offsets); err != nil {
			if !d.unwritten[kind] {
				b.logger.Error("a checkpoint cannot be written; it is tried again", "directory", d.path, "checkpoint", string(kind), "error", err)
			}
			d.unwritten[kind] = true
			failed = errors.Join(failed, fmt.Errorf("log directory %s: checkpoint %s: %w", d.path, kind, err))
			continue
		}
		if d.unwritten[kind] {
			b.logger.Info("a checkpoint is written again", "directory", d.path, "checkpoint", string(kind))
		}
		d.unwritten[kind] = false
		d.saved[kind] = offsets
	}
	return failed
}

func highWatermark(p *partition.Partition, _ *commitlog.Log) moldau.Offset { return p.HighWatermark() }
func recoveryPoint(_ *partition.Partition, l *commitlog.Log) moldau.Offset { return l.RecoveryPoint() }
func logStart(_ *partition.Partition, l *commitlog.Log) moldau.Offset      { return l.Start() }

// retainEach runs retention each interval, and early where space is scarce, until ctx is done.
func (b *Broker) retainEach(ctx context.Context, interval time.Duration) {
	timer := b.env.Clock.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
			timer.Reset(interval)
		case <-b.retentionDue:
		}
		b.retain()
	}
}

func (b *Broker) saveRecoveryPoints() { _ = b.checkpoint(commitlog.RecoveryPoints, recoveryPoint) }

// retain gives up what retention.ms and retention.bytes say.
func (b *Broker) retain() {
	now := b.env.Clock.Now()
	for _, p := range b.partitions.All() {
		n, err := p.Retain(now)
		if err != nil {
			b.logger.Error("retention failed; the partition is offline", "partition", p.Name.String(), "error", err)
		} else if n > 0 {
			b.logger.Debug("segments were deleted by retention", "partition", p.Name.String(), "segments", n)
		}
	}
	// A log that begins above its checkpointed start has lost its first segments, so the checkpoint comes before their files go.
	if err := b.checkpoint(commitlog.LogStarts, logStart); err != nil {
		return
	}
	for _, p := range b.partitions.All() {
		due := now
		if p.Home().Space().Level >= partition.Throttled { // what is deleted is removed at once: readers hold their files open
			due = now.Add(time.Duration(p.Settings().Log.FileDeleteDelayMs) * time.Millisecond)
		}
		if err := p.Sweep(due); err != nil {
			b.logger.Error("the files of deleted segments could not be removed", "partition", p.Name.String(), "error", err)
		}
	}
}

// expireProducers forgets idempotent producers that have been silent for long (L-26).
func (b *Broker) expireProducers() {
	now := b.env.Clock.Now()
	for _, p := range b.partitions.All() {
		_ = p.Locked(func(log *commitlog.Log) error { // an offline partition has none
			log.ExpireProducers(now)
			return nil
		})
	}
}
