package commitlog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/must"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/filecache"
)

var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrPoisoned is returned after a write or a sync has failed; the log takes nothing more until it is opened anew.
	// Errors that wrap it bear the first failure.
	ErrPoisoned = errors.New("the log has failed before")
	// ErrNoSpace is returned where the volume is full. What was asked for has not happened, nothing is left of it on disk or in
	// memory, and the log goes on: the same call may succeed once there is room.
	ErrNoSpace = errors.New("no space is left for the log")
	// ErrNoFiles is returned where the process has as many files open as it may and the log needs another. It is otherwise
	// like ErrNoSpace.
	ErrNoFiles = errors.New("too many files are open; raise the limit of the process (ulimit -n, LimitNOFILE)")
	// ErrIncomplete is returned by Open where records are missing that were durable.
	ErrIncomplete = errors.New("records are missing that were durable: bring the files back, or delete the topic, " +
		"or stop the broker and take what is left with: moldau log repair")
	// ErrOutOfOrder is returned by AppendAs for a batch that does not follow what is there.
	ErrOutOfOrder = errors.New("the batch does not follow the log's end")
)

// Log is the log of one partition. Its methods are to be serialized by the caller, but for those that say otherwise.
type Log struct {
	fsys      *filecache.FS
	now       func() time.Time
	dir       string
	partition moldau.TopicPartition
	pools     *Pools

	// Readers on any goroutine see these.
	view          atomic.Pointer[view]
	epochs        atomic.Pointer[epochTable]
	recoveryPoint atomic.Int64
	written       atomic.Int64 // bytes appended since Open
	synced        atomic.Int64 // what written was at the start of the last flush
	failure       atomic.Pointer[error]
	cfg           atomic.Pointer[Config]
	closed        atomic.Bool
	unwritten     atomic.Bool // it has no files yet

	// flushing is held by whoever syncs, across the sync: beside appends, never beside another sync or a truncation.
	flushing    env.Mutex
	epochsSaved *epochTable // what leader-epoch-checkpoint holds; guarded by flushing
	namesDirty  atomic.Bool // the directory has names that were not synced

	rested    int64 // what written was at the last rest
	producers producerTable
	snapshots []moldau.Offset // that exist as files, ascending
	// snapshotAt is the end of the log at which a start would find the producers' state as it is: that of a snapshot, or
	// of a log without records.
	snapshotAt      moldau.Offset
	snapshotDurable moldau.Offset // the snapshot that was synced last, or noOffset
	recovery        *Recovery     // nil: nothing had to be done
	damage          *Damage       // fixed by Open

	firstDirty atomic.Int64 // offset from which on no pass has compacted the log
	firstOpen  atomic.Int64 // of the transactions without a marker the earliest offset; MaxInt64: none
	settled    atomic.Int64 // the transactions that began before have durable markers
	cuts       atomic.Int64 // number of truncations; together with firstDirty it changes under flushing

	graves atomic.Pointer[graveyard] // nil before the first deletion
}

// Appended tells where a batch went.
type Appended struct {
	Base, Last moldau.Offset
	// Timestamp is the highest of the batch.
	Timestamp moldau.Timestamp
	// Rolled says that the append began a new segment: the one before wants a Flush.
	Rolled bool
}

// Append stamps b with the next offsets and the leader epoch and writes it to the active segment, with one write.
// b: one whole batch, checked by the caller (CRC, sizes, producer state by CheckProducer); its header is modified in
// place, and the bytes are not kept.
// Errors: ErrClosed, ErrPoisoned; an epoch below that of the log's last record; ErrUnwritten; those that are Transient. Any other failed write poisons
// the log. L-8, L-41.
func (l *Log) Append(b record.Batch, epoch moldau.LeaderEpoch) (Appended, error) {
	end := l.view.Load().tail.end()
	b.SetBaseOffset(end.next)
	b.SetLeaderEpoch(epoch)
	return l.append(b, end)
}

// AppendAs writes b as it is, for followers and consensus: its offsets and epoch are those that the leader gave. It has
// to begin at the log's end, or above it where the leader's log has been compacted.
// Errors: as of Append; ErrOutOfOrder.
func (l *Log) AppendAs(b record.Batch) (Appended, error) {
	end := l.view.Load().tail.end()
	if b.BaseOffset() < end.next {
		return Appended{}, fmt.Errorf("append %v to log %v: %w, %d", b, l.partition, ErrOutOfOrder, end.next)
	}
	return l.append(b, end)
}

