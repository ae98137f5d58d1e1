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
	// Midway says that whole batches stood behind the cut. None of them was synced: a power loss has kept them and lost one before.
	Midway bool
	// Notes tells of files that could be built anew, one sentence each.
	Notes []string
}

// Recovery returns what Open had to repair.
func (l *Log) Recovery() Recovery {
	if l.recovery == nil {
		return Recovery{}
	}
	return *l.recovery
}

// recoverer opens the segments of a log and establishes where it ends.
type recoverer struct {
	l          *Log
	clean      bool
	whole      bool          // nothing before point may be missing
	point      moldau.Offset // everything before was synced
	logStart   moldau.Offset
	startKnown bool // logStart is that of a checkpoint
	outage     Outage
	noted      bool // an earlier start has found the log damaged
	durableAt  func(record.Batch) moldau.Offset
	progress   func(done, total int64)

	segs      []*segment
	scanner   scanner
	total     int64              // bytes to scan
	epoch     moldau.LeaderEpoch // of the last batch scanned
	epochs    []epochStart       // changes of epoch met by the scan
	untrusted moldau.Offset      // base of the first segment whose indexes were built anew
	rebuilt   []*segment         // believed, with indexes in memory that are built anew
	reason    string             // why the scan ended, without the place
	report    Recovery
}

func (r *recoverer) note(format string, args ...any) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
}

// found keeps why the log cannot be believed further, and where.
func (r *recoverer) found(where, reason string) {
	r.reason = reason
	r.report.Reason = where + reason
}

func (r *recoverer) openSegments(f files) error {
	for _, base := range f.bases {
		s, err := openSegment(r.l.fsys, r.l.dir, base)
		if err != nil {
			return err
		}
		if !f.names[stem(base)+txnExt] {
			s.aborted.Store(&noAborted)
		}
		s.indexSynced.Store(true)
		r.segs = append(r.segs, s)
	}
	return nil
}

// run recovers the log and publishes its view.
func (r *recoverer) run() error {
	l := r.l
	r.untrusted = math.MaxInt64
	if err := r.recoverSegments(); err != nil {
		return err
	}
	if err := r.checkEnd(); err != nil {
		return err
	}
	if err := r.mended(); err != nil {
		return err
	}
	if n := len(r.segs); n == 0 || r.segs[n-1].next < r.logStart {
		if err := r.startAt(r.logStart); err != nil {
			return err
		}
	}
	end := r.segs[len(r.segs)-1].next
	start := max(r.logStart, r.segs[0].base)
	if err := r.recoverEpochs(start, end); err != nil {
		return err
	}
	if err := r.recoverProducers(start, end); err != nil {
		return err
	}
	if err := r.saveRebuilt(); err != nil {
		return err
	}
	switch {
	case l.damage != nil:
		l.recoveryPoint.Store(int64(r.point)) // as checkpointed: the next start has to find the same
	case r.clean:
		l.recoveryPoint.Store(int64(end))
	default:
		l.recoveryPoint.Store(int64(min(r.point, end)))
	}
	l.noteOpen()
	if l.RecoveryPoint() == end {
		l.settled.Store(min(l.firstOpen.Load(), int64(end)))
	}
	active := r.segs[len(r.segs)-1]
	l.view.Store(&view{start, r.segs, newTail(1, boundary{end, active.size})})
	return nil
}

