package commitlog_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

var errPower = errors.New("power lost")

// powerLoss makes all calls that change something fail from number n on.
func powerLoss(n int) (hook func(memfs.Op) error, count *int) {
	count = new(int)
	return func(op memfs.Op) error {
		if !op.Changes() {
			return nil
		}
		if *count++; *count > n {
			return errPower
		}
		return nil
	}, count
}

// survival is a state that a crash may leave.
type survival struct {
	keep memfs.Keep
	seed uint64
}

// survivals are those that are tried at each point: all kinds, and of that which has the most outcomes several.
func survivals() (list []survival) {
	for _, keep := range memfs.Keeps {
		list = append(list, survival{keep, 1})
	}
	return append(list, survival{memfs.Some, 2}, survival{memfs.Some, 3}, survival{memfs.Some, 4}, survival{memfs.Ordered, 2})
}

// trace runs ops on a new log until the power is lost at its n-th change, and returns the world as it was then, and how
// many changes there were.
func trace(seed uint64, steps, n int) (w *world, changes int, err error) {
	pick := seeded(seed)
	c := pickConfig(pick)
	if seed%3 > 0 {
		c.SegmentBytes = 600 // the most interesting things happen between segments
	}
	w = newWorld(c)
	hook, count := powerLoss(n)
	w.fs.Hook = hook
	err = w.begin(false)
	for i := 0; i < steps && err == nil; i++ {
		if i%7 == 3 && w.log.End() > 0 { // what is appended later is at risk, what was before is not
			if err = w.sync(i%2 == 0); err == nil {
				w.durable = w.log.End()
			}
			continue
		}
		var name string
		if name, err = w.step(pick); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if errors.Is(err, errPower) {
		err = nil
	}
	return w, *count, err
}

// TestCrashAtEveryChange enumerates: the power goes at each change that a run makes to the disk, with each of several
// outcomes for what was not synced; and again at each change that the recovery makes.
//
// The checkpoint of leader epochs is among what has to be whole (KAFKA-16541).
func TestCrashAtEveryChange(t *testing.T) {
	seeds, steps := uint64(12), 50
	if testing.Short() {
		seeds, steps = 3, 25
	}
	points := 0
	for seed := range seeds {
		_, changes, err := trace(seed, steps, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for n := range changes {
			for _, s := range survivals() {
				points++
				if err := crashAt(seed, steps, n, s.keep, s.seed); err != nil {
					t.Fatalf("trace %d, change %d of %d, %+v: %v", seed, n, changes, s, err)
				}
			}
		}
	}
	t.Logf("%d crashes", points)
}

// TestCrashInSweep loses the power while several segments are deleted: what is left has no gap, which a recovery would
// take for a loss and cut the log there.
func TestCrashInSweep(t *testing.T) {
	for n := range 30 {
		for seed := range uint64(8) {
			c := DefaultConfig()
			c.SegmentBytes = 500
			w := newWorld(c)
			if err := w.begin(false); err != nil {
				t.Fatal(err)
			}
			for range 30 {
				if err := w.append(func(label string, n int) int { return n / 2 * len(label) % n }); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.flush(nil); err != nil { // and the recovery point is not checkpointed
				t.Fatal(err)
			}
			if err := w.log.AdvanceStart(w.log.End() - 2); err != nil {
				t.Fatal(err)
			}
			if r, err := w.log.Retain(w.now, w.end()); err != nil || r.ByStart < 3 {
				t.Fatal(r, err)
			}
			w.fs.Hook, _ = powerLoss(n)
			if err := w.log.Sweep(w.now); err != nil && !errors.Is(err, errPower) {
				t.Fatal(err)
			}
			if err := w.crash(memfs.Some, seed); err != nil {
				t.Fatalf("change %d, seed %d: %v", n, seed, err)
			}
			if err := w.check(seeded(seed)); err != nil {
				t.Fatalf("change %d, seed %d: %v", n, seed, err)
			}
		}
	}
}

func crashAt(seed uint64, steps, n int, keep memfs.Keep, chance uint64) error {
	w, _, err := trace(seed, steps, n)
	if err != nil {
		return err
	}
	// A second crash, in the midst of the recovery from the first.
	fs := w.fs.Crash(keep, chance)
	hook, _ := powerLoss(int(seed+uint64(n)) % 7)
	fs.Hook = hook
	w.fs = fs
	w.opt.Outage = Rebooted
	if err := w.begin(false); err != nil && !errors.Is(err, errPower) {
		return fmt.Errorf("recovery with a crash: %w", err)
	}
	if err := w.crash(keep, chance+1); err != nil {
		return err
	}
	pick := seeded(seed + 100)
	if err := w.check(pick); err != nil {
		return fmt.Errorf("after the recovery: %w", err)
	}
	for range 6 {
		if name, err := w.step(pick); err != nil {
			return fmt.Errorf("%s after the recovery: %w", name, err)
		}
	}
	return w.check(pick)
}
