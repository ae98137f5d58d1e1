package commitlog_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
)

// Bugs of other systems (docs/verification.md) that no test of something larger is named for.

// must fails the test on an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// always picks the same.
func always(n int) chooser { return func(string, int) int { return n } }

// exists reports whether the log's directory has a file.
func (w *world) exists(name string) bool {
	_, err := w.fs.Stat(dir + name)
	return err == nil
}

// A close and a sweep of what retention has deleted do not get in each other's way: the stop stays a clean one (KAFKA-13315), and
// nothing is touched after it.
func TestKAFKA13315CloseBesideRetention(t *testing.T) {
	w := compactedWorld(t, 300)
	for range 6 {
		w.keyed(t, 0, "a", 200)
	}
	w.start = 4
	must(t, w.log.AdvanceStart(4))
	if r, err := w.log.Retain(w.now, w.end()); err != nil || r.Segments < 3 {
		t.Fatalf("retention: %+v %v", r, err)
	}
	closed := w.log
	must(t, w.reopen(nil)) // which is a clean start, or fails
	var ops []string
	w.fs.Hook = func(op memfs.Op) error { ops = append(ops, op.String()); return nil }
	if err := closed.Sweep(w.now.Add(time.Hour)); err != nil || len(ops) > 0 {
		t.Errorf("a sweep after the close: %v, %q", err, ops)
	}
	must(t, w.check(seeded(1)))
}

// A deletion that comes late does not take a file that was made anew under the same name (KAFKA-12964).
func TestKAFKA12964LateSweepKeepsNewFiles(t *testing.T) {
	w := compactedWorld(t, 300)
	for range 3 {
		w.keyedBy(t, 1, 0, "a", 200)
	}
	must(t, w.truncate(always(2)))
	for range 3 {
		w.keyedBy(t, 1, 0, "b", 200)
	}
	must(t, w.flush(nil))
	w.point = w.log.RecoveryPoint()
	w.now = w.now.Add(time.Hour)
	must(t, w.log.Sweep(w.now))
	for _, s := range w.log.Segments()[1:] {
		for _, ext := range []string{".log", ".snapshot"} {
			if name := fmt.Sprintf("%020d%s", s.Base, ext); !w.exists(name) {
				t.Errorf("%s is gone", name)
			}
		}
	}
	must(t, w.crash(memfs.None, 1), w.check(seeded(1)))
}

// What a kill leaves of a compaction that was finished, but for its names, is put in place by the next start, which reads no more than
// that (KAFKA-12520).
func TestKAFKA12520FinishedCompactionIsNotReadAgain(t *testing.T) {
	interrupted := 0
	for n := range 40 {
		w := compactedWorld(t, 2000)
		for i := range 40 {
			w.keyed(t, 0, string(rune('a'+i%20)), 300)
		}
		hook, count := powerLoss(n)
		must(t, w.flush(nil))
		w.point = w.log.RecoveryPoint()
		w.fs.Hook = hook
		err := w.pass(w.point, 1000, func() error { return nil })
		if *count <= n {
			break
		}
		if err == nil {
			continue
		}
		interrupted++
		must(t, w.crash(memfs.All, 0), w.check(seeded(1)))
		active := w.log.Segments()[len(w.log.Segments())-1].Bytes
		if r := w.log.Recovery(); r.Scanned > active+2000 || len(r.Notes) > 1 {
			t.Errorf("killed at change %d: %d bytes were scanned, the active segment has %d and one that was put in place 2000 at most: %q", n, r.Scanned, active, r.Notes)
		}
	}
	if interrupted < 10 {
		t.Errorf("%d kills prove nothing", interrupted)
	}
}

// A marker stays as long as there is data of its transaction, however many segments lie between (KAFKA-8351).
func TestKAFKA8351MarkerInAnotherSegment(t *testing.T) {
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit: %v", commit), func(t *testing.T) {
			w := compactedWorld(t, 300)
			const id = 100
			w.keyed(t, 0, "k", 20)
			w.keyedBy(t, id, 0, "k", 30) // the newest of its key, where it is committed
			for i := range 8 {
				w.keyed(t, 0, "other "+string(rune('a'+i)), 200)
			}
			must(t, w.endTransaction(id, commit))
			w.keyed(t, 0, "more", 280)
			for range 3 {
				w.compactAll(t) // which compares what is left with the markers
				w.now = w.now.Add(time.Hour)
				w.keyed(t, 0, "more", 280)
			}
			want := map[bool]int{true: 30, false: 20}[commit]
			if facts, _ := w.latest(w.entries); len(facts["k"].value) != want {
				t.Errorf("the value has %d bytes, want %d", len(facts["k"].value), want)
			}
		})
	}
}

