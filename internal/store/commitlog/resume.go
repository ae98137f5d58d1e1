package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// checkIndexes looks at the files of a sealed segment's indexes: that they are there, of whole entries, and in reach of
// the segment. It returns the last entry of the index of offsets, the zero one where that is empty.
func (s *segment) checkIndexes() (offsetEntry, error) {
	e, ok, err := s.offsets.lastOnDisk(s.fsys)
	if err != nil {
		return e, err
	}
	if ok && (e.rel < 0 || int64(e.pos) >= s.size || e.pos <= 0) {
		return e, fmt.Errorf("index %s ends with position %d in %d bytes", s.offsets.name(), e.pos, s.size)
	}
	t, ok, err := s.times.lastOnDisk(s.fsys)
	if err != nil {
		return e, err
	}
	if ok && (t.rel < 0 || s.base+moldau.Offset(t.rel) >= s.next) {
		return e, fmt.Errorf("index %s ends with offset %d above the segment", s.times.name(), s.base+moldau.Offset(t.rel))
	}
	return e, nil
}

// lastOnDisk returns the last entry of the index file, having checked that the file is one of whole entries.
func (x *index[E]) lastOnDisk(fsys env.FS) (e E, ok bool, err error) {
	f, err := fsys.Open(x.name())
	if err != nil {
		return e, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size == 0 {
		return e, false, err
	}
	if size%int64(e.size()) != 0 {
		return e, false, fmt.Errorf("index %s has %d bytes, not a multiple of %d", x.name(), size, e.size())
	}
	return lastEntry[E](f, size)
}

// resume takes the last segment as Close left it: the indexes from their files, the end from the batches behind the last
// index entry.
func (s *segment) resume(sc *scanner) error {
	if s.size == 0 {
		s.clearIndexes() // it may have no index files yet
		return nil
	}
	const indexLimit = math.MaxInt32
	offsets, err := s.offsets.load(s.fsys, indexLimit, func(before, e offsetEntry, first bool) bool {
		return e.pos > 0 && int64(e.pos) < s.size && e.rel >= 0 && (first || e.rel > before.rel && e.pos > before.pos)
	})
	if err != nil {
		return err
	}
	times, err := s.times.load(s.fsys, indexLimit, func(before, e timeEntry, first bool) bool {
		return e.rel >= 0 && e.ts >= 0 && (first || e.ts > before.ts && e.rel > before.rel)
	})
	if err != nil {
		return err
	}
	s.setIndexes(offsets, times)
	at := int64(0)
	if n := offsets.len(); n > 0 {
		at = int64(offsets.at(n - 1).pos)
	}
	s.next = s.base
	for sc.reset(s.file, at, s.size); ; {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("segment %d at byte %d: %w", s.base, sc.pos, err)
		}
		if h.BaseOffset() < s.next || !s.fits(h.LastOffset()) {
			return fmt.Errorf("segment %d at byte %d: offset %d, where at least %d has to be", s.base, sc.pos, h.BaseOffset(), s.next)
		}
		if n := offsets.len(); n > 0 && sc.pos == at && s.base+moldau.Offset(offsets.at(n-1).rel) < h.LastOffset() {
			return fmt.Errorf("index %s does not fit the batch at byte %d", s.offsets.name(), at)
		}
		s.indexed(h, sc.pos, math.MaxInt64) // the entries that are due exist
		s.next = h.LastOffset() + 1
		sc.skip(h.Size())
	}
	if n := times.len(); n > 0 && s.base+moldau.Offset(times.at(n-1).rel) >= s.next {
		return fmt.Errorf("index %s goes beyond the segment", s.times.name())
	}
	s.indexSaved = true
	return s.loadFirstTimestamp(sc)
}

// setIndexes makes loaded indexes those of the active segment.
func (s *segment) setIndexes(offsets *column[offsetEntry], times *column[timeEntry]) {
	s.offsets.mem.Store(offsets)
	s.times.mem.Store(times)
	s.maxTimestamp.Store(int64(moldau.NoTimestamp))
	s.maxRel, s.sinceIndex = 0, 0
	if n := times.len(); n > 0 {
		s.maxTimestamp.Store(int64(times.at(n - 1).ts))
		s.maxRel = times.at(n - 1).rel
	}
}

// loadFirstTimestamp reads the first batch's timestamp, from which the time to roll counts.
func (s *segment) loadFirstTimestamp(sc *scanner) error {
	sc.reset(s.file, 0, s.size)
	h, err := sc.header()
	if err != nil {
		return fmt.Errorf("segment %d at byte 0: %w", s.base, err)
	}
	s.firstTimestamp = h.MaxTimestamp()
	return nil
}
