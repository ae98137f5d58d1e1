package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
)

// ErrTruncated ends a compaction of a log that was truncated meanwhile: a batch that was superseded may be the last again.
var ErrTruncated = errors.New("the log was truncated")

// CompactionOptions say how to compact.
type CompactionOptions struct {
	// Limit is as for Dirt.
	Limit moldau.Offset
	Now   time.Time
	// MapBytes and MapLoad bound the map of keys: its size, and the share of it that is filled. A dirty part with more keys is
	// cleaned as far as they reach; the rest is for another pass.
	MapBytes int64
	MapLoad  float64
	// BufferBytes is how much is read and written at once, at least 16 KiB; a larger batch takes what it needs.
	BufferBytes int
	// Secret keys the hashes of keys. Whoever does not know it cannot make two keys that are taken for one.
	Secret [keySecretLen]byte
}

// Compacted tells what a pass has done.
type Compacted struct {
	From, End                   moldau.Offset // the dirty part that was cleaned
	BytesRead, BytesWritten     int64
	RecordsRead, RecordsDropped int64
	SegmentsBefore, After       int // of those that were read
	GivenUp                     int // segments that are as they were, since retention has taken away others beside them
	KeysRead                    int64
	MapFill                     float64 // how full the map was, of what it may be
}

// Stage says what a Compaction wants next.
type Stage int

// The stages.
const (
	Working Stage = iota // another Step
	Ready                // Commit, and then another Step
	Done                 // nothing: the pass is over
)

// Compaction is a pass over one log: of the records with the same key, those before the last are dropped. It first notes the last
// offset of each key of the dirty part, then copies all segments up to there without what is superseded, several small ones into
// one. Offsets never change (L-60 to L-64).
//
// The pass is made of steps that take no lock and do a bounded amount of work each; they run beside appends, reads, retention and
// truncations. Commit alone wants to be serialized with other changes of the log, and touches no segment's bytes. A pass may be
// left at any time, by Abandon or by a crash: what is in place stays in place, and the rest is as it was.
type Compaction struct {
	l       *Log
	o       CompactionOptions
	cfg     Config
	dirt    Dirt
	cuts    int64 // truncations of the log before the pass
	segs    []*segment
	reading *segment // kept open
	ends    map[moldau.ProducerID]lastBatch
	keys    *keyMap
	sieve   *record.Sieve
	sc      scanner
	txns    transactions

	stage  func() (Stage, error)
	group  []*segment // that is being copied
	at     int        // index of the segment being read: of segs at first, of group later
	left   []*segment // behind group
	out    *rewrite
	missed bool  // a group was given up
	moved  int64 // bytes since the step began
	end    moldau.Offset
	// settled is the first dirty offset before the pass. A start takes it that a transaction which began below it has ended, so
	// that markers below may go: the state of producers may come from a snapshot that was taken before they did.
	settled moldau.Offset
	done    Compacted
}

// lastBatch is what has to stay of a producer: the batch that ends at data, or where it has sent none in its epoch, markers of that.
type lastBatch struct {
	data  moldau.Offset // noOffset: none
	epoch moldau.ProducerEpoch
}

// bufferMin is the least that is read and written at once, in bytes.
const bufferMin = 16 << 10

// stepBytes is about how much a step reads and writes: some tenths of a millisecond of work, so that whoever paces a pass can do it
// finely. A batch is never divided.
const stepBytes = 32 << 10

