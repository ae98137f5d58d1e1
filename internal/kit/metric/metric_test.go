package metric

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestQuantile: a quantile is never below the value that it stands for, and at most an eighth above.
func TestQuantile(t *testing.T) {
	t.Parallel()
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for ms := 1; ms <= 100; ms++ {
		h.Observe(time.Duration(ms) * time.Millisecond)
	}
	for q, exact := range map[float64]time.Duration{
		0: time.Millisecond, 0.01: time.Millisecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 0.999: 100 * time.Millisecond, 1: 100 * time.Millisecond,
	} {
		if got := h.Quantile(q); got < exact || got > exact+exact/8 {
			t.Errorf("quantile %v is %v, want %v to an eighth more", q, got, exact)
		}
	}
	if h.Count() != 100 || h.Sum() != 5050*time.Millisecond {
		t.Errorf("%d observations, %v in all", h.Count(), h.Sum())
	}
}

// TestQuantileOfFew: of two, the 99th percentile is the larger one.
func TestQuantileOfFew(t *testing.T) {
	t.Parallel()
	var h Histogram
	h.Observe(time.Millisecond)
	h.Observe(time.Second)
	if got := h.Quantile(0.99); got < time.Second {
		t.Errorf("of 1ms and 1s the 99th percentile is %v", got)
	}
}

// TestBuckets: every value lies in its bucket, and no bucket is wider than an eighth of its values.
func TestBuckets(t *testing.T) {
	t.Parallel()
	last := uint64(0)
	for i := range bucketCount - 1 {
		top := upper(i)
		if bucketOf(top) != i || bucketOf(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which belongs to %d, and the next to %d", i, top, bucketOf(top), bucketOf(top+1))
		}
		if i > 0 && (top-last)*8 > max(top, 8) {
			t.Errorf("bucket %d is %d wide up to %d", i, top-last, top)
		}
		last = top
	}
	if bucketOf(1<<63) != bucketCount-1 {
		t.Error("what is beyond the last bucket is not in it")
	}
	var h Histogram
	h.Observe(-time.Second) // a clock that went back
	if h.Quantile(1) != 0 || h.Sum() != 0 {
		t.Error("a negative duration counts as one")
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	w := NewWriter(&text)
	w.Counter("a_total", "Things", 3)
	w.Counter("a_total", "Things", 4, "topic", "x\"y\\z\n")
	w.Gauge("b", "Level", 0.5, "l", "1", "m", "2")
	w.Seconds("c_seconds_total", "Time", 1500*time.Millisecond)
	want := `# HELP a_total Things
# TYPE a_total counter
a_total 3
a_total{topic="x\"y\\z\n"} 4
# HELP b Level
# TYPE b gauge
b{l="1",m="2"} 0.5
# HELP c_seconds_total Time
# TYPE c_seconds_total counter
c_seconds_total 1.5
`
	if text.String() != want || w.Err() != nil {
		t.Errorf("%v, got\n%s", w.Err(), text.String())
	}
}

// TestAccuracy: over all magnitudes a quantile is not below the duration, and at most an eighth and a microsecond above.
func TestAccuracy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(4*time.Hour)).Draw(t, "nanoseconds"))
		var h Histogram
		h.Observe(d)
		if got := h.Quantile(0.5); got < d || got > d+d/8+time.Microsecond {
			t.Fatalf("%v is counted as %v", d, got)
		}
	})
}

func TestSummary(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	var h Histogram
	for range 1000 {
		h.Observe(7 * time.Microsecond)
	}
	labels := append(make([]string, 0, 8), "request", "Produce")
	w := NewWriter(&text)
	w.Summary("time_ms", "Time, of \\ and\nmore", &h, labels...)
	want := `# HELP time_ms Time, of \\ and\nmore
# TYPE time_ms summary
time_ms{request="Produce",quantile="0.5"} 0.007
time_ms{request="Produce",quantile="0.95"} 0.007
time_ms{request="Produce",quantile="0.99"} 0.007
time_ms{request="Produce",quantile="0.999"} 0.007
time_ms_sum{request="Produce"} 7
time_ms_count{request="Produce"} 1000
`
	if text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
	if spare := labels[:3][2]; spare != "" {
		t.Errorf("the caller's labels were written to: %q", spare)
	}
}

// What was 0 is not observed, and counts all the same.
func TestSummaryAmong(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	var h Histogram
	for range 20 {
		h.Observe(7 * time.Microsecond)
	}
	NewWriter(&text).SummaryAmong("rare_ms", "Rare", &h, 1000)
	want := `# HELP rare_ms Rare
# TYPE rare_ms summary
rare_ms{quantile="0.5"} 0
rare_ms{quantile="0.95"} 0
rare_ms{quantile="0.99"} 0.007
rare_ms{quantile="0.999"} 0.007
rare_ms_sum 0.14
rare_ms_count 1000
`
	if text.String() != want {
		t.Errorf("got\n%s", text.String())
	}
}

type full struct{}

var errFull = errors.New("no space")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriterKeepsTheFirstError(t *testing.T) {
	t.Parallel()
	w := NewWriter(full{})
	w.Counter("a_total", "Things", 3)
	w.Counter("a_total", "Things", 3)
	if !errors.Is(w.Err(), errFull) {
		t.Error(w.Err())
	}
}
