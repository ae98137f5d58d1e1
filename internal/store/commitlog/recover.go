package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// Recovery is what Open had to do.
type Recovery struct {
	// Scanned is how many bytes of batches were read.
	Scanned int64
	// Reason says what was wrong where the log was cut; empty where nothing was.
	Reason string
	// TruncatedAt is the end of the log after the cut, TruncatedBytes what was behind it, all segments together.
	TruncatedAt    moldau.Offset
	TruncatedBytes int64
	// SegmentsRemoved is the number of segments behind the one that was cut.
	SegmentsRemoved int
	// Midway says that whole batches stood behind the damage: not a write that a crash has torn, but bytes that changed.
	Midway bool
	// Notes tells of files that could be built anew, one sentence each.
	Notes []string
}

// Recovery returns what Open had to repair.
func (l *Log) Recovery() Recovery { return l.recovery }

// recoverer opens the segments of a log and establishes where it ends.
type recoverer struct {
	l        *Log
	clean    bool
	whole    bool          // nothing before point may be missing
	point    moldau.Offset // everything before was synced
	progress func(done, total int64)

	segs      []*segment
	scanner   scanner
	total     int64              // bytes to scan
	epoch     moldau.LeaderEpoch // of the last batch scanned
	epochs    []epochStart       // changes of epoch met by the scan
	untrusted moldau.Offset      // base of the first segment whose indexes were built anew
	report    Recovery
}

func (r *recoverer) note(format string, args ...any) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
}

func (r *recoverer) openSegments(f files) error {
	for _, base := range f.bases {
		s, err := openSegment(r.l.fsys, r.l.dir, base)
		if err != nil {
			return err
		}
		if !f.names[stem(base)+txnExt] {
			s.aborted.Store(new([]Aborted))
		}
		s.indexSynced.Store(true)
		r.segs = append(r.segs, s)
	}
	return nil
}

// run recovers the log and publishes its view.
func (r *recoverer) run(logStart moldau.Offset) error {
	l := r.l
	r.untrusted = math.MaxInt64
	if err := r.recoverSegments(); err != nil {
		return err
	}
	if err := r.checkEnd(logStart); err != nil {
		return err
	}
	if n := len(r.segs); n == 0 || r.segs[n-1].next < logStart {
		if err := r.startAt(logStart); err != nil {
			return err
		}
	}
	end := r.segs[len(r.segs)-1].next
	start := max(logStart, r.segs[0].base)
	if err := r.recoverEpochs(start, end); err != nil {
		return err
	}
	if err := r.recoverProducers(start, end); err != nil {
		return err
	}
	l.recoveryPoint.Store(int64(min(r.point, end)))
	if r.clean && r.report.Reason == "" {
		l.recoveryPoint.Store(int64(end))
	}
	active := r.segs[len(r.segs)-1]
	l.view.Store(&view{start, r.segs, newTail(1, boundary{end, active.size})})
	return nil
}

// checkEnd returns an error where a log that is to be whole ends below its recovery point or, after a clean stop, below its
// start.
func (r *recoverer) checkEnd(logStart moldau.Offset) error {
	end := moldau.Offset(0)
	if n := len(r.segs); n > 0 {
		end = r.segs[n-1].next
	}
	switch {
	case r.whole && end < r.point:
		return fmt.Errorf("it ends at offset %d, and all before %d was synced: %w", end, r.point, ErrIncomplete)
	case r.whole && r.clean && end < logStart:
		return fmt.Errorf("it ends at offset %d, below its start %d of the checkpoint: %w", end, logStart, ErrIncomplete)
	}
	return nil
}

// startAt replaces all segments by an empty one at logStart: in a new log, and in one whose end was lost further back
// than records had been deleted.
func (r *recoverer) startAt(logStart moldau.Offset) error {
	if n := len(r.segs); n > 0 {
		r.note("the log ended at offset %d, below its start %d, and begins anew there", r.segs[n-1].next, logStart)
	}
	if err := r.drop(0); err != nil {
		return err
	}
	s, err := createSegment(r.l.fsys, r.l.dir, logStart, r.l.now())
	if err != nil {
		return err
	}
	r.l.namesDirty.Store(true)
	r.segs = append(r.segs, s)
	r.untrusted = math.MaxInt64 // none of the segments scanned is left
	return nil
}

