package env

import (
	"sync"
	"time"
)

// Traces tells the first reader of a part of a file from those that come soon after. What the first has read is of no use to itself any
// more; who comes behind it shows that others want it. Its zero value is ready, and it may be used concurrently.
type Traces struct {
	mu   sync.Mutex
	from int64 // where the last reader began
	upTo int64 // where it is
	at   time.Time
}

// tracesLast is for how long a reader is remembered.
const tracesLast = time.Minute

// Follow notes a read of n bytes at pos, and returns from where on its reader has read up to there without another before it; false where
// somebody has read at pos lately.
func (t *Traces) Follow(pos int64, n int, now time.Time) (from int64, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := now.Sub(t.at) < tracesLast
	switch {
	case known && pos < t.upTo:
		return 0, false
	case !known || pos > t.upTo:
		t.from = pos
	}
	t.upTo, t.at = pos+int64(n), now
	return t.from, true
}
