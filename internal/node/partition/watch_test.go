package partition

import (
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/moldau/moldau"
)

// TestNoWakeUpIsLost: one appends, many wait for at least so many bytes without a time-out. Each reads all.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, s := range []Settings{settings(), durable()} {
		h := leading(t, s)
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() { defer close(ended); h.flusher.Run(stop, func() {}) }()
		const batches = 300
		size := len(h.batch(1, 20))
		var fetchers sync.WaitGroup
		for i := range 8 {
			fetchers.Add(1)
			go func() { defer fetchers.Done(); fetchAll(t, h, batches, min(1+i*size, 4*size)) }()
		}
		for i := range batches {
			h.append(h.batch(1, 20), i%2 == 0, new(outcomes), i)
		}
		fetchers.Wait()
		close(stop)
		<-ended
	}
}

// fetchAll is a consumer that long-polls as a handler does: watch, read what there is, wait for more.
func fetchAll(t *testing.T, h *harness, total moldau.Offset, minBytes int) {
	var ready Ready
	watch := NewWatch(&ready, nil)
	h.Watch(watch)
	defer h.Unwatch(watch)
	giveUp := time.After(10 * time.Second)
	at, size := moldau.Offset(0), len(h.batch(1, 20))
	for at < total {
		ready.Take(nil)
		res := h.Read(ReadRequest{At: at, Epoch: moldau.NoEpoch, LastRead: moldau.NoEpoch, MaxBytes: 1 << 20})
		res.Region.Release()
		want := min(minBytes, int(total-at)*size) // no more than will ever come
		if res.Region.Len >= want {
			at = res.Region.Next
			continue
		}
		if wake := ready.Wait(want - res.Region.Len); wake != nil {
			select {
			case <-wake:
			case <-giveUp:
				t.Errorf("nobody woke the fetcher at offset %d of %d, with %d of %d bytes", at, total, res.Region.Len, want)
				return
			}
		}
	}
}

func TestReady(t *testing.T) {
	var r Ready
	a, b := NewWatch(&r, "a"), NewWatch(&r, "b")
	wake := r.Wait(100)
	b.Mark(40)
	a.Mark(40)
	b.Mark(10)
	select {
	case <-wake:
		t.Fatal("woken for 90 bytes of 100")
	default:
	}
	a.Mark(10)
	<-wake
	if r.Wait(100) != nil {
		t.Error("waits for what is there")
	}
	if got := r.Take(nil); !slices.Equal(got, []*Watch{b, a}) {
		t.Errorf("took %v", got)
	}
	wake = r.Wait(100)
	a.Mark(-1)
	<-wake
	r.Take(nil)
	if wake = r.Wait(0); wake == nil {
		t.Error("no byte is less than one")
	}
	a.Mark(0)
	r.Forget(a)
	r.Forget(b)
	if got := r.Take(nil); len(got) != 0 {
		t.Errorf("took %v", got)
	}
}

func TestWatchers(t *testing.T) {
	var ws watchers
	var r Ready
	watches := make([]*Watch, 5)
	for i := range watches {
		watches[i] = NewWatch(&r, i)
		ws.add(watches[i])
		ws.add(watches[i])
	}
	ws.remove(watches[1])
	ws.remove(watches[1])
	ws.remove(watches[4])
	ws.mark(1)
	got := map[any]bool{}
	for _, w := range r.Take(nil) {
		got[w.Entry] = true
	}
	if len(got) != 3 || !got[0] || !got[2] || !got[3] {
		t.Errorf("marked %v, want 0, 2 and 3", got)
	}
	for _, w := range watches {
		ws.remove(w)
	}
	if ws.all != nil {
		t.Errorf("%d left", len(ws.all))
	}
}

// TestWaitlist compares with a naive list: who waits for at most the high watermark is done, by rising offset.
func TestWaitlist(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list waitlist
		var naive []moldau.Offset
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				end := moldau.Offset(rapid.IntRange(1, 30).Draw(t, "end"))
				list.add(waiter{end: end})
				naive = append(naive, end)
				continue
			}
			hw := moldau.Offset(rapid.IntRange(0, 30).Draw(t, "high watermark"))
			slices.Sort(naive)
			n := 0
			for n < len(naive) && naive[n] <= hw {
				n++
			}
			var got []moldau.Offset
			for _, w := range list.passed(hw) {
				got = append(got, w.end)
			}
			if !slices.Equal(got, naive[:n]) {
				t.Fatalf("passed(%d) = %v, want %v", hw, got, naive[:n])
			}
			naive = naive[n:]
		}
		if rest := list.all(); len(rest) != len(naive) || len(list.all()) != 0 {
			t.Fatalf("%d left, want %d", len(rest), len(naive))
		}
	})
}

// TestSameOffsetTwice: two requests wait for the same offset.
func TestSameOffsetTwice(t *testing.T) {
	var list waitlist
	var w outcomes
	list.add(waiter{5, &w, 0})
	list.add(waiter{9, &w, 1})
	list.add(waiter{5, &w, 2})
	for _, done := range list.passed(5) {
		done.Committed(done.index, moldau.None)
	}
	w.expect(t, 0, moldau.None)
	w.expectNone(t, 1)
	w.expect(t, 2, moldau.None)
}
