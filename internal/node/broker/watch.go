package broker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/schema"
)

// wake has the watch look at the directories at once. It does not block.
func (s *storage) wake() {
	select {
	case s.alarm <- struct{}{}:
	default:
	}
}

// watch looks after the log directories until ctx is done: the sooner again, the less space there is, and at once when one has
// failed or a write found no space.
func (b *Broker) watch(ctx context.Context) {
	for ctx.Err() == nil {
		worst := partition.Ample
		for _, d := range b.storage.dirs {
			switch why := d.home.Failure(); {
			case why == nil:
				worst = max(worst, b.measure(d))
			case !d.told:
				d.told = true
				b.lose(d, why)
			}
		}
		b.storage.retry()
		wait := [...]time.Duration{partition.Ample: time.Second, partition.Scarce: 200 * time.Millisecond, partition.Throttled: 50 * time.Millisecond,
			partition.Refusing: 50 * time.Millisecond}[worst]
		timer := b.env.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C():
		case <-b.storage.alarm:
			_ = env.Sleep(ctx, b.env.Clock, 10*time.Millisecond) // a full disk gives an alarm with each write
		}
		timer.Stop()
	}
}

// earlyRetention is how often retention runs at most while space is scarce.
const earlyRetention = 5 * time.Second

// measure looks how much space a directory has, and tells when that comes to another level.
func (b *Broker) measure(d *logDir) partition.Level {
	total, free, err := d.fs.Space(d.path)
	if err != nil {
		return d.home.Space().Level // what is not known has not changed
	}
	reserve := b.config.DiskReserve
	if reserve < 0 {
		reserve = partition.ReserveOf(total)
	}
	before, now := d.home.Measured(total, free, reserve)
	if now.Level != before.Level {
		b.tellSpace(d, before, now)
	}
	if at := b.env.Clock.Now(); now.Level > partition.Ample && at.Sub(d.retained) >= earlyRetention {
		d.retained = at
		select {
		case b.retentionDue <- struct{}{}:
		default:
		}
	}
	return now.Level
}

func (b *Broker) tellSpace(d *logDir, before, now partition.Space) {
	level, message := slog.LevelWarn, ""
	switch now.Level {
	case partition.Ample:
		level, message = slog.LevelInfo, "a log directory has space again"
	case partition.Scarce:
		message = "a log directory has little space left"
	case partition.Throttled:
		message = "a log directory is nearly full: producers are slowed down"
	case partition.Refusing:
		level = slog.LevelError
		message = "a log directory is full: clients' records are refused until topics or records are deleted, retention is shortened, or the volume is enlarged"
	}
	if before.Level == partition.Refusing {
		message += "; records are taken again"
	}
	b.logger.Log(context.Background(), level, message, "directory", d.path, "free", now.Free, "of", now.Total, "kept back", now.Reserve)
}

// starve has a job of a directory's worker tried again, since it found no space.
func (s *storage) starve(d *logDir, tp moldau.TopicPartition, why error, job func()) {
	s.starved.Lock()
	defer s.starved.Unlock()
	if len(s.starved.jobs) == 0 {
		s.logger.Error("no space to open or remove a log; it is tried again", "directory", d.path, "partition", tp.String(), "error", why)
	}
	s.starved.jobs = append(s.starved.jobs, func() { d.do(tp, job) })
}

// retry gives the jobs that found no space to their workers again.
func (s *storage) retry() {
	s.starved.Lock()
	jobs := s.starved.jobs
	s.starved.jobs = nil
	s.starved.Unlock()
	for _, job := range jobs {
		job()
	}
}

// lose takes the partitions of a directory that has failed offline. Nothing on it has been acknowledged since the failure; now
// those who wait are told. Without the metadata or any directory the broker cannot go on.
func (b *Broker) lose(d *logDir, why error) {
	b.logger.Error("a log directory has failed: its partitions are offline until the disk is repaired and the broker started again",
		"directory", d.path, "error", why)
	for _, p := range b.partitions.All() {
		if p.Home() == d.home {
			p.Fail(why)
		}
	}
	var online []moldau.DirectoryID
	for _, other := range b.storage.dirs {
		if other.home.Failure() == nil {
			online = append(online, other.id)
		}
	}
	switch {
	case d.path == b.metadataHome():
		b.fail(fmt.Errorf("the log directory that holds the metadata is lost, and the broker with it: %w", why))
	case len(online) == 0:
		b.fail(fmt.Errorf("no log directory is left: %w", why))
	default:
		b.cluster.Change(func(head *metadata.Image) []schema.Record {
			return controller.LogDirsOnline(head, b.config.NodeID, b.epoch, online)
		}, func(err error) {
			if err != nil {
				b.logger.Error("the metadata does not know of the failed log directory: new partitions may be placed on it",
					"directory", d.path, "error", err)
			}
		})
	}
}
