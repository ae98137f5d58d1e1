package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/wire"
)

const (
	// readAhead is the size of a connection's own buffer: small requests are read several at a time, and of a large one
	// only the beginning is copied.
	readAhead = 2 << 10
	// frameStep is what a frame gets before its bytes have arrived; beyond that it doubles as they come.
	frameStep = 128 << 10
	// parkedMax bounds the responses of one connection that wait; at the limit no more requests are read.
	parkedMax = 256
	// flushAt is how many bytes of finished responses gather while further requests are already in the buffer.
	flushAt = 32 << 10
)

// Call is one request as its handler sees it. It is reused for the connection's next request.
type Call struct {
	Key      wire.Key
	Version  int16
	ClientID string
	Body     []byte // borrowed from Frame
	Frame    *Frame
	Arrived  time.Time
	*Peer
}

// Peer is what is known of the client at the other end of a connection.
type Peer struct {
	Listener  *Listener
	Remote    string // address without port
	Principal string // "User:ANONYMOUS" on listeners without authentication (S-14)
	// Client software as ApiVersions told it (W-31); empty before.
	Software, SoftwareVersion string
}

type parked struct {
	Pending
	key         wire.Key
	version     int16
	correlation int32
	arrived     time.Time
}

type conn struct {
	srv      *Server
	nc       net.Conn
	raw      syscall.RawConn // nil where the connection is not a socket of the system
	listener Listener
	ip       string
	peer     Peer

	// Read side, touched by the reader only.
	in       []byte // bytes read ahead: in[r:w]
	r, w     int
	call     Call
	clientID []byte
	out      Reply // finished responses that are not written yet

	// The queue to the writer, which is started with the first response that has to wait.
	queue   chan parked
	waiting atomic.Int32 // responses in the queue or in the writer's hands
	writing sync.WaitGroup

	usedAt  atomic.Int64 // Unix nanoseconds of the last request or response
	stallAt atomic.Int64 // when the frame or response under way is given up; 0 for none
	busy    atomic.Bool  // a handler runs

	closed   chan struct{}
	closing  sync.Once
	hangsFor error // why; set before closed is closed
}

func newConn(s *Server, nc net.Conn, l Listener, ip string) *conn {
	c := &conn{srv: s, nc: nc, listener: l, ip: ip, closed: make(chan struct{})}
	c.peer = Peer{Listener: &c.listener, Remote: ip, Principal: "User:ANONYMOUS"}
	c.call.Peer = &c.peer
	c.touch()
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn() // without it responses take the portable path
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		if n := s.opt.Limits.SocketSendBytes; n > 0 {
			_ = tc.SetWriteBuffer(n) // a hint
		}
		if n := s.opt.Limits.SocketReceiveBytes; n > 0 {
			_ = tc.SetReadBuffer(n) // a hint
		}
	}
	return c
}

func (c *conn) touch() { c.usedAt.Store(c.srv.opt.Env.Clock.Now().UnixNano()) }

func (c *conn) inFlight() bool {
	return c.busy.Load() || c.waiting.Load() > 0 || c.stallAt.Load() != 0
}

// expect gives the peer d to send the rest of a frame or to take more of a response.
func (c *conn) expect(d time.Duration) {
	if d > 0 {
		c.stallAt.Store(c.srv.opt.Env.Clock.Now().Add(d).UnixNano())
	}
}

// hangUp closes the connection once; why is logged where it is not nil.
func (c *conn) hangUp(why error) {
	c.closing.Do(func() {
		c.hangsFor = why
		close(c.closed)
		_ = c.nc.Close() // the reader and the writer notice
	})
}

// serve reads requests until the connection ends.
func (c *conn) serve() {
	err := c.readLoop()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = nil // the client went; that is no event
	}
	c.hangUp(err)
	if c.queue != nil {
		close(c.queue)
		c.writing.Wait()
	}
	c.out.drop()
	buffers.put(c.out.Buf)
	buffers.put(c.in)
	if why := c.hangsFor; why != nil {
		c.srv.metrics.ConnectionsFailed.Add(1)
		c.srv.opt.Logger.Warn("connection closed", "listener", c.listener.Name, "remote", c.nc.RemoteAddr().String(),
			"client", c.call.ClientID, "reason", why.Error())
	}
}

func (c *conn) readLoop() error {
	c.in = buffers.get(readAhead)
	for {
		frame, err := c.readFrame()
		if err != nil {
			return err
		}
		err = c.handle(frame)
		frame.Release()
		if err != nil {
			return err
		}
	}
}

