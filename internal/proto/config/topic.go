package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Cleanup is a set of ways to make room in a log.
type Cleanup uint8

// The ways. The empty set keeps everything.
const (
	CleanupDelete  Cleanup = 1 << iota // old segments are deleted
	CleanupCompact                     // records with a newer one of the same key are dropped
)

// Has reports whether c includes all of way.
func (c Cleanup) Has(way Cleanup) bool { return c&way == way }

// TimestampType says whose timestamp a record bears.
type TimestampType int8

// The timestamp types, with the values of a batch's attribute.
const (
	CreateTime    TimestampType = 0
	LogAppendTime TimestampType = 1
)

// Topic is the configuration of one topic as far as it has an effect. Times are milliseconds and sizes bytes, as Kafka's
// keys have them; math.MaxInt64 stands for "never" where that is the default.
type Topic struct {
	CleanupPolicy          Cleanup
	CompressionType        string // producer, uncompressed, gzip, snappy, lz4 or zstd
	CompressionGzipLevel   int    // -1: the codec's own default
	CompressionLZ4Level    int
	CompressionZstdLevel   int
	DeleteRetentionMs      int64
	FileDeleteDelayMs      int64
	FlushMessages          int64 // 1: acknowledge nothing that is not on disk
	FlushMs                int64
	IndexIntervalBytes     int32
	MaxMessageBytes        int32 // of a batch, after compression
	MaxCompactionLagMs     int64
	MinCompactionLagMs     int64
	MinCleanableDirtyRatio float64
	MinInSyncReplicas      int32
	TimestampType          TimestampType
	TimestampBeforeMaxMs   int64
	TimestampAfterMaxMs    int64
	RetentionMs            int64 // -1: no limit
	RetentionBytes         int64 // of a partition; negative: no limit
	SegmentBytes           int32
	SegmentMs              int64
	SegmentJitterMs        int64
	SegmentIndexBytes      int32
	UncleanLeaderElection  bool
}

// ResolveTopic reads the configuration of a topic out of its overrides (l.Resource) and the broker's layers. The error names
// every value that its key does not take; the Topic then has the default in its place, so that a log that exists can be
// opened all the same.
func ResolveTopic(l Layers) (Topic, error) {
	r := reader{layers: l, scope: ScopeTopic}
	t := Topic{
		CompressionType:        r.get("compression.type"),
		CompressionGzipLevel:   int(r.i32("compression.gzip.level")),
		CompressionLZ4Level:    int(r.i32("compression.lz4.level")),
		CompressionZstdLevel:   int(r.i32("compression.zstd.level")),
		DeleteRetentionMs:      r.i64("delete.retention.ms"),
		FileDeleteDelayMs:      r.i64("file.delete.delay.ms"),
		FlushMessages:          r.i64("flush.messages"),
		FlushMs:                r.i64("flush.ms"),
		IndexIntervalBytes:     r.i32("index.interval.bytes"),
		MaxMessageBytes:        r.i32("max.message.bytes"),
		MaxCompactionLagMs:     r.i64("max.compaction.lag.ms"),
		MinCompactionLagMs:     r.i64("min.compaction.lag.ms"),
		MinCleanableDirtyRatio: r.float("min.cleanable.dirty.ratio"),
		MinInSyncReplicas:      r.i32("min.insync.replicas"),
		TimestampBeforeMaxMs:   r.i64("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:    r.i64("message.timestamp.after.max.ms"),
		RetentionMs:            r.i64("retention.ms"),
		RetentionBytes:         r.i64("retention.bytes"),
		SegmentBytes:           r.i32("segment.bytes"),
		SegmentMs:              r.i64("segment.ms"),
		SegmentJitterMs:        r.i64("segment.jitter.ms"),
		SegmentIndexBytes:      r.i32("segment.index.bytes"),
		UncleanLeaderElection:  r.boolean("unclean.leader.election.enable"),
	}
	if r.get("message.timestamp.type") == "LogAppendTime" {
		t.TimestampType = LogAppendTime
	}
	for _, way := range r.list("cleanup.policy") {
		switch way {
		case "delete":
			t.CleanupPolicy |= CleanupDelete
		case "compact":
			t.CleanupPolicy |= CleanupCompact
		}
	}
	return t, r.err()
}

// CheckTopic says what is wrong with the overrides of a topic, or nil: names that are no topic key, values that their keys do
// not take, and values that contradict each other or the layers below. The first error in the order of names is returned,
// for the wire has room for one. C-37.
func CheckTopic(l Layers) error {
	if err := CheckResource(ScopeTopic, l.Resource); err != nil {
		return err
	}
	if k, ok := Lookup(ScopeTopic, "remote.storage.enable"); ok {
		if v, _, _ := l.value(k); v == "true" {
			return errors.New("remote.storage.enable=true: this broker has no remote storage; leave it false")
		}
	}
	t, err := ResolveTopic(l)
	if err != nil {
		return err
	}
	if t.MinCompactionLagMs > t.MaxCompactionLagMs {
		return fmt.Errorf("min.compaction.lag.ms (%d) must not be larger than max.compaction.lag.ms (%d)", t.MinCompactionLagMs, t.MaxCompactionLagMs)
	}
	return nil
}

// CheckResource says what is wrong with the overrides of a topic, group or metrics subscription, each taken by itself, or nil.
func CheckResource(scope Scope, overrides map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		k, ok := Lookup(scope, name)
		if !ok {
			err := fmt.Errorf("unknown %s key %q", scope, clip(name))
			if near := Nearest(scope, name); near != "" {
				err = fmt.Errorf("%w; did you mean %s?", err, near)
			}
			return err
		}
		if err := k.Check(overrides[name]); err != nil {
			return err
		}
	}
	return nil
}
