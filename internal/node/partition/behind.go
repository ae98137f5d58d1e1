package partition

import (
	"container/heap"
	"time"
)

// unsyncedAge is how long a record may stay unsynced where its topic does not say. It bounds what an idle broker has to lose;
// a busy one pays a sync of the volume now and then.
const unsyncedAge = 10 * time.Second

// schedule is the logs that are synced behind, as a heap: the one that is due first on top.
type schedule []*Partition

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].berth.due.Before(s[j].berth.due) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].berth.slot, s[j].berth.slot = i+1, j+1
}

// Push and Pop are for package heap.
func (s *schedule) Push(x any) {
	p := x.(*Partition)
	*s = append(*s, p)
	p.berth.slot = len(*s)
}

func (s *schedule) Pop() any {
	last := len(*s) - 1
	p := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	p.berth.slot = 0
	return p
}

// expect has p synced at due, in place of what was expected before.
func (f *Flusher) expect(p *Partition, due time.Time) {
	f.mu.Lock()
	p.berth.due = due
	if p.berth.slot == 0 {
		heap.Push(&f.mu.due, p)
	} else {
		heap.Fix(&f.mu.due, p.berth.slot-1)
	}
	first := p.berth.slot == 1
	f.mu.Unlock()
	if first {
		f.lookBehind()
	}
}

// hasten has p synced at due, unless it is expected sooner.
func (f *Flusher) hasten(p *Partition, due time.Time) {
	f.mu.Lock()
	sooner := p.berth.slot == 0 || due.Before(p.berth.due)
	f.mu.Unlock()
	if sooner {
		f.expect(p, due)
	}
}

// forget takes p out of the schedule.
func (f *Flusher) forget(p *Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.berth.slot > 0 {
		heap.Remove(&f.mu.due, p.berth.slot-1)
	}
}

// lookBehind wakes what syncs behind.
func (f *Flusher) lookBehind() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// runBehind syncs logs that are due until stop is closed.
func (f *Flusher) runBehind(stop <-chan struct{}) {
	timer := f.env.Clock.NewTimer(unsyncedAge)
	defer timer.Stop()
	for {
		due, wait := f.takeDue(f.env.Clock.Now())
		f.flushBehind(due)
		timer.Reset(wait)
		select {
		case <-timer.C():
		case <-f.wake:
		case <-stop:
			return
		}
	}
}

// takeDue takes the logs off the schedule that are due, and tells how long to wait for the next.
func (f *Flusher) takeDue(now time.Time) (due []*Partition, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.mu.due) > 0 {
		if wait = f.mu.due[0].berth.due.Sub(now); wait > 0 {
			return due, wait
		}
		due = append(due, heap.Pop(&f.mu.due).(*Partition))
	}
	return due, unsyncedAge
}

// flushBehind syncs logs for whom nobody waits: one after another, or with the volume where they are many.
func (f *Flusher) flushBehind(ps []*Partition) {
	if len(ps) >= togetherMin {
		f.mu.Lock()
		together := f.beginTogetherLocked()
		f.mu.Unlock()
		if together {
			f.flushTogether(ps)
			return
		}
	}
	for _, p := range ps {
		f.flush(p)
	}
}