// readFrame returns the next frame. Its size is checked before memory is taken, and memory is taken as bytes arrive.
func (c *conn) readFrame() (*Frame, error) {
	if err := c.fill(4); err != nil {
		return nil, err
	}
	size, err := wire.FrameSize([4]byte(c.in[c.r:]), c.srv.opt.Limits.FrameMax)
	if err != nil {
		return nil, err
	}
	c.r += 4
	f := newFrame(min(size, frameStep))
	if err := c.charge(cap(f.bytes)); err != nil {
		f.Release()
		return nil, err
	}
	f.budget = c.listener.Budget
	got := copy(f.bytes, c.in[c.r:c.w])
	c.r += got
	reads := 0
	for got < size {
		if got == len(f.bytes) {
			if err := c.grow(f, size); err != nil {
				f.Release()
				return nil, err
			}
		}
		if reads++; reads == 2 {
			c.expect(c.srv.opt.Limits.RequestArrival + time.Duration(size)*time.Microsecond) // 1 MB/s at least
		}
		n, err := c.nc.Read(f.bytes[got:])
		got += n
		if err != nil && got < size {
			f.Release()
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the client closed the connection after %d of %d bytes of a request", got, size)
			}
			return nil, err
		}
	}
	if reads >= 2 {
		c.stallAt.Store(0)
	}
	return f, nil
}

// charge takes n bytes of the listener's budget and waits for them if need be. It gives up, and the connection with
// it, before requests that are half read can hold each other for ever.
func (c *conn) charge(n int) error {
	budget := c.listener.Budget
	if budget.take(n) {
		return nil
	}
	c.srv.metrics.BudgetWaits.Add(1)
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

// grow doubles the memory of a frame whose bytes have all arrived so far.
func (c *conn) grow(f *Frame, size int) error {
	bigger := newFrame(min(size, 2*len(f.bytes)))
	if err := c.charge(cap(bigger.bytes) - cap(f.bytes)); err != nil {
		bigger.Release()
		return err
	}
	copy(bigger.bytes, f.bytes)
	f.bytes, bigger.bytes = bigger.bytes, f.bytes
	bigger.Release()
	return nil
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
		m, err := c.nc.Read(c.in[c.w:])
		c.w += m
		if err != nil && c.w-c.r < n {
			if errors.Is(err, io.EOF) && c.w > c.r {
				return fmt.Errorf("the client closed the connection after %d bytes of a request", c.w-c.r)
			}
			return err
		}
	}
	return nil
}

// nextIsHere reports whether the next request is whole in the read-ahead buffer.
func (c *conn) nextIsHere() bool {
	have := c.w - c.r
	return have >= 4 && uint32(have-4) >= binary.BigEndian.Uint32(c.in[c.r:])
}

// handle serves one frame: route, run the handler, and answer now or queue the answer.
func (c *conn) handle(f *Frame) error {
	now := c.srv.opt.Env.Clock.Now()
	c.usedAt.Store(now.UnixNano())
	head, body, err := wire.ParseHeader(f.bytes)
	if err != nil {
		return fmt.Errorf("malformed request header: %w", err)
	}
	route, err := c.srv.opt.Router.Route(head.Key, head.Version, c.listener.Kind)
	if err != nil {
		return err
	}
	call := &c.call
	call.Key, call.Version, call.Arrived, call.Body, call.Frame = head.Key, head.Version, now, body, f
	if string(c.clientID) != string(head.ClientID) {
		c.clientID = append(c.clientID[:0], head.ClientID...)
		call.ClientID = string(c.clientID)
	}
	c.busy.Store(true)
	pending := c.run(route.Handle, call)
	c.busy.Store(false)
	if pending.hangUp != nil {
		return pending.hangUp
	}
	if pending.write == nil {
		c.srv.metrics.observe(head.Key, head.Version, c.srv.opt.Env.Clock.Now().Sub(now))
		return nil
	}
	p := parked{pending, head.Key, head.Version, head.CorrelationID, now}
	if pending.ready == nil && pending.poll == nil && c.waiting.Load() == 0 {
		return c.answer(p)
	}
	return c.park(p, route.Overlap)
}