// BeginCompaction begins a pass over what Dirt finds; nil where that is nothing. It is to be serialized with other changes of the
// log. The caller calls Step, and Commit where that says so, until it is done, or Abandon.
// Errors: ErrClosed, ErrPoisoned, ErrDamaged; files that cannot be read.
func (l *Log) BeginCompaction(o CompactionOptions) (*Compaction, error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	dirt, err := l.Dirt(o.Now, o.Limit)
	if err != nil || dirt.From >= dirt.To {
		return nil, err
	}
	o.BufferBytes = max(o.BufferBytes, bufferMin)
	c := &Compaction{
		l: l, o: o, cfg: *l.cfg.Load(), dirt: dirt, end: dirt.To, cuts: l.cuts.Load(), settled: l.FirstDirty(), sieve: record.NewSieve(&l.pools.codecs),
		ends: make(map[moldau.ProducerID]lastBatch, len(l.producers.byID)),
	}
	for id, p := range l.producers.byID {
		last := lastBatch{noOffset, p.epoch}
		if p.n > 0 {
			last.data = p.window[p.n-1].last
		}
		c.ends[id] = last
	}
	for _, s := range l.view.Load().segs {
		if s.base < dirt.To {
			c.segs = append(c.segs, s)
		}
	}
	c.stage = c.beginKeys
	c.done.From = dirt.From
	return c, nil
}

// Done tells what the pass has done so far.
func (c *Compaction) Done() Compacted { return c.done }

// Step goes on with the pass and returns how many bytes it has read and written, for the caller to throttle.
// Errors: ErrTruncated; ErrDamaged where a batch is not what it should be; ErrNoSpace; a failed write or sync poisons the log. After an error
// the pass is to be abandoned.
func (c *Compaction) Step() (moved int64, next Stage, err error) {
	c.moved = 0
	next, err = c.stage()
	if c.l.cuts.Load() != c.cuts {
		err = ErrTruncated // whatever else it is that went wrong
	}
	if err != nil {
		err = fmt.Errorf("compact log %v: %w", c.l.partition, err)
	}
	return c.moved, next, err
}

// Abandon ends a pass, finished or not, and gives back what it holds. Groups of segments that were committed stay so.
func (c *Compaction) Abandon() {
	if c.out != nil {
		c.out.discard()
		c.out = nil
	}
	c.close()
	c.segs, c.keys = nil, nil
}

// beginKeys makes the map.
func (c *Compaction) beginKeys() (Stage, error) {
	aborted, err := c.l.AbortedIn(c.dirt.From, c.dirt.To)
	if err != nil {
		return Working, err
	}
	c.txns = newTransactions(aborted)
	c.keys = newKeyMap(c.o.MapBytes, c.o.MapLoad, int64(c.dirt.To-c.dirt.From), c.o.Secret)
	for c.at = 0; c.segs[c.at].next <= c.dirt.From; c.at++ {
	}
	c.stage = c.collectKeys
	return Working, nil
}

// open begins to read s, and keeps it open until close. errDropped: retention has taken it away.
func (c *Compaction) open(s *segment) error {
	if err := s.acquire(); err != nil {
		return err
	}
	c.reading = s
	c.sc.reset(s.file, 0, s.size)
	c.sc.ahead = c.o.BufferBytes
	return nil
}

func (c *Compaction) close() {
	if c.reading != nil {
		c.reading.release()
		c.reading = nil
	}
}

// openDirty begins to read the next segment of the dirty part at its first dirty batch; io.EOF behind the last.
func (c *Compaction) openDirty() error {
	for ; c.at < len(c.segs); c.at++ {
		s := c.segs[c.at]
		err := c.open(s)
		if errors.Is(err, errDropped) {
			continue // what is not there supersedes nothing
		}
		if err == nil && s.base < c.dirt.From {
			c.sc.pos, err = c.l.floor(s, c.dirt.From)
		}
		return err
	}
	return io.EOF
}

// collectKeys notes the keys of some batches of the dirty part.
func (c *Compaction) collectKeys() (Stage, error) {
	for c.moved < stepBytes {
		b, err := c.next(c.openDirty)
		if errors.Is(err, io.EOF) {
			return Working, c.beginCopy()
		}
		if err != nil {
			return Working, err
		}
		full, err := c.note(b)
		if err != nil {
			return Working, inSegment(c.reading, c.sc.pos, err)
		}
		if full {
			return Working, c.beginCopy()
		}
		c.sc.skip(b.Size())
	}
	return Working, nil
}

