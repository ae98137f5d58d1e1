package broker

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/status"
)

// recovery is how far the opening of logs has come, for those who wait for it.
type recovery struct {
	read atomic.Int64 // bytes of logs that are open by now

	mu struct {
		sync.Mutex
		underway map[moldau.TopicPartition]*reading
	}
}

// reading is a log whose batches are being checked.
type reading struct{ done, total atomic.Int64 }

// begin notes that a log is being opened. The log tells progress how many bytes of how many it has read; ended ends it.
func (r *recovery) begin(tp moldau.TopicPartition) (progress func(done, total int64), ended func()) {
	one := new(reading)
	r.mu.Lock()
	if r.mu.underway == nil {
		r.mu.underway = make(map[moldau.TopicPartition]*reading)
	}
	r.mu.underway[tp] = one
	r.mu.Unlock()
	progress = func(done, total int64) {
		one.done.Store(done)
		one.total.Store(total)
	}
	return progress, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.mu.underway, tp)
		r.read.Add(one.done.Load())
	}
}

// state tells what was read so far and what is being read.
func (r *recovery) state() status.Recovery {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := status.Recovery{Read: r.read.Load()}
	for tp, one := range r.mu.underway {
		if total := one.total.Load(); total > 0 {
			state.Underway = append(state.Underway, status.Reading{Partition: tp, Done: one.done.Load(), Total: total})
		}
	}
	slices.SortFunc(state.Underway, func(a, b status.Reading) int { return int(min(max(b.Total-a.Total, -1), 1)) })
	return state
}

// Recovery tells how far the opening of logs has come.
func (s source) Recovery() status.Recovery { return s.b.storage.recovery.state() }
