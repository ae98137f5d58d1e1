package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// segmentBytes is small beside metadata.log.segment.bytes of Kafka (1 GiB), since only whole segments can be dropped once a
// checkpoint has made them superfluous, and a start reads what no checkpoint covers.
const segmentBytes = 8 << 20

// CommitLog is a commit log as a Log.
type CommitLog struct {
	log   *commitlog.Log
	clock env.Clock
}

// OpenLog opens the commit log of the metadata in dir, the directory that Open is given too, and makes it where it is
// absent. What the newest checkpoint does not cover is read and checked. An end that the last outage has torn is cut off, which
// nobody was told of; anything else that is no entry is an error, for it may have been committed.
func OpenLog(e env.Env, dir string, outage commitlog.Outage) (*CommitLog, error) {
	newest, err := newestCheckpoint(e.FS, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the metadata log: %w", err)
	}
	l, err := commitlog.Open(commitlog.Options{
		FS: e.FS, Now: e.Clock.Now, Dir: dir,
		Partition: moldau.TopicPartition{Topic: moldau.MetadataTopic},
		Config:    logConfig(),
		// What a checkpoint covers was committed, and so synced.
		RecoveryPoint: newest.end(),
		Outage:        outage, DurableAt: DurableAt,
	})
	if err != nil {
		return nil, fmt.Errorf("open the metadata log: %w", err)
	}
	if d := l.Damage(); d != nil {
		return nil, errors.Join(fmt.Errorf("open the metadata log: entries that may be committed are damaged, and without them "+
			"topics and configurations would be lost: bring the file back from a copy, or give up what is behind the damage. %w", d), l.Close())
	}
	return &CommitLog{l, e.Clock}, nil
}

// logConfig keeps everything: only a checkpoint makes a part of the log superfluous.
func logConfig() commitlog.Config {
	c := commitlog.DefaultConfig()
	c.SegmentBytes, c.SegmentMs = segmentBytes, math.MaxInt64
	c.RetentionMs, c.RetentionBytes, c.DeleteEnabled = -1, -1, true
	c.FileDeleteDelayMs = 0 // nobody else reads them
	return c
}

// Recovery tells what opening the log had to repair.
func (l *CommitLog) Recovery() commitlog.Recovery { return l.log.Recovery() }

// Start implements Log.
func (l *CommitLog) Start() moldau.Offset { return l.log.Start() }

// End implements Log.
func (l *CommitLog) End() moldau.Offset { return l.log.End() }

// Append implements Log.
func (l *CommitLog) Append(b record.Batch) error {
	_, err := l.log.AppendAs(b)
	return err
}

// Read implements Log.
func (l *CommitLog) Read(at moldau.Offset, bytesMax int) ([]byte, error) {
	r, err := l.log.Read(at, bytesMax, l.log.End(), true)
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return r.Append(nil)
}

// Truncate implements Log.
func (l *CommitLog) Truncate(to moldau.Offset) error {
	end, err := l.log.TruncateTo(to)
	if err == nil && end != to {
		err = fmt.Errorf("the log ends at offset %d after it was truncated to %d", end, to)
	}
	return err
}

// DropPrefix implements Log. Only whole segments go.
func (l *CommitLog) DropPrefix(to moldau.Offset) error {
	if err := l.log.AdvanceStart(to); err != nil {
		return err
	}
	now := l.clock.Now()
	if _, err := l.log.Retain(now, to); err != nil {
		return err
	}
	if err := l.log.Sweep(now); !commitlog.Transient(err) { // else the next one goes on
		return err
	}
	return nil
}

// Reset implements Log.
func (l *CommitLog) Reset(to moldau.Offset) error { return l.log.TruncateFullyAndStartAt(to) }

// Flush implements Log.
func (l *CommitLog) Flush() error {
	_, err := l.log.Flush()
	return err
}

// Close closes the log, after Run has returned.
func (l *CommitLog) Close() error { return l.log.Close() }