// next returns the batch at the scanner, which it moves to the next segment at the end of one: open begins to read that, and its
// error, io.EOF where there is none, is returned. The batch is valid until the next call.
func (c *Compaction) next(open func() error) (record.Batch, error) {
	for {
		if c.reading == nil {
			if err := open(); err != nil {
				return nil, err
			}
		}
		b, err := c.whole(c.reading)
		if !errors.Is(err, io.EOF) {
			return b, err
		}
		c.close()
		c.at++
	}
}

// whole returns the whole batch at the scanner, checked; io.EOF at the end of the segment s.
func (c *Compaction) whole(s *segment) (record.Batch, error) {
	c.sc.full = true
	b, err := c.sc.header()
	if err == nil {
		b, err = c.sc.whole(b)
	}
	if err == nil && !b.CRCValid() {
		err = torn{fmt.Sprintf("the CRC of the batch at offset %d is wrong", b.BaseOffset())}
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.As(err, new(torn)):
		return nil, inSegment(s, c.sc.pos, fmt.Errorf("%w: %w", ErrDamaged, err))
	case err != nil:
		return nil, inSegment(s, c.sc.pos, err)
	}
	c.moved += int64(b.Size())
	c.done.BytesRead += int64(b.Size())
	return b, nil
}

func inSegment(s *segment, pos int64, err error) error {
	return fmt.Errorf("segment %d at byte %d: %w", s.base, pos, err)
}

// note enters the keys of b. Where the map is full, the pass ends before the first record that found no room.
func (c *Compaction) note(b record.Batch) (full bool, err error) {
	if b.LastOffset() < c.dirt.From {
		return false, nil
	}
	if b.IsControl() {
		c.txns.marker(b)
		return false, nil
	}
	if c.txns.data(b) {
		return false, nil
	}
	err = c.sieve.Each(b, openLimit(b), func(it record.Item) bool {
		c.done.KeysRead++
		if it.Key == nil || it.Offset < c.dirt.From {
			return true
		}
		if full = !c.keys.put(it.Key, it.Offset); full {
			c.end = it.Offset
		}
		return !full
	})
	if errors.Is(err, record.ErrTooLarge) {
		return false, nil // it stays as it is, and so do older records with its keys
	}
	return full, damaged(err)
}

// openLimit is how large the records of a batch that is in the log may be when decompressed.
func openLimit(b record.Batch) int { return record.OpenLimit(len(b), len(b)) }

// damaged makes the error of records that cannot be read one of damage.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// beginCopy goes over to the second part, which begins at the start of the log.
func (c *Compaction) beginCopy() error {
	c.close()
	c.done.End = c.end
	c.done.MapFill = float64(c.keys.n) / float64(c.keys.limit)
	for n := len(c.segs); n > 0 && c.segs[n-1].base >= c.end; n-- { // the map did not reach it
		c.segs = c.segs[:n-1]
	}
	aborted, err := c.l.AbortedIn(c.segs[0].base, c.segs[len(c.segs)-1].next)
	if err != nil {
		return err
	}
	c.txns = newTransactions(aborted)
	c.left = c.segs
	c.done.SegmentsBefore = len(c.segs)
	return c.beginGroup()
}

// beginGroup takes as many of the segments that are left as go into one.
func (c *Compaction) beginGroup() error {
	if len(c.left) == 0 {
		c.stage = c.finish
		return nil
	}
	n, err := c.groupLen()
	if err != nil {
		return err
	}
	c.group, c.left, c.at = c.left[:n], c.left[n:], 0
	c.out = newRewrite(c.l, c.group, c.o.BufferBytes)
	c.txns.index = nil
	c.stage = c.copySome
	return nil
}

