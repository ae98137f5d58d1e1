package server

import (
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

type conn struct {
	srv      *Server
	nc       net.Conn
	raw      syscall.RawConn // nil where the connection is not a socket of the system
	listener Listener
	ip       string
	peer     Peer
	software atomic.Pointer[[2]string] // name and version as Peer has them, for those who look from outside

	// Read side, touched by the reader only.
	in        []byte // bytes read ahead: in[r:w]
	r, w      int
	delivered int           // the largest request so far, up to frameTrust
	held      time.Duration // how long the request that is being read waited for memory
	call      Call
	clientID  []byte
	out       Reply // finished responses that are not written yet; empty while the writer has any

	// The queue to the writer, which is started with the first response that has to wait.
	queue   chan parked
	waiting atomic.Int32 // responses in the queue or in the writer's hands
	writing sync.WaitGroup

	usedAt     atomic.Int64 // Unix nanoseconds of the last request or response
	mutedUntil atomic.Int64 // Unix nanoseconds before which no further request is served; 0 for none
	arrival    patience     // with the rest of a request
	taking     patience     // with the response that is being sent
	busy       atomic.Bool  // a request is being served

	closed   chan struct{}
	closing  sync.Once
	hangsFor error // why; set before closed is closed
}

func newConn(s *Server, nc net.Conn, l Listener, ip string) *conn {
	c := &conn{srv: s, nc: nc, listener: l, ip: ip, closed: make(chan struct{})}
	c.peer = Peer{Listener: &c.listener, Remote: ip, Principal: "User:ANONYMOUS"}
	c.call.Peer, c.call.conn = &c.peer, c
	c.usedAt.Store(s.opt.Env.Clock.Now().UnixNano())
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
	c.in = buffers.get(readAhead)
	err := c.readLoop()
	switch {
	case gone(err):
		err = nil // that is no event
	case errors.Is(err, io.ErrUnexpectedEOF):
	default:
		// We end it. The client still gets what it was promised before, as if its requests were served one by one (W-5): a
		// producer would otherwise send again what has been appended.
		_ = c.flush()
		c.endQueue()
	}
	c.hangUp(err)
	c.endQueue()
	c.out.drop()
	buffers.put(c.out.Buf)
	buffers.put(c.in)
	if why := c.hangsFor; why != nil {
		c.srv.metrics.ConnectionsFailed.Add(1)
		c.srv.opt.Logger.Warn("connection closed", "listener", c.listener.Name, "remote", c.nc.RemoteAddr().String(),
			"client", c.call.ClientID, "reason", why.Error())
	}
}

// gone reports whether err says that the connection does not exist any more.
func gone(err error) bool {
	return err == io.EOF || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// endQueue waits until the writer has dealt with all that it was given.
func (c *conn) endQueue() {
	if c.queue != nil {
		close(c.queue)
		c.queue = nil
		c.writing.Wait()
	}
}

func (c *conn) readLoop() error {
	for {
		frame, err := c.readFrame()
		if err != nil {
			return err
		}
		c.busy.Store(true)
		err = c.handle(frame)
		c.busy.Store(false)
		frame.Release()
		if err != nil {
			return err
		}
	}
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
	p := parked{key: head.Key, version: head.Version, correlation: head.CorrelationID, size: len(f.bytes), arrived: now, held: c.held}
	c.held = 0
	if err := c.guard(&p, func() { p.Pending = route.Handle(call) }); err != nil {
		return err
	}
	if p.hangUp != nil {
		return p.hangUp
	}
	if p.write == nil {
		c.srv.metrics.observe(&p, c.srv.opt.Env.Clock.Now())
		return nil
	}
	if !route.Overlap && !p.done() {
		if err := c.awaitNow(&p); err != nil {
			return err
		}
	}
	if p.done() && c.waiting.Load() == 0 {
		return c.answer(p)
	}
	return c.park(p)
}

// guard runs a part of serving p. A panic in it is a bug of ours that must not take other connections down: it becomes
// the error with which this one ends.
func (c *conn) guard(p *parked, part func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.srv.metrics.Panics.Add(1)
			c.srv.opt.Logger.Error("a request handler panicked; its connection is closed", "key", p.key.String(),
				"version", p.version, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error while serving %s", p.key)
		}
	}()
	part()
	return nil
}

// osFile returns the file of the operating system behind f, if there is one.
func osFile(f env.File) (*os.File, bool) {
	for {
		switch x := f.(type) {
		case env.OSFile:
			return x.File, true
		case interface{ Unwrap() env.File }:
			f = x.Unwrap()
		default:
			return nil, false
		}
	}
}
