package partition

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// unsyncedMax is how many unsynced bytes of a directory have the flusher begin with the largest log, until they are half as
// many; and how many bytes are synced until the recovery points are saved. After a kill at most twice so much is read and
// checked: 0.9 and 1.1 s to the last partition where the whole 1.8 GB of a log took 1.4 and 2.8 s, on a machine busy with other
// work. It is no limit for producers: where the disk is slower than they are, the system holds them back when its own memory
// for it is used up.
const unsyncedMax = 256 << 20

// unsyncedAge is how long a record may stay unsynced where its topic does not say. It bounds what an idle broker has to lose;
// a busy one pays a sync of the volume now and then.
const unsyncedAge = 10 * time.Second

// schedule is the logs that are synced behind, as a heap: the one that is due first on top.
type schedule []*Partition

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].berth.due < s[j].berth.due }
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
	p.berth.due = due.Sub(f.began)
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
	sooner := p.berth.slot == 0 || due.Sub(f.began) < p.berth.due
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

// runBehind syncs logs that are due, and has the recovery points saved, until stop is closed.
func (f *Flusher) runBehind(stop <-chan struct{}, save func()) {
	timer := f.env.Clock.NewTimer(unsyncedAge)
	defer timer.Stop()
	for {
		due, wait := f.takeDue(f.env.Clock.Now())
		f.flushBehind(due)
		if f.settled.Load() >= f.unsyncedMax {
			f.settled.Store(0)
			save()
		}
		timer.Reset(wait)
		select {
		case <-timer.C():
		case <-f.wake:
		case <-stop:
			return
		}
	}
}

// takeDue takes the logs off the schedule that are due, or too large, and tells how long to wait for the next.
func (f *Flusher) takeDue(now time.Time) (due []*Partition, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if over := f.unsynced.Load(); over > f.unsyncedMax {
		due = f.takeLargestLocked(over - f.unsyncedMax/2)
	}
	for len(f.mu.due) > 0 {
		if wait = f.mu.due[0].berth.due - now.Sub(f.began); wait > 0 {
			return due, wait
		}
		due = append(due, heap.Pop(&f.mu.due).(*Partition))
	}
	return due, unsyncedAge
}

// takeLargestLocked takes the logs off the schedule that have the most to sync, until they have n bytes together.
func (f *Flusher) takeLargestLocked(n int64) (ps []*Partition) {
	type load struct {
		p     *Partition
		bytes int64
	}
	var loads []load
	for _, p := range f.mu.due {
		if log := p.Log(); log != nil {
			loads = append(loads, load{p, log.Unsynced()})
		}
	}
	slices.SortFunc(loads, func(a, b load) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, l := range loads {
		if n <= 0 {
			break
		}
		n -= l.bytes
		heap.Remove(&f.mu.due, l.p.berth.slot-1)
		ps = append(ps, l.p)
	}
	return ps
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
