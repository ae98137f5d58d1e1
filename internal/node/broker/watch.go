package broker

import (
	"context"
	"fmt"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
)

// wake has the watch look at the directories at once. It does not block.
func (s *storage) wake() {
	select {
	case s.alarm <- struct{}{}:
	default:
	}
}

// watch looks after the log directories until ctx is done.
func (b *Broker) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.storage.alarm:
		}
		for _, d := range b.storage.dirs {
			if why := d.home.Failure(); why != nil && !d.told {
				d.told = true
				b.lose(d, why)
			}
		}
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
