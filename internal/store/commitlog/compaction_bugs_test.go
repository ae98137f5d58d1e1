package commitlog_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// keyed appends a batch with one record; an empty value is a tombstone.
func (w *world) keyed(t *testing.T, base moldau.Offset, key string, size int) {
	t.Helper()
	w.keyedBy(t, -1, base, key, size)
}

// keyedBy is keyed by producer id (none: -1).
func (w *world) keyedBy(t *testing.T, id moldau.ProducerID, base moldau.Offset, key string, size int) {
	t.Helper()
	b := record.NewBuilder(0)
	if id >= 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = id, 0, w.seq[id], id >= 100
	}
	r := record.Record{Timestamp: moldau.Timestamp(w.now.UnixMilli()), Key: []byte(key)}
	if size > 0 {
		r.Value = make([]byte, size)
	}
	b.Add(r)
	raw, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	e := entry{raw: raw}
	e.records, _ = facts(w.codecs, raw)
	raw.SetBaseOffset(max(base, w.end()))
	raw.SetLeaderEpoch(w.epoch)
	a, err := w.log.AppendAs(raw)
	if err == nil {
		err = w.appended(e, a, id)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func compactedWorld(t *testing.T, segmentBytes int64) *world {
	t.Helper()
	c := DefaultConfig()
	c.SegmentBytes, c.DeleteRetentionMs, c.RetentionMs = segmentBytes, 1000, -1
	w := newWorld(c)
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	return w
}

// compactAll makes everything durable, compacts it and compares.
func (w *world) compactAll(t *testing.T) {
	t.Helper()
	err := w.quietPass(seeded(1))
	if err == nil {
		err = w.check(seeded(1))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) recordsOf(key string) (n int) {
	for _, e := range w.entries {
		for _, f := range e.records {
			if f.key == key {
				n++
			}
		}
	}
	return n
}

// A tombstone stays for delete.retention.ms after the first pass that has seen it, and goes with the next pass (C3).
func TestKAFKA4529TombstoneStaysForItsTime(t *testing.T) {
	w := compactedWorld(t, 300)
	w.keyed(t, 0, "gone", 20)
	w.keyed(t, 0, "gone", 0)
	more := func() {
		for range 3 {
			w.keyed(t, 0, "other", 200)
		}
	}
	more()
	w.compactAll(t)
	w.now = w.now.Add(999 * time.Millisecond)
	more()
	w.compactAll(t)
	if n := w.recordsOf("gone"); n != 1 {
		t.Fatalf("%d records with the key are left, want the tombstone", n)
	}
	w.now = w.now.Add(2 * time.Millisecond)
	more()
	w.compactAll(t)
	if n := w.recordsOf("gone"); n != 0 {
		t.Errorf("%d records with the key are left after the horizon", n)
	}
}

// A round that leaves nothing but an empty batch keeps the end of what it has cleaned (KAFKA-7385, KAFKA-17076).
func TestKAFKA7385OnlyEmptyBatchesAreLeft(t *testing.T) {
	w := compactedWorld(t, 300)
	id := moldau.ProducerID(100)
	for range 6 {
		e := w.build(seeded(3), id)
		a, err := w.log.Append(e.raw, w.epoch)
		if err == nil {
			err = w.appended(e, a, id)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.endTransaction(id, false); err != nil {
		t.Fatal(err)
	}
	w.keyed(t, 0, "x", 250)
	for range 2 {
		w.compactAll(t)
		if err := w.reopen(nil); err != nil {
			t.Fatal(err)
		}
		w.keyed(t, 0, "x", 250)
	}
}

// Offsets that jump by more than 2³¹ never share a segment (KAFKA-5413, KAFKA-12889, AutoMQ 3339).
func TestKAFKA5413OffsetsJump(t *testing.T) {
	w := compactedWorld(t, 1<<20)
	for i := range moldau.Offset(5) {
		w.keyed(t, i*3<<30, "a", 100)
		w.keyed(t, 0, "b", 100)
	}
	w.compactAll(t)
	if n := w.recordsOf("a"); n > 2 || w.firstDirty < 3<<30 {
		t.Errorf("%d records are left, compacted up to %d", n, w.firstDirty)
	}
}

// A batch that is larger than every buffer, and than a max.message.bytes that was lowered later, is copied like others
// (KAFKA-6834).
func TestKAFKA6834LargeBatch(t *testing.T) {
	w := compactedWorld(t, 1<<20)
	w.keyed(t, 0, "large", 900_000)
	w.keyed(t, 0, "small", 10)
	w.keyed(t, 0, "large", 800_000)
	w.keyed(t, 0, "small", 500_000)
	w.compactAll(t)
	if n := w.recordsOf("large"); n != 1 {
		t.Errorf("%d large records are left", n)
	}
}

// A record is not superseded by that of a transaction whose marker a power loss can take away: the transaction may end otherwise then.
func TestCompactionWaitsForDurableMarkers(t *testing.T) {
	w := compactedWorld(t, 300)
	const id = 100
	w.keyed(t, 0, "balance", 20)
	w.keyedBy(t, id, 0, "balance", 30)
	for range 3 {
		w.keyed(t, 0, "other", 200)
	}
	if err := w.flush(nil); err != nil {
		t.Fatal(err)
	}
	w.point = w.log.RecoveryPoint()
	if err := w.endTransaction(id, true); err != nil {
		t.Fatal(err)
	}
	pass := func() {
		t.Helper()
		if err := w.pass(w.point, 1000, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	if n := w.recordsOf("balance"); n != 2 {
		t.Fatalf("%d records of the key are left while the marker is not durable, want both", n)
	}
	if err := w.crash(memfs.None, 1); err != nil {
		t.Fatal(err)
	}
	if first, open := w.log.FirstUnstable(w.end()); !open || first != 1 {
		t.Fatalf("after the power loss the first unstable offset is %d %v, want that of the transaction, 1", first, open)
	}
	if err := w.endTransaction(id, false); err != nil {
		t.Fatal(err)
	}
	if err := w.flush(nil); err != nil {
		t.Fatal(err)
	}
	pass()
	if err := w.check(seeded(1)); err != nil {
		t.Fatal(err)
	}
	if facts, _ := w.latest(w.entries); len(facts["balance"].value) != 20 {
		t.Errorf("the balance that is left has %d bytes, want the 20 from before the transaction", len(facts["balance"].value))
	}
}

// TestEmptiedBatchHasNoTime: the time index of a compacted segment leads to records, not to a batch that was kept without any. One of
// Apache Kafka's counts the time of such a batch, which is no damage.
func TestEmptiedBatchHasNoTime(t *testing.T) {
	w := compactedWorld(t, 250)
	kept := moldau.Timestamp(w.now.UnixMilli())
	for _, key := range []string{"kept", "again"} { // the second, the last of its segment, is superseded in the next one
		w.keyed(t, 0, key, 50)
		w.now = w.now.Add(time.Second)
	}
	emptied := kept + 1000
	w.keyed(t, 0, "again", 150)
	w.keyed(t, 0, "again", 150)
	w.compactAll(t)
	if len(w.entries) < 2 || len(w.entries[1].records) > 0 || w.log.Segments()[0].Next != 2 {
		t.Fatalf("the last batch of the first segment has not been emptied: %+v", w.log.Segments())
	}
	path := dir + "00000000000000000000.timeindex"
	times, err := ReadTimeIndex(w.fs, path)
	if err != nil || len(times) != 1 || times[0] != (TimeEntry{kept, 0}) {
		t.Errorf("the time index is %v, %v, want the record's, %d at 0", times, err, kept)
	}
	if err := w.closeAndVerify(); err != nil {
		t.Error(err)
	}
	for ts, fine := range map[moldau.Timestamp]bool{emptied: true, emptied + 1: false} {
		poke(t, w.fs, "00000000000000000000.timeindex", func([]byte) []byte {
			b := binary.BigEndian.AppendUint64(nil, uint64(ts))
			return binary.BigEndian.AppendUint32(b, 1)
		})
		found := slices.DeleteFunc(w.verify(t, true).Findings, func(f Finding) bool { return f.Kind == Leftover })
		if fine != (len(found) == 0) {
			t.Errorf("an entry with time %d: %+v", ts, found)
		}
	}
}
