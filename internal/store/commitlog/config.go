package commitlog

import (
	"hash/fnv"
	"math"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/filecache"
)

// Config is what an operator may set of one log. Times are in milliseconds, sizes in bytes, as Kafka's keys have them.
type Config struct {
	SegmentBytes         int64 // segment.bytes; a segment holds at most 2³¹-1
	SegmentMs            int64 // segment.ms
	SegmentJitterMs      int64 // segment.jitter.ms
	IndexIntervalBytes   int64 // index.interval.bytes
	IndexBytesMax        int64 // segment.index.bytes
	RetentionMs          int64 // retention.ms; -1: no limit
	RetentionBytes       int64 // retention.bytes; -1: no limit
	DeleteEnabled        bool  // cleanup.policy has "delete"
	CompactEnabled       bool  // cleanup.policy has "compact"
	MinCompactionLagMs   int64 // min.compaction.lag.ms
	MaxCompactionLagMs   int64 // max.compaction.lag.ms
	DeleteRetentionMs    int64 // delete.retention.ms
	FileDeleteDelayMs    int64 // file.delete.delay.ms
	ProducerExpirationMs int64 // producer.id.expiration.ms
}

// DefaultConfig is what Kafka's defaults say.
func DefaultConfig() Config {
	return Config{
		SegmentBytes:         1 << 30,
		SegmentMs:            7 * 24 * 3600 * 1000,
		IndexIntervalBytes:   4096,
		IndexBytesMax:        10 << 20,
		RetentionMs:          7 * 24 * 3600 * 1000,
		RetentionBytes:       -1,
		DeleteEnabled:        true,
		MaxCompactionLagMs:   math.MaxInt64,
		DeleteRetentionMs:    24 * 3600 * 1000,
		FileDeleteDelayMs:    60_000,
		ProducerExpirationMs: 24 * 3600 * 1000,
	}
}

// bounded puts the limits that the file formats impose on c.
func (c Config) bounded() Config {
	c.SegmentBytes = min(c.SegmentBytes, math.MaxInt32)
	c.IndexBytesMax = max(c.IndexBytesMax, timeEntryLen)
	return c
}

// jitter is how much earlier than segment.ms the segment rolls, so that partitions that were created together do not
// roll together. It is a function of the segment's name: the same after a restart, and in every run of a test.
func (c Config) jitter(tp moldau.TopicPartition, base moldau.Offset) int64 {
	limit := min(c.SegmentJitterMs, c.SegmentMs)
	if limit <= 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(logName(base)))
	h.Write([]byte(tp.String()))
	return int64(h.Sum64()>>1) % limit
}

// Options says which log to open and what is known of it.
type Options struct {
	FS env.FS
	// Files is the files that are open, of all logs together; nil: this log keeps its own open.
	Files *filecache.Cache
	// Pools are shared by all logs; nil: this log has its own.
	Pools *Pools
	Now   func() time.Time
	// Dir is the partition's own directory; it is created where it is absent.
	Dir       string
	Partition moldau.TopicPartition
	// TopicID is written to partition.metadata, or compared with what stands there. Zero: neither.
	TopicID moldau.TopicID
	Config  Config
	// Clean says that the last stop was clean, so that the files are as Close left them.
	Clean bool
	// RecoveryPoint is the offset before which everything was synced, as checkpointed; 0 where unknown.
	RecoveryPoint moldau.Offset
	// FirstDirty is the offset from which on no pass has compacted the log, as checkpointed; 0 where unknown.
	FirstDirty moldau.Offset
	// Whole says that nothing below RecoveryPoint is ever truncated, so that a log that lacks a batch there has lost it, unless
	// compaction dropped it: that leaves the last batch of each segment. Open cuts nothing then.
	Whole bool
	// Outage says how the last life of the log ended, where it was not clean.
	Outage Outage
	// DurableAt, where not nil, tells up to which offset the log was synced when the batch was written, as the batch itself
	// says. Damage before that is none of an outage.
	DurableAt func(record.Batch) moldau.Offset
	// LogStart is the checkpointed log start; 0 where unknown. LogStartKnown says that a checkpoint has it, written before
	// any segment that holds it was deleted: a whole log that begins above it has lost records.
	LogStart      moldau.Offset
	LogStartKnown bool
	// Progress, where not nil, is told during a recovery how many bytes of how many have been scanned.
	Progress func(done, total int64)
}
