package broker

import (
	"context"
	"errors"
	"fmt"
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

// column is one of the checkpoints of a directory, and of a partition its row there.
type column int

const (
	recoveryPoints column = iota
	highWatermarks
	logStarts
	firstDirty
)

// columns says where each is and what a partition whose log serves has there; negative: no row.
var columns = [partition.Checkpoints]struct {
	file  commitlog.Checkpoint
	value func(*partition.Partition, *commitlog.Log) moldau.Offset
}{
	recoveryPoints: {commitlog.RecoveryPoints, func(_ *partition.Partition, l *commitlog.Log) moldau.Offset { return l.RecoveryPoint() }},
	highWatermarks: {commitlog.HighWatermarks, func(p *partition.Partition, _ *commitlog.Log) moldau.Offset { return p.HighWatermark() }},
	logStarts:      {commitlog.LogStarts, func(_ *partition.Partition, l *commitlog.Log) moldau.Offset { return l.Start() }},
	firstDirty: {commitlog.FirstDirty, func(p *partition.Partition, l *commitlog.Log) moldau.Offset {
		if first := l.FirstDirty(); first > 0 || p.Settings().Log.CompactEnabled {
			return first
		}
		return -1
	}},
}

// of is the partition's row of now.
func (c column) of(p *partition.Partition) moldau.Offset {
	switch log := p.Log(); {
	case log != nil && log.Unwritten():
		return -1 // what was saved was of another of the same name
	case log != nil && log.Damage() == nil:
		return columns[c].value(p, log)
	}
	return p.Saved[c] // still to be recovered, offline or damaged: what was saved last holds
}

// checkpoint writes one checkpoint of every directory where it has changed. What cannot be written is told once, and tried again
// the next time.
func (s *storage) checkpoint(c column) error {
	// The lock comes before the look at the partitions: one that is deleted meanwhile, and made again, would otherwise be
	// written down after its successor has had it forgotten.
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	all := s.partitions.All()
	changed := make(map[*partition.Directory]bool)
	for _, p := range all {
		if c.of(p) != p.Saved[c] {
			changed[p.Home()] = true
		}
	}
	var failed error
	for _, d := range s.dirs {
		if d.home.Failure() != nil || !changed[d.home] && !d.outdated(c) {
			continue
		}
		if err := d.save(c, all, column.of); err != nil {
			if !d.unwritten[c] {
				s.logger.Error("a checkpoint cannot be written; it is tried again", "directory", d.path, "checkpoint", string(columns[c].file), "error", err)
			}
			d.unwritten[c] = true
			failed = errors.Join(failed, fmt.Errorf("log directory %s: checkpoint %s: %w", d.path, columns[c].file, err))
			continue
		}
		if d.unwritten[c] {
			s.logger.Info("a checkpoint is written again", "directory", d.path, "checkpoint", string(columns[c].file))
		}
		d.unwritten[c] = false
	}
	return failed
}

// save writes a checkpoint with what row says of each partition that is in d, of all that there are, and notes it as saved. The
// caller holds checkpoints.
func (d *logDir) save(c column, all []*partition.Partition, row func(column, *partition.Partition) moldau.Offset) error {
	offsets := make(map[moldau.TopicPartition]moldau.Offset)
	for tp, saved := range d.unclaimed {
		if saved[c] >= 0 {
			offsets[tp] = saved[c]
		}
	}
	in := make([]*partition.Partition, 0, len(all))
	for _, p := range all {
		if p.Home() != d.home {
			continue
		}
		in = append(in, p)
		if o := row(c, p); o >= 0 {
			offsets[p.Name] = o
		}
	}
	if err := d.WriteCheckpoint(columns[c].file, offsets); err != nil {
		return err
	}
	for _, p := range in {
		if o, ok := offsets[p.Name]; ok {
			p.Saved[c] = o
		} else {
			p.Saved[c] = -1
		}
	}
	for tp, which := range d.stale {
		if which &^= 1 << c; which == 0 {
			delete(d.stale, tp)
		} else {
			d.stale[tp] = which
		}
	}
	return nil
}

// saved is a partition's row of a checkpoint as its file has it. The caller holds checkpoints.
func (c column) saved(p *partition.Partition) moldau.Offset { return p.Saved[c] }

// outdated reports whether the file of a checkpoint has a row that nobody stands behind. The caller holds checkpoints.
func (d *logDir) outdated(c column) bool {
	for _, which := range d.stale {
		if which&(1<<c) != 0 {
			return true
		}
	}
	return false
}

// disown notes that the checkpoints of d may have rows of tp that are not those of a partition in it. The caller holds checkpoints.
func (d *logDir) disown(tp moldau.TopicPartition) { d.stale[tp] = 1<<len(columns) - 1 }

// loadCheckpoints reads what the checkpoints say of each partition.
func (d *logDir) loadCheckpoints() error {
	d.unclaimed = make(map[moldau.TopicPartition]partition.Saved)
	for c := range column(len(columns)) {
		offsets, err := d.ReadCheckpoint(columns[c].file)
		if err != nil && c == firstDirty { // without it all logs are dirty, which costs time and loses nothing
			continue
		}
		if err != nil {
			return err
		}
		for tp, o := range offsets {
			saved, ok := d.unclaimed[tp]
			if !ok {
				saved = partition.Unsaved
			}
			saved[c] = o
			d.unclaimed[tp] = saved
		}
	}
	return nil
}

// claim hands a partition what the checkpoints of its directory say of it, or, where they can only mean a namesake, notes that.
func (s *storage) claim(d *logDir, p *partition.Partition, held bool) {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	saved, ok := d.unclaimed[p.Name]
	switch {
	case !ok:
		return
	case held:
		p.Saved = saved
	default:
		d.disown(p.Name)
	}
	delete(d.unclaimed, p.Name)
}

// disown notes that the checkpoints of d may have rows of a partition that is not in it any more.
func (s *storage) disown(d *logDir, tp moldau.TopicPartition) {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	d.disown(tp)
}

// endClaims is the end of a start: what no partition has claimed by now is nobody's.
func (s *storage) endClaims(d *logDir) {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	for tp := range d.unclaimed {
		d.disown(tp)
	}
	d.unclaimed = make(map[moldau.TopicPartition]partition.Saved)
}

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
	if err := b.storage.checkpoint(logStarts); err != nil {
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
