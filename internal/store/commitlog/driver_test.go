package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
	"github.com/moldau/moldau/internal/store/filecache"
)

// entry is a batch of the naive log.
type entry struct {
	raw     record.Batch
	records []fact
}

// fact is a record of an entry.
type fact struct {
	delta      moldau.Offset // to the batch's base
	time       moldau.Timestamp
	key, value string
	keyless    bool
	tombstone  bool
}

func (e entry) base() moldau.Offset { return e.raw.BaseOffset() }
func (e entry) last() moldau.Offset { return e.raw.LastOffset() }

// world is a log and a naive one beside it: a slice of batches.
type world struct {
	fs         *memfs.FS
	opt        Options
	now        time.Time
	log        *Log
	codecs     *record.Codecs
	entries    []entry // all that were appended and not truncated, deleted ones too
	start      moldau.Offset
	begun      moldau.Offset // the highest start that was seen
	durable    moldau.Offset // what a Flush or a truncation has promised
	point      moldau.Offset // the recovery point as the caller has checkpointed it
	epoch      moldau.LeaderEpoch
	lives      int           // how often it was opened
	floor      moldau.Offset // the log was begun anew here
	carried    []Producer    // what was known of producers there
	forgot     bool          // a crash took first segments before what they tell of producers was durable
	truncating bool          // a truncation has begun and not ended
	pending    *entry        // an append whose outcome is not known
	compacted  bool          // at least once
	uncut      bool          // it is not to be truncated
	before     []entry       // what was there when a pass began that has not ended
	loose      bool          // a truncation came after that: the last batch of a producer may be one that was dropped
	done       Compacted     // by all passes together
	firstDirty moldau.Offset // as the caller has checkpointed it
	limit      moldau.Offset // no compaction has reached it
	seq        map[moldau.ProducerID]moldau.Sequence
	open       map[moldau.ProducerID]bool
}

var codecs record.Codecs // for all worlds: a compressor is large

const codecCount = 4 // of what batches are compressed with

func newWorld(c Config) *world {
	w := &world{fs: memfs.New(), codecs: &codecs, now: time.UnixMilli(1_000_000), seq: map[moldau.ProducerID]moldau.Sequence{}, open: map[moldau.ProducerID]bool{}}
	w.opt = Options{Dir: "/data/pageviews-0", Partition: topic, TopicID: moldau.TopicID{1}, Config: c}
	w.tell()
	return w
}

// tell makes the time of w that of its files and its log.
func (w *world) tell() {
	w.opt.Now = func() time.Time { return w.now }
	w.fs.Now = w.opt.Now
}

// after is w as it is after a crash, before its log is opened again; w stays as it is.
func (w *world) after(s survival) *world {
	c := *w
	c.fs = w.fs.Crash(s.keep, s.seed)
	c.entries, c.before, c.carried = slices.Clone(w.entries), slices.Clone(w.before), slices.Clone(w.carried)
	c.seq, c.open = maps.Clone(w.seq), maps.Clone(w.open)
	c.tell()
	return &c
}

// start opens the log with what the caller has checkpointed.
func (w *world) begin(clean bool) error {
	if err := w.fs.MkdirAll("/data"); err != nil {
		return err
	}
	if err := w.fs.SyncDir("/"); err != nil {
		return err
	}
	o := w.opt
	o.FS, o.Clean, o.RecoveryPoint, o.LogStart, o.FirstDirty = w.fs, clean, w.point, w.start, w.firstDirty
	w.lives++
	o.Files = filecache.New([]int{1, 0, 3}[w.lives%3]) // whatever is open, the log is the same
	var l *Log
	_, err := w.fs.Stat(o.Dir)
	if fresh := errors.Is(err, fs.ErrNotExist); fresh && w.lives%2 == 1 {
		l = New(o)
		err = l.Create(o.TopicID)
	} else {
		l, err = Open(o)
	}
	if err != nil {
		return err
	}
	w.log = l
	w.epoch = max(w.epoch, l.LatestEpoch())
	return nil
}