// Of a producer one batch is kept for its sequence, that of its newest epoch, and not one of each epoch for ever (KAFKA-8335).
func TestKAFKA8335OneEmptyBatchForEachProducer(t *testing.T) {
	w := compactedWorld(t, 2000)
	for epoch := range moldau.ProducerEpoch(10) {
		b := record.NewBuilder(0)
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = 1, epoch, 0
		b.Add(record.Record{Timestamp: 1_000_000, Key: []byte("k"), Value: make([]byte, 100)})
		raw, err := b.Build(nil)
		must(t, err)
		e := entry{raw: raw}
		e.records, _ = facts(w.codecs, raw)
		a, err := w.log.Append(raw, w.epoch)
		must(t, err, w.appended(e, a, -1))
	}
	for range 2 {
		w.keyed(t, 0, "k", 1900)
	}
	must(t, w.quietPass(seeded(1)))
	left := 0
	for _, e := range w.entries {
		if e.raw.ProducerID() == 1 {
			left++
		}
	}
	if left > 2 { // the last one, and one that ends its segment
		t.Errorf("%d batches of the producer are left", left)
	}
}

// A pass ends, and cleans all, wherever the first dirty offset and the log's start lie: in a gap, within a batch, below the start, behind
// the end (KAFKA-8764, KAFKA-9826, KAFKA-8724, KAFKA-9133).
func TestKAFKA8764FirstDirtyAnywhere(t *testing.T) {
	for _, c := range []struct{ dirty, start moldau.Offset }{
		{0, 0}, {1, 0}, {3, 0}, {4, 2}, {10, 0}, {12, 15}, {20, 22}, {25, 0}, {26, 21}, {40, 0}, {1000, 0}, {0, 20}, {5, 1},
	} {
		t.Run(fmt.Sprintf("dirty from %d, start %d", c.dirty, c.start), func(t *testing.T) {
			w := compactedWorld(t, 600)
			for i := range 20 {
				base := moldau.Offset(0)
				if i%4 == 3 {
					base = w.end() + 4 // as compaction has left it on the leader
				}
				w.keyed(t, base, string(rune('a'+i%3)), 150)
			}
			w.start = c.start
			must(t, w.log.AdvanceStart(c.start), w.flush(nil))
			w.firstDirty = c.dirty
			must(t, w.log.Close(), w.begin(true))
			w.compactAll(t)
			if first, last := w.log.FirstDirty(), w.log.Segments()[len(w.log.Segments())-1].Base; first < last {
				t.Errorf("compacted up to %d, and the active segment begins at %d", first, last)
			}
		})
	}
}

// Retention that takes segments away in the middle of a pass ends neither wrongly (KAFKA-7322), and the log never begins below its first
// segment (Redpanda d2ee5278).
func TestKAFKA7322RetentionInAPass(t *testing.T) {
	for at := range 30 {
		w := compactedWorld(t, 300)
		for i := range 12 {
			w.keyed(t, 0, string(rune('a'+i%5)), 200)
		}
		must(t, w.flush(nil))
		w.point = w.log.RecoveryPoint()
		step := 0
		err := w.pass(w.point, 1000, func() error {
			if step++; step != at {
				return nil
			}
			w.start = 6
			if err := w.log.AdvanceStart(6); err != nil {
				return err
			}
			return w.retain(always(1))
		})
		must(t, err, w.check(seeded(1)))
		must(t, w.quietPass(seeded(1)), w.check(seeded(1)), w.closeAndVerify())
		if step < at {
			break
		}
	}
}

// What compaction has removed does not return when the indexes and the producers' state are built anew (NATS 7384, NATS 7387).
func TestNATS7384RemovedRecordsStayRemoved(t *testing.T) {
	w := compactedWorld(t, 300)
	w.keyed(t, 0, "gone", 50)
	w.keyed(t, 0, "gone", 0)
	for range 2 {
		w.keyed(t, 0, "other", 250)
		w.compactAll(t)
		w.now = w.now.Add(time.Hour) // the tombstone's time is over
	}
	w.keyed(t, 0, "other", 250)
	w.compactAll(t)
	must(t, w.log.Close())
	w.point = w.log.RecoveryPoint()
	for name := range w.files() {
		if !strings.HasSuffix(name, ".log") {
			must(t, w.fs.Remove(dir+name))
		}
	}
	must(t, w.begin(false), w.check(seeded(1)))
	if n := w.recordsOf("gone"); n != 0 {
		t.Errorf("%d records of the key are there", n)
	}
}

