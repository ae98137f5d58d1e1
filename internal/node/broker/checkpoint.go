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
var checkpointKinds = [...]commitlog.Checkpoint{commitlog.RecoveryPoints, commitlog.HighWatermarks, commitlog.LogStarts}

// checkpoint writes one kind of checkpoint of every directory where it has changed.
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
		if log := p.Log(); log != nil && log.Damage() == nil {
			now[d][p.Name] = value(p, log)
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
			failed = errors.Join(failed, fmt.Errorf("log directory %s: checkpoint %s: %w", d.path, kind, err))
			continue
		}
		d.saved[kind] = offsets
	}
	return failed
}

// note logs that something which nobody waits for has failed.
func (b *Broker) note(err error) {
	if err != nil {
		b.logger.Error("a checkpoint could not be written", "error", err)
	}
}

func highWatermark(p *partition.Partition, _ *commitlog.Log) moldau.Offset { return p.HighWatermark() }
func recoveryPoint(_ *partition.Partition, l *commitlog.Log) moldau.Offset { return l.RecoveryPoint() }
func logStart(_ *partition.Partition, l *commitlog.Log) moldau.Offset      { return l.Start() }

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
		b.note(err)
		return
	}
	for _, p := range b.partitions.All() {
		if err := p.Sweep(now); err != nil {
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