// chooser is a source of choices: a shrinking one of rapid, or a seeded one.
type chooser func(label string, n int) int

// end is the end of the naive log.
func (w *world) end() moldau.Offset {
	if n := len(w.entries); n > 0 && w.entries[n-1].last() >= w.floor {
		return w.entries[n-1].last() + 1
	}
	return w.floor
}

var ops = []struct {
	name   string
	weight int
	run    func(w *world, pick chooser) error
}{
	{"append", 10, (*world).append},
	{"appendAs", 2, (*world).appendAs},
	{"marker", 1, (*world).marker},
	{"epoch", 1, func(w *world, _ chooser) error {
		w.epoch++
		return w.log.AssignEpoch(w.epoch)
	}},
	{"flush", 2, (*world).flush},
	{"checkpoint", 1, func(w *world, _ chooser) error {
		w.point = w.log.RecoveryPoint()
		return nil
	}},
	{"advanceStart", 1, (*world).advanceStart},
	{"retain", 1, (*world).retain},
	{"truncate", 1, (*world).truncate},
	{"reopen", 1, (*world).reopen},
	{"compact", 2, (*world).compact},
	{"kill", 1, func(w *world, _ chooser) error { return w.crash(memfs.All, 0) }},
}

func (w *world) step(pick chooser) (string, error) {
	total := 0
	for _, op := range ops {
		total += op.weight
	}
	n := pick("op", total)
	for _, op := range ops {
		if n -= op.weight; n < 0 {
			return op.name, op.run(w, pick)
		}
	}
	panic("unreachable")
}

// build makes the next batch of producer id (none: -1).
func (w *world) build(pick chooser, id moldau.ProducerID) entry {
	b := record.NewBuilder(0)
	b.Compression.Codec = [codecCount]record.Codec{record.Uncompressed, record.LZ4, record.Uncompressed, record.Gzip}[pick("codec", codecCount)]
	n := 1 + pick("records", 4)
	e := entry{}
	for range n {
		ts := moldau.Timestamp(w.now.UnixMilli()) + moldau.Timestamp(pick("ts", 50))
		b.Add(w.record(pick, ts))
	}
	if w.loose {
		for _, p := range w.log.Producers() {
			w.seq[p.ID], w.open[p.ID] = p.LastSequence+1, p.TxnStart >= 0
		}
	}
	if id >= 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = id, 0, w.seq[id]
		b.Transactional = id >= 100
	}
	var err error
	if e.raw, err = b.Build(w.codecs); err != nil {
		panic(err)
	}
	e.records, err = facts(w.codecs, e.raw)
	if err != nil {
		panic(err)
	}
	return e
}

// record makes one with one of a few keys, now and then without a key or a value.
func (w *world) record(pick chooser, ts moldau.Timestamp) record.Record {
	r := record.Record{Timestamp: ts, Key: []byte{byte('a' + pick("key", 6))}}
	if r.Key[0] == 'f' && pick("keyless", 3) == 0 {
		r.Key = nil
	}
	if size := pick("size", 120); size >= 15 {
		r.Value = bytes.Repeat([]byte{'v'}, size)
	}
	return r
}

// facts reads the records of a batch.
func facts(c *record.Codecs, b record.Batch) (list []fact, err error) {
	for r, err := range b.Records(c, 1<<20) {
		if err != nil {
			return nil, err
		}
		list = append(list, fact{r.Offset - b.BaseOffset(), r.Timestamp, string(r.Key), string(r.Value), r.Key == nil, r.Value == nil})
	}
	return list, nil
}

// producers: none, three idempotent, three transactional.
var producers = []moldau.ProducerID{-1, 1, 2, 3, 100, 101, 102}

func (w *world) append(pick chooser) error {
	w.now = w.now.Add(time.Duration(pick("wait", 30)) * time.Millisecond)
	id := producers[pick("producer", len(producers))]
	e := w.build(pick, id)
	if dup, err := w.log.CheckProducer(e.raw); err != nil || dup != nil {
		return fmt.Errorf("producer %d is refused: %v %w", id, dup, err)
	}
	w.pending = &e
	a, err := w.log.Append(e.raw, w.epoch)
	if err != nil {
		return err
	}
	return w.appended(e, a, id)
}

