package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// foundRecordsMax is how many records one entry of a founded metadata log has; they stay far below quorum.EntryBytesMax.
const foundRecordsMax = 1000

// Founding is what a broker is to begin with on a directory that was filled for it.
type Founding struct {
	// Records are what has happened to the cluster, behind the records that every cluster begins with.
	Records []schema.Record
	// Logs are the partitions whose files are in place; Lost are those whose files should be and are not.
	Logs map[moldau.TopicPartition]FoundLog
	Lost map[moldau.TopicPartition]moldau.TopicID
	// Clean says that every log was closed without an error.
	Clean bool
}

// FoundLog is a log in a directory that was filled, and what the checkpoints are to say of it.
type FoundLog struct {
	TopicID                             moldau.TopicID
	RecoveryPoint, HighWatermark, Start moldau.Offset
}

// Found makes a directory that was claimed and filled (commitlog.FillDirectory) one that a broker starts on: checkpoints, the
// manifest, the metadata, and in the end the mark of being unfinished goes. No broker is registered, so that the first start
// is one like any other. The metadata is written by way of a quorum of one, as at every start.
func Found(e env.Env, logger *slog.Logger, dir *commitlog.Directory, f Founding) error {
	if err := e.FS.SyncDir(dir.Path()); err != nil {
		return err
	}
	listed := maps.Clone(f.Lost)
	if listed == nil {
		listed = make(map[moldau.TopicPartition]moldau.TopicID)
	}
	marks := make(map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset)
	for _, c := range columns {
		marks[c.file] = make(map[moldau.TopicPartition]moldau.Offset)
	}
	for tp, log := range f.Logs {
		listed[tp] = log.TopicID
		marks[commitlog.RecoveryPoints][tp] = log.RecoveryPoint
		marks[commitlog.HighWatermarks][tp] = log.HighWatermark
		marks[commitlog.LogStarts][tp] = log.Start
	}
	for _, c := range columns {
		if err := dir.WriteCheckpoint(c.file, marks[c.file]); err != nil {
			return err
		}
	}
	if err := dir.Enlist(listed); err != nil {
		return err
	}
	if err := foundMetadata(e, logger, dir, f.Records); err != nil {
		return fmt.Errorf("write the first metadata of %s: %w", dir.Path(), err)
	}
	if f.Clean {
		if err := dir.WriteCleanMarker(-1); err != nil {
			return err
		}
	}
	return dir.Finish()
}

// foundMetadata writes the metadata log of a directory that has none yet.
func foundMetadata(e env.Env, logger *slog.Logger, dir *commitlog.Directory, recs []schema.Record) error {
	path := filepath.Join(dir.Path(), metadataDir)
	log, err := quorum.OpenLog(e, path, commitlog.Unknown)
	if err != nil {
		return err
	}
	id, _ := dir.Identity()
	self := quorum.Voter{ID: id.NodeID, Directory: id.DirectoryID}
	failed := make(chan error, 1)
	c := newCluster()
	stop, err := c.lead(quorum.Options{Env: e, Dir: path, Self: self, Log: log, Logger: logger}, func(err error) { failed <- err })
	if err != nil {
		return errors.Join(err, log.Close())
	}
	for recs = append(controller.Bootstrap(), recs...); len(recs) > 0 && err == nil; {
		entry := recs[:min(len(recs), foundRecordsMax)]
		err = c.changeNow(func(*metadata.Image) []schema.Record { return entry })
		recs = recs[len(entry):]
	}
	stop()
	select {
	case cause := <-failed:
		err = errors.Join(cause, err)
	default:
	}
	return errors.Join(err, log.Close())
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
