package commitlog_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// sent is a batch of n records as a producer sends it.
func sent(t *testing.T, id moldau.ProducerID, epoch moldau.ProducerEpoch, first moldau.Sequence, n int, transactional bool) record.Batch {
	t.Helper()
	b := record.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = id, epoch, first, transactional
	for range n {
		b.Add(record.Record{Timestamp: 1000, Value: []byte("v")})
	}
	bt, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return bt
}

func (w *world) must(t *testing.T, b record.Batch) Appended {
	t.Helper()
	if dup, err := w.log.CheckProducer(b); dup != nil || err != nil {
		t.Fatal(dup, err)
	}
	a, err := w.log.Append(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSequences is L-20 to L-22: the window of five, the wrap, epochs.
func TestSequences(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	const id = 9
	w.must(t, sent(t, id, 3, math.MaxInt32-5, 3, false)) // an unknown producer may begin anywhere
	w.must(t, sent(t, id, 3, math.MaxInt32-2, 5, false)) // wraps: its last sequence is 1
	for i := range 4 {
		w.must(t, sent(t, id, 3, moldau.Sequence(2+i), 1, false))
	}
	check := func(t *testing.T) {
		tests := []struct {
			name  string
			batch record.Batch
			base  moldau.Offset // of the duplicate, -1: none
			err   error
		}{
			{"next", sent(t, id, 3, 6, 1, false), -1, nil},
			{"last again", sent(t, id, 3, 5, 1, false), 11, nil},
			{"fifth last again, it wraps", sent(t, id, 3, math.MaxInt32-2, 5, false), 3, nil},
			{"sixth last again", sent(t, id, 3, math.MaxInt32-5, 3, false), -1, ErrOutOfOrderSequence},
			{"same first, other length", sent(t, id, 3, 5, 2, false), -1, ErrOutOfOrderSequence},
			{"gap", sent(t, id, 3, 7, 1, false), -1, ErrOutOfOrderSequence},
			{"older epoch", sent(t, id, 2, 6, 1, false), -1, ErrStaleProducerEpoch},
			{"newer epoch not from 0", sent(t, id, 4, 6, 1, false), -1, ErrOutOfOrderSequence},
			{"newer epoch from 0", sent(t, id, 4, 0, 1, false), -1, nil},
			{"another producer", sent(t, 10, 0, 77, 1, false), -1, nil},
			{"no producer", batch(t, 1, 0, 1), -1, nil},
		}
		for _, tt := range tests {
			dup, err := w.log.CheckProducer(tt.batch)
			if !errors.Is(err, tt.err) || (dup != nil) != (tt.base >= 0) || dup != nil && dup.Base != tt.base {
				t.Errorf("%s: %+v %v, want base %d, %v", tt.name, dup, err, tt.base, tt.err)
			}
		}
	}
	check(t)
	if err := w.reopen(nil); err != nil { // all five are known again from the snapshot
		t.Fatal(err)
	}
	check(t)
	w.fs = w.fs.Crash(memfs.All, 0)
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	check(t)
}

// TestExpiry is L-26: what counts is when we heard of a producer, whatever its records say.
func TestExpiry(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	w.must(t, sent(t, 1, 0, 0, 1, false))
	w.must(t, sent(t, 2, 0, 0, 1, true))
	w.now = w.now.Add(23 * time.Hour)
	w.must(t, sent(t, 3, 0, 0, 1, false))
	if n := w.log.ExpireProducers(w.now); n != 0 {
		t.Errorf("%d producers have expired, want none", n)
	}
	w.now = w.now.Add(time.Hour)
	if n := w.log.ExpireProducers(w.now); n != 1 {
		t.Errorf("%d producers have expired, want that without a transaction", n)
	}
	if ps := w.log.Producers(); len(ps) != 2 || ps[0].ID != 2 || ps[1].ID != 3 {
		t.Errorf("left: %+v", ps)
	}
}

// TestTransactions is L-22, L-27, L-28: open and ended transactions, markers, the first unstable offset.
func TestTransactions(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	end := func(id moldau.ProducerID, epoch moldau.ProducerEpoch, coordinator int32, commit bool) Appended {
		return w.must(t, record.BuildMarker(0, 2000, id, epoch, record.Marker{Commit: commit, CoordinatorEpoch: coordinator}))
	}
	unstable := func(hw, want moldau.Offset) {
		t.Helper()
		o, ok := w.log.FirstUnstable(hw)
		if !ok {
			o = -1
		}
		if o != want {
			t.Errorf("the first unstable offset below %d is %d, want %d", hw, o, want)
		}
	}
	unstable(0, -1)
	w.must(t, sent(t, 1, 0, 0, 2, true)) // 0, 1
	w.must(t, sent(t, 2, 0, 0, 2, true)) // 2, 3
	unstable(4, 0)
	if _, err := w.log.CheckProducer(sent(t, 1, 0, 2, 1, false)); !errors.Is(err, ErrInvalidTxnState) {
		t.Errorf("a plain batch in a transaction: %v", err)
	}
	end(1, 0, 5, false) // 4
	unstable(4, 0)      // its marker is not committed yet
	unstable(5, 2)
	for name, m := range map[string]struct {
		batch record.Batch
		want  error
	}{
		"stale epoch":       {record.BuildMarker(0, 1, 1, -1, record.Marker{CoordinatorEpoch: 5}), ErrStaleProducerEpoch},
		"stale coordinator": {record.BuildMarker(0, 1, 1, 0, record.Marker{CoordinatorEpoch: 4}), ErrCoordinatorFenced},
		"again":             {record.BuildMarker(0, 1, 1, 0, record.Marker{CoordinatorEpoch: 5}), nil},
		"bumped":            {record.BuildMarker(0, 1, 1, 1, record.Marker{CoordinatorEpoch: 5}), nil},
	} {
		if _, err := w.log.CheckProducer(m.batch); !errors.Is(err, m.want) {
			t.Errorf("marker %s: %v, want %v", name, err, m.want)
		}
	}
	for name, m := range map[string]struct {
		batch  record.Batch
		bumped bool
		want   error
	}{
		"of the open transaction's own epoch":    {record.BuildMarker(0, 1, 2, 0, record.Marker{CoordinatorEpoch: 5}), false, nil},
		"late, of the transaction before":        {record.BuildMarker(0, 1, 2, 0, record.Marker{CoordinatorEpoch: 5}), true, ErrStaleProducerEpoch},
		"of the open transaction, bumped":        {record.BuildMarker(0, 1, 2, 1, record.Marker{CoordinatorEpoch: 5}), true, nil},
		"twice, before the next has begun":       {record.BuildMarker(0, 1, 1, 0, record.Marker{CoordinatorEpoch: 5}), true, nil},
		"of a stale coordinator":                 {record.BuildMarker(0, 1, 1, 1, record.Marker{CoordinatorEpoch: 4}), true, ErrCoordinatorFenced},
		"of a producer that nobody has seen":     {record.BuildMarker(0, 1, 9, 0, record.Marker{CoordinatorEpoch: 1}), true, nil},
		"data of a coordinator, any sequence":    {sent(t, 2, 0, 0, 1, true), false, nil},
		"data of a coordinator, of an old epoch": {sent(t, 2, -1, 0, 1, true), false, ErrStaleProducerEpoch},
	} {
		if err := w.log.CheckCoordinated(m.batch, m.bumped); !errors.Is(err, m.want) {
			t.Errorf("a batch %s: %v, want %v", name, err, m.want)
		}
	}
	end(2, 0, 5, false) // 5
	unstable(6, -1)
	w.must(t, sent(t, 1, 0, 2, 1, true)) // 6
	end(1, 1, 6, true)                   // 7, with the bump of KIP-890
	if _, err := w.log.CheckProducer(sent(t, 1, 1, 1, 1, true)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("after a bump sequences begin at 0: %v", err)
	}
	w.must(t, sent(t, 1, 1, 0, 1, true)) // 8, open
	for range 2 {
		list, err := w.log.AbortedIn(0, 9)
		if err != nil || len(list) != 2 || list[0] != (Aborted{1, 0, 4, 2}) || list[1] != (Aborted{2, 2, 5, 6}) {
			t.Errorf("aborted: %+v %v", list, err)
		}
		if list, err := w.log.AbortedIn(5, 6); err != nil || len(list) != 1 || list[0].Producer != 2 {
			t.Errorf("aborted from 5: %+v %v", list, err)
		}
		if list, err := w.log.AbortedIn(6, 9); err != nil || len(list) != 0 || list == nil {
			t.Errorf("aborted from 6: %+v %v", list, err)
		}
		unstable(9, 8)
		if err := w.reopen(nil); err != nil {
			t.Fatal(err)
		}
	}
}

// What is known of a producer outlives its batches, also when the power is lost after they were deleted (L-26).
func TestPowerLossAfterRetentionKeepsProducers(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("recovered before: %v", again), func(t *testing.T) {
			w := compactedWorld(t, 300)
			w.keyedBy(t, 1, 0, "a", 200)
			if again { // the batch is durable, and the snapshot behind it is lost
				if err := w.flush(nil); err != nil {
					t.Fatal(err)
				}
				w.keyed(t, 0, "b", 200)
				if err := w.crash(memfs.None, 1); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				w.keyed(t, 0, "b", 200)
			}
			w.start = w.end() - 1
			if err := w.log.AdvanceStart(w.start); err != nil {
				t.Fatal(err)
			}
			if r, err := w.log.Retain(w.now, w.end()); err != nil || r.Segments < 3 {
				t.Fatalf("retention: %+v %v", r, err)
			}
			w.now = w.now.Add(time.Second)
			if err := errors.Join(w.log.Sweep(w.now), w.flush(nil)); err != nil {
				t.Fatal(err)
			}
			w.point = w.log.RecoveryPoint()
			if err := w.crash(memfs.None, 1); err != nil {
				t.Fatal(err)
			}
			if p := w.log.Producers(); len(p) != 1 || p[0].ID != 1 || p[0].LastSequence != 0 {
				t.Errorf("after the power loss the producers are %+v, want 1 with sequence 0", p)
			}
		})
	}
}