func (w *world) appended(e entry, a Appended, id moldau.ProducerID) error {
	w.pending = nil
	want := w.end()
	if a.Base < want || a.Base != e.base() || a.Last != e.last() || w.log.End() != a.Last+1 {
		return fmt.Errorf("appended at %+v, end %d, want %d", a, w.log.End(), want)
	}
	w.entries = append(w.entries, e)
	if id >= 0 {
		w.seq[id] += moldau.Sequence(e.raw.Count())
		w.open[id] = id >= 100
	}
	return nil
}

// appendAs is what a follower does: the leader's log has a gap now and then.
func (w *world) appendAs(pick chooser) error {
	e := w.build(pick, -1)
	e.raw.SetBaseOffset(w.end() + moldau.Offset(pick("gap", 3)*pick("far", 20)))
	e.raw.SetLeaderEpoch(w.epoch)
	w.pending = &e
	a, err := w.log.AppendAs(e.raw)
	if err != nil {
		return err
	}
	return w.appended(e, a, -1)
}

func (w *world) marker(pick chooser) error {
	return w.endTransaction(producers[4+pick("producer", 3)], pick("commit", 2) == 0)
}

func (w *world) endTransaction(id moldau.ProducerID, commit bool) error {
	m := record.Marker{Commit: commit}
	e := entry{raw: record.BuildMarker(0, moldau.Timestamp(w.now.UnixMilli()), id, 0, m)}
	var err error
	if e.records, err = facts(w.codecs, e.raw); err != nil {
		return err
	}
	w.pending = &e
	a, err := w.log.Append(e.raw, w.epoch)
	if err != nil {
		return err
	}
	if err := w.appended(e, a, -1); err != nil {
		return err
	}
	w.open[id] = false
	return nil
}

func (w *world) flush(pick chooser) error {
	before := w.log.End()
	if err := w.sync(pick != nil && pick("together", 2) == 1); err != nil {
		return err
	}
	if w.log.RecoveryPoint() != before || w.log.Unsynced() != 0 {
		return fmt.Errorf("recovery point %d, want %d; %d bytes are not synced", w.log.RecoveryPoint(), before, w.log.Unsynced())
	}
	w.durable = before
	return nil
}

// sync flushes the log, by itself or with its volume.
func (w *world) sync(together bool) error {
	if !together {
		_, err := w.log.Flush()
		return err
	}
	v, err := w.fs.OpenVolume("/")
	if err != nil {
		return err
	}
	err = FlushTogether(v, []*Log{w.log})[0]
	return errors.Join(err, v.Close())
}

func (w *world) advanceStart(pick chooser) error {
	to := w.start + moldau.Offset(pick("to", int(w.end()-w.start)/3+1))
	w.start = max(w.start, to) // the caller's checkpoint comes first
	return w.log.AdvanceStart(to)
}

func (w *world) retain(pick chooser) error {
	hw := w.end()
	if n := len(w.entries); n > 0 && pick("hw", 2) == 0 {
		hw = max(w.entries[pick("hw at", n)].base(), w.start)
	}
	r, err := w.log.Retain(w.now, hw)
	if err != nil {
		return err
	}
	if r.Start < w.start || r.Start > max(hw, w.start) {
		return fmt.Errorf("retention moved the start from %d to %d, high watermark %d", w.start, r.Start, hw)
	}
	w.start = r.Start
	return w.log.Sweep(w.now)
}