// groupLen is how many of the segments that are left go into one: by segment.bytes, segment.index.bytes and the range of 32 bits.
func (c *Compaction) groupLen() (int, error) {
	first := c.left[0]
	var size, offsets, times int64
	for n, s := range c.left {
		o, t, err := s.indexSizes()
		if errors.Is(err, errDropped) { // it is found out when it is read
			return max(n, 1), nil
		}
		if err != nil {
			return 0, inSegment(s, 0, err)
		}
		size, offsets, times = size+s.size, offsets+o+offsetEntryLen, times+t+timeEntryLen
		if n > 0 && (size > c.cfg.SegmentBytes || s.next-1-first.base > maxRelative || max(offsets, times) > c.cfg.IndexBytesMax) {
			return n, nil
		}
	}
	return len(c.left), nil
}

// indexSizes is how many bytes the files of the indexes of a sealed segment have.
func (s *segment) indexSizes() (offsets, times int64, err error) {
	if err := s.acquire(); err != nil {
		return 0, 0, err
	}
	defer s.release()
	o, err := s.offsets.open(s.fsys)
	if err != nil {
		return 0, 0, err
	}
	t, err := s.times.open(s.fsys)
	if err != nil {
		return 0, 0, err
	}
	return o.size, t.size, nil
}

// openGrouped begins to read the next segment of the group; io.EOF behind the last, errDropped as of open.
func (c *Compaction) openGrouped() error {
	if c.at == len(c.group) {
		return io.EOF
	}
	return c.open(c.group[c.at])
}

// copySome copies what stays of some batches.
func (c *Compaction) copySome() (Stage, error) {
	for c.moved < stepBytes {
		b, err := c.next(c.openGrouped)
		switch {
		case errors.Is(err, io.EOF):
			return c.endGroup()
		case errors.Is(err, errDropped):
			return Working, c.giveUp()
		case err != nil:
			return Working, err
		}
		s := c.reading
		kept, err := c.sift(b)
		if err != nil {
			return Working, inSegment(s, c.sc.pos, damaged(err))
		}
		if len(kept) > len(b) && c.out.size+int64(len(kept))+s.size-c.sc.pos > math.MaxInt32 {
			kept = b // a delete horizon can make a batch larger, and positions have 32 bits
		}
		if err := c.out.add(kept, b); err != nil {
			return Working, c.l.refuse(undone(err, nothing))
		}
		c.moved += int64(len(kept))
		c.sc.skip(b.Size())
	}
	return Working, nil
}

// giveUp leaves a group as it is, of which retention has taken a part away meanwhile. What it should have lost stays until its keys
// are written again or retention comes to it; only where it reaches into the dirty part another pass is needed.
func (c *Compaction) giveUp() error {
	c.out.discard()
	c.out = nil
	c.txns.blind = true
	c.gaveUp()
	return c.beginGroup()
}

func (c *Compaction) gaveUp() {
	c.done.GivenUp += len(c.group)
	c.missed = c.missed || c.group[len(c.group)-1].next > c.dirt.From
}