// drop removes the segments from number i on.
func (r *recoverer) drop(i int) error {
	for len(r.segs) > i {
		n := len(r.segs) - 1
		s := r.segs[n]
		r.segs = slices.Clip(r.segs[:n])
		s.aborted.CompareAndSwap(nil, new([]Aborted)) // nobody is going to ask
		if err := r.l.bury(s); err != nil {
			return err
		}
	}
	return nil
}

// recoverSegments believes or scans each segment, and cuts the log where a scan ends early.
func (r *recoverer) recoverSegments() error {
	// A segment whose end lies below the recovery point was sealed when a Flush moved that, which then synced its indexes.
	// Of one that ends just there it may not have synced them.
	trusted := r.point
	if r.clean {
		trusted = math.MaxInt64
	}
	for i, s := range r.segs {
		if next := r.nextBase(i); next >= trusted && !r.clean {
			r.total += s.size
		}
	}
	for i := 0; i < len(r.segs); i++ {
		s, next, last := r.segs[i], r.nextBase(i), i == len(r.segs)-1
		switch {
		case !last && next < trusted:
			if err := r.believe(s, next); err != nil {
				return err
			}
			continue
		case last && r.clean:
			err := s.resume(&r.scanner)
			if err == nil {
				continue
			}
			r.note("segment %d was scanned after a clean stop: %v", s.base, err)
		}
		whole, err := r.scan(s, r.crcFrom())
		if err != nil {
			return err
		}
		if !whole {
			return r.cut(i)
		}
		if last {
			continue
		}
		if gap := next - s.next; gap < 0 || gap > 0 && gap <= maxRelative {
			// Where segments meet, offsets do; only what was synced may have been compacted.
			r.report.Reason = fmt.Sprintf("segment %d ends at offset %d and the next one begins at %d", s.base, s.next, next)
			return r.cut(i)
		}
		if err := s.seal(next, s.size); err != nil {
			return err
		}
	}
	return nil
}

// crcFrom is the offset from which batches have to prove themselves.
func (r *recoverer) crcFrom() moldau.Offset {
	if r.clean {
		return 0 // a scan although the stop was clean: something is wrong with this log
	}
	return r.point
}

// nextBase is the base of the segment behind number i, MaxInt64 behind the last.
func (r *recoverer) nextBase(i int) moldau.Offset {
	if i == len(r.segs)-1 {
		return math.MaxInt64
	}
	return r.segs[i+1].base
}

// believe takes a sealed segment as it is, once its indexes look like some.
func (r *recoverer) believe(s *segment, next moldau.Offset) error {
	s.next = next
	if r.whole && s.size == 0 {
		return fmt.Errorf("segment %d is empty, and the next one begins at offset %d: %w", s.base, next, ErrIncomplete)
	}
	err := s.checkIndexes()
	if err == nil {
		return nil
	}
	r.note("the indexes of segment %d were built anew: %v", s.base, err)
	known := len(r.epochs)
	whole, err := r.scan(s, math.MaxInt64)
	r.epochs = r.epochs[:known] // the checkpoint has them: it is as durable as the segment
	if err != nil {
		return err
	}
	if !whole {
		return fmt.Errorf("segment %d, which was durable, is damaged at byte %d: %s", s.base, s.size, r.report.Reason)
	}
	if s.next > next {
		return fmt.Errorf("segment %d ends at offset %d, above the base of the next one, %d", s.base, s.next, next)
	}
	if r.whole && s.next < next {
		return fmt.Errorf("segment %d ends at offset %d and the next one begins at %d: %w", s.base, s.next, next, ErrIncomplete)
	}
	// The segment is believed at the next start too, so its new indexes have to be durable, and whole at any time.
	s.addTime()
	if err := errors.Join(s.offsets.replace(s.fsys), s.times.replace(s.fsys)); err != nil {
		return fmt.Errorf("write the indexes of segment %d: %w", s.base, err)
	}
	s.indexSaved = true
	s.indexSynced.Store(true)
	return s.seal(next, s.size)
}

