package commitlog

import (
	"fmt"
	"math"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
)

// Dirt is what a compaction of a log would find: its dirty part, which no pass has seen, as far as it may be cleaned.
type Dirt struct {
	// From is the first dirty offset, To the end of what may be cleaned: the base of a segment. They are equal where there is
	// nothing to do.
	From, To moldau.Offset
	// CleanBytes is the size of the segments before From, DirtyBytes of those from there to To.
	CleanBytes, DirtyBytes int64
	// Oldest is the timestamp of the first batch of the dirty segments, the active one aside; NoTimestamp where there is none.
	Oldest moldau.Timestamp
}

// Ratio is the dirty share of what may be cleaned.
func (d Dirt) Ratio() float64 {
	if d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// Overdue reports whether a dirty record is older than maxLagMs (max.compaction.lag.ms).
func (d Dirt) Overdue(now time.Time, maxLagMs int64) bool {
	return d.Oldest > 0 && now.UnixMilli()-int64(d.Oldest) > maxLagMs
}

// FirstDirty is the offset from which on no pass has compacted the log, for the caller to checkpoint. It may be called from any
// goroutine.
func (l *Log) FirstDirty() moldau.Offset { return moldau.Offset(l.firstDirty.Load()) }

// noteOpen publishes where the earliest open transaction begins. A flush that has read it, and then the log's end, makes the markers
// of all transactions durable that began before: firstOpen falls before a first batch is seen, and rises after a marker is.
func (l *Log) noteOpen() {
	first := moldau.Offset(math.MaxInt64)
	if open := l.producers.open; len(open) > 0 {
		first = open[0].first
	}
	l.firstOpen.Store(int64(first))
}

// Dirt tells what may be cleaned below limit: whole sealed segments without a record younger than min.compaction.lag.ms (L-60), and
// where each transaction has its marker durably, also when that lies above limit: or else a power loss could undo a transaction whose
// records have replaced others. A first dirty offset that the log cannot have is repaired: the whole log is dirty then. It may be
// called from any goroutine.
// limit: the last stable offset, or the checkpointed recovery point where that is less.
func (l *Log) Dirt(now time.Time, limit moldau.Offset) (Dirt, error) {
	for {
		v := l.view.Load()
		d, err := l.dirtOf(v, now, limit)
		if err == nil {
			return d, nil
		}
		if v == l.view.Load() {
			return Dirt{}, fmt.Errorf("look at the dirty part of log %v: %w", l.partition, err)
		}
	}
}

func (l *Log) dirtOf(v *view, now time.Time, limit moldau.Offset) (Dirt, error) {
	d := Dirt{From: l.dirtyFrom(v), Oldest: moldau.NoTimestamp}
	d.To = d.From
	cfg := l.cfg.Load()
	if !plant.Has(plant.MarkersUnsettled) {
		limit = min(limit, moldau.Offset(l.settled.Load()))
	}
	cleanable := true
	for i, s := range v.segs[:len(v.segs)-1] {
		if s.next <= d.From {
			d.CleanBytes += s.size
			continue
		}
		first, err := v.firstTimestamp(i)
		if err != nil {
			return d, err
		}
		if first > 0 && (d.Oldest < 0 || first < d.Oldest) {
			d.Oldest = first
		}
		if cleanable && cfg.MinCompactionLagMs > 0 {
			youngest, err := v.lastTimestamp(i)
			if err != nil {
				return d, err
			}
			cleanable = int64(youngest) <= now.UnixMilli()-cfg.MinCompactionLagMs
		}
		if cleanable = cleanable && s.next <= limit; cleanable {
			d.To = s.next
			d.DirtyBytes += s.size
		}
	}
	return d, nil
}

// dirtyFrom is the first dirty offset within the log: below the start nothing is left to be cleaned, and one that lies behind the
// end was never reached by a pass.
func (l *Log) dirtyFrom(v *view) moldau.Offset {
	first := l.FirstDirty()
	if first < v.start || first > v.tail.end().next {
		return v.start
	}
	return first
}

// firstTimestamp is the highest timestamp of the first batch of sealed segment i, NoTimestamp where there is none.
func (v *view) firstTimestamp(i int) (moldau.Timestamp, error) {
	s := v.segs[i]
	if ts := s.oldest.Load(); ts != timestampNotLoaded {
		return moldau.Timestamp(ts), nil
	}
	if err := s.acquire(); err != nil {
		return 0, err
	}
	defer s.release()
	ts := moldau.NoTimestamp
	if s.size >= record.HeaderLen {
		header := make(record.Batch, record.HeaderLen)
		if n, err := s.file.ReadAt(header, 0); n < len(header) {
			return ts, fmt.Errorf("read segment %d at byte 0: %w", s.base, err)
		}
		ts = header.MaxTimestamp()
	}
	s.oldest.Store(int64(ts))
	return ts, nil
}