// checkEnd finds records missing at either end of a log that is to be whole: one that begins above its start, and one that
// ends below its recovery point or, after a clean stop, below its start. An end that is missing is damage like any other.
func (r *recoverer) checkEnd() error {
	if r.l.damage != nil || !r.whole {
		return nil
	}
	n := len(r.segs)
	if n == 0 {
		if r.point > 0 || r.clean && r.logStart > 0 {
			return fmt.Errorf("all before offset %d was synced, and no segment is there: %w", max(r.point, r.logStart), ErrIncomplete)
		}
		return nil
	}
	last := r.segs[n-1]
	switch {
	case r.startKnown && r.segs[0].base > r.logStart:
		return fmt.Errorf("it begins at offset %d, and its start is %d (%s): %w", r.segs[0].base, r.logStart, LogStarts, ErrIncomplete)
	case last.next < r.point:
		r.found("", fmt.Sprintf("the log ends at offset %d, and all before %d was synced", last.next, r.point))
		return r.breakAt(n-1, last.size, false)
	case r.clean && last.next < r.logStart:
		return fmt.Errorf("it ends at offset %d, below its start %d of the checkpoint: %w", last.next, r.logStart, ErrIncomplete)
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
			if whole, err := r.believe(i, next); err != nil || !whole {
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
		whole, err := r.scanOrDoubt(s, r.crcFrom())
		if err != nil {
			return err
		}
		if !whole {
			return r.stopAt(i)
		}
		if last {
			continue
		}
		if gap := next - s.next; gap < 0 || gap > 0 && gap <= maxRelative {
			// Where segments meet, offsets do; only what was synced may have been compacted.
			r.found("", reasonApart(s, next))
			return r.stopAt(i)
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

// reasonApart says that a segment does not end where the next one begins.
func reasonApart(s *segment, next moldau.Offset) string {
	return fmt.Sprintf("segment %d ends at offset %d and the next one begins at %d", s.base, s.next, next)
}

// believe takes sealed segment i as it is, once its indexes look like some and its last batches lead to its end. Where that is
// not so it is read whole; if records turn out to be missing, the log is broken there, and believe returns false.
func (r *recoverer) believe(i int, next moldau.Offset) (bool, error) {
	s := r.segs[i]
	s.next = next
	e, err := s.checkIndexes()
	if err == nil {
		err = r.checkLastBatches(s, e, next)
	}
	if err == nil {
		return true, nil
	}
	known := len(r.epochs)
	whole, scanErr := r.scanOrDoubt(s, math.MaxInt64)
	r.epochs = r.epochs[:known] // the checkpoint has them: it is as durable as the segment
	if scanErr != nil {
		return false, scanErr
	}
	if whole && (s.next > next || r.whole && s.next < next) {
		r.found("", reasonApart(s, next))
		whole = false
	}
	if !whole {
		at := min(r.scanner.pos, s.size)
		behind, err := r.batchesBehind(i, at)
		if err != nil {
			return false, err
		}
		return false, r.breakAt(i, at, behind.found)
	}
	r.note("the indexes of segment %d were built anew: %v", s.base, err)
	s.next = next
	r.rebuilt = append(r.rebuilt, s)
	return true, nil
}

// saveRebuilt writes the indexes of the segments that believe had to read. They are believed at the next start, so it has to
// find these durable and whole, and before them the transaction indexes that were built anew on the way: until the indexes are there,
// a start reads the segment again. In a damaged log they stay in memory.
func (r *recoverer) saveRebuilt() error {
	if len(r.rebuilt) == 0 || r.l.damage != nil {
		return nil
	}
	for _, s := range r.segs {
		if err := s.syncAborted(); err != nil {
			return err
		}
	}
	if err := r.l.fsys.SyncDir(r.l.dir); err != nil {
		return err
	}
	for _, s := range r.rebuilt {
		if !slices.Contains(r.segs, s) {
			continue // the log has begun anew
		}
		s.addTime()
		if err := errors.Join(s.offsets.replace(s.fsys), s.times.replace(s.fsys)); err != nil {
			return fmt.Errorf("write the indexes of segment %d: %w", s.base, err)
		}
		s.indexSaved = true
		s.indexSynced.Store(true)
		s.dropIndexes(s.next, s.size)
	}
	return nil
}

// checkLastBatches walks the headers from the one that e, the last entry of the index of s, points to; s is sealed. They have to lead to the end of
// the file and, in a log that is to be whole, to the base of the next segment. It costs one read, and shows a segment that was
// cut short, and one that is missing behind it.
func (r *recoverer) checkLastBatches(s *segment, e offsetEntry, next moldau.Offset) error {
	chain := chain{base: s.base, next: s.base, epoch: moldau.NoEpoch}
	sc := &r.scanner
	for sc.reset(s.file, int64(e.pos), s.size); ; {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = chain.follows(h)
		}
		if err != nil {
			return fmt.Errorf("byte %d: %w", sc.pos, err)
		}
		if e.pos > 0 && sc.pos == int64(e.pos) && h.LastOffset() > s.base+moldau.Offset(e.rel) {
			return fmt.Errorf("index %s does not fit the batch at byte %d", s.offsets.name(), e.pos)
		}
		chain.next = h.LastOffset() + 1
		sc.skip(h.Size())
	}
	if chain.next > next || r.whole && chain.next < next {
		return fmt.Errorf("it ends at offset %d, and the next one begins at %d", chain.next, next)
	}
	return nil
}

// scanOrDoubt is scan, but that where it ends early the segment is read again with every CRC checked: the last batch before a
// place that makes no sense may be the one whose size is wrong.
func (r *recoverer) scanOrDoubt(s *segment, crcFrom moldau.Offset) (whole bool, err error) {
	known, epoch := len(r.epochs), r.epoch
	if whole, err = r.scan(s, crcFrom); whole || err != nil || crcFrom <= s.base {
		return whole, err
	}
	r.epochs, r.epoch = r.epochs[:known], epoch
	return r.scan(s, 0)
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
		h, err := chain{base: s.base, next: s.next, epoch: r.epoch}.check(sc, crcFrom)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if reason := (torn{}); errors.As(err, &reason) {
			r.found(fmt.Sprintf("segment %d at byte %d: ", s.base, sc.pos), reason.reason)
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read segment %d at byte %d: %w", s.base, sc.pos, err)
		}
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

// cut ends the log at byte pos of segment i, where the scan stopped, and removes the segments behind it.
func (r *recoverer) cut(i int, pos int64) error {
	s := r.segs[i]
	r.report.TruncatedAt = s.next
	r.report.TruncatedBytes = s.size - pos
	for _, later := range r.segs[i+1:] {
		r.report.TruncatedBytes += later.size
		r.report.SegmentsRemoved++
		r.report.Midway = r.report.Midway || later.size > 0
	}
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