// truncate cuts at a random offset above the log's start; what was promised before and lies above is no longer.
func (w *world) truncate(pick chooser) error {
	to := w.end() - moldau.Offset(pick("back", int(w.end()-w.start)+1))
	w.durable = min(w.durable, to)
	if i := slices.IndexFunc(w.entries, func(e entry) bool { return e.last() >= to }); i > 0 {
		w.durable = min(w.durable, w.entries[i-1].last()+1)
	} else if i == 0 {
		w.durable = min(w.durable, w.floor)
	}
	w.loose = w.loose || w.compacted
	w.truncating = true
	end, err := w.log.TruncateTo(to)
	if err != nil {
		return err
	}
	w.truncating = false
	w.point = min(w.point, w.log.RecoveryPoint())
	w.firstDirty = min(w.firstDirty, w.log.FirstDirty())
	w.cut(to)
	if end != w.log.End() || end > to || end != w.end() {
		return fmt.Errorf("truncated to %d: the end is %d, want %d", to, end, w.end())
	}
	w.durable = min(w.durable, end)
	w.start = w.log.Start()
	w.begun = min(w.begun, w.start) // the batch in which the start lay is gone: what is to come begins below it
	return nil
}

// cut removes from the naive log what ends at to or above.
func (w *world) cut(to moldau.Offset) {
	i := slices.IndexFunc(w.entries, func(e entry) bool { return e.last() >= to })
	if i >= 0 {
		w.entries = w.entries[:i]
	}
	if i := slices.IndexFunc(w.before, func(e entry) bool { return e.last() >= to }); i >= 0 {
		w.before = w.before[:i]
	}
	w.relearn()
}

// relearn derives what the test itself keeps of producers from the naive log.
func (w *world) relearn() {
	clear(w.seq)
	clear(w.open)
	for _, p := range w.carried {
		w.seq[p.ID], w.open[p.ID] = p.LastSequence+1, p.TxnStart >= 0
	}
	for _, e := range w.entries {
		if id := e.raw.ProducerID(); id >= 0 && !e.raw.IsControl() {
			w.seq[id] = e.raw.LastSequence() + 1
			w.open[id] = id >= 100 && e.raw.Count() > 0 // a batch is emptied when its transaction has ended, and the marker may go then
		} else if id >= 0 {
			w.open[id] = false
		}
	}
	if n := len(w.entries); n == 0 || w.entries[n-1].last() < w.floor {
		w.floor = w.log.Segments()[0].Base
	}
	if w.forgot {
		w.believeProducers(w.log.Segments()[0].Base)
	}
}

func (w *world) reopen(chooser) error {
	if err := w.log.Close(); err != nil {
		return err
	}
	w.point = w.log.RecoveryPoint()
	if n := w.fs.Opened(); n != 0 {
		return fmt.Errorf("%d files are open after Close", n)
	}
	if err := w.begin(true); err != nil {
		return err
	}
	if r := w.log.Recovery(); r.Scanned > 0 || len(r.Notes) > 0 {
		return fmt.Errorf("a clean stop is followed by a recovery: %+v", r)
	}
	return nil
}

// crash goes on with what a crash leaves; where that is everything, it was the end of the process.
func (w *world) crash(keep memfs.Keep, seed uint64) error {
	w.fs = w.fs.Crash(keep, seed)
	return w.recover(keep == memfs.All)
}

