package server

import (
	"encoding/binary"
	"net"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/wire"
)

// Region is a part of a file that goes out as it is. Release is called once it was sent or is not wanted any more.
type Region struct {
	File    env.File
	Pos     int64
	Len     int
	Traces  *env.Traces // of reads of old data, one for each file; nil: it stays in the page cache
	Release func()
}

// Reply is one response in the making: bytes, and regions of files between them.
type Reply struct {
	// Buf takes the encoded bytes; it begins with the frame's length and the response header. Append to it.
	Buf []byte

	cuts   []cut
	extra  int // bytes of all regions
	failed error
	mute   time.Duration
	counts *RequestMetrics // of the response's key; nil where nobody counts

	gathered gathered
}

// Fail says that there is no response to give after all: the connection is closed for this reason.
func (r *Reply) Fail(why error) { r.failed = why }

// Outcome counts a code that the response tells of one thing (O-22).
func (r *Reply) Outcome(code moldau.Code) {
	if r.counts != nil {
		r.counts.outcome(code).Add(1)
	}
}

// Mute keeps the connection from being served for d once the response is sent, as its throttle time says (W-6).
func (r *Reply) Mute(d time.Duration) { r.mute = max(r.mute, d) }

type cut struct {
	at     int // the region goes before Buf[at]
	region Region
}

// SpliceAt puts a region before Buf[at]; calls go by rising at.
func (r *Reply) SpliceAt(at int, region Region) {
	r.cuts = append(r.cuts, cut{at, region})
	r.extra += region.Len
}

// Size is the number of bytes that the response has on the wire.
func (r *Reply) Size() int { return len(r.Buf) + r.extra }

func (r *Reply) begin(key wire.Key, version int16, correlation int32) {
	r.Buf = append(r.Buf, 0, 0, 0, 0)
	r.Buf = wire.AppendResponseHeader(r.Buf, key, version, correlation)
}

// seal writes the length of the frame that begins at Buf[start].
func (r *Reply) seal(start int) {
	binary.BigEndian.PutUint32(r.Buf[start:], uint32(len(r.Buf)-start-4+r.extra))
}

// drop releases the regions.
func (r *Reply) drop() {
	for i := range r.cuts {
		r.cuts[i].region.Release()
		r.cuts[i] = cut{}
	}
	r.cuts, r.extra = r.cuts[:0], 0
}

// Pending is the promise of a response. The zero Pending answers nothing, as acks=0 asks (W-7).
type Pending struct {
	ready  <-chan struct{}
	poll   func(closed <-chan struct{})
	write  func(*Reply)
	cancel func()
	hangUp error
}

// Now is a response that write can encode at once. write is called also where the connection ends before, so that the
// regions it has are released.
func Now(write func(*Reply)) Pending { return Pending{write: write} }

// Later is a response that write can encode once ready is closed. Where the connection ends before, cancel is called
// instead of write, so that who waits for it can be forgotten; it may be nil.
func Later(ready <-chan struct{}, write func(*Reply), cancel func()) Pending {
	return Pending{ready: ready, write: write, cancel: cancel}
}

// Poll is a response for which the connection's writer waits by calling poll, which returns when write can encode it, or
// when closed is. Where the connection ends before, cancel is called instead of write.
func Poll(poll func(closed <-chan struct{}), write func(*Reply), cancel func()) Pending {
	return Pending{poll: poll, write: write, cancel: cancel}
}

// Nothing is the absence of a response.
func Nothing() Pending { return Pending{} }

// HangUp closes the connection for a reason, without a response.
func HangUp(why error) Pending { return Pending{hangUp: why} }

// Await waits for the response as a connection's writer does, and returns its body with the regions read in. It is for
// tests and tools that drive handlers without a connection. A Pending without a response gives nil.
func (p Pending) Await(closed <-chan struct{}) ([]byte, error) {
	if p.hangUp != nil || p.write == nil {
		return nil, p.hangUp
	}
	if p.poll != nil {
		p.poll(closed)
	}
	if p.ready != nil {
		select {
		case <-p.ready:
		case <-closed:
			if p.cancel != nil {
				p.cancel()
			}
			return nil, net.ErrClosed
		}
	}
	var r Reply
	defer r.drop()
	p.write(&r)
	if r.failed != nil {
		return nil, r.failed
	}
	var body []byte
	from := 0
	for _, k := range r.cuts {
		body = append(body, r.Buf[from:k.at]...)
		from = k.at
		b := make([]byte, k.region.Len)
		if n, err := k.region.File.ReadAt(b, k.region.Pos); n < len(b) {
			return nil, err
		}
		body = append(body, b...)
	}
	return append(body, r.Buf[from:]...), nil
}
