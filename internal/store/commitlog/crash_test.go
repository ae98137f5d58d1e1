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

func (s survival) String() string { return fmt.Sprintf("%v %d", s.keep, s.seed) }

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
// outcomes for what was not synced; and again at changes that the recovery makes, each of them in the long run.
//
// The checkpoint of leader epochs is among what has to be whole (KAFKA-16541).
func TestCrashAtEveryChange(t *testing.T) {
	seeds, steps, twice := uint64(12), 50, twice{stride: 5}
	if testing.Short() {
		seeds, steps, twice.stride = 3, 25, 11
	}
	for seed := range seeds {
		_, changes, err := trace(seed, steps, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for n := range changes {
			w, _, err := trace(seed, steps, n)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range survivals() {
				if err := twice.crash(w, s, (*world).goOn); err != nil {
					t.Fatalf("trace %d, change %d of %d, %v", seed, n, changes, err)
				}
			}
		}
	}
	t.Logf("%d crashes, %d of them in a recovery", twice.crashes+twice.inRecovery, twice.inRecovery)
}

// goOn checks a log that has been recovered, and uses it.
func (w *world) goOn(s survival) error {
	pick := seeded(s.seed + 100)
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

// twice loses the power a second time, in the recovery from the first.
type twice struct {
	stride              int // between the changes of recoveries at which it does
	crashes, inRecovery int
}

// crash loses the power of w, which stays as it is, and again at changes of the recovery, with an outcome that is another each time.
// A recovery that was cut short ends like one that was not (L3). then says what else is to hold after the last one.
func (c *twice) crash(w *world, s survival, then func(*world, survival) error) error {
	once := w.after(s)
	var changes *int
	once.fs.Hook, changes = powerLoss(1 << 30)
	if err := once.recover(s.keep == memfs.All); err != nil {
		return fmt.Errorf("%v: %w", s, err)
	}
	once.fs.Hook = nil
	want := once.known()
	c.crashes++
	if err := then(once, s); err != nil {
		return fmt.Errorf("%v: %w", s, err)
	}
	list := survivals()
	for m := c.crashes % c.stride; m < *changes; m += c.stride {
		c.inRecovery++
		second := list[c.inRecovery%len(list)]
		if err := crashInRecovery(w.after(s), s, m, second, want); err != nil {
			return fmt.Errorf("%v, and change %d of the recovery, %v: %w", s, m, second, err)
		}
	}
	return nil
}

func crashInRecovery(w *world, first survival, m int, second survival, want string) error {
	w.fs.Hook, _ = powerLoss(m)
	killed := first.keep == memfs.All
	if err := w.recover(killed); !errors.Is(err, errPower) {
		return fmt.Errorf("no crash: %w", err)
	}
	w = w.after(second)
	if err := w.recover(killed && second.keep == memfs.All); err != nil {
		return err
	}
	if got := w.known(); got != want {
		return fmt.Errorf("it has %s, and without the second crash %s", got, want)
	}
	return w.check(seeded(second.seed))
}

// known is what a recovery finds out. Where all records are lost and the log begins anew, what is left of its producers is by luck.
func (w *world) known() string {
	l := w.log
	aborted, err := l.AbortedIn(l.Start(), l.End())
	known := fmt.Sprintf("[%d, %d) segments %v epoch %d aborted %+v %v", l.Start(), l.End(), l.Segments(), l.LatestEpoch(), aborted, err)
	if l.Start() < l.End() {
		known += fmt.Sprintf(" producers %+v", l.Producers())
	}
	return known
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

// A segment is believed once its indexes are there, so what was aborted in it has to be known durably before: the readers of a
// log that was recovered twice would be given it (L-29).
func TestCrashWhileIndexesAreRebuilt(t *testing.T) {
	c := DefaultConfig()
	c.SegmentBytes = 300
	w := newWorld(c)
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	as := func(producer int) chooser {
		return func(label string, _ int) int { return map[string]int{"producer": producer, "size": 100}[label] }
	}
	err := errors.Join(w.append(as(4)), w.endTransaction(producers[4], false))
	for range 4 {
		err = errors.Join(err, w.append(as(0)))
	}
	if err = errors.Join(err, w.flush(nil)); err != nil {
		t.Fatal(err)
	}
	w.point = w.log.RecoveryPoint()
	if list, err := w.log.AbortedIn(0, w.end()); err != nil || len(list) != 1 || len(w.log.Segments()) < 3 {
		t.Fatalf("aborted: %+v %v", list, err)
	}
	if err := errors.Join(w.fs.Remove(dir+"00000000000000000000.index"), w.fs.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
	twice := twice{stride: 1}
	for _, s := range survivals() {
		if err := twice.crash(w, s, (*world).goOn); err != nil {
			t.Fatal(err)
		}
	}
	if twice.inRecovery < 100 {
		t.Errorf("%d crashes in a recovery are too few to prove anything", twice.inRecovery)
	}
}