func (l *Log) append(b record.Batch, end boundary) (Appended, error) {
	if len(b) < record.HeaderLen || len(b) != b.Size() || b.LastOffsetDelta() < 0 {
		must.True(false, "log %v is to append %d bytes that are no batch: %v", l.partition, len(b), b) // boxing its arguments costs an allocation each
	}
	if err := l.usable(); err != nil {
		return Appended{}, err
	}
	if l.Unwritten() {
		return Appended{}, fmt.Errorf("append to log %v: %w", l.partition, ErrUnwritten)
	}
	epochs := *l.epochs.Load()
	epoch := b.LeaderEpoch()
	if epoch >= 0 && epoch < epochs.latest() && epoch < epochs.at(end.next-1) {
		return Appended{}, fmt.Errorf("append %v to log %v: %w: its last epoch is %d", b, l.partition, ErrOutOfOrder, epochs.at(end.next-1))
	}
	now := l.now()
	v := l.view.Load()
	rolled := l.mustRoll(v, end, b, now)
	if rolled {
		base := end.next
		if b.LastOffset()-base > maxRelative {
			base = b.BaseOffset()
		}
		if err := l.roll(base, now); err != nil {
			return Appended{}, l.refuse(fmt.Errorf("roll log %v at offset %d: %w", l.partition, base, err))
		}
		v = l.view.Load()
		end = v.tail.end()
	} else if v.tail.full() {
		v = &view{v.start, v.segs, v.tail.grown()}
		l.view.Store(v)
	}

	s := v.active()
	if plant.Has(plant.ProducersBeforeWrite) && b.HasProducer() {
		l.producers.replay(b, now)
	}
	if err := l.write(s, b, end.pos); err != nil {
		return Appended{}, l.refuse(fmt.Errorf("append to log %v at offset %d: %w", l.partition, end.next, err))
	}
	s.indexed(b, end.pos, l.cfg.Load().IndexIntervalBytes)
	if epoch >= 0 && epoch != epochs.latest() {
		l.setEpochs(epochs.assign(epoch, b.BaseOffset()))
	}
	if b.HasProducer() {
		l.producers.replay(b, now)
	}
	if b.IsTransactional() && !b.IsControl() {
		l.noteOpen() // before the batch is seen
	}
	last := b.LastOffset()
	l.producers.end = last + 1
	v.tail.add(boundary{last + 1, end.pos + int64(len(b))})
	if b.IsControl() {
		l.noteOpen() // after the marker is seen
	}
	l.written.Add(int64(len(b)))
	return Appended{Base: b.BaseOffset(), Last: last, Timestamp: b.MaxTimestamp(), Rolled: rolled}, nil
}

// write puts b at pos of s, the active segment, and into its transaction index what b means for that. It comes before
// anything in memory changes, so that a batch that was refused has left no trace there (KAFKA-6683). An error leaves the
// files as they were, or tells that they are not.
func (l *Log) write(s *segment, b record.Batch, pos int64) error {
	n, err := s.file.WriteAt(b, pos)
	if n == 0 && env.TooManyFiles(err) {
		return undone(err, nothing)
	}
	aborted, aborts := l.producers.abortedBy(b)
	if err == nil && aborts {
		if err = s.addAborted(aborted); err == nil {
			l.namesDirty.Store(true)
		}
	}
	if err == nil {
		return nil
	}
	return undone(err, func() error {
		cut := s.file.Truncate(pos)
		if aborts {
			cut = errors.Join(cut, s.cutAborted())
		}
		return cut
	})
}

// undone takes back what a call that failed with err has done so far, and makes it ErrNoSpace or ErrNoFiles where that is the
// reason and nothing is left of it.
func undone(err error, undo func() error) error {
	if failed := undo(); failed != nil {
		return errors.Join(err, failed)
	}
	switch {
	case env.NoSpace(err):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case env.TooManyFiles(err):
		return fmt.Errorf("%w: %w", ErrNoFiles, err)
	}
	return err
}

// nothing is for undone where a call that fails leaves nothing behind.
func nothing() error { return nil }

// maxRelative is the highest offset in a segment, less its base.
const maxRelative = 1<<31 - 1

// mustRoll reports whether b has to go to a new segment (L-41).
func (l *Log) mustRoll(v *view, end boundary, b record.Batch, now time.Time) bool {
	s := v.active()
	if !s.fits(b.LastOffset()) {
		return true
	}
	if end.pos == 0 {
		return false
	}
	cfg := l.cfg.Load()
	segmentMs := cfg.SegmentMs
	if cfg.CompactEnabled {
		segmentMs = min(segmentMs, cfg.MaxCompactionLagMs) // the active segment cannot be compacted
	}
	waited := now.UnixMilli() - s.createdMs
	if s.firstTimestamp >= 0 && b.MaxTimestamp() >= 0 {
		waited = int64(b.MaxTimestamp() - s.firstTimestamp)
	}
	return end.pos+int64(len(b)) > cfg.SegmentBytes ||
		waited > segmentMs-cfg.jitter(l.partition, s.base) ||
		s.full(cfg.IndexBytesMax)
}

