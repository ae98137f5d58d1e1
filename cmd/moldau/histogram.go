package main

import (
	"math"
	"math/bits"
	"time"
)

// histogramBits is the precision: a power of two is divided into 2^histogramBits steps, so a value is at most 0.8 % off.
const histogramBits = 7

// histogram counts durations in steps that grow with them, from 1 ns to 292 years, after Gil Tene's HdrHistogram. It takes
// 59 KiB and no allocation per value; the zero value is empty. It is not safe for concurrent use.
type histogram struct {
	counts [(64 - histogramBits) << histogramBits]uint64
	total  uint64
	sum    float64 // nanoseconds
	max    time.Duration
}

// bucketOf returns the step of a value: exact below 2^histogramBits, from there on by its leading bits.
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-histogramBits-1, 0)
	return shift<<histogramBits + int(v>>shift)
}

// bucketTop returns the largest value of a step.
func bucketTop(i int) uint64 {
	shift := max(i>>histogramBits-1, 0)
	return (uint64(i-shift<<histogramBits)+1)<<shift - 1
}

// add counts a value; a negative one, which clocks may give, as 0.
func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.total++
	h.sum += float64(d)
	h.max = max(h.max, d)
}

// merge adds what other counted.
func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.sum += other.sum
	h.max = max(h.max, other.max)
}

// quantile returns the smallest duration that at least the share q (0 to 1) of the values do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.total))), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(time.Duration(bucketTop(i)), h.max)
		}
	}
	return h.max
}

func (h *histogram) mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.total))
}

// latencies are the figures that are shown of a histogram, in microseconds.
type latencies struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"meanUs"`
	P50   float64 `json:"p50Us"`
	P90   float64 `json:"p90Us"`
	P99   float64 `json:"p99Us"`
	P999  float64 `json:"p999Us"`
	P9999 float64 `json:"p9999Us"`
	Max   float64 `json:"maxUs"`
}

func (h *histogram) latencies() latencies {
	us := func(d time.Duration) float64 { return math.Round(float64(d)/100) / 10 }
	return latencies{
		Count: h.total, Mean: us(h.mean()), P50: us(h.quantile(0.5)), P90: us(h.quantile(0.9)), P99: us(h.quantile(0.99)),
		P999: us(h.quantile(0.999)), P9999: us(h.quantile(0.9999)), Max: us(h.max),
	}
}
