package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// foundRecordsMax is how many records one entry of a founded metadata log has; they stay far below quorum.EntryBytesMax.
const foundRecordsMax = 1000

// Found writes the metadata log that a broker on dir is to begin with: that of a cluster to which recs have happened, behind
// the records that every cluster begins with. The directory has been claimed and has no metadata yet; nothing is registered,
// so that the first start is one like any other. It takes the way of every start, through a quorum of one.
func Found(e env.Env, logger *slog.Logger, dir *commitlog.Directory, recs []schema.Record) error {
	id, _ := dir.Identity()
	path := filepath.Join(dir.Path(), metadataDir)
	log, err := quorum.OpenLog(e, path, commitlog.Unknown)
	if err != nil {
		return fmt.Errorf("metadata log %s: %w", path, err)
	}
	failed := make(chan error, 1)
	c := newCluster()
	self := quorum.Voter{ID: id.NodeID, Directory: id.DirectoryID}
	stop, err := c.lead(quorum.Options{Env: e, Dir: path, Self: self, Log: log, Logger: logger}, func(err error) { failed <- err })
	if err != nil {
		return errors.Join(err, log.Close())
	}
	recs = append(controller.Bootstrap(), recs...)
	for len(recs) > 0 && err == nil {
		n := min(len(recs), foundRecordsMax)
		entry := recs[:n]
		err = c.changeNow(func(*metadata.Image) []schema.Record { return entry })
		recs = recs[n:]
	}
	stop()
	select {
	case cause := <-failed:
		err = errors.Join(cause, err)
	default:
	}
	if err = errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("write the first metadata of %s: %w", dir.Path(), err)
	}
	return nil
}

// lead runs a quorum whose only voter is this replica, until stop, and returns once it leads. failed is told where it ends by
// itself after that.
func (c *cluster) lead(o quorum.Options, failed func(error)) (stop func(), err error) {
	o.Voters, o.Machine = []quorum.Voter{o.Self}, c
	if c.quorum, err = quorum.Open(o); err != nil {
		return nil, fmt.Errorf("metadata log %s: %w", o.Dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	o.Env.Go("quorum", func() { // ends with ctx
		err := c.quorum.Run(ctx)
		if err != nil {
			failed(fmt.Errorf("metadata log %s: %w", o.Dir, err))
		}
		ended <- err
	})
	select {
	case <-c.leading:
		return func() { cancel(); <-ended }, nil
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("metadata log %s: %w", o.Dir, err)
	}
}