// roll seals the active segment and begins an empty one at base, which is the log's end, or above it where offsets jump
// further than a segment can hold. An empty active segment is replaced. Until all its files are there, the active segment
// stays what it is.
func (l *Log) roll(base moldau.Offset, now time.Time) error {
	v := l.view.Load()
	end := v.tail.end()
	old := v.active()
	segs := v.segs
	if end.pos == 0 {
		segs = segs[:len(segs)-1]
	} else if err := old.saveIndexes(); err != nil {
		return undone(err, nothing)
	}
	snapshotAt, snapshotDurable := l.snapshotAt, l.snapshotDurable
	err := l.writeSnapshot(base)
	var s *segment
	if err == nil {
		s, err = createSegment(l.fsys, l.dir, base, now)
	}
	if err != nil {
		return undone(err, func() error {
			l.snapshotAt, l.snapshotDurable = snapshotAt, snapshotDurable
			if snapshotAt == base {
				return nil // it was there before
			}
			return l.removeSnapshot(base)
		})
	}
	if end.pos > 0 {
		old.dropIndexes(end.next, end.pos)
	}
	l.namesDirty.Store(true)
	l.view.Store(&view{v.start, append(segs[:len(segs):len(segs)], s), newTail(tailLen, boundary{base, 0})})
	if end.pos == 0 {
		l.graveyard().condemn(old)
	}
	return nil
}

// usable returns why the log takes no more changes, or nil.
func (l *Log) usable() error {
	if l.closed.Load() {
		return fmt.Errorf("log %v: %w", l.partition, ErrClosed)
	}
	if l.damage != nil {
		return fmt.Errorf("log %v: %w", l.partition, l.damage)
	}
	return l.Poisoned()
}

// Poisoned returns the failure that has made the log refuse changes, wrapped in ErrPoisoned, or nil. It may be called
// from any goroutine.
func (l *Log) Poisoned() error {
	if p := l.failure.Load(); p != nil {
		return fmt.Errorf("log %v: %w: %w", l.partition, ErrPoisoned, *p)
	}
	return nil
}

// Transient reports whether err is ErrNoSpace or ErrNoFiles: nothing is wrong with the log or its disk.
func Transient(err error) bool { return errors.Is(err, ErrNoSpace) || errors.Is(err, ErrNoFiles) }

// refuse returns the err of a change. Unless that has left everything as it was, it is a failure.
func (l *Log) refuse(err error) error {
	if Transient(err) {
		return err
	}
	return l.poison(err)
}

// poison notes the first failure and returns err.
func (l *Log) poison(err error) error {
	l.failure.CompareAndSwap(nil, &err)
	return err
}

// Reconfigure makes c hold from now on.
func (l *Log) Reconfigure(c Config) {
	l.cfg.Store(l.pools.intern(c.bounded()))
}

// Partition is whose log this is.
func (l *Log) Partition() moldau.TopicPartition { return l.partition }

// Dir is the directory of the log's files.
func (l *Log) Dir() string { return l.dir }

// Start is the first offset that may be read. It may be called from any goroutine.
func (l *Log) Start() moldau.Offset { return l.view.Load().start }

// End is the offset that the next record gets. It may be called from any goroutine.
func (l *Log) End() moldau.Offset { return l.view.Load().tail.end().next }

// RecoveryPoint is the offset before which everything is durable. It may be called from any goroutine.
func (l *Log) RecoveryPoint() moldau.Offset { return moldau.Offset(l.recoveryPoint.Load()) }

// Size is the number of bytes of batches in the log. It may be called from any goroutine.
func (l *Log) Size() int64 {
	v := l.view.Load()
	var n int64
	for i := range v.segs {
		n += v.bounds(i).pos
	}
	return n
}

// SegmentInfo describes a segment.
type SegmentInfo struct {
	Base, Next moldau.Offset // first offset, and that of the segment that follows
	Bytes      int64
}

// Segments lists the segments, oldest first; there is none in a log without files. It may be called from any goroutine.
func (l *Log) Segments() []SegmentInfo {
	if l.Unwritten() {
		return nil
	}
	v := l.view.Load()
	infos := make([]SegmentInfo, len(v.segs))
	for i, s := range v.segs {
		b := v.bounds(i)
		infos[i] = SegmentInfo{s.base, b.next, b.pos}
	}
	return infos
}

// Pools are what logs share that need not have their own: buffers, decompressors, and their configuration as long as it is the
// same.
type Pools struct {
	pages  pagePool
	codecs record.Codecs
	config atomic.Pointer[Config] // the newest
}

// intern returns c, the same for all that have the same.
func (p *Pools) intern(c Config) *Config {
	newest := p.config.Load()
	if newest == nil || *newest != c {
		newest = &c
		p.config.Store(newest)
	}
	return newest
}

// pagePool keeps the buffers of reads.
type pagePool struct{ pool sync.Pool }

func (p *pagePool) get() *page {
	if b, ok := p.pool.Get().(*page); ok {
		return b
	}
	return new(page)
}

func (p *pagePool) put(b *page) { p.pool.Put(b) }