// sift returns what stays of b: b itself where nothing changes, nil where nothing stays.
func (c *Compaction) sift(b record.Batch) (record.Batch, error) {
	discard, marker := c.judge(b)
	c.done.RecordsRead += int64(b.Count())
	switch {
	case b.BaseOffset() >= c.end:
		return b, nil
	case b.Count() == 0:
		if c.needed(b) {
			return b, nil
		}
		return nil, nil
	case !discard && b.IsControl() && (!marker || b.HasDeleteHorizon()):
		return b, nil
	}
	var sifted record.Sifted
	if !discard {
		var err error
		sifted, err = c.sieve.Sift(b, openLimit(b), c.horizon(), marker, func(it record.Item) bool {
			return b.IsControl() || c.stays(b, it)
		})
		if errors.Is(err, record.ErrTooLarge) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
	c.done.RecordsDropped += int64(int(b.Count()) - sifted.Kept)
	if sifted.Kept == 0 && c.needed(b) {
		return c.sieve.Empty(b), nil
	}
	return sifted.Batch, nil
}

// judge tells whether all records of b go, since they were aborted, or since they are a marker of a transaction that has no data
// left whose horizon has passed. marker says that b is such a marker whose horizon has not passed, or is not set yet (L-63).
func (c *Compaction) judge(b record.Batch) (discard, marker bool) {
	if !b.IsControl() {
		return c.txns.data(b), false
	}
	if !c.txns.marker(b) && !plant.Has(plant.MarkerEarly) {
		return false, false
	}
	discard = b.HasDeleteHorizon() && c.passed(b) && b.LastOffset() < c.settled
	return discard, !discard
}

// stays reports whether a record stays (L-61, L-62).
func (c *Compaction) stays(b record.Batch, it record.Item) bool {
	switch {
	case it.Offset >= c.end:
		return true
	case it.Key == nil:
		return false // L-65
	case it.Offset < c.keys.last(it.Key):
		return false
	case it.Tombstone && b.HasDeleteHorizon():
		return !c.passed(b)
	}
	return true
}

// passed reports whether the delete horizon of b has passed.
func (c *Compaction) passed(b record.Batch) bool {
	return int64(b.BaseTimestamp()) <= c.o.Now.UnixMilli() || plant.Has(plant.TombstoneEarly)
}

// horizon is the delete horizon of tombstones that this pass sees for the first time.
func (c *Compaction) horizon() moldau.Timestamp {
	now := c.o.Now.UnixMilli()
	return moldau.Timestamp(now + min(c.cfg.DeleteRetentionMs, math.MaxInt64-now))
}

// needed reports whether a batch has to stay, without records if need be (L-64): the last of a producer, for its state; the last of
// the pass, for the end offset; the last of a segment, so that segments meet and one that is missing shows.
func (c *Compaction) needed(b record.Batch) bool {
	if b.LastOffset()+1 == c.end || c.at == len(c.group)-1 && c.sc.pos+int64(b.Size()) == c.sc.end {
		return true
	}
	last, live := c.ends[b.ProducerID()]
	switch {
	case !live || !b.HasProducer() || plant.Has(plant.ProducerForgotten):
		return false
	case last.data != noOffset:
		return !b.IsControl() && b.LastOffset() == last.data
	}
	return b.IsControl() && b.ProducerEpoch() == last.epoch
}

// endGroup makes the new segment durable. Where it would be the old one, that stays.
func (c *Compaction) endGroup() (Stage, error) {
	c.done.After++
	if c.out.same() {
		c.out.discard()
		c.out = nil
		return Working, c.beginGroup()
	}
	c.out.aborted = c.txns.index
	if err := c.out.finish(); err != nil {
		return Working, c.l.refuse(undone(err, nothing))
	}
	c.done.BytesWritten += c.out.size
	c.stage = c.settle
	return Ready, nil
}

// Commit puts the segment that was made in the place of those that it was made of. It is to be serialized with other changes of the
// log, and writes nothing: the names follow with the next Step. Where retention has taken one of those segments out of the log
// meanwhile, the new one is given up.
// Errors: ErrClosed, ErrPoisoned; ErrTruncated, after which the pass is to be abandoned.
func (c *Compaction) Commit() error {
	if err := c.l.usable(); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if c.l.cuts.Load() != c.cuts {
		return fmt.Errorf("compact log %v: %w", c.l.partition, ErrTruncated)
	}
	if !c.l.replace(c.out) {
		c.out.discard()
		c.gaveUp()
	}
	c.out = nil
	return nil
}

// settle makes the names of a committed segment durable.
func (c *Compaction) settle() (Stage, error) {
	if err := c.l.settle(); err != nil {
		return Working, err
	}
	return Working, c.beginGroup()
}

// settle makes the names of everything that the view has changed durable.
func (l *Log) settle() error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.buryCondemned(); err != nil {
		return l.refuse(err)
	}
	return nil
}

// finish moves the first dirty offset, unless a part was not cleaned, or the log was truncated meanwhile: what was appended after
// that nobody has looked at.
func (c *Compaction) finish() (Stage, error) {
	l := c.l
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if l.cuts.Load() == c.cuts && !c.missed {
		l.firstDirty.Store(int64(c.end))
	}
	return Done, nil
}
