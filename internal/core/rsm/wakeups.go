package rsm

import (
	"container/heap"
	"time"
)

// Sleeper is a part of a machine, such as one group, for which something is due at some time.
type Sleeper interface {
	// Due is the earliest time at which something is due; false where nothing is.
	Due() (time.Time, bool)
	// Alarm is the sleeper's own place for what Wakeups knows of it.
	Alarm() *Alarm
}

// Alarm is when a sleeper is to be woken. Its zero value is of one that is not.
type Alarm struct {
	at    time.Time
	place int // in the queue, counted from 1
}

// Wakeups is the sleepers for which something is due at some time, the earliest first. A sleeper is found at its time or
// before it: a deadline that moves away, as that of a session does with each heartbeat, moves nothing here, and one that
// is woken too early is put back.
type Wakeups[S Sleeper] struct{ queue queue[S] }

// Schedule sees to it that s is woken when something is due.
func (w *Wakeups[S]) Schedule(s S) {
	at, ok := s.Due()
	alarm := s.Alarm()
	switch {
	case !ok:
		return // at worst it is woken once for nothing
	case alarm.place == 0:
		alarm.at = at
		heap.Push(&w.queue, s)
	case at.Before(alarm.at):
		alarm.at = at
		heap.Fix(&w.queue, alarm.place-1)
	}
}

// Cancel lets s sleep.
func (w *Wakeups[S]) Cancel(s S) {
	if place := s.Alarm().place; place > 0 {
		heap.Remove(&w.queue, place-1)
	}
}

// Next is when the first sleeper is to be woken.
func (w *Wakeups[S]) Next() (time.Time, bool) {
	if len(w.queue) == 0 {
		return time.Time{}, false
	}
	return w.queue[0].Alarm().at, true
}

// Take takes out a sleeper for which something is due at now; false where there is none.
func (w *Wakeups[S]) Take(now time.Time) (s S, ok bool) {
	for len(w.queue) > 0 && !now.Before(w.queue[0].Alarm().at) {
		s := heap.Pop(&w.queue).(S)
		if at, ok := s.Due(); ok && !now.Before(at) {
			return s, true
		}
		w.Schedule(s)
	}
	return s, false
}

// queue is a heap.Interface.
type queue[S Sleeper] []S

func (q queue[S]) Len() int           { return len(q) }
func (q queue[S]) Less(i, j int) bool { return q[i].Alarm().at.Before(q[j].Alarm().at) }

func (q queue[S]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].Alarm().place, q[j].Alarm().place = i+1, j+1
}

// Push implements heap.Interface.
func (q *queue[S]) Push(s any) {
	s.(S).Alarm().place = len(*q) + 1
	*q = append(*q, s.(S))
}

// Pop implements heap.Interface.
func (q *queue[S]) Pop() any {
	var none S
	n := len(*q) - 1
	s := (*q)[n]
	(*q)[n] = none
	*q = (*q)[:n]
	s.Alarm().place = 0
	return s
}
