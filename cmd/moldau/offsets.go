package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Timestamps of ListOffsets with a meaning of their own.
const (
	timestampLatest   = -1
	timestampEarliest = -2
)

// Isolation levels of ListOffsets and Fetch.
const (
	readUncommitted int8 = 0
	readCommitted   int8 = 1
)

// placeKind says from where a place is counted.
type placeKind int

const (
	placeStart  placeKind = iota // n records after the start of the partition
	placeEnd                     // n records before its end
	placeOffset                  // the offset n
	placeTime                    // the first record of timestamp n, in milliseconds, or later
)

// place is a position in a partition as a user writes it.
type place struct {
	kind placeKind
	n    int64
}

const placeForms = "start, end, an offset (42), the last few (-10), after the first few (+10), " +
	"a time (@2026-01-01, @2026-01-01T15:04:05Z, @1767225600000) or a while ago (@-1h, @-7d)"

// parsePlace reads a place. Times without a zone are in that of now.
func parsePlace(s string, now time.Time) (place, error) {
	switch {
	case s == "start":
		return place{kind: placeStart}, nil
	case s == "end":
		return place{kind: placeEnd}, nil
	case strings.HasPrefix(s, "@"):
		t, err := parseTime(s[1:], now)
		if err != nil {
			return place{}, err
		}
		return place{placeTime, t.UnixMilli()}, nil
	}
	digits := strings.TrimLeft(s, "+-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(s)-len(digits) > 1 {
		return place{}, fmt.Errorf("%q is no place in a partition; it is %s", s, placeForms)
	}
	switch s[0] {
	case '-':
		return place{placeEnd, n}, nil
	case '+':
		return place{placeStart, n}, nil
	}
	return place{placeOffset, n}, nil
}

// timeLayouts are the forms of a point in time, all beginnings of RFC 3339.
var timeLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02",
	"2006-01-02 15:04:05", "2006-01-02 15:04",
}

// parseTime reads a date, a time, a number of seconds (up to 11 digits) or milliseconds since 1970, or a duration that
// counts from now.
func parseTime(s string, now time.Time) (time.Time, error) {
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		if len(s) <= 11 {
			return time.Unix(int64(n), 0), nil
		}
		return time.UnixMilli(int64(n)), nil
	}
	if d, ok := parseDuration(s); ok {
		return now.Add(d), nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-01-01, 2026-01-01T15:04:05Z, milliseconds since 1970, or -1h for an hour ago", s)
}

// parseDuration reads a Go duration, or days and weeks: -7d, -2w.
func parseDuration(s string) (time.Duration, bool) {
	if d, err := time.ParseDuration(s); err == nil {
		return d, true
	}
	const day = 24 * time.Hour
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if digits, ok := strings.CutSuffix(s, suffix); ok {
			n, err := strconv.ParseInt(digits, 10, 32)
			return time.Duration(n) * unit, err == nil && n > -100_000 && n < 100_000
		}
	}
	return 0, false
}

// offsets are one offset per partition of some topics.
type offsets map[string]map[int32]int64

func (o offsets) set(topic string, partition int32, offset int64) {
	if o[topic] == nil {
		o[topic] = make(map[int32]int64)
	}
	o[topic][partition] = offset
}

// lookup returns the offset of a partition, or nil where it is not known.
func (o offsets) lookup(topic string, partition int32) *int64 {
	if offset, ok := o[topic][partition]; ok {
		return &offset
	}
	return nil
}

// listOffsets asks the leaders of partitions for an offset each: the first one of a timestamp in milliseconds or later, or
// that of one of the special timestamps. Partitions without such an offset are absent from the answer.
func (cl *client) listOffsets(ctx context.Context, partitions map[string][]int32, timestamp int64, isolation int8) (offsets, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = isolation
	for topic, numbers := range partitions {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, n := range numbers {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp = n, timestamp
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	found := make(offsets)
	if len(req.Topics) == 0 {
		return found, nil
	}
	var errs []error
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			errs = append(errs, explain(shard.Err, firstTopic(shard.Req), ""))
			continue
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					errs = append(errs, explain(err, t.Topic, fmt.Sprintf("partition %d", p.Partition)))
				} else if p.Offset >= 0 {
					found.set(t.Topic, p.Partition, p.Offset)
				}
			}
		}
	}
	return found, errors.Join(errs...)
}

func firstTopic(req kmsg.Request) string {
	if r, ok := req.(*kmsg.ListOffsetsRequest); ok && len(r.Topics) > 0 {
		return r.Topics[0].Topic
	}
	return ""
}

// bounds are the first offset of each partition and the one after the last that may be read.
type bounds struct{ start, end offsets }

func (cl *client) bounds(ctx context.Context, partitions map[string][]int32, isolation int8) (bounds, error) {
	start, err := cl.listOffsets(ctx, partitions, timestampEarliest, isolation)
	if err != nil {
		return bounds{}, err
	}
	end, err := cl.listOffsets(ctx, partitions, timestampLatest, isolation)
	return bounds{start, end}, err
}

// resolve turns a place into an offset of each partition. Places that are counted from the start, the end or a time lie
// within the bounds; an absolute offset is taken as it is.
func (cl *client) resolve(ctx context.Context, at place, partitions map[string][]int32, b bounds) (offsets, error) {
	var timed offsets
	if at.kind == placeTime {
		var err error
		if timed, err = cl.listOffsets(ctx, partitions, at.n, readUncommitted); err != nil {
			return nil, err
		}
	}
	resolved := make(offsets)
	for topic, numbers := range partitions {
		for _, p := range numbers {
			start, end := b.start[topic][p], b.end[topic][p]
			offset := at.n
			switch at.kind {
			case placeStart:
				offset = min(start+at.n, end)
			case placeEnd:
				offset = max(end-at.n, start)
			case placeTime:
				offset = end
				if t := timed.lookup(topic, p); t != nil {
					offset = min(*t, end)
				}
			}
			resolved.set(topic, p, offset)
		}
	}
	return resolved, nil
}

// check returns an error for the first offset that lies outside of the bounds: no record can be read from there.
func (b bounds) check(o offsets) error {
	for topic, partitions := range o {
		for p, offset := range partitions {
			if start, end := b.start[topic][p], b.end[topic][p]; offset < start || offset > end {
				return &failure{
					what: fmt.Sprintf("offset %d lies outside of partition %d of %s, which has %d to %d", offset, p, topic, start, end),
					try:  "choose the partition with --partition, or begin with --from start",
				}
			}
		}
	}
	return nil
}

// consumable is the form in which kgo takes offsets to consume from.
func (o offsets) consumable() map[string]map[int32]kgo.Offset {
	out := make(map[string]map[int32]kgo.Offset, len(o))
	for topic, partitions := range o {
		out[topic] = make(map[int32]kgo.Offset, len(partitions))
		for p, offset := range partitions {
			out[topic][p] = kgo.NewOffset().At(offset)
		}
	}
	return out
}