// A snapshot that a power loss has torn is written anew while the batches before it are there: they may be deleted next (L-26).
func TestTornSnapshotIsWrittenAnew(t *testing.T) {
	for _, keep := range []memfs.Keep{memfs.Names, memfs.Zeros, memfs.Noise} {
		w := compactedWorld(t, 300)
		w.keyedBy(t, 1, 0, "a", 200)
		if err := w.flush(nil); err != nil {
			t.Fatal(err)
		}
		w.keyed(t, 0, "b", 200)
		if err := w.crash(keep, 1); err != nil {
			t.Fatal(err)
		}
		w.keyed(t, 0, "b", 200)
		w.keyed(t, 0, "b", 200)
		w.start = 1
		if err := w.log.AdvanceStart(w.start); err != nil {
			t.Fatal(err)
		}
		if r, err := w.log.Retain(w.now, w.end()); err != nil || r.Segments != 1 {
			t.Fatalf("retention: %+v %v", r, err)
		}
		if err := errors.Join(w.log.Sweep(w.now), w.crash(memfs.All, 1)); err != nil {
			t.Fatal(err)
		}
		if p := w.log.Producers(); len(p) != 1 || p[0].ID != 1 || p[0].LastSequence != 0 {
			t.Errorf("%v: the producers are %+v, want 1 with sequence 0", keep, p)
		}
	}
}
