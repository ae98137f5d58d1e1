package commitlog

import (
	"sort"
	"sync/atomic"

	"github.com/moldau/moldau"
)

// tailLen is how many of the newest batches of the active segment a tail remembers. Consumers that keep up, and high
// watermarks that follow the end, are found among them without a look at the disk.
const tailLen = 64

// boundary is a place between two batches: all before pos are below next, and the batch at pos is the first whose last
// offset is next or higher.
type boundary struct {
	next moldau.Offset
	pos  int64
}

// tail is the ring of the newest boundaries of the active segment, the last of which is the end of the log. One writer
// adds while others read: the count that is published last says which slots are whole, and a reader whose slot was
// reused meanwhile notices by the count.
type tail struct {
	count atomic.Int64
	slots []slot // one for a log that was not appended to since it was opened, and up to tailLen with every append
}

type slot struct{ next, pos atomic.Int64 }

func newTail(slots int, end boundary) *tail {
	t := &tail{slots: make([]slot, slots)}
	t.add(end)
	return t
}

// full reports whether another boundary takes the slot of one that a longer tail would keep.
func (t *tail) full() bool {
	return len(t.slots) < tailLen && t.count.Load() >= int64(len(t.slots))
}

// grown returns a longer tail with the same boundaries, for a log that turns out to be busy.
func (t *tail) grown() *tail {
	n := len(t.slots)
	longer := &tail{slots: make([]slot, min(4*n, tailLen))}
	newest := t.count.Load()
	for i := newest - int64(n); i < newest; i++ {
		b, _ := t.at(i)
		longer.add(b)
	}
	return longer
}

// rest gives back what only a busy log needs, where nothing was appended since the last call.
func (l *Log) rest() {
	v, written := l.view.Load(), l.written.Load()
	if written == l.rested && len(v.tail.slots) > 1 {
		l.view.Store(&view{v.start, v.segs, newTail(1, v.tail.end())})
	}
	l.rested = written
}

func (t *tail) add(b boundary) {
	n := t.count.Load()
	s := &t.slots[n%int64(len(t.slots))]
	s.next.Store(int64(b.next))
	s.pos.Store(b.pos)
	t.count.Store(n + 1)
}

// at returns boundary i; false where its slot has been given to a newer one.
func (t *tail) at(i int64) (boundary, bool) {
	s := &t.slots[i%int64(len(t.slots))]
	b := boundary{moldau.Offset(s.next.Load()), s.pos.Load()}
	// Slot i is reused by boundary i+len, written while count is i+len.
	return b, t.count.Load() < i+int64(len(t.slots)) || len(t.slots) == 1
}

// end is the newest boundary.
func (t *tail) end() boundary {
	for {
		if b, ok := t.at(t.count.Load() - 1); ok {
			return b
		}
	}
}

// find returns the last boundary for which atMost holds, provided that the tail reaches back far enough to know it.
// limit is the newest boundary to look at, by its next offset.
func (t *tail) find(limit moldau.Offset, atMost func(boundary) bool) (boundary, bool) {
	newest := t.count.Load() - 1
	for i := newest; i >= 0 && i > newest-int64(len(t.slots)); i-- {
		b, ok := t.at(i)
		if !ok {
			break
		}
		if b.next <= limit && atMost(b) {
			return b, true
		}
	}
	return boundary{}, false
}

// view is what readers see of a log: immutable but for the tail, which only grows.
type view struct {
	start moldau.Offset
	segs  []*segment // ascending, at least one; the last is the active one
	tail  *tail      // of the active segment
}

func (v *view) active() *segment { return v.segs[len(v.segs)-1] }

// bounds returns where segment i ends, by offset and by bytes.
func (v *view) bounds(i int) boundary {
	if i == len(v.segs)-1 {
		return v.tail.end()
	}
	return boundary{v.segs[i].next, v.segs[i].size}
}

// find returns the number of the segment that holds at: the last one whose base is not above it.
func (v *view) find(at moldau.Offset) int {
	n := len(v.segs)
	if at >= v.segs[n-1].base {
		return n - 1
	}
	return max(sort.Search(n, func(i int) bool { return v.segs[i].base > at })-1, 0)
}
