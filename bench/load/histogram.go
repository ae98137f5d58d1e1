package load

import (
	"math/bits"
	"time"
)

// subBits is the precision of a Histogram: each power of two is cut into 2^subBits steps, so a value is known to 1.6 %.
const subBits = 6

// Histogram counts durations. The zero value is ready; it is not safe for use by several goroutines, who keep one each
// and Merge them.
type Histogram struct {
	counts [(64 - subBits) << subBits]uint64
	n      uint64
	most   time.Duration
}

// Add counts one duration; a negative one counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.most = max(h.most, d)
}

func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	e := bits.Len64(v) - 1 - subBits // how far v is shifted to have subBits+1 digits
	return e<<subBits + int(v>>e)
}

// upper is the highest value of a bucket.
func upper(i int) uint64 {
	if i < 2<<subBits {
		return uint64(i)
	}
	e := i>>subBits - 1
	return (uint64(i-e<<subBits)+1)<<e - 1
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.most = max(h.most, o.most)
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return h.most }

// Quantile returns the duration that a share q (0 to 1) of all does not exceed, 1.6 % too high at most; 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := min(uint64(q*float64(h.n))+1, h.n)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want {
			return min(time.Duration(upper(i)), h.most)
		}
	}
	return h.most
}
