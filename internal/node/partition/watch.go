package partition

import (
	"slices"
	"sync"
)

// Watch is one fetcher's standing interest in one partition: when there may be something new to say of it, the
// partition marks the watch, and it joins the fetcher's ready list. A long poll thus costs nothing for partitions in
// which nothing happens.
type Watch struct {
	ready *Ready
	slot  int  // in the watchers of its partition; guarded by them
	on    bool // registered; guarded by the same
	// marked is set while the watch is on the list; guarded by ready.mu.
	marked bool
	// Entry is for the owner: what the watch is about.
	Entry any
}

// NewWatch returns a watch that joins ready when it is marked.
func NewWatch(ready *Ready, entry any) *Watch { return &Watch{ready: ready, Entry: entry} }

// Mark puts the watch on its list, as the partition does when something happened. n is the number of bytes that became
// readable; a negative n wakes the fetcher in any case.
func (w *Watch) Mark(n int) { w.ready.mark(w, n) }

// Ready is the list of a fetcher's watches that have something to say, and the means to wait for it.
type Ready struct {
	mu    sync.Mutex
	list  []*Watch
	bytes int64
	want  int64
	// urgent is set where a watch was marked that does not wait for bytes.
	urgent bool
	wake   chan struct{} // closed when bytes reach want; nil while nobody waits
}

func (r *Ready) mark(w *Watch, n int) {
	r.mu.Lock()
	if !w.marked {
		w.marked = true
		r.list = append(r.list, w)
	}
	if n < 0 {
		r.urgent = true
	} else {
		r.bytes += int64(n)
	}
	if r.wake != nil && (r.urgent || r.bytes >= r.want) {
		close(r.wake)
		r.wake = nil
	}
	r.mu.Unlock()
}

// Take returns the watches on the list, in the order in which they were first marked, and empties it. The owner puts
// back with Mark what still has something to say.
func (r *Ready) Take(into []*Watch) []*Watch {
	r.mu.Lock()
	defer r.mu.Unlock()
	into = append(into[:0], r.list...)
	for _, w := range r.list {
		w.marked = false
	}
	clear(r.list)
	r.list, r.bytes, r.urgent = r.list[:0], 0, false
	return into
}

// Wait returns a channel that is closed once watches with want more bytes have been marked since the last Take, or one
// in any case. It is nil where that is so already. One wait at a time; a new one replaces the one before.
//
// The order is Take, read, Wait for what the read lacked: a mark that comes between them counts, so at worst the fetcher
// looks once too often. With the read before the Take, a mark between the two would be lost.
func (r *Ready) Wait(want int) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = int64(max(want, 1))
	if r.urgent || r.bytes >= r.want {
		r.wake = nil
		return nil
	}
	r.wake = make(chan struct{})
	return r.wake
}

// Forget takes a watch off the list.
func (r *Ready) Forget(w *Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.marked {
		w.marked = false
		r.list = slices.DeleteFunc(r.list, func(o *Watch) bool { return o == w })
	}
}

// watchers are the watches of one partition.
type watchers struct {
	mu  sync.Mutex
	all []*Watch
}

func (ws *watchers) add(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if !w.on {
		w.on, w.slot = true, len(ws.all)
		ws.all = append(ws.all, w)
	}
}

func (ws *watchers) remove(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if !w.on {
		return
	}
	w.on = false
	last := len(ws.all) - 1
	ws.all[w.slot] = ws.all[last]
	ws.all[w.slot].slot = w.slot
	ws.all[last] = nil
	if ws.all = ws.all[:last]; last == 0 {
		ws.all = nil
	}
}

func (ws *watchers) mark(n int) {
	ws.mu.Lock()
	for _, w := range ws.all {
		w.ready.mark(w, n)
	}
	ws.mu.Unlock()
}
