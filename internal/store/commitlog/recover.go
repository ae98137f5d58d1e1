package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
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
	h, err := sc.header()
	if err != nil {
		return false
	}
	after := h.LastOffset()
	sc.skip(h.Size())
	if h, err = sc.header(); err != nil || h.BaseOffset() <= after || !s.fits(h.LastOffset()) {
		return false
	}
	b, err := sc.whole(h)
	return err == nil && b.CRCValid()
}

// checkIndexes looks at the files of a sealed segment's indexes: that they are there, of whole entries, and in reach of
// the segment.
func (s *segment) checkIndexes() error {
	e, ok, err := s.offsets.lastOnDisk(s.fsys)
	if err != nil {
		return err
	}
	if ok && (e.rel < 0 || int64(e.pos) >= s.size || e.pos <= 0) {
		return fmt.Errorf("index %s ends with position %d in %d bytes", s.offsets.name, e.pos, s.size)
	}
	t, ok, err := s.times.lastOnDisk(s.fsys)
	if err != nil {
		return err
	}
	if ok && (t.rel < 0 || s.base+moldau.Offset(t.rel) >= s.next) {
		return fmt.Errorf("index %s ends with offset %d above the segment", s.times.name, s.base+moldau.Offset(t.rel))
	}
	return nil
}

// lastOnDisk returns the last entry of the index file, having checked that the file is one of whole entries.
func (x *index[E]) lastOnDisk(fsys env.FS) (e E, ok bool, err error) {
	f, err := fsys.Open(x.name)
	if err != nil {
		return e, false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size == 0 {
		return e, false, err
	}
	if size%int64(e.size()) != 0 {
		return e, false, fmt.Errorf("index %s has %d bytes, not a multiple of %d", x.name, size, e.size())
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
		if n := offsets.len(); n > 0 && sc.pos == at && s.base+moldau.Offset(offsets.at(n-1).rel) != h.LastOffset() {
			return fmt.Errorf("index %s does not fit the batch at byte %d", s.offsets.name, at)
		}
		s.indexed(h, sc.pos, math.MaxInt64) // the entries that are due exist
		s.next = h.LastOffset() + 1
		sc.skip(h.Size())
	}
	if n := times.len(); n > 0 && s.base+moldau.Offset(times.at(n-1).rel) >= s.next {
		return fmt.Errorf("index %s goes beyond the segment", s.times.name)
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

// recoverEpochs loads the epoch checkpoint and adds what the scan has found behind it. A checkpoint that is missing or
// damaged is built anew from the epochs that batches bear.
func (r *recoverer) recoverEpochs(start, end moldau.Offset) error {
	l := r.l
	saved, err := readEpochs(l.fsys, l.dir)
	if err != nil {
		saved = nil
		if !errors.Is(err, fs.ErrNotExist) {
			r.note("leader epochs were collected from the batches: %v", err)
		}
		if r.epochs, err = r.collectEpochs(); err != nil {
			return err
		}
	}
	t := saved
	for _, e := range r.epochs {
		if t.at(e.start) != e.epoch {
			t = t.assign(e.epoch, e.start)
		}
	}
	t = t.truncateTo(end).advanceTo(start)
	l.epochs.Store(&t)
	if slices.Equal(t, saved) {
		l.epochsSaved = &t
	}
	return nil
}

// collectEpochs reads the epochs of all batches.
func (r *recoverer) collectEpochs() ([]epochStart, error) {
	var list []epochStart
	epoch := moldau.NoEpoch
	for _, s := range r.segs {
		err := r.eachBatch(s, 0, func(h record.Batch) error {
			if e := h.LeaderEpoch(); e >= 0 && e != epoch {
				list = append(list, epochStart{e, h.BaseOffset()})
				epoch = e
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// eachBatch calls fn with the header of each batch of s from byte pos on.
func (r *recoverer) eachBatch(s *segment, pos int64, fn func(h record.Batch) error) error {
	for r.scanner.reset(s.file, pos, s.size); ; {
		h, err := r.scanner.header()
		if errors.Is(err, io.EOF) {
			return nil
		}
		size := 0
		if err == nil {
			size = h.Size()
			err = fn(h)
		}
		if err != nil {
			return fmt.Errorf("read segment %d at byte %d: %w", s.base, r.scanner.pos, err)
		}
		r.scanner.skip(size)
	}
}

// recoverProducers loads the newest usable snapshot and replays the batches behind it.
func (r *recoverer) recoverProducers(start, end moldau.Offset) error {
	l := r.l
	for _, at := range slices.Clone(l.snapshots) {
		isBase := slices.ContainsFunc(r.segs, func(s *segment) bool { return s.base == at })
		if at > end || !isBase && at != l.snapshots[len(l.snapshots)-1] {
			if err := l.removeSnapshot(at); err != nil {
				return err
			}
		}
	}
	err := l.loadProducers(&r.scanner, r.segs, min(end, r.untrusted), end, r.note)
	l.snapshotDurable = noOffset
	if r.clean {
		l.snapshotDurable = l.snapshotAt
	}
	return err
}

// loadProducers builds the producers' state at end from the newest snapshot that is not above from, and from the batches
// behind it. The transaction indexes of segments whose base is at least from are written anew.
func (l *Log) loadProducers(sc *scanner, segs []*segment, from, end moldau.Offset, note func(string, ...any)) error {
	l.producers.reset(segs[0].base)
	l.snapshotAt = segs[0].base
	for _, at := range slices.Backward(slices.Clone(l.snapshots)) {
		if at > from {
			continue
		}
		t, err := l.readSnapshot(at)
		if err == nil {
			l.producers = t
			l.snapshotAt = at
			break
		}
		note("a producer snapshot was passed over: %v", err)
		if err := l.removeSnapshot(at); err != nil {
			return err
		}
	}
	begin := l.producers.end
	for i, s := range segs {
		rebuild := s.base >= from
		if !rebuild && (s.size == 0 || i+1 < len(segs) && segs[i+1].base <= begin) {
			continue
		}
		aborted, err := l.replaySegment(sc, s, begin)
		if err != nil {
			return fmt.Errorf("producers of segment %d: %w", s.base, err)
		}
		if rebuild {
			if err := s.setAborted(aborted); err != nil {
				return err
			}
			l.namesDirty.Store(true)
		}
	}
	l.producers.end = end
	return nil
}

// replaySegment replays the batches of s from offset begin on and returns the transactions that they abort.
func (l *Log) replaySegment(sc *scanner, s *segment, begin moldau.Offset) ([]Aborted, error) {
	pos := int64(0)
	if begin > s.base {
		pg := l.pages.get()
		defer l.pages.put(pg)
		rel := int32(min(begin-s.base, maxRelative))
		e, _, err := s.offsets.search(s.fsys, pg.index[:], 1, func(e offsetEntry) bool { return e.rel < rel })
		if err != nil {
			return nil, err
		}
		pos = int64(e.pos)
	}
	var aborted []Aborted
	now := l.now()
	for sc.reset(s.file, pos, s.size); ; {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			return aborted, nil
		}
		if err != nil {
			return nil, fmt.Errorf("byte %d: %w", sc.pos, err)
		}
		size := h.Size()
		if h.BaseOffset() >= begin && h.ProducerID() != moldau.NoProducer {
			if h.IsControl() {
				if h, err = sc.whole(h); err != nil {
					return nil, err
				}
			}
			if a, ok := l.producers.replay(h, now); ok {
				aborted = append(aborted, a)
			}
		}
		sc.skip(size)
	}
}