// run calls the handler. A panic in it is a bug of ours that must not take other connections down.
func (c *conn) run(h Handler, call *Call) (p Pending) {
	defer func() {
		if r := recover(); r != nil {
			c.srv.metrics.Panics.Add(1)
			c.srv.opt.Logger.Error("a request handler panicked; its connection is closed", "key", call.Key.String(),
				"version", call.Version, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			p = HangUp(fmt.Errorf("internal error while serving %s", call.Key))
		}
	}()
	return h(call)
}

// answer encodes a response that is ready; it goes out with those before it as soon as no further request is at hand.
func (c *conn) answer(p parked) error {
	if c.out.Buf == nil {
		c.out.Buf = buffers.get(4 << 10)[:0]
	}
	start := len(c.out.Buf)
	c.out.begin(p.key, p.version, p.correlation)
	p.write(&c.out)
	if c.out.failed != nil {
		return c.out.failed
	}
	c.out.seal(start)
	size := c.out.Size() - start
	if len(c.out.cuts) > 0 || c.out.Size() > flushAt || !c.nextIsHere() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.finish(p, size)
	return c.mute(size)
}

// finish counts a response and marks the connection as used.
func (c *conn) finish(p parked, size int) {
	now := c.srv.opt.Env.Clock.Now()
	c.usedAt.Store(now.UnixNano())
	c.srv.metrics.observe(p.key, p.version, now.Sub(p.arrived))
	c.srv.metrics.BytesOut.Add(int64(size))
}

// mute holds the connection back for as long as the throttle says (W-6).
func (c *conn) mute(size int) error {
	if c.srv.opt.Throttle == nil {
		return nil
	}
	d := c.srv.opt.Throttle(&c.call, size)
	if d <= 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	return env.Sleep(c.srv.ctx, c.srv.opt.Env.Clock, d)
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
	if cap(r.Buf) > flushAt*2 {
		buffers.put(r.Buf)
		r.Buf = nil
		return
	}
	r.Buf = r.Buf[:0]
}

// park hands a response to the writer. Without overlap it returns when the response is ready, so that the next request
// begins after this one is done.
func (c *conn) park(p parked, overlap bool) error {
	if err := c.flush(); err != nil {
		if p.cancel != nil {
			p.cancel()
		}
		return err
	}
	if c.queue == nil {
		c.queue = make(chan parked, parkedMax)
		c.writing.Add(1)
		c.srv.opt.Env.Go("server responses", c.writeLoop) // ends when serve closes the queue
	}
	c.waiting.Add(1)
	select {
	case c.queue <- p:
	case <-c.closed:
		c.waiting.Add(-1)
		if p.cancel != nil {
			p.cancel()
		}
		return net.ErrClosed
	}
	if overlap || p.ready == nil {
		return nil
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	select {
	case <-p.ready:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// writeLoop writes responses first in, first out, each when it is ready.
func (c *conn) writeLoop() {
	defer c.writing.Done()
	reply := Reply{Buf: buffers.get(4 << 10)[:0]}
	for p := range c.queue {
		c.writeParked(&reply, p)
		c.waiting.Add(-1)
	}
	buffers.put(reply.Buf)
}

func (c *conn) writeParked(reply *Reply, p parked) {
	if !c.await(p) {
		if p.cancel != nil {
			p.cancel()
		}
		return
	}
	reply.begin(p.key, p.version, p.correlation)
	if !c.encode(p, reply) {
		c.recycle(reply)
		return
	}
	reply.seal(0)
	size := reply.Size()
	err := c.send(reply)
	c.recycle(reply)
	if err != nil {
		c.hangUp(nil)
		return
	}
	c.finish(p, size)
}

// await waits until a parked response can be written, and reports false where the connection ends before.
func (c *conn) await(p parked) bool {
	if p.poll != nil {
		p.poll(c.closed)
	}
	select {
	case <-c.closed:
		return false
	default:
	}
	if p.ready == nil {
		return true
	}
	select {
	case <-p.ready:
		return true
	case <-c.closed:
		return false
	}
}

// encode lets a parked response write itself, and turns a panic into the end of its connection as run does.
func (c *conn) encode(p parked, reply *Reply) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			c.srv.metrics.Panics.Add(1)
			c.srv.opt.Logger.Error("a response panicked; its connection is closed", "key", p.key.String(),
				"version", p.version, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			c.hangUp(fmt.Errorf("internal error while answering %s", p.key))
		}
	}()
	p.write(reply)
	if reply.failed != nil {
		c.hangUp(reply.failed)
	}
	return reply.failed == nil
}

// write sends plain bytes. A peer that takes nothing for long is given up by the sweep.
func (c *conn) write(b []byte) error {
	if len(b) > flushAt {
		c.expect(c.srv.opt.Limits.RequestArrival + time.Duration(len(b))*time.Microsecond)
		defer c.stallAt.Store(0)
	}
	_, err := c.nc.Write(b)
	return err
}

// osFile returns the file of the operating system behind f, if there is one.
func osFile(f env.File) (*os.File, bool) {
	of, ok := f.(env.OSFile)
	return of.File, ok
}