// recover opens the log after a crash: it is a prefix of the naive log that has all that is durable.
func (w *world) recover(killed bool) error {
	var first moldau.Offset
	if w.log != nil {
		first = w.log.Segments()[0].Base
	}
	w.opt.Outage = Rebooted
	if killed {
		w.opt.Outage = Killed
	}
	if err := w.begin(false); err != nil {
		return err
	}
	end := w.log.End()
	if p := w.pending; p != nil && end == p.last()+1 && end > w.end() {
		w.entries = append(w.entries, *p) // it was written and not acknowledged
	}
	w.pending = nil
	if end < w.durable {
		return fmt.Errorf("the log ends at %d, and %d was durable: %+v", end, w.durable, w.log.Recovery())
	}
	if killed && end != w.end() && end >= w.durable && !w.truncating {
		return fmt.Errorf("the log ends at %d after a kill, want %d: %+v", end, w.end(), w.log.Recovery())
	}
	if segs := w.log.Segments(); len(segs) == 1 && segs[0].Bytes == 0 && end == w.start {
		// All records but deleted ones are lost: the log begins anew at its start.
		w.entries, w.floor = nil, end
		w.carried = w.log.Producers() // a snapshot may have told what they did before
	}
	w.truncating = false
	w.start = w.log.Start()
	w.cut(end)
	if n := len(w.before); n > 0 { // what was in place and not yet durable may be undone
		tail := slices.DeleteFunc(slices.Clone(w.entries), func(e entry) bool { return e.base() <= w.before[n-1].base() })
		w.entries, w.before = append(w.before, tail...), nil
	}
	if err := w.adopt(w.limit); err != nil {
		return fmt.Errorf("a compaction before the crash: %w", err)
	}
	if w.log.Segments()[0].Base > first { // its first segments were not durable, and nothing tells of the producers in them
		w.forgot = true
	}
	w.relearn()
	if w.end() != end {
		return fmt.Errorf("the log ends at %d, in the midst of a batch; the batch before ends at %d", end, w.end())
	}
	return nil
}

// believeProducers takes what the log knows of the producers that have no data from offset first on.
func (w *world) believeProducers(first moldau.Offset) {
	for id := range w.seq {
		if slices.ContainsFunc(w.entries, func(e entry) bool {
			return e.base() >= first && e.raw.ProducerID() == id && !e.raw.IsControl()
		}) {
			continue
		}
		delete(w.seq, id)
		delete(w.open, id)
		for _, p := range w.log.Producers() {
			if p.ID == id {
				w.seq[id], w.open[id] = p.LastSequence+1, p.TxnStart >= 0
			}
		}
	}
}

// check compares all that can be asked.
func (w *world) check(pick chooser) error {
	return errors.Join(w.checkBounds(), w.checkReads(pick), w.checkTimes(pick), w.checkEpochs(), w.checkProducers())
}

// checkBounds is R8 as far as the log knows: log start ≤ last stable offset ≤ high watermark, which is anywhere up to the log end, and
// the start never goes back.
func (w *world) checkBounds() error {
	start, end := w.log.Start(), w.log.End()
	stable, open := w.log.FirstUnstable(w.start) // the lowest high watermark that there may be; the log forgets what is below
	if !open {
		stable = end
	}
	if start < w.begun || start > stable || stable > end {
		return fmt.Errorf("R8: the log start is %d, was %d, the last stable offset %d, the log end %d", start, w.begun, stable, end)
	}
	w.begun = start
	return nil
}

// closeAndVerify closes the log, in which Verify has nothing to find then.
func (w *world) closeAndVerify() error {
	point := w.log.RecoveryPoint()
	if err := w.log.Close(); err != nil {
		return err
	}
	report, err := Verify(VerifyOptions{
		FS: w.fs, Dir: strings.TrimSuffix(dir, "/"), RecoveryPoint: point, Clean: true, LogStart: w.start, LogStartKnown: true, Compacted: w.compacted,
	})
	for _, f := range report.Findings {
		if f.Kind != Leftover {
			err = errors.Join(err, fmt.Errorf("a log without a fault: %s in %s: %s", f.Kind, f.File, f.What))
		}
	}
	return err
}

// visible is the batches from the one that contains at on, below upTo.
func (w *world) visible(at, upTo moldau.Offset) []entry {
	var list []entry
	for _, e := range w.entries {
		if e.last() >= at && e.last() < upTo {
			list = append(list, e)
		}
	}
	return list
}

