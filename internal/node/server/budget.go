package server

import "sync/atomic"

// Budget bounds the bytes of requests that a listener holds in memory.
type Budget struct {
	limit int64
	used  atomic.Int64
	// freed wakes one of those who wait. What is put there stays until somebody takes it, so no news is lost between a
	// take that fails and the wait.
	freed chan struct{}
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, freed: make(chan struct{}, 1)}
}

// Used is the number of bytes taken at the moment.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is the number of bytes that may be taken.
func (b *Budget) Limit() int64 { return b.limit }

// take charges n bytes. It reports false when the budget is spent; the charge that reaches the limit may exceed it, so
// that a request larger than what is left is not refused for ever.
//
// A charge is never put on and taken back: another take would meanwhile be refused for bytes that nobody holds, and the
// give that would have woken it could not see that the limit was left.
func (b *Budget) take(n int) bool {
	for {
		used := b.used.Load()
		if used >= b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

// give returns n bytes, and wakes one of those who wait where that brings the budget below its limit.
func (b *Budget) give(n int) {
	if left := b.used.Add(-int64(n)); left < b.limit && left+int64(n) >= b.limit {
		b.wake()
	}
}

// wakeNext passes the news of free bytes on to the next who waits, if there are any left.
func (b *Budget) wakeNext() {
	if b.used.Load() < b.limit {
		b.wake()
	}
}

func (b *Budget) wake() {
	select {
	case b.freed <- struct{}{}:
	default:
	}
}
