package commitlog

import (
	"sync"
	"testing"

	"github.com/moldau/moldau"
)

// TestTail reads boundaries while they are overwritten: each is whole, and the end never goes back.
func TestTail(t *testing.T) {
	const n = 200_000
	tl := newTail(3, boundary{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { // ends when the writer is through
			for last := (boundary{}); last.next < n-1; {
				b := tl.end()
				if b.pos != int64(b.next)*7 || b.next < last.next {
					t.Errorf("%+v behind %+v", b, last)
					return
				}
				last = b
				if b, ok := tl.find(last.next, func(b boundary) bool { return b.next < last.next }); ok && b.pos != int64(b.next)*7 {
					t.Errorf("found %+v", b)
					return
				}
			}
		})
	}
	for i := range n {
		tl.add(boundary{moldau.Offset(i), int64(i) * 7})
	}
	wg.Wait()
	if b := tl.end(); b.next != n-1 {
		t.Error(b)
	}
}