func (w *world) checkReads(pick chooser) error {
	l := w.log
	if l.Start() != w.start || l.End() != w.end() {
		return fmt.Errorf("the log is [%d, %d), want [%d, %d)", l.Start(), l.End(), w.start, w.end())
	}
	if _, err := l.Read(w.end()+1, 1000, w.end()+1, true); !errors.Is(err, ErrOutOfRange) {
		return fmt.Errorf("a read above the end: %w", err)
	}
	if _, err := l.Read(w.start-1, 1000, w.end(), true); !errors.Is(err, ErrOutOfRange) {
		return fmt.Errorf("a read below the start: %w", err)
	}
	maxBytes := []int{1, 150, 400, 2000, 1 << 20}[pick("max", 5)]
	upTo := w.end() - moldau.Offset(pick("up to", 4))
	at := w.start + moldau.Offset(pick("from", int(w.end()-w.start)/2+1))
	for at < upTo {
		r, err := l.Read(at, maxBytes, upTo, true)
		if err != nil {
			return err
		}
		if err := w.checkRegion(r, at, maxBytes, upTo); err != nil {
			return fmt.Errorf("read %d (max %d, up to %d): %+v: %w", at, maxBytes, upTo, r, err)
		}
		r.Release()
		if r.Len == 0 {
			break
		}
		at = r.Next
	}
	return nil
}

func (w *world) checkRegion(r Region, at moldau.Offset, maxBytes int, upTo moldau.Offset) error {
	want := w.visible(at, upTo)
	got, err := r.Append(nil)
	if err != nil {
		return err
	}
	if len(want) == 0 {
		if len(got) > 0 {
			return errors.New("bytes where there are none")
		}
		return nil
	}
	n := 0
	for _, e := range want {
		if len(got) == n && n > 0 && (n+len(e.raw) > maxBytes || w.segmentBegins(e)) {
			break
		}
		if len(got) < n+len(e.raw) || !bytes.Equal(got[n:n+len(e.raw)], e.raw) {
			return fmt.Errorf("%d bytes, and batch [%d, %d] is not at %d", len(got), e.base(), e.last(), n)
		}
		n += len(e.raw)
		if r.Next <= e.last() && len(got) >= n {
			return fmt.Errorf("it tells to read on at %d and has batch [%d, %d]", r.Next, e.base(), e.last())
		}
	}
	if n != len(got) {
		return fmt.Errorf("%d bytes, want %d", len(got), n)
	}
	if len(got) > maxBytes && len(got) > len(want[0].raw) {
		return fmt.Errorf("%d bytes, more than asked for", len(got))
	}
	return nil
}

// segmentBegins reports whether e is the first batch of a segment.
func (w *world) segmentBegins(e entry) bool {
	for _, s := range w.log.Segments() {
		i := slices.IndexFunc(w.entries, func(x entry) bool { return x.last() >= s.Base })
		if i >= 0 && w.entries[i].base() == e.base() {
			return true
		}
	}
	return false
}

func (w *world) checkTimes(pick chooser) error {
	ts := moldau.Timestamp(w.now.UnixMilli()) - moldau.Timestamp(pick("time", 500)) + 60
	upTo := w.end() - moldau.Offset(pick("upTo", 3))
	want := Stamp{Offset: -1, Timestamp: -1, Epoch: -1}
	highest := want
	for _, e := range w.entries {
		for _, f := range e.records {
			st := Stamp{e.base() + f.delta, f.time, e.raw.LeaderEpoch()}
			if st.Offset >= w.start && st.Offset < upTo && f.time >= ts && want.Offset < 0 {
				want = st
			}
			if st.Offset >= w.start && f.time > highest.Timestamp {
				highest = st
			}
		}
	}
	st, ok, err := w.log.OffsetForTimestamp(ts, upTo)
	if err != nil || ok != (want.Offset >= 0) || ok && st != want {
		return fmt.Errorf("the first record since %d below %d: %+v %v %w, want %+v", ts, upTo, st, ok, err, want)
	}
	st, ok, err = w.log.MaxTimestamp()
	if err != nil {
		return err
	}
	if ok && w.start == w.log.Segments()[0].Base && st != highest {
		return fmt.Errorf("the highest timestamp: %+v, want %+v", st, highest)
	}
	return nil
}

