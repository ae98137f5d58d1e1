package commitlog_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// TestCompactionModel runs many compactions, most of them with something going on meanwhile, and compares after each.
func TestCompactionModel(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 60
	}
	var total Compacted
	for seed := range seeds {
		done, err := compactALot(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		total.RecordsDropped += done.RecordsDropped
		total.SegmentsBefore += done.SegmentsBefore
		total.After += done.After
	}
	t.Logf("%+v", total)
	if total.RecordsDropped < 10*int64(seeds) || total.After >= total.SegmentsBefore {
		t.Errorf("%+v: too little was compacted to prove anything", total)
	}
}

func compactALot(seed uint64) (Compacted, error) {
	pick := seeded(seed)
	c := pickConfig(pick)
	c.SegmentBytes = []int64{600, 1000, 2000}[pick("segment.bytes", 3)]
	c.RetentionMs, c.RetentionBytes = -1, -1
	c.DeleteRetentionMs = []int64{0, 300, 1 << 40}[pick("delete.retention.ms", 3)]
	w := newWorld(c)
	if err := w.begin(false); err != nil {
		return w.done, err
	}
	for range 80 {
		run := (*world).append
		switch pick("what", 10) {
		case 0, 1:
			run = (*world).compact
		case 2:
			run = (*world).marker
		case 3:
			run = func(w *world, pick chooser) error { _, err := w.step(pick); return err }
		}
		if err := run(w, pick); err != nil {
			return w.done, err
		}
		if err := w.check(pick); err != nil {
			return w.done, fmt.Errorf("after it: %w", err)
		}
	}
	return w.done, w.closeAndVerify()
}

// TestCrashInCompaction loses the power at each change that a pass makes to the disk, with each of several outcomes, and again in
// the recovery: what is there then is either old or new, and nothing is lost or comes back.
func TestCrashInCompaction(t *testing.T) {
	seeds, stride, twice := uint64(6), 1, twice{stride: 31}
	if testing.Short() {
		seeds, stride, twice.stride = 2, 7, 29
	}
	for seed := range seeds {
		for n := int(seed); ; n += stride {
			w, more, err := powerLossInPass(seed, n)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !more {
				break
			}
			for _, s := range survivals() {
				if err := twice.crash(w, s, (*world).compactOn); err != nil {
					t.Fatalf("seed %d, change %d, %v", seed, n, err)
				}
			}
		}
	}
	t.Logf("%d crashes, %d of them in a recovery", twice.crashes+twice.inRecovery, twice.inRecovery)
	if twice.crashes < int(seeds)*50 {
		t.Errorf("%d crashes are too few to prove anything", twice.crashes)
	}
}

// powerLossInPass is a world in which the power has failed at change n of a pass; more says that there was such a change.
func powerLossInPass(seed uint64, n int) (w *world, more bool, err error) {
	pick := seeded(seed)
	c := pickConfig(pick)
	c.SegmentBytes = []int64{700, 1500}[seed%2]
	c.RetentionMs, c.RetentionBytes, c.DeleteRetentionMs = -1, -1, []int64{0, 1 << 40}[pick("delete.retention.ms", 2)]
	w = newWorld(c)
	if err := w.begin(false); err != nil {
		return nil, false, err
	}
	for i := range 60 {
		run := (*world).append
		if i%6 == 5 {
			run = (*world).marker
		}
		if err := run(w, pick); err != nil {
			return nil, false, err
		}
		if i != 30 && i != 45 {
			continue
		}
		if err := w.quietPass(pick); err != nil { // so that there are markers and tombstones with a horizon
			return nil, false, err
		}
		w.now = w.now.Add(time.Second)
	}
	hook, count := powerLoss(n)
	w.fs.Hook = func(op memfs.Op) error {
		if w.limit == w.log.RecoveryPoint() || *count > 0 { // the flush before is not what this is about
			return hook(op)
		}
		return nil
	}
	if err := w.quietPass(pick); err != nil && !errors.Is(err, errPower) {
		return nil, false, err
	}
	return w, *count > n, nil
}

// compactOn checks a log that has been recovered, and compacts it.
func (w *world) compactOn(s survival) error {
	pick := seeded(s.seed)
	if err := w.check(pick); err != nil {
		return fmt.Errorf("after the recovery: %w", err)
	}
	if err := w.quietPass(pick); err != nil {
		return fmt.Errorf("the pass after the recovery: %w", err)
	}
	return w.check(pick)
}

// quietPass ends all transactions, makes everything durable and compacts it.
func (w *world) quietPass(pick chooser) error {
	for _, id := range producers[4:] {
		if w.open[id] {
			if err := w.endTransaction(id, pick("commit", 2) == 0); err != nil {
				return err
			}
		}
	}
	if err := w.flush(nil); err != nil {
		return err
	}
	w.point = w.log.RecoveryPoint()
	return w.pass(w.point, 1000, func() error { return nil })
}
