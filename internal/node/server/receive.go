package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/moldau/moldau/internal/proto/wire"
)

const (
	// readAhead is the size of a connection's own buffer: small requests are read several at a time, and of a large one
	// only the beginning is copied.
	readAhead = 2 << 10
	// frameStep is what a frame gets before its bytes have arrived, until the connection has delivered a larger one;
	// beyond that it doubles as they come.
	frameStep = 128 << 10
	// frameTrust bounds what a connection gets in advance, however large its requests have been.
	frameTrust = 2 << 20
)

// readFrame returns the next frame. Its size is checked before memory is taken, memory is charged before it is taken, and
// taken as bytes arrive.
func (c *conn) readFrame() (*Frame, error) {
	if err := c.fill(4); err != nil {
		return nil, err
	}
	if err := c.endMute(); err != nil {
		return nil, err
	}
	size, err := wire.FrameSize([4]byte(c.in[c.r:]), c.srv.opt.Limits.FrameMax)
	if err != nil {
		return nil, err
	}
	c.r += 4
	first := min(size, max(frameStep, c.delivered))
	if err := c.charge(capacity(first)); err != nil {
		return nil, err
	}
	f := newFrame(first, c.listener.Budget)
	got := copy(f.bytes, c.in[c.r:c.w])
	c.r += got
	if got < size {
		if err := c.readRest(f, got, size); err != nil {
			f.Release()
			return nil, err
		}
	}
	c.delivered = max(c.delivered, min(size, frameTrust))
	return f, nil
}

// readRest reads the bytes of a frame from got to size.
func (c *conn) readRest(f *Frame, got, size int) error {
	c.arrival.begin(size)
	defer c.arrival.end()
	for got < size {
		if got == len(f.bytes) {
			n := min(size, 2*got)
			if err := c.charge(capacity(n) - f.charged); err != nil {
				return err
			}
			f.grow(n)
		}
		n, err := c.nc.Read(f.bytes[got:])
		got += n
		if err != nil && got < size {
			return cutShort(err, got, size)
		}
	}
	return nil
}

// cutShort is the error of a read that ended within a request.
func cutShort(err error, got, size int) error {
	if err == io.EOF {
		return fmt.Errorf("the client closed the connection after %d of %d bytes of a request: %w", got, size, io.ErrUnexpectedEOF)
	}
	return err
}

// charge takes n bytes of the listener's budget and waits for them if need be. It gives up, and the connection with
// it, before requests that are half read can hold each other for ever.
func (c *conn) charge(n int) error {
	budget := c.listener.Budget
	if budget.take(n) {
		return nil
	}
	c.srv.metrics.BudgetWaits.Add(1)
	if err := c.flush(); err != nil {
		return err
	}
	if c.arrival.pending() { // it is we who are late
		c.arrival.end()
		defer c.arrival.begin(n)
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	begun := c.srv.opt.Env.Clock.Now()
	defer func() { c.held += c.srv.opt.Env.Clock.Now().Sub(begun) }()
	timer := c.srv.opt.Env.Clock.NewTimer(c.srv.opt.Limits.RequestArrival)
	defer timer.Stop()
	for {
		select {
		case <-budget.freed:
			if budget.take(n) {
				budget.wakeNext()
				return nil
			}
		case <-timer.C():
			return fmt.Errorf("requests in memory reached %d bytes (moldau.request.memory.bytes) and none was finished for %s",
				budget.limit, c.srv.opt.Limits.RequestArrival)
		case <-c.closed:
			return net.ErrClosed
		}
	}
}

// fill reads until at least n bytes (n ≤ readAhead) are ahead. What was answered goes out before it waits.
func (c *conn) fill(n int) error {
	for c.w-c.r < n {
		if err := c.flush(); err != nil {
			return err
		}
		if c.r > 0 {
			copy(c.in, c.in[c.r:c.w])
			c.w, c.r = c.w-c.r, 0
		}
		if c.w > 0 && !c.arrival.pending() {
			c.arrival.begin(0)
		}
		m, err := c.nc.Read(c.in[c.w:])
		c.w += m
		if err != nil && c.w < n {
			if c.w > 0 {
				err = cutShort(err, c.w, n)
			}
			return err
		}
	}
	c.arrival.end()
	return nil
}

// nextIsHere reports whether the next request is whole in the read-ahead buffer.
func (c *conn) nextIsHere() bool {
	have := c.w - c.r
	return have >= 4 && uint32(have-4) >= binary.BigEndian.Uint32(c.in[c.r:])
}

// endMute waits until the connection may be served again (W-6).
func (c *conn) endMute() error {
	until := c.mutedUntil.Swap(0)
	if until == 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	timer := c.srv.opt.Env.Clock.NewTimer(time.Unix(0, until).Sub(c.srv.opt.Env.Clock.Now()))
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}
