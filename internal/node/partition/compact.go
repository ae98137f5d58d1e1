package partition

import (
	"errors"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// ErrNotCompacted ends a compaction of a topic whose cleanup.policy is not compact any more.
var ErrNotCompacted = errors.New("the topic is not to be compacted")

// Dirt tells what a compaction would find below limit, or below the last stable offset where that is less; false where the topic
// is not compacted, or its log is not open or damaged.
func (p *Partition) Dirt(now time.Time, limit moldau.Offset) (commitlog.Dirt, bool, error) {
	log := p.Log()
	if log == nil || log.Damage() != nil || !p.Settings().Log.CompactEnabled {
		return commitlog.Dirt{}, false, nil
	}
	d, err := log.Dirt(now, min(limit, p.Stable()))
	return d, err == nil, err
}

// Compact runs one pass over the log (L-60 to L-64). The mutex is held for the beginning of it and for each change of the log's
// view, and never while bytes are read or written.
// o.Limit: an offset below which everything is durable and was checkpointed so; the last stable offset bounds it further.
// moved is called after each step with the bytes that it has read and written; it may wait, and its error ends the pass.
// Errors: that of moved; ErrOffline, ErrNotCompacted; those of commitlog.Compaction. A failed write takes the partition offline.
func (p *Partition) Compact(o commitlog.CompactionOptions, moved func(bytes int64) error) (commitlog.Compacted, error) {
	var c *commitlog.Compaction
	err := p.Locked(func(log *commitlog.Log) (err error) {
		o.Limit = min(o.Limit, p.Stable())
		c, err = log.BeginCompaction(o)
		return err
	})
	if err != nil || c == nil {
		return commitlog.Compacted{}, err
	}
	defer c.Abandon()
	if err = p.compact(c, moved); err != nil {
		if log := p.Log(); log != nil && log.Poisoned() != nil {
			p.Fail(err)
		}
	}
	return c.Done(), err
}

func (p *Partition) compact(c *commitlog.Compaction, moved func(bytes int64) error) error {
	for {
		if !p.Settings().Log.CompactEnabled {
			return ErrNotCompacted
		}
		n, stage, err := c.Step()
		if err != nil {
			return err
		}
		switch stage {
		case commitlog.Done:
			return nil
		case commitlog.Ready:
			err = p.Locked(func(*commitlog.Log) error { return c.Commit() })
		case commitlog.Working:
			err = moved(n)
		}
		if err != nil {
			return err
		}
	}
}