// scan reads the segment from its beginning and builds its indexes anew in memory. Batches that end at crcFrom or above
// have their CRC checked. It stops where no batch follows: then it is not whole, and the reason stands in the report.
func (r *recoverer) scan(s *segment, crcFrom moldau.Offset) (whole bool, err error) {
	sc := &r.scanner
	sc.reset(s.file, 0, s.size)
	s.clearIndexes()
	s.next = s.base
	r.untrusted = min(r.untrusted, s.base)
	for {
		sc.full = s.next >= crcFrom
		h, err := sc.header()
		if err == nil {
			err = r.check(s, h, crcFrom)
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if reason := (torn{}); errors.As(err, &reason) {
			r.report.Reason = fmt.Sprintf("segment %d at byte %d: %s", s.base, sc.pos, reason.reason)
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read segment %d at byte %d: %w", s.base, sc.pos, err)
		}
		h = sc.buf[sc.pos-sc.at:] // a check of the CRC may have moved the buffer
		if e := h.LeaderEpoch(); e >= 0 && e != r.epoch {
			r.epochs = append(r.epochs, epochStart{e, h.BaseOffset()})
			r.epoch = e
		}
		s.indexed(h, sc.pos, r.l.cfg.Load().IndexIntervalBytes)
		s.next = h.LastOffset() + 1
		r.report.Scanned += int64(h.Size())
		if r.progress != nil {
			r.progress(r.report.Scanned, max(r.total, r.report.Scanned))
		}
		sc.skip(h.Size())
	}
}

// check returns a torn where the batch at the scanner cannot stand in s behind what was read before.
func (r *recoverer) check(s *segment, h record.Batch, crcFrom moldau.Offset) error {
	switch {
	case h.BaseOffset() < s.next:
		return torn{fmt.Sprintf("offset %d, where at least %d has to be", h.BaseOffset(), s.next)}
	case !s.fits(h.LastOffset()):
		return torn{fmt.Sprintf("offset %d is too far from the segment's base", h.LastOffset())}
	case h.LeaderEpoch() >= 0 && h.LeaderEpoch() < r.epoch:
		return torn{fmt.Sprintf("leader epoch %d behind %d", h.LeaderEpoch(), r.epoch)}
	case h.LastOffset() < crcFrom:
		return nil
	}
	b, err := r.scanner.whole(h)
	if err != nil {
		return err
	}
	if !b.CRCValid() {
		return torn{fmt.Sprintf("the CRC of the batch at offset %d is wrong", b.BaseOffset())}
	}
	return nil
}

// cut ends the log where the scan of segment i stopped, and removes the segments behind it.
func (r *recoverer) cut(i int) error {
	s := r.segs[i]
	if r.whole && s.next < r.point {
		return fmt.Errorf("%s; all before offset %d was synced: %w", r.report.Reason, r.point, ErrIncomplete)
	}
	pos := min(r.scanner.pos, s.size)
	r.report.TruncatedAt = s.next
	r.report.TruncatedBytes = s.size - pos
	for _, later := range r.segs[i+1:] {
		r.report.TruncatedBytes += later.size
		r.report.SegmentsRemoved++
		r.report.Midway = r.report.Midway || later.size > 0
	}
	r.report.Midway = r.report.Midway || r.batchBehind(s)
	if err := r.drop(i + 1); err != nil {
		return err
	}
	if pos < s.size {
		if err := s.file.Truncate(pos); err != nil {
			return err
		}
		s.size = pos
	}
	r.point = min(r.point, s.next)
	return s.file.Sync()
}

// batchBehind reports whether a whole batch stands behind the damaged one that the scanner has met.
func (r *recoverer) batchBehind(s *segment) bool {
	sc := &r.scanner
	if sc.end-sc.pos < record.HeaderLen {
		return false
	}
	w, err := sc.window(record.HeaderLen)
	if err != nil {
		return false
	}
	size := record.Batch(w).Size()
	if size < record.HeaderLen || int64(size) >= sc.end-sc.pos {
		return false
	}
	sc.skip(size)
	h, err := sc.header()
	if err != nil || h.BaseOffset() <= s.next || !s.fits(h.LastOffset()) {
		return false
	}
	b, err := sc.whole(h)
	return err == nil && b.CRCValid()
}
