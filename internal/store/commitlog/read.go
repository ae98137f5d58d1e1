package commitlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// ErrOutOfRange is returned for an offset below the log's start or above its end.
var ErrOutOfRange = errors.New("offset out of range")

// Region is a run of whole batches in a segment's file. It holds the segment's file open, so that the bytes stay what they
// are, whatever happens to the log, until Release. The zero Region is empty and holds nothing.
type Region struct {
	seg    *segment
	sealed bool
	Pos    int64 // of the first byte in File
	Len    int   // in bytes; 0: empty
	// Next is the offset to read on from.
	Next moldau.Offset
}

// File is the file that holds the bytes, nil for an empty region. It is for reading, with explicit positions.
func (r Region) File() env.File {
	if r.seg == nil {
		return nil
	}
	return r.seg.file.Held()
}

// Traces is what is remembered of reads of a sealed segment, nil for others: what is new is read by many.
func (r Region) Traces() *env.Traces {
	if !r.sealed {
		return nil
	}
	t := r.seg.traces.Load()
	if t == nil { // most segments are never read again
		r.seg.traces.CompareAndSwap(nil, new(env.Traces))
		t = r.seg.traces.Load()
	}
	return t
}

// Retain takes another reference, to be given back by another Release.
func (r Region) Retain() {
	if r.seg != nil {
		r.seg.file.Retain()
	}
}

// Release gives back the reference that Read took, exactly once.
func (r Region) Release() {
	if r.seg != nil {
		r.seg.release()
	}
}

