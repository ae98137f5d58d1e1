package partition

import (
	"github.com/moldau/moldau"
)

// waiter is an acks=all append that is answered once the high watermark has passed it.
type waiter struct {
	end moldau.Offset // the high watermark that it waits for
	Waiter
	index int
}

// waitlist holds the waiters of one partition by rising end. The order is that of the appends but for retries, which
// wait for an earlier offset and are sorted in.
type waitlist struct{ queue []waiter }

func (l *waitlist) add(w waiter) {
	l.queue = append(l.queue, w)
	for i := len(l.queue) - 1; i > 0 && l.queue[i-1].end > w.end; i-- {
		l.queue[i-1], l.queue[i] = l.queue[i], l.queue[i-1]
	}
}

// passed takes the waiters off that a high watermark satisfies.
func (l *waitlist) passed(highWatermark moldau.Offset) []waiter {
	n := 0
	for n < len(l.queue) && l.queue[n].end <= highWatermark {
		n++
	}
	if n == 0 {
		return nil
	}
	done := l.queue[:n:n]
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return done
}

// all empties the list.
func (l *waitlist) all() []waiter {
	all := l.queue
	l.queue = nil
	return all
}
