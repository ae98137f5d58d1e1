package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

const dir = "/data/pageviews-0/"

// written is a log of four batches of ten records in one segment, closed.
func written(t *testing.T, c Config) *world {
	t.Helper()
	w := newWorld(c)
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		bd := record.NewBuilder(0)
		bd.ProducerID, bd.ProducerEpoch, bd.BaseSequence = 7, 0, moldau.Sequence(10*i)
		e := entry{}
		for j := range 10 {
			ts := moldau.Timestamp(1000*i + j)
			bd.Add(record.Record{Timestamp: ts, Value: make([]byte, 50)})
		}
		e.raw, _ = bd.Build(nil)
		e.records, _ = facts(w.codecs, e.raw)
		w.epoch = moldau.LeaderEpoch(i / 2)
		a, err := w.log.Append(e.raw, w.epoch)
		if err == nil {
			err = w.appended(e, a, 7)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.log.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// poke changes the bytes of a file.
func poke(t *testing.T, fsys env.FS, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := env.ReadFile(fsys, dir+name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Open(dir + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b = change(slices.Clone(b))
	if err := f.Truncate(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

const firstLog = "00000000000000000000.log"

// TestDamage opens logs whose files a power loss has torn: what was not synced is cut off, whatever is left of it, as it is in
// tails that a page cache left in zeros (LazyFS), torn at 512 bytes or 4 KiB, or filled with a stale block of an older file. L-42.
func TestDamage(t *testing.T) {
	size := func(w *world, n int) (bytes int) {
		for _, e := range w.entries[:n] {
			bytes += len(e.raw)
		}
		return bytes
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 0x10; return b }
	}
	tests := []struct {
		name   string
		clean  bool
		file   string
		change func(w *world) func([]byte) []byte
		left   int // batches that survive
		midway bool
		reason string // in Reason or in a note; empty: nothing to tell
	}{
		{"nothing", false, firstLog, func(*world) func([]byte) []byte { return slices.Clone[[]byte] }, 4, false, ""},
		{"torn tail", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { return b[:len(b)-5] }
		}, 3, false, "are left"},
		{"torn header", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { return b[:size(w, 3)+20] }
		}, 3, false, "fewer than a batch header"},
		{"zero tail", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { clear(b[size(w, 3):]); return b }
		}, 3, false, "zeros"},
		{"long zero tail", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { return append(b, make([]byte, 4096)...) }
		}, 4, false, "zeros"},
		{"half of the tail is zeros", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { clear(b[size(w, 3)+100:]); return b }
		}, 3, false, "CRC"},
		{"bit flip in the last batch", false, firstLog, func(w *world) func([]byte) []byte { return flip(size(w, 3) + 200) }, 3, false, "CRC"},
		{"bit flip midway", false, firstLog, func(w *world) func([]byte) []byte { return flip(size(w, 1) + 200) }, 1, true, "CRC"},
		{"stale block behind the end", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { return append(b, b[size(w, 1):size(w, 2)]...) }
		}, 4, false, "where at least"},
		{"older epoch behind the end", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte {
				stale := record.Batch(slices.Clone(b[:size(w, 1)]))
				stale.SetBaseOffset(40)
				return append(b, stale...)
			}
		}, 4, false, "leader epoch 0 behind 1"},
		{"magic", false, firstLog, func(w *world) func([]byte) []byte {
			return func(b []byte) []byte { b[size(w, 2)+16] = 1; return b }
		}, 2, true, "magic"},
		{"index cut", true, "00000000000000000000.index", func(*world) func([]byte) []byte {
			return func(b []byte) []byte { return b[:len(b)-3] }
		}, 4, false, "not a multiple"},
		{"index wrong", true, "00000000000000000000.index", func(*world) func([]byte) []byte {
			return func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
		}, 4, false, "scanned"},
		{"time index wrong", true, "00000000000000000000.timeindex", func(*world) func([]byte) []byte {
			return func(b []byte) []byte { b[0] = 0xff; return b }
		}, 4, false, "wrong at entry"},
		{"snapshot wrong", true, "00000000000000000040.snapshot", func(*world) func([]byte) []byte { return flip(20) }, 4, false, "CRC"},
		{"snapshot empty", true, "00000000000000000040.snapshot", func(*world) func([]byte) []byte {
			return func([]byte) []byte { return nil }
		}, 4, false, "fewer than"},
		{"epochs wrong", true, "leader-epoch-checkpoint", func(*world) func([]byte) []byte {
			return func([]byte) []byte { return []byte("0\n3\n0 0\n") }
		}, 4, false, "3 rows are announced"},
		{"epochs zeroed", false, "leader-epoch-checkpoint", func(*world) func([]byte) []byte {
			return func(b []byte) []byte { clear(b); return b }
		}, 4, false, "version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.IndexIntervalBytes = 1
			w := written(t, c)
			poke(t, w.fs, tt.file, tt.change(w))
			w.opt.Outage = Rebooted
			if err := w.begin(tt.clean); err != nil {
				t.Fatal(err)
			}
			r := w.log.Recovery()
			told := r.Reason + strings.Join(r.Notes, "; ")
			if !strings.Contains(told, tt.reason) || tt.reason == "" && told != "" || r.Midway != tt.midway {
				t.Errorf("recovery %+v, want %q", r, tt.reason)
			}
			if r.Reason != "" && (r.TruncatedBytes == 0 || r.TruncatedAt != w.log.End()) {
				t.Errorf("recovery %+v, the log ends at %d", r, w.log.End())
			}
			w.entries = w.entries[:tt.left]
			w.relearn()
			if err := w.check(seeded(1)); err != nil {
				t.Error(err)
			}
			if e := w.log.EpochAt(5); e != 0 {
				t.Errorf("offset 5 is of epoch %d, want 0", e)
			}
			if _, err := w.log.Flush(); err != nil {
				t.Error(err)
			}
			if err := w.reopen(nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDamagedSealedIndex loses the indexes of a segment that is not scanned.
func TestDamagedSealedIndex(t *testing.T) {
	for _, name := range []string{"00000000000000000000.index", "00000000000000000000.timeindex"} {
		c := DefaultConfig()
		c.SegmentBytes, c.IndexIntervalBytes = 1500, 1
		w := written(t, c)
		if err := w.fs.Remove(dir + name); err != nil {
			t.Fatal(err)
		}
		if err := w.begin(true); err != nil {
			t.Fatal(err)
		}
		if r := w.log.Recovery(); len(r.Notes) != 1 {
			t.Errorf("recovery %+v, want a note", r)
		}
		if err := errors.Join(w.check(seeded(1)), w.reopen(nil)); err != nil {
			t.Error(err)
		}
	}
}

// TestIndexOfSeveralBatches reads with an index in which one entry stands for several batches, by the offset of the last and
// the position of the first, as followers of older Apache Kafkas wrote them: in the active segment and in a sealed one.
func TestIndexOfSeveralBatches(t *testing.T) {
	for _, segmentBytes := range []int64{1 << 20, 2500} {
		c := DefaultConfig()
		c.SegmentBytes, c.IndexIntervalBytes = segmentBytes, 1
		w := written(t, c)
		poke(t, w.fs, "00000000000000000000.index", func(b []byte) []byte {
			first, last := b[:8], b[len(b)-8:]
			return append(append([]byte{}, last[:4]...), first[4:]...)
		})
		if err := w.begin(true); err != nil {
			t.Fatal(err)
		}
		if r := w.log.Recovery(); len(r.Notes) > 0 {
			t.Errorf("recovery %+v", r)
		}
		for at := range moldau.Offset(40) {
			r, err := w.log.Read(at, 1, 40, true)
			if err != nil {
				t.Fatalf("read at %d: %v", at, err)
			}
			if b, err := r.Append(nil); err != nil || record.Batch(b).BaseOffset() != at/10*10 {
				t.Errorf("read at %d: the batch at %d, %v", at, record.Batch(b).BaseOffset(), err)
			}
			r.Release()
		}
		if err := errors.Join(w.check(seeded(1)), w.reopen(nil)); err != nil {
			t.Error(err)
		}
	}
}

// TestWrongTopicID opens the directory of another topic: nothing may change there.
func TestWrongTopicID(t *testing.T) {
	w := written(t, DefaultConfig())
	w.opt.TopicID = moldau.TopicID{2}
	if err := w.begin(true); err == nil || !strings.Contains(err.Error(), "belongs to topic id") {
		t.Fatal(err)
	}
	if n := w.fs.Opened(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}

// TestLeftovers finds files of deletions and compactions that did not end. L-42.
func TestLeftovers(t *testing.T) {
	w := written(t, DefaultConfig())
	compacted := slices.Concat(w.entries[0].raw, w.entries[2].raw, w.entries[3].raw)
	for name, content := range map[string][]byte{
		"00000000000000000000.log.swap":          compacted,
		"00000000000000000000.index.swap":        {1, 2, 3},
		"00000000000000000000.timeindex.swap":    nil,
		"00000000000000000007.log.cleaned":       {1},
		"00000000000000000009.log.3.deleted":     {1},
		"leader-epoch-checkpoint.tmp":            {1},
		"00000000000000000500.index":             {1},
		"notes.txt":                              {1},
		"00000000000000000100.timeindex.bak":     {1},
		"00000000000000000000000000000.snapshot": {1},
	} {
		f, err := w.fs.Create(dir + name)
		if err == nil {
			_, err = f.WriteAt(content, 0)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.begin(true); err != nil {
		t.Fatal(err)
	}
	w.entries = slices.Delete(w.entries, 1, 2)
	if err := w.checkReads(seeded(1)); err != nil {
		t.Error(err)
	}
	entries, _ := w.fs.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := []string{firstLog, "00000000000000000000000000000.snapshot",
		"00000000000000000100.timeindex.bak", "leader-epoch-checkpoint", "notes.txt", "partition.metadata"}
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

// TestPoison lets each kind of call fail once: nothing may be appended after that (KAFKA-10778).
func TestPoison(t *testing.T) {
	broken := errors.New("input/output error")
	for _, kind := range []string{"write", "sync", "create", "syncdir", "truncate", "rename"} {
		for nth := range 4 {
			t.Run(fmt.Sprint(kind, nth), func(t *testing.T) {
				c := DefaultConfig()
				c.SegmentBytes = 500
				w := newWorld(c)
				if err := w.begin(false); err != nil {
					t.Fatal(err)
				}
				n := 0
				w.fs.Hook = func(op memfs.Op) error {
					if op.Kind != kind {
						return nil
					}
					if n++; n == nth+1 {
						return memfs.ShortWrite{N: 30, Err: broken}
					}
					return nil
				}
				var err error
				for i := 0; i < 100 && err == nil; i++ {
					switch {
					case i%5 == 4:
						_, err = w.log.Flush()
					case i%11 == 10:
						_, err = w.log.TruncateTo(w.log.End() - 2)
					default:
						_, err = w.log.Append(batch(t, 2, 1000, 50), moldau.LeaderEpoch(i/8))
					}
				}
				if !errors.Is(err, broken) {
					t.Fatal("no call has failed", err)
				}
				end := w.log.End()
				if _, err := w.log.Append(batch(t, 2, 1000, 50), 99); !errors.Is(err, ErrPoisoned) || !errors.Is(err, broken) {
					t.Errorf("an append after the failure: %v", err)
				}
				if _, err := w.log.Flush(); !errors.Is(err, ErrPoisoned) {
					t.Errorf("a flush after the failure: %v", err)
				}
				if r, err := w.log.Read(w.log.Start(), 1<<20, end, true); err != nil {
					t.Errorf("a read after the failure: %v", err)
				} else {
					r.Release()
				}
				if err := w.log.Close(); err == nil {
					t.Error("Close tells of no failure")
				}
				if _, err := w.log.Append(batch(t, 2, 1000, 50), 0); !errors.Is(err, ErrClosed) {
					t.Errorf("an append after Close: %v", err)
				}
			})
		}
	}
}

// TestShortWriteLeavesNothing fails an append after some of its bytes: they are taken back.
func TestShortWriteLeavesNothing(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	w.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "write" {
			return memfs.ShortWrite{N: 70, Err: errors.New("no space left on device")}
		}
		return nil
	}
	if _, err := w.log.Append(batch(t, 2, 1000, 50), 0); err == nil {
		t.Fatal("no error")
	}
	if info, err := w.fs.Stat(dir + firstLog); err != nil || info.Size() != 0 {
		t.Errorf("%d bytes are left %v", info.Size(), err)
	}
}

// TestTruncateBesideReader holds a region while the log is cut below it and grows again: its bytes stay.
func TestTruncateBesideReader(t *testing.T) {
	o := options(t)
	l := open(t, o)
	for range 10 {
		if _, err := l.Append(batch(t, 2, 1000, 50), 0); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Read(10, 1<<20, l.End(), true)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := r.Append(nil)
	if end, err := l.TruncateTo(8); err != nil || end != 8 {
		t.Fatal(end, err)
	}
	for range 10 {
		if _, err := l.Append(batch(t, 2, 5000, 50), 1); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := r.Append(nil); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the bytes of a held region have changed: %v", err)
	}
	r.Release()
	if _, err := l.TruncateTo(6); err != nil { // alone this time
		t.Fatal(err)
	}
	if err := l.TruncateFullyAndStartAt(100); err != nil || l.Start() != 100 || l.End() != 100 {
		t.Fatal(l.Start(), l.End(), err)
	}
	if a, err := l.Append(batch(t, 2, 5000, 50), 2); err != nil || a.Base != 100 {
		t.Fatal(a, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.LogStart = 100
	l = open(t, o)
	if l.Start() != 100 || l.End() != 102 || l.EpochAt(100) != 2 {
		t.Errorf("[%d, %d) epoch %d", l.Start(), l.End(), l.EpochAt(100))
	}
}

// TestFarJump appends a batch 2³³ above the end, as a follower of a compacted log may have to.
func TestFarJump(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	for _, base := range []moldau.Offset{1 << 33, 1<<33 + 5, 1 << 40} {
		e := w.build(seeded(uint64(base)), -1)
		e.raw.SetBaseOffset(base)
		e.raw.SetLeaderEpoch(0)
		a, err := w.log.AppendAs(e.raw)
		if err == nil {
			err = w.appended(e, a, -1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.check(seeded(1)); err != nil {
		t.Error(err)
	}
	if err := w.crash(memfs.All, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.checkReads(seeded(1)); err != nil {
		t.Error(err)
	}
}

// TestConcurrentReaders reads while the log grows, rolls, is flushed, cut and deleted from.
func TestConcurrentReaders(t *testing.T) {
	c := DefaultConfig()
	c.SegmentBytes, c.IndexIntervalBytes, c.RetentionBytes, c.FileDeleteDelayMs = 4000, 200, 20_000, 0
	w := newWorld(c)
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	l := w.log
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { // ends with done
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readSomewhere(l, r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() { // ends with done
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := l.Flush(); err != nil {
				t.Error(err)
			}
			if err := l.Sweep(time.UnixMilli(1 << 50)); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 3000 {
		if _, err := l.Append(batch(t, 1+i%3, moldau.Timestamp(i), 100), 0); err != nil {
			t.Fatal(err)
		}
		if i%200 == 199 {
			if _, err := l.TruncateTo(l.End() - 5); err != nil {
				t.Fatal(err)
			}
		}
		if i%100 == 99 {
			if _, err := l.Retain(time.UnixMilli(0), l.End()); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(done)
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := w.fs.Opened(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}

func readSomewhere(l *Log, r *rand.Rand) error {
	start, end := l.Start(), l.End()
	if end <= start {
		return nil
	}
	at := start + moldau.Offset(r.Int64N(int64(end-start)))
	region, err := l.Read(at, 1+r.IntN(3000), end, true)
	if errors.Is(err, ErrOutOfRange) {
		return nil // deleted or cut in between
	}
	if err != nil {
		return err
	}
	defer region.Release()
	b, err := region.Append(nil)
	if err != nil {
		return err
	}
	for first := true; len(b) > 0; first = false {
		batch, rest, err := record.Split(b)
		if err != nil || !batch.CRCValid() || first && batch.LastOffset() < at {
			return fmt.Errorf("read at %d: %v %v", at, batch, err)
		}
		b = rest
	}
	_, _, err = l.OffsetForTimestamp(moldau.Timestamp(r.IntN(3000)), end)
	return err
}

// TestAllocs: appending and reading at the tail allocate nothing.
func TestAllocs(t *testing.T) {
	o := options(t)
	l := open(t, o)
	b := batch(t, 1, 1000, 100)
	if n := testing.AllocsPerRun(2000, func() {
		if _, err := l.Append(b, 1); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("an append allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		r, err := l.Read(l.End()-3, 1<<20, l.End(), true)
		if err != nil || r.Len == 0 {
			t.Fatal(r, err)
		}
		r.Release()
	}); n > 0 {
		t.Errorf("a read at the tail allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		r, err := l.Read(500, 10_000, l.End(), true)
		if err != nil || r.Len == 0 {
			t.Fatal(r, err)
		}
		r.Release()
	}); n >= 1 {
		t.Errorf("a read allocates %v times", n)
	}
}

// TestTailReadWithoutIO: a consumer that keeps up costs no system call before its bytes are sent.
func TestTailReadWithoutIO(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := w.log.Append(batch(t, 3, 1000, 100), 0); err != nil {
			t.Fatal(err)
		}
	}
	w.fs.Hook = func(op memfs.Op) error { return fmt.Errorf("%v during a tail read", op) }
	for back := range moldau.Offset(30) {
		r, err := w.log.Read(w.log.End()-3*back, 1<<20, w.log.End()-3*(back/2), true)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
	}
}