// ReadAt reads the region's bytes from off on, counted from its beginning.
func (r Region) ReadAt(p []byte, off int64) (int, error) {
	left := int64(r.Len) - off
	if left <= 0 || r.seg == nil {
		return 0, io.EOF
	}
	short := int64(len(p)) > left
	if short {
		p = p[:left]
	}
	n, err := r.seg.file.Held().ReadAt(p, r.Pos+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// Append copies the region's bytes behind dst.
func (r Region) Append(dst []byte) ([]byte, error) {
	if r.Len == 0 {
		return dst, nil
	}
	n := len(dst)
	dst = append(dst, make([]byte, r.Len)...)
	if m, err := r.seg.file.Held().ReadAt(dst[n:], r.Pos); m < r.Len {
		return dst[:n], fmt.Errorf("read segment %d at %d: %w", r.seg.base, r.Pos, err)
	}
	return dst, nil
}

// Read finds the batches from the one that contains at, or the next one where compaction has removed it, up to upTo.
//
// The region ends with the last whole batch below upTo that lies in the same segment and within maxBytes. A first batch
// that is larger than maxBytes is returned where minOne is set, alone; else the region is empty, as it is where at is
// upTo or higher. Below Start and above End the error is ErrOutOfRange. No bytes of records are read. It may be called
// from any goroutine and waits for nobody; the caller releases the region. L-10.
func (l *Log) Read(at moldau.Offset, maxBytes int, upTo moldau.Offset, minOne bool) (Region, error) {
	for {
		v := l.view.Load()
		end := v.tail.end()
		if at < v.start || at > end.next {
			return Region{}, ErrOutOfRange
		}
		upTo := min(upTo, end.next)
		if at >= upTo {
			return Region{Next: at}, nil
		}
		r, err := l.readView(v, at, maxBytes, upTo, minOne)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, errDropped) {
			return Region{}, fmt.Errorf("read log %v at offset %d: %w", l.partition, at, unopened(err))
		}
		if v == l.view.Load() {
			return Region{}, fmt.Errorf("read log %v at offset %d: %w", l.partition, at, ErrClosed)
		}
	}
}

// errDropped is what a look at a view ends with when a segment of it is gone. A change publishes the next view before it
// drops a segment of the last, so there is a newer one to look at, unless the log was closed.
var errDropped = errors.New("the segment has been dropped")

func (l *Log) readView(v *view, at moldau.Offset, maxBytes int, upTo moldau.Offset, minOne bool) (Region, error) {
	for i := v.find(at); i < len(v.segs); i++ {
		s := v.segs[i]
		if s.base >= upTo {
			break
		}
		if err := s.acquire(); err != nil {
			return Region{}, err
		}
		r, err := l.readSegment(v, i, at, maxBytes, upTo, minOne)
		if err != nil || r.Len == 0 {
			s.release()
		}
		if err != nil || r.Len > 0 || r.Next < v.bounds(i).next {
			return r, err
		}
		// Nothing at or above at is left in this segment: compaction has emptied its end.
	}
	return Region{Next: at}, nil
}

// readSegment is Read within segment i, to which a reference is held; an empty region has no segment.
func (l *Log) readSegment(v *view, i int, at moldau.Offset, maxBytes int, upTo moldau.Offset, minOne bool) (Region, error) {
	s := v.segs[i]
	end := v.bounds(i)
	page := l.pools.pages.get()
	defer l.pools.pages.put(page)

	from, err := l.locate(v, i, at, end, page)
	if err != nil {
		return Region{}, err
	}
	if from.pos == end.pos {
		return Region{Next: end.next}, nil
	}
	to := end
	if upTo < end.next {
		if to, err = l.locate(v, i, upTo, end, page); err != nil {
			return Region{}, err
		}
		// locate returns the batch that contains upTo, or begins there: what is before lies below upTo.
		to.next = upTo
	}
	limit := from.pos + int64(max(maxBytes, 0))
	if to.pos > limit {
		if to, err = l.cut(v, i, from, limit, to, minOne, page); err != nil {
			return Region{}, err
		}
	}
	if to.pos <= from.pos {
		return Region{Next: at}, nil
	}
	return Region{seg: s, sealed: i < len(v.segs)-1, Pos: from.pos, Len: int(to.pos - from.pos), Next: to.next}, nil
}

// locate finds the first batch of segment i whose last offset is at or higher, or the segment's end.
func (l *Log) locate(v *view, i int, at moldau.Offset, end boundary, page *page) (boundary, error) {
	s := v.segs[i]
	if at >= end.next {
		return end, nil
	}
	if at <= s.base {
		return boundary{s.base, 0}, nil
	}
	if i == len(v.segs)-1 {
		if b, ok := v.tail.find(end.next, func(b boundary) bool { return b.next <= at }); ok {
			return boundary{at, b.pos}, nil
		}
	}
	rel := int32(at - s.base)
	guess := float64(rel) / float64(max(end.next-s.base, 1))
	e, indexed, err := s.offsets.search(s.fsys, page.index[:], guess, func(e offsetEntry) bool { return e.rel <= rel })
	if err != nil {
		return boundary{}, err
	}
	b := boundary{at, int64(e.pos)}
	fits := true
	err = page.walk(s, b.pos, end, func(pos int64, h record.Batch) bool {
		if indexed && pos == int64(e.pos) && h.LastOffset() > s.base+moldau.Offset(e.rel) {
			fits = false
			return false
		}
		b.pos = pos
		if h.LastOffset() >= at {
			return false
		}
		b.pos += int64(h.Size())
		return true
	})
	if !fits {
		err = errIndexDamaged(s, e)
	}
	return b, err
}

// cut finds the last boundary at or before byte limit and behind from; with minOne at least one batch lies before it.
// to is a boundary behind limit.
func (l *Log) cut(v *view, i int, from boundary, limit int64, to boundary, minOne bool, page *page) (boundary, error) {
	s := v.segs[i]
	if i == len(v.segs)-1 {
		// The tail answers for boundaries behind from; before it a minOne batch may have to be measured.
		if b, ok := v.tail.find(to.next, func(b boundary) bool { return b.pos <= limit }); ok && b.pos > from.pos {
			return b, nil
		}
	}
	guess := float64(limit) / float64(max(to.pos, 1))
	e, indexed, err := s.offsets.search(s.fsys, page.index[:], guess, func(e offsetEntry) bool { return int64(e.pos) <= limit })
	if err != nil {
		return boundary{}, err
	}
	b := from
	fits := true
	err = page.walk(s, max(from.pos, int64(e.pos)), to, func(pos int64, h record.Batch) bool {
		if indexed && pos == int64(e.pos) && h.LastOffset() > s.base+moldau.Offset(e.rel) {
			fits = false
			return false
		}
		after := boundary{h.LastOffset() + 1, pos + int64(h.Size())}
		if after.pos > limit && !(minOne && pos == from.pos) {
			// The batch before ended here; where it is unknown to us, this one's base says enough.
			if b.pos < pos {
				b = boundary{h.BaseOffset(), pos}
			}
			return false
		}
		b = after
		return after.pos < limit
	})
	if !fits {
		err = errIndexDamaged(s, e)
	}
	return b, err
}

func errIndexDamaged(s *segment, e offsetEntry) error {
	return fmt.Errorf("index %s does not fit the batch at byte %d: %w, or its index", s.offsets.name(), e.pos, ErrDamaged)
}

// walkWindow is how many bytes a walk over batch headers reads at once: an index interval and one header.
const walkWindow = 4096 + record.HeaderLen

// page is what a read needs to look at an index and at batch headers.
type page struct {
	index [indexPage]byte
	batch [walkWindow]byte
}

// walk calls fn with the header of each batch of s, which is held, from pos to end, until fn returns false.
func (p *page) walk(s *segment, pos int64, end boundary, fn func(pos int64, h record.Batch) bool) error {
	var window []byte
	at := pos
	for pos < end.pos {
		if off := pos - at; off < 0 || off+record.HeaderLen > int64(len(window)) {
			b, err := readSome(s.file.Held(), p.batch[:min(walkWindow, end.pos-pos)], pos)
			if err != nil {
				return err
			}
			if len(b) < record.HeaderLen {
				return fmt.Errorf("segment %d at byte %d: %w", s.base, pos, io.ErrUnexpectedEOF)
			}
			window, at = b, pos
		}
		h := record.Batch(window[pos-at : pos-at+record.HeaderLen])
		if h.Magic() != 2 || h.Size() < record.HeaderLen || int64(h.Size()) > end.pos-pos || h.BaseOffset() < s.base {
			return fmt.Errorf("segment %d at byte %d: no batch where one should be; %w, or its index", s.base, pos, ErrDamaged)
		}
		if !fn(pos, h) {
			return nil
		}
		pos += int64(h.Size())
	}
	return nil
}
