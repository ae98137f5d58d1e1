package commitlog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// copyTo makes the world go on with a copy of its log in another directory, which has followed it beside other changes.
func (w *world) copyTo(dir string, pick chooser) error {
	o := w.opt
	o.FS, o.Dir = w.fs, dir
	future, err := Open(o)
	if err != nil {
		return err
	}
	for range pick("rounds", 4) {
		if _, err := future.Follow(w.log, 1+pick("bytes", 2000)); err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		for _, step := range []func(chooser) error{w.append, w.marker, w.append, w.advanceStart, w.retain} {
			if err := step(pick); err != nil {
				return err
			}
		}
	}
	for n := 1; n > 0; {
		if n, err = future.Follow(w.log, 1000); err != nil {
			return fmt.Errorf("follow to the end: %w", err)
		}
	}
	if err := future.Succeed(w.log); err != nil {
		return err
	}
	if err := errors.Join(future.Close(), w.log.Close()); err != nil {
		return err
	}
	w.opt.Dir, w.point, w.durable = dir, future.End(), future.End()
	if err := w.begin(true); err != nil {
		return err
	}
	if r := w.log.Recovery(); r.Scanned > 0 || len(r.Notes) > 0 {
		return fmt.Errorf("a copy is followed by a recovery: %+v", r)
	}
	return nil
}

// A copy that follows a log beside appends, deletions and retention, and then takes its place, is that log to everybody who asks,
// through kills and losses of power after it.
func TestCopyTakesThePlace(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		pick := seeded(seed)
		w := newWorld(pickConfig(pick))
		w.uncut = true
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		for move := range 3 {
			for range 15 {
				op := ops[pick("op", len(ops))]
				if op.name == "truncate" { // producers may be known longer than their batches, and back there the copy knows less
					continue
				}
				if err := op.run(w, pick); err != nil {
					t.Fatalf("seed %d, %s: %v", seed, op.name, err)
				}
			}
			if err := w.copyTo(fmt.Sprintf("/data/copy%d-0", move), pick); err != nil {
				t.Fatalf("seed %d, copy %d: %v", seed, move, err)
			}
			if err := w.check(pick); err != nil {
				t.Fatalf("seed %d, copy %d: %v", seed, move, err)
			}
			if err := w.crash(memfs.Keep(pick("keep", 3)), seed); err != nil {
				t.Fatalf("seed %d, crash behind copy %d: %v", seed, move, err)
			}
			if err := w.check(pick); err != nil {
				t.Fatalf("seed %d, crash behind copy %d: %v", seed, move, err)
			}
		}
	}
}

// A copy does not hide that bytes have changed.
func TestCopyOfDamagedBytesFails(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	if err := w.append(seeded(1)); err != nil {
		t.Fatal(err)
	}
	f, err := w.fs.Open(w.opt.Dir + "/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, record.HeaderLen+1); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o := w.opt
	o.FS, o.Dir = w.fs, "/data/copy-0"
	future, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := future.Follow(w.log, 1000); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}
