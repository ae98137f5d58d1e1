package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// recoverEpochs loads the epoch checkpoint and adds what the scan has found behind it. A checkpoint that is missing or
// damaged, or does not reach back to the first batch, is built anew from the epochs that batches bear.
func (r *recoverer) recoverEpochs(start, end moldau.Offset) error {
	l := r.l
	saved, err := readEpochs(l.fsys, l.dir)
	t := saved.learn(r.epochs)
	if err == nil {
		err = r.coversStart(t, start)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.note("leader epochs were collected from the batches: %v", err)
		}
		found, err := r.collectEpochs()
		if err != nil {
			return err
		}
		saved, t = nil, epochTable(nil).learn(found)
	}
	t = t.truncateTo(end).advanceTo(start)
	l.epochs.Store(&t)
	if slices.Equal(t, saved) {
		l.epochsSaved = &t
	}
	return nil
}

// learn adds the epochs that batches were found to begin.
func (t epochTable) learn(found []epochStart) epochTable {
	for _, e := range found {
		if t.at(e.start) != e.epoch {
			t = t.assign(e.epoch, e.start)
		}
	}
	return t
}

// errEnough ends a walk over batches early.
var errEnough = errors.New("enough")

// coversStart returns an error where t does not know the epoch of the first batch: a crash has brought back segments that
// were deleted a moment before.
func (r *recoverer) coversStart(t epochTable, start moldau.Offset) error {
	for _, s := range r.segs {
		if s.next <= start || s.size == 0 {
			continue
		}
		pos, err := r.l.floor(s, start)
		if err != nil {
			return err
		}
		err = r.eachBatch(s, pos, func(h record.Batch) error {
			at := max(start, h.BaseOffset())
			if h.LastOffset() < start {
				return nil
			}
			if e := h.LeaderEpoch(); e >= 0 && t.at(at) != e {
				return fmt.Errorf("%s tells of offset %d epoch %d, the batch is of epoch %d", epochsName, at, t.at(at), e)
			}
			return errEnough
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
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
		if l.damage != nil {
			break // what is behind the damage stays
		}
		isBase := slices.ContainsFunc(r.segs, func(s *segment) bool { return s.base == at })
		if at > end || !isBase && at != l.snapshots[len(l.snapshots)-1] {
			if err := l.removeSnapshot(at); err != nil {
				return err
			}
		}
	}
	if l.FirstDirty() > end {
		r.note("the first dirty offset %d lies behind the end of the log, %d, and is forgotten", l.FirstDirty(), end)
		l.firstDirty.Store(0)
	}
	err := l.loadProducers(&r.scanner, r.segs, min(end, r.untrusted), end, r.note)
	l.producers.endBelow(l.FirstDirty())
	l.snapshotDurable = noOffset
	if r.clean {
		l.snapshotDurable = l.snapshotAt
	}
	return err
}

// loadProducers builds the producers' state at end from the newest snapshot that is not above from, and from the batches
// behind it. Where a segment begins on the way, it gets a new snapshot. The transaction indexes of segments whose base is at
// least from are written anew.
func (l *Log) loadProducers(sc *scanner, segs []*segment, from, end moldau.Offset, note func(string, ...any)) error {
	l.producers.reset(segs[0].base)
	l.snapshotAt = segs[0].base
	for _, at := range slices.Backward(slices.Clone(l.snapshots)) {
		if at > from {
			// It may be torn, or that of what a crash or a truncation took: the batches before it tell, while they are there.
			if err := l.removeSnapshot(at); err != nil {
				return err
			}
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
		if s.base > begin && l.damage == nil && !slices.Contains(l.snapshots, s.base) {
			if err := l.writeSnapshotFile(s.base); err != nil {
				return err
			}
		}
		aborted, err := l.replaySegment(sc, s, begin)
		if err != nil {
			return fmt.Errorf("producers of segment %d: %w", s.base, err)
		}
		if rebuild && l.damage != nil {
			s.aborted.Store(&aborted)
		} else if rebuild {
			if err := s.setAborted(aborted); err != nil {
				return err
			}
			l.namesDirty.Store(true)
		}
	}
	l.producers.end = end
	return nil
}

// floor is a byte of s where a batch begins that is not behind the one that contains at.
func (l *Log) floor(s *segment, at moldau.Offset) (int64, error) {
	if at <= s.base {
		return 0, nil
	}
	pg := l.pools.pages.get()
	defer l.pools.pages.put(pg)
	rel := int32(min(at-s.base, maxRelative))
	e, _, err := s.offsets.search(s.fsys, pg.index[:], 1, func(e offsetEntry) bool { return e.rel <= rel })
	return int64(e.pos), err
}

// replaySegment replays the batches of s from offset begin on and returns the transactions that they abort.
func (l *Log) replaySegment(sc *scanner, s *segment, begin moldau.Offset) ([]Aborted, error) {
	pos, err := l.floor(s, begin)
	if err != nil {
		return nil, err
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
		if h.BaseOffset() >= begin && h.HasProducer() {
			if h.IsControl() {
				if h, err = sc.whole(h); err != nil {
					return nil, err
				}
			}
			if a, ok := l.producers.abortedBy(h); ok {
				aborted = append(aborted, a)
			}
			l.producers.replay(h, now)
		}
		sc.skip(size)
	}
}
