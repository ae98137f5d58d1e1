package commitlog

import (
	"errors"
	"fmt"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
)

// Stamp is a record as ListOffsets tells of it.
type Stamp struct {
	Offset    moldau.Offset
	Timestamp moldau.Timestamp
	Epoch     moldau.LeaderEpoch
}

// OffsetForTimestamp finds the first record from the log's start on, below upTo, whose timestamp is ts or later; false
// where there is none. It may be called from any goroutine. L-45.
func (l *Log) OffsetForTimestamp(ts moldau.Timestamp, upTo moldau.Offset) (Stamp, bool, error) {
	return l.lookup(func(v *view) (Stamp, bool, error) {
		for i := v.find(v.start); i < len(v.segs) && v.segs[i].base < upTo; i++ {
			st, ok, err := l.searchSegment(v, i, ts, upTo)
			if ok || err != nil {
				return st, ok, err
			}
		}
		return Stamp{}, false, nil
	})
}

// MaxTimestamp finds the record with the highest timestamp of the log, the first where several bear it; false in a log
// without timestamps. It may be called from any goroutine.
func (l *Log) MaxTimestamp() (Stamp, bool, error) {
	return l.lookup(func(v *view) (Stamp, bool, error) {
		best, highest := 0, moldau.NoTimestamp
		for i := v.find(v.start); i < len(v.segs); i++ {
			ts, err := v.lastTimestamp(i)
			if err != nil {
				return Stamp{}, false, err
			}
			if ts > highest {
				best, highest = i, ts
			}
		}
		if highest == moldau.NoTimestamp {
			return Stamp{}, false, nil
		}
		st, ok, err := l.searchSegment(v, best, highest, v.tail.end().next)
		if ok || err != nil {
			return st, ok, err
		}
		return l.searchAll(v) // the record is gone, and its batch was left without records
	})
}

// searchAll is MaxTimestamp by a look at every batch that has records.
func (l *Log) searchAll(v *view) (st Stamp, ok bool, err error) {
	pg := l.pools.pages.get()
	defer l.pools.pages.put(pg)
	highest := moldau.NoTimestamp
	for i := v.find(v.start); i < len(v.segs); i++ {
		s := v.segs[i]
		if err := s.acquire(); err != nil {
			return st, false, err
		}
		var failed error
		err := pg.walk(s, 0, v.bounds(i), func(pos int64, h record.Batch) bool {
			if h.Count() == 0 || h.LastOffset() < v.start || h.MaxTimestamp() <= highest {
				return true
			}
			var found Stamp
			var is bool
			if found, is, failed = l.searchBatch(s, pos, h, h.MaxTimestamp(), v.start, v.tail.end().next); is {
				st, ok, highest = found, true, found.Timestamp
			}
			return failed == nil
		})
		s.release()
		if err = errors.Join(err, failed); err != nil {
			return st, false, err
		}
	}
	return st, ok, nil
}

// LastTimestamp is the highest timestamp of the log, NoTimestamp where there is none. It may be called from any
// goroutine.
func (l *Log) LastTimestamp() (moldau.Timestamp, error) {
	st, _, err := l.lookup(func(v *view) (Stamp, bool, error) {
		st := Stamp{Timestamp: moldau.NoTimestamp}
		for i := range v.segs {
			ts, err := v.lastTimestamp(i)
			if err != nil {
				return st, false, err
			}
			st.Timestamp = max(st.Timestamp, ts)
		}
		return st, true, nil
	})
	return st.Timestamp, err
}

// lookup runs fn on the view, and again where a segment of it was dropped meanwhile. A log without files has no timestamps.
func (l *Log) lookup(fn func(v *view) (Stamp, bool, error)) (Stamp, bool, error) {
	if l.Unwritten() {
		return Stamp{Timestamp: moldau.NoTimestamp}, false, nil
	}
	for {
		v := l.view.Load()
		st, ok, err := fn(v)
		if err == nil {
			return st, ok, nil
		}
		if !errors.Is(err, errDropped) {
			return st, false, fmt.Errorf("look up a timestamp in log %v: %w", l.partition, unopened(err))
		}
		if v == l.view.Load() {
			return st, false, fmt.Errorf("look up a timestamp in log %v: %w", l.partition, ErrClosed)
		}
	}
}

func (v *view) lastTimestamp(i int) (moldau.Timestamp, error) {
	s := v.segs[i]
	if err := s.acquire(); err != nil {
		return 0, err
	}
	defer s.release()
	return s.lastTimestamp()
}

// searchSegment finds the first record of segment i that is visible, below upTo, and not older than ts.
func (l *Log) searchSegment(v *view, i int, ts moldau.Timestamp, upTo moldau.Offset) (st Stamp, ok bool, err error) {
	s := v.segs[i]
	if err := s.acquire(); err != nil {
		return st, false, err
	}
	defer s.release()
	if highest, err := s.lastTimestamp(); err != nil || highest < ts {
		return st, false, err
	}
	pg := l.pools.pages.get()
	defer l.pools.pages.put(pg)
	end := v.bounds(i)
	// All batches up to that of the last entry below ts are older than ts.
	e, older, err := s.times.search(s.fsys, pg.index[:], 0.5, func(e timeEntry) bool { return e.ts < ts || plant.Has(plant.TimestampOffByOne) && e.ts == ts })
	if err != nil {
		return st, false, err
	}
	from := max(v.start, s.base)
	if older {
		from = max(from, s.base+moldau.Offset(e.rel)+1)
	}
	at, err := l.locate(v, i, from, end, pg)
	if err != nil {
		return st, false, err
	}
	var failed error
	err = pg.walk(s, at.pos, end, func(pos int64, h record.Batch) bool {
		if h.BaseOffset() >= upTo {
			return false
		}
		if h.MaxTimestamp() >= ts {
			st, ok, failed = l.searchBatch(s, pos, h, ts, max(v.start, s.base), upTo)
		}
		return !ok && failed == nil
	})
	return st, ok, errors.Join(err, failed)
}

// searchBatch finds the first record from offset from on, below upTo, that is not older than ts in the batch at pos with
// header h.
func (l *Log) searchBatch(s *segment, pos int64, h record.Batch, ts moldau.Timestamp, from, upTo moldau.Offset) (Stamp, bool, error) {
	b := make(record.Batch, h.Size())
	if n, err := s.file.ReadAt(b, pos); n < len(b) {
		return Stamp{}, false, fmt.Errorf("read segment %d at byte %d: %w", s.base, pos, err)
	}
	for r, err := range b.Records(&l.pools.codecs, record.OpenLimit(len(b), len(b))) {
		if errors.Is(err, record.ErrTooLarge) {
			// Too big to open. Its base is never behind the record that was asked for.
			return Stamp{max(b.BaseOffset(), from), b.MaxTimestamp(), b.LeaderEpoch()}, true, nil
		}
		if err != nil {
			return Stamp{}, false, fmt.Errorf("segment %d at byte %d: %w", s.base, pos, err)
		}
		if r.Timestamp >= ts && r.Offset >= from && r.Offset < upTo {
			return Stamp{r.Offset, r.Timestamp, b.LeaderEpoch()}, true, nil
		}
	}
	return Stamp{}, false, nil
}