func (w *world) checkEpochs() error {
	for _, e := range w.entries {
		if e.base() >= w.start && w.log.EpochAt(e.base()) != e.raw.LeaderEpoch() {
			return fmt.Errorf("offset %d is of epoch %d, want %d", e.base(), w.log.EpochAt(e.base()), e.raw.LeaderEpoch())
		}
	}
	if n := len(w.entries); n > 0 && w.entries[n-1].base() >= w.start {
		last := w.entries[n-1].raw.LeaderEpoch()
		if w.log.LatestEpoch() == last {
			if e, end := w.log.EpochEnd(last); e != last || end != w.end() {
				return fmt.Errorf("epoch %d ends at %d, want %d", e, end, w.end())
			}
		}
		if e, end := w.log.EpochEnd(w.log.LatestEpoch() + 1); e != -1 || end != -1 {
			return fmt.Errorf("an unknown epoch: %d ends at %d", e, end)
		}
	}
	return nil
}

// checkProducers compares what is known of producers whose batches are still there.
func (w *world) checkProducers() error {
	first := w.log.Segments()[0].Base
	known := map[moldau.ProducerID]Producer{}
	for _, p := range w.log.Producers() {
		known[p.ID] = p
	}
	for id, seq := range w.seq {
		if w.loose {
			break
		}
		var mine []entry
		for _, e := range w.entries {
			if e.raw.ProducerID() == id && !e.raw.IsControl() {
				mine = append(mine, e)
			}
		}
		if w.compacted {
			mine = mine[max(len(mine)-1, 0):] // those before may be gone, and a recovery knows what is there (L-64)
		}
		mine = mine[max(len(mine)-5, 0):]
		if len(mine) == 0 || mine[len(mine)-1].base() < first {
			continue
		}
		if p := known[id]; p.LastSequence != seq-1 {
			return fmt.Errorf("producer %d: last sequence %d, want %d", id, p.LastSequence, seq-1)
		}
		if p := known[id]; mine[0].base() >= first && (p.TxnStart >= 0) != w.open[id] {
			return fmt.Errorf("producer %d: transaction from %d, open: %v", id, p.TxnStart, w.open[id])
		}
		for _, e := range mine {
			if e.base() < first {
				continue
			}
			dup, err := w.log.CheckProducer(e.raw)
			if err != nil || dup == nil || dup.Base != e.base() || dup.Last != e.last() {
				return fmt.Errorf("batch [%d, %d] of producer %d again: %+v %w", e.base(), e.last(), id, dup, err)
			}
		}
	}
	return w.checkAborted(first)
}

func (w *world) checkAborted(first moldau.Offset) error {
	begun := map[moldau.ProducerID]moldau.Offset{}
	var want []Aborted
	from, upTo := w.start, w.end()
	for _, e := range w.entries {
		id := e.raw.ProducerID()
		if !e.raw.IsTransactional() {
			continue
		}
		at, isOpen := begun[id]
		if !e.raw.IsControl() {
			if !isOpen {
				begun[id] = e.base()
			}
			continue
		}
		delete(begun, id)
		if m, _ := e.raw.Marker(); isOpen && !m.Commit && e.last() >= from {
			if at < first {
				return nil // begun in a segment that is gone: a recovery may not know
			}
			want = append(want, Aborted{Producer: id, First: at, Last: e.last()})
		}
	}
	got, err := w.log.AbortedIn(from, upTo)
	if err != nil {
		return err
	}
	slices.SortFunc(want, func(a, b Aborted) int { return int(a.First - b.First) })
	for i := range got {
		got[i].LastStable = 0
	}
	if w.compacted {
		return w.checkAbortedData(got)
	}
	if got = slices.DeleteFunc(got, func(a Aborted) bool { return a.First < first }); !slices.Equal(got, want) {
		return fmt.Errorf("aborted transactions %+v, want %+v", got, want)
	}
	unstable, ok := w.log.FirstUnstable(w.end())
	for id, at := range begun {
		if at >= w.start && (!ok || unstable > at) {
			return fmt.Errorf("the transaction of %d from %d is open, the first unstable offset is %d %v", id, at, unstable, ok)
		}
	}
	return nil
}