// Each codec comes out of a compaction as it went in (NATS 8312), and with it what is left of the records.
func TestNATS8312EachCodecIsCompacted(t *testing.T) {
	for _, codec := range []record.Codec{record.Uncompressed, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			w := compactedWorld(t, 400)
			for i := range 8 {
				b := record.NewBuilder(0)
				b.Compression.Codec = codec
				for k := range 5 {
					b.Add(record.Record{Timestamp: 1_000_000, Key: []byte{byte('a' + (i*2+k)%9)}, Value: bytes.Repeat([]byte{byte(i)}, 100)})
				}
				raw, err := b.Build(w.codecs)
				must(t, err)
				e := entry{raw: raw}
				e.records, err = facts(w.codecs, raw)
				must(t, err)
				a, err := w.log.Append(raw, w.epoch)
				must(t, err, w.appended(e, a, -1))
			}
			w.keyed(t, 0, "more", 350)
			before := len(w.entries)
			w.compactAll(t) // compares records and codecs
			rewritten := 0
			for _, e := range w.entries {
				if len(e.records) > 0 && len(e.records) < 5 && e.raw.Codec() == codec {
					rewritten++
				}
			}
			if rewritten == 0 || len(w.entries) > before {
				t.Errorf("%d batches were rewritten, %d of %d are left", rewritten, len(w.entries), before)
			}
		})
	}
}

// What was aborted is not read as committed after a compaction, whether its marker lay in the part that was cleaned, behind that, or was
// cleaned before (Redpanda 10097, Redpanda 16581).
func TestRedpanda10097AbortedStaysAborted(t *testing.T) {
	for fill := range 8 {
		w := compactedWorld(t, 300)
		const id = 100
		w.keyed(t, 0, "k", 20)
		w.keyedBy(t, id, 0, "k", 40)
		for i := range fill {
			w.keyed(t, 0, "other "+string(rune('a'+i)), 120)
		}
		must(t, w.endTransaction(id, false), w.flush(nil))
		w.point = w.log.RecoveryPoint()
		for range 3 {
			must(t, w.pass(w.point, 1000, func() error { return nil }), w.check(seeded(1)))
			w.keyed(t, 0, "more", 200)
			must(t, w.flush(nil))
			w.point = w.log.RecoveryPoint()
		}
		if facts, _ := w.latest(w.entries); len(facts["k"].value) != 20 {
			t.Errorf("marker behind %d batches: the value has %d bytes, want the 20 from before the transaction", fill, len(facts["k"].value))
		}
	}
}

// The indexes that a compaction writes are those that a start would build from the log (Redpanda 25974), in a segment that does not begin at 0 too.
func TestRedpanda25974IndexesAfterCompaction(t *testing.T) {
	w := compactedWorld(t, 2000)
	config := w.opt.Config
	config.IndexIntervalBytes = 1
	w.log.Reconfigure(config)
	w.opt.Config = config
	for i := range 40 {
		w.now = w.now.Add(time.Second)
		w.keyed(t, 0, string(rune('a'+i%20)), 200)
	}
	w.start = 15
	must(t, w.log.AdvanceStart(15))
	if r, err := w.log.Retain(w.now, w.end()); err != nil || r.Segments == 0 {
		t.Fatalf("retention: %+v %v", r, err)
	}
	w.compactAll(t)
	first := w.log.Segments()[0]
	if first.Base == 0 || len(w.log.Segments()) < 2 {
		t.Fatalf("segments %+v", w.log.Segments())
	}
	must(t, w.log.Close())
	w.point = w.log.RecoveryPoint()
	for _, ext := range []string{".index", ".timeindex"} {
		path := fmt.Sprintf("%s%020d%s", dir, first.Base, ext)
		written, err := env.ReadFile(w.fs, path, 1<<20)
		must(t, err, w.fs.Remove(path))
		must(t, w.begin(true), w.log.Close())
		built, err := env.ReadFile(w.fs, path, 1<<20)
		must(t, err)
		if len(written) < 16 || !bytes.Equal(written, built) {
			t.Errorf("%s: a compaction wrote %x, a start builds %x", path, written, built)
		}
	}
}
