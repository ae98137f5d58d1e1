package server

import (
	"net"
	"time"

	"github.com/moldau/moldau/internal/proto/wire"
)

const (
	// parkedMax bounds the responses of one connection that wait; at the limit no more requests are read.
	parkedMax = 64
	// flushAt is how many bytes of finished responses gather while further requests are already in the buffer.
	flushAt = 32 << 10
)

// parked is a promised response and whose it is.
type parked struct {
	Pending
	key         wire.Key
	version     int16
	correlation int32
	size        int // of the request, in bytes
	arrived     time.Time
	held        time.Duration // for memory, before it was read
	parkedAt    time.Time     // when it was given to the writer
	waited      time.Duration // for what it is about, and for the responses before it
	muted       time.Duration // the connection, after it
}

// done reports whether the response can be encoded without waiting for anything.
func (p *parked) done() bool { return p.ready == nil && p.poll == nil }

// awaitNow has the reader itself wait for a response, so that the next request begins after it.
func (c *conn) awaitNow(p *parked) error {
	begun := c.srv.opt.Env.Clock.Now()
	err := c.flush()
	if err == nil {
		err = c.await(p)
	}
	if err != nil {
		c.discard(p)
		return err
	}
	p.waited = c.srv.opt.Env.Clock.Now().Sub(begun)
	p.ready, p.poll = nil, nil
	return nil
}

// await waits until p can be encoded. Errors: net.ErrClosed where the connection ends before; a panic of p.
func (c *conn) await(p *parked) error {
	if p.poll != nil {
		if err := c.guard(p, func() { p.poll(c.closed) }); err != nil {
			return err
		}
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if p.ready == nil {
		return nil
	}
	select {
	case <-p.ready:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// answer encodes a response that is done; it goes out with those before it as soon as no further request is at hand.
func (c *conn) answer(p parked) error {
	if c.out.Buf == nil {
		c.out.Buf = buffers.get(4 << 10)[:0]
	}
	start := len(c.out.Buf)
	if err := c.encode(&p, &c.out); err != nil {
		return err
	}
	size := c.out.Size() - start
	if len(c.out.cuts) > 0 || c.out.Size() > flushAt || c.out.mute > 0 || !c.nextIsHere() {
		p.muted = c.out.mute
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.finish(&p, size)
	return nil
}

// encode appends a response to r. Where that fails r is as it was before, and the error ends the connection.
func (c *conn) encode(p *parked, r *Reply) error {
	before := r.Buf
	err := c.guard(p, func() {
		r.begin(p.key, p.version, p.correlation)
		r.counts = c.srv.metrics.Request(p.key)
		p.write(r)
	})
	if err == nil {
		err = r.failed
	}
	if err != nil {
		r.drop()
		r.Buf, r.failed = before, nil
		return err
	}
	r.seal(len(before))
	return nil
}

// finish counts a response that was sent.
func (c *conn) finish(p *parked, size int) {
	now := c.srv.opt.Env.Clock.Now()
	c.usedAt.Store(now.UnixNano())
	c.srv.metrics.observe(p, now)
	c.srv.metrics.BytesOut.Add(int64(size))
}

// flush writes the responses that gathered.
func (c *conn) flush() error {
	if len(c.out.Buf) == 0 {
		return nil
	}
	err := c.send(&c.out)
	c.recycle(&c.out)
	return err
}

// recycle empties a reply; a buffer that grew beyond the usual goes back to the pool.
func (c *conn) recycle(r *Reply) {
	r.drop()
	r.mute = 0
	if cap(r.Buf) > flushAt*2 {
		buffers.put(r.Buf)
		r.Buf = nil
		return
	}
	r.Buf = r.Buf[:0]
}

// park hands a response to the writer.
func (c *conn) park(p parked) error {
	if err := c.flush(); err != nil {
		c.discard(&p)
		return err
	}
	if c.queue == nil {
		c.queue = make(chan parked, parkedMax)
		c.writing.Add(1)
		queue := c.queue
		c.srv.opt.Env.Go("server responses", func() { c.writeLoop(queue) }) // ends when endQueue closes the queue
	}
	c.countParked(p.key, 1)
	p.parkedAt = c.srv.opt.Env.Clock.Now()
	select {
	case c.queue <- p:
		return nil
	case <-c.closed:
		c.countParked(p.key, -1)
		c.discard(&p)
		return net.ErrClosed
	}
}

// countParked notes that a response is given to the writer, or that the writer is done with it.
func (c *conn) countParked(key wire.Key, by int32) {
	c.waiting.Add(by)
	c.srv.metrics.Parked.Add(int64(by))
	c.srv.metrics.Request(key).Parked.Add(int64(by))
}

// writeLoop writes responses first in, first out, each when it is ready.
func (c *conn) writeLoop(queue <-chan parked) {
	defer c.writing.Done()
	reply := Reply{Buf: buffers.get(4 << 10)[:0]}
	for p := range queue {
		if err := c.writeParked(&reply, &p); gone(err) {
			c.hangUp(nil)
		} else if err != nil {
			c.hangUp(err)
		}
		c.countParked(p.key, -1)
	}
	buffers.put(reply.Buf)
}

func (c *conn) writeParked(reply *Reply, p *parked) error {
	if err := c.await(p); err != nil {
		c.discard(p)
		return err
	}
	p.waited += c.srv.opt.Env.Clock.Now().Sub(p.parkedAt)
	if err := c.encode(p, reply); err != nil {
		return err
	}
	size := reply.Size()
	p.muted = reply.mute
	err := c.send(reply)
	c.recycle(reply)
	if err == nil {
		c.finish(p, size)
	}
	return err
}

// discard lets go of a response whose connection has ended.
func (c *conn) discard(p *parked) {
	switch {
	case p.cancel != nil:
		p.cancel()
	case p.done():
		var r Reply
		_ = c.encode(p, &r) // only the encoder knows what the response holds; the bytes are not wanted
		r.drop()
	}
}
