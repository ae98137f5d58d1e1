package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 127, 128, 129, 255, 256, 257, 1 << 20, 1<<20 + 1<<13, 1 << 40, math.MaxInt64} {
		i := bucketOf(v)
		if i < last || i >= len(histogram{}.counts) {
			t.Errorf("value %d is in bucket %d, after %d", v, i, last)
		}
		last = i
		if top := bucketTop(i); top < v || float64(top-v) > float64(v)/128+1 {
			t.Errorf("value %d is in bucket %d up to %d", v, i, top)
		}
		if i > 0 && bucketTop(i-1) >= v {
			t.Errorf("value %d is in bucket %d, but the one before goes up to %d", v, i, bucketTop(i-1))
		}
	}
}

func TestHistogramQuantilesAreThoseOfTheValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "values")
		cut := rapid.IntRange(0, len(values)).Draw(t, "cut")
		var h, other histogram
		for i, v := range values {
			if i < cut {
				h.add(time.Duration(v))
			} else {
				other.add(time.Duration(v))
			}
		}
		h.merge(&other)
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			exact := float64(values[max(int(math.Ceil(q*float64(len(values)))), 1)-1])
			if got := float64(h.quantile(q)); got < exact || got > exact*(1+1.0/128)+1 {
				t.Fatalf("quantile %v of %v is %v, want %v", q, values, got, exact)
			}
		}
		if h.max != time.Duration(values[len(values)-1]) || h.total != uint64(len(values)) {
			t.Fatalf("max %v, total %d of %v", h.max, h.total, values)
		}
	})
}

func TestHistogramOfNothing(t *testing.T) {
	var h histogram
	if h.quantile(0.99) != 0 || h.mean() != 0 {
		t.Error("an empty histogram has figures")
	}
	h.add(-time.Second)
	if h.max != 0 || h.total != 1 {
		t.Error("a negative duration does not count as 0")
	}
}

func TestHistogramAddDoesNotAllocate(t *testing.T) {
	h := new(histogram)
	if n := testing.AllocsPerRun(100, func() { h.add(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
