package commitlog_test

import (
	"math/rand/v2"
	"testing"

	"github.com/moldau/moldau/internal/kit/env/memfs"

	. "github.com/moldau/moldau/internal/store/commitlog"
	"pgregory.net/rapid"
)

// configs are small, so that everything happens often.
func pickConfig(pick chooser) Config {
	c := DefaultConfig()
	c.SegmentBytes = []int64{600, 2000, 1 << 20}[pick("segment.bytes", 3)]
	c.IndexIntervalBytes = []int64{1, 300, 4096}[pick("index.interval.bytes", 3)]
	c.IndexBytesMax = []int64{100, 10 << 20}[pick("index bytes", 2)]
	c.SegmentMs = []int64{200, 1 << 40}[pick("segment.ms", 2)]
	c.RetentionMs = []int64{300, -1}[pick("retention.ms", 2)]
	c.RetentionBytes = []int64{3000, -1}[pick("retention.bytes", 2)]
	c.FileDeleteDelayMs = 100
	return c
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		w := newWorld(pickConfig(pick))
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			name, err := w.step(pick)
			if err == nil {
				err = w.check(pick)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := w.closeAndVerify(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPowerLoss cuts the power at random moments, and again soon after.
func TestPowerLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		w := newWorld(pickConfig(pick))
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "lives") {
			for range rapid.IntRange(0, 15).Draw(t, "steps") {
				if name, err := w.step(pick); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			keep := memfs.Keeps[pick("keep", len(memfs.Keeps))]
			if err := w.crash(keep, rapid.Uint64().Draw(t, "seed")); err != nil {
				t.Fatalf("crash: %v", err)
			}
			if err := w.check(pick); err != nil {
				t.Fatalf("after the crash: %v", err)
			}
		}
	})
}

func seeded(seed uint64) chooser {
	r := rand.New(rand.NewPCG(seed, 2))
	return func(_ string, n int) int { return r.IntN(n) }
}
