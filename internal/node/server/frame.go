package server

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/moldau/moldau/internal/kit/must"
)

// Frame is the memory of one request. It is pooled and reference counted: the connection holds one reference while the
// handler runs; who keeps bytes of it longer calls Retain and, in the end, Release.
type Frame struct {
	bytes   []byte
	budget  *Budget
	charged int // bytes taken of budget
	refs    atomic.Int32
}

// Retain keeps the frame's bytes until one more Release.
func (f *Frame) Retain() { f.refs.Add(1) }

// Release gives a reference back. The last one returns the memory to the pool and its bytes to the listener's budget.
func (f *Frame) Release() {
	left := f.refs.Add(-1)
	must.True(left >= 0, "a request's frame was released more often than it was retained")
	if left > 0 {
		return
	}
	f.budget.give(f.charged)
	f.budget, f.charged = nil, 0
	f.recycle()
}

// recycle puts the frame into the pool of its size, with its bytes: one allocation less for each request.
func (f *Frame) recycle() {
	if class, ok := classOf(cap(f.bytes)); ok {
		frames[class].Put(f)
	}
}

// newFrame returns a frame of n bytes, for which capacity(n) of the budget have been taken.
func newFrame(n int, budget *Budget) *Frame {
	f := pooledFrame(n)
	f.budget, f.charged = budget, capacity(n)
	f.refs.Store(1)
	return f
}

func pooledFrame(n int) *Frame {
	if class := classFor(n); class < len(frames) {
		if f, ok := frames[class].Get().(*Frame); ok {
			f.bytes = f.bytes[:n]
			return f
		}
	}
	return &Frame{bytes: make([]byte, n, capacity(n))}
}

// grow gives the frame n bytes, for which the difference in capacity has been taken of the budget.
func (f *Frame) grow(n int) {
	bigger := pooledFrame(n)
	copy(bigger.bytes, f.bytes)
	f.bytes, bigger.bytes = bigger.bytes, f.bytes // what comes out of a pool goes back into the same
	f.charged = capacity(n)
	bigger.recycle()
}

// Memory is pooled in powers of two from 512 bytes to 2 MiB; larger pieces are left to the garbage collector.
const (
	minBufferBits = 9
	maxBufferBits = 21
)

type pools [maxBufferBits - minBufferBits + 1]sync.Pool

var (
	frames  pools      // of *Frame
	buffers bufferPool // of *[]byte
)

// capacity is how many bytes of memory a piece of n bytes takes.
func capacity(n int) int {
	if class := classFor(n); class < len(frames) {
		return 1 << (class + minBufferBits)
	}
	return n
}

// classFor is the pool that serves n bytes; beyond the last pool nothing is pooled.
func classFor(n int) int {
	return max(bits.Len(uint(max(n, 1)-1)), minBufferBits) - minBufferBits
}

// classOf is the pool that memory of capacity c belongs to.
func classOf(c int) (class int, ok bool) {
	class = bits.Len(uint(c)) - 1 - minBufferBits
	return class, c&(c-1) == 0 && class >= 0 && class <= maxBufferBits-minBufferBits
}

type bufferPool pools

// get returns a buffer of length n; its capacity is a power of two where it is pooled.
func (p *bufferPool) get(n int) []byte {
	class := classFor(n)
	if class >= len(p) {
		return make([]byte, n)
	}
	if b, ok := p[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<(class+minBufferBits))
}

func (p *bufferPool) put(b []byte) {
	if class, ok := classOf(cap(b)); ok {
		b = b[:0]
		p[class].Put(&b)
	}
}
