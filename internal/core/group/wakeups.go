package group

import (
	"container/heap"
	"time"
)

// wakeups is the groups for which something is due at some time, the earliest first. A group is found at its time or
// before it: a deadline that moves away, as that of a session does with each heartbeat, moves nothing here, and a group
// that is woken too early is put back.
type wakeups struct{ queue wakeupQueue }

// schedule sees to it that g is woken when something is due.
func (w *wakeups) schedule(g *group) {
	at, ok := g.due()
	switch {
	case !ok:
		return // at worst it is woken once for nothing
	case g.place < 0:
		g.wake = at
		heap.Push(&w.queue, g)
	case at.Before(g.wake):
		g.wake = at
		heap.Fix(&w.queue, g.place)
	}
}

func (w *wakeups) cancel(g *group) {
	if g.place >= 0 {
		heap.Remove(&w.queue, g.place)
	}
}

// next is when the first group is to be woken.
func (w *wakeups) next() (time.Time, bool) {
	if len(w.queue) == 0 {
		return time.Time{}, false
	}
	return w.queue[0].wake, true
}

// due takes out a group for which something is due at now, or returns nil.
func (w *wakeups) due(now time.Time) *group {
	for len(w.queue) > 0 && !now.Before(w.queue[0].wake) {
		g := heap.Pop(&w.queue).(*group)
		if at, ok := g.due(); ok && !now.Before(at) {
			return g
		}
		w.schedule(g)
	}
	return nil
}

// wakeupQueue is a heap.Interface.
type wakeupQueue []*group

func (q wakeupQueue) Len() int           { return len(q) }
func (q wakeupQueue) Less(i, j int) bool { return q[i].wake.Before(q[j].wake) }

func (q wakeupQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *wakeupQueue) Push(g any) {
	g.(*group).place = len(*q)
	*q = append(*q, g.(*group))
}

// Pop implements heap.Interface.
func (q *wakeupQueue) Pop() any {
	n := len(*q) - 1
	g := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	g.place = -1
	return g
}
