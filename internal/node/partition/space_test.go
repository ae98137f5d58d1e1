package partition

import (
	"errors"
	"syscall"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// A full volume refuses what comes with a code that clients retry, and takes nothing offline: those who wait go on
// waiting, records are read, and the batch that was refused is taken when it comes again (KAFKA-6683).
func TestFullVolumeRefusesAndGoesOn(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.sequenced(7, 0, 0, 1), true, &w, 0)
	h.mu.Lock()
	h.fail = func(op memfs.Op) error {
		if op.Kind == "write" || op.Kind == "create" {
			return memfs.ShortWrite{N: op.Len / 3, Err: syscall.ENOSPC}
		}
		return nil
	}
	h.mu.Unlock()
	if _, code, err := h.Append(h.sequenced(7, 0, 1, 1), true, &w, 1); code != moldau.NotEnoughReplicas || !errors.Is(err, commitlog.ErrNoSpace) {
		t.Fatalf("append: %v, %v", code, err)
	}
	if err := h.Flush(); !errors.Is(err, commitlog.ErrNoSpace) { // the epoch's checkpoint is a new file
		t.Fatalf("flush: %v", err)
	}
	if !h.Online() {
		t.Fatal("the partition is offline:", h.Failure())
	}
	w.expectNone(t, 0)
	h.failOn("")
	h.append(h.sequenced(7, 0, 1, 1), true, &w, 2)
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	w.expect(t, 0, moldau.None)
	w.expect(t, 2, moldau.None)
	if res := h.read(0); res.Code != moldau.None || res.Region.Len == 0 {
		t.Errorf("read: %v, %d bytes", res.Code, res.Region.Len)
	} else {
		res.Region.Release()
	}
}

// Levels over volumes of all sizes: they come in their order, each holds until a quarter more than its bound is free, and what
// is kept back is never more than an eighth.
func TestSpaceLevels(t *testing.T) {
	for _, total := range []int64{1 << 20, 64 << 20, 1 << 30, 100 << 30, 10 << 40} {
		reserve := ReserveOf(total)
		if reserve <= 0 || reserve > total/8 || reserve > 512<<20 {
			t.Errorf("%d of %d bytes are kept back", reserve, total)
		}
		s, step := Space{}, max(total/10_000, 1)
		if step > reserve/10 {
			step = reserve / 10
		}
		for free := min(total, 20*reserve); free >= 0; free -= step {
			n := s.next(total, free, reserve)
			want := Ample
			switch {
			case free < reserve:
				want = Refusing
			case free < 2*reserve:
				want = Throttled
			case free < max(4*reserve, min(total/10, scarceMax)):
				want = Scarce
			}
			if n.Level != want || n.Level < s.Level || n.Delay < s.Delay {
				t.Fatalf("%d of %d bytes are free: %+v behind %+v", free, total, n, s)
			}
			s = n
		}
		if s.Delay != delayMax {
			t.Errorf("on a full volume of %d bytes producers wait %v", total, s.Delay)
		}
		for _, free := range []int64{reserve, reserve + reserve/5} {
			if s = s.next(total, free, reserve); s.Level != Refusing {
				t.Errorf("with %d bytes free again, of which %d are kept back, the level is %d", free, reserve, s.Level)
			}
		}
		if s = s.next(total, reserve+reserve/4, reserve); s.Level != Throttled {
			t.Errorf("the level with a quarter more than the reserve is %d", s.Level)
		}
		if s = s.next(total, total, reserve); s.Level != Ample || s.Delay != 0 {
			t.Errorf("an empty volume: %+v", s)
		}
	}
	if s := (Space{}).next(1000, 0, 0); s.Level == Refusing || s.Delay != 0 {
		t.Errorf("nothing is kept back, and on a full volume: %+v", s)
	}
}

// Between two measures what is written counts: a small volume fills faster than it is looked at.
func TestSpaceFollowsWhatIsWritten(t *testing.T) {
	h := leading(t, settings())
	d := h.Home()
	d.Measured(100_000, 50_000, 10_000)
	for d.Space().Level < Refusing {
		if d.Space().Free < 9_000 {
			t.Fatalf("%+v", d.Space())
		}
		h.append(h.batch(1, 800), false, nil, 0)
	}
	if before, now := d.Measured(100_000, 80_000, 10_000); before.Level != Ample || now.Level != Ample || d.Space() != now {
		t.Errorf("the next measure: %+v behind %+v", now, before)
	}
}
