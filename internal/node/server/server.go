// Package server is the inbound side of a broker: it accepts connections, bounds and frames what arrives, hands each
// request to its handler and writes the responses in the order of the requests.
//
// A connection has a goroutine that reads and, as soon as one of its responses has to wait, a second one that writes.
// A response that is ready while none waits before it is written by the reader itself: no hand-off, one write.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/wire"
)

// Kind says whom a listener serves; the keys that are answered depend on it.
type Kind uint8

// The kinds of listeners.
const (
	ForBrokers     Kind = 1 << iota // clients and other brokers
	ForControllers                  // the quorum and tools with --bootstrap-controller
)

// Listener is one address that is served. Requests see its name: addresses in responses are those advertised for it
// (W-8).
type Listener struct {
	Name    string
	Kind    Kind
	Address string // host:port to bind; an empty host is all interfaces
	// Budget bounds the bytes of requests in memory on this listener; nil takes Limits.RequestMemory.
	Budget *Budget
}

// Limits bounds what clients can take. Zero means no limit, except for FrameMax and RequestMemory, which must be given.
type Limits struct {
	ConnectionLimits
	FrameMax           int32         // socket.request.max.bytes
	RequestMemory      int64         // bytes of requests in memory, each listener
	Idle               time.Duration // connections.max.idle.ms
	RequestArrival     time.Duration // for a frame to arrive whole, and for a client to take a response further
	SocketSendBytes    int           // socket.send.buffer.bytes, -1 for the system's
	SocketReceiveBytes int           // socket.receive.buffer.bytes, -1 for the system's
}

// ConnectionLimits bounds connections. They can change while the server runs. Zero means no limit.
type ConnectionLimits struct {
	Connections      int            // max.connections
	ConnectionsPerIP int            // max.connections.per.ip
	ConnectionsOf    map[string]int // by address, before the one for all: max.connections.per.ip.overrides; 0 refuses it
	ConnectionRate   int            // max.connection.creation.rate, a second
}

// of returns how many connections an address may have, and whether there is a limit.
func (l *ConnectionLimits) of(ip string) (limit int, limited bool) {
	if n, ok := l.ConnectionsOf[ip]; ok {
		return n, true
	}
	return l.ConnectionsPerIP, l.ConnectionsPerIP > 0
}

// Router finds the handler of a request.
type Router interface {
	// Route returns how to serve a key and version on a listener of this kind, or an error that closes the connection
	// (W-4).
	Route(key wire.Key, version int16, kind Kind) (Route, error)
}

// Route is how one request is served.
type Route struct {
	Handle Handler
	// Overlap lets the next request of the connection begin before this one's response is ready. Its order was fixed when
	// the handler returned; only its completion comes later.
	Overlap bool
}

// Handler serves one request. When it returns, the order of its effects against those of later requests is fixed; the
// response may be completed later. The Call and the frame behind it are the handler's until it returns.
type Handler func(*Call) Pending

// Options are the parts of a Server.
type Options struct {
	Env    env.Env
	Logger *slog.Logger
	Router Router
	Limits Limits
}

// Server serves listeners. Create it with New, add addresses with Listen, stop it with Close.
type Server struct {
	opt     Options
	limits  atomic.Pointer[ConnectionLimits]
	metrics Metrics

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu struct {
		sync.Mutex
		listeners []bound
		conns     map[*conn]struct{}
		perIP     map[string]int
		closed    bool
	}
}

// New returns a server without listeners.
func New(opt Options) *Server {
	s := &Server{opt: opt}
	s.metrics.clients = s.countClients
	s.Limit(opt.Limits.ConnectionLimits)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.conns = make(map[*conn]struct{})
	s.mu.perIP = make(map[string]int)
	s.spawn("server sweep", s.sweep) // ends with ctx
	return s
}

// Limit changes what bounds connections. Those that are open stay; over a smaller max.connections the next that comes takes
// the place of as many as it needs.
func (s *Server) Limit(l ConnectionLimits) { s.limits.Store(&l) }

// spawn starts a task that Close waits for.
func (s *Server) spawn(name string, fn func()) {
	s.tasks.Add(1)
	s.opt.Env.Go(name, func() {
		defer s.tasks.Done()
		fn()
	})
}

type bound struct {
	net.Listener
	config  Listener
	serving bool
}

// Listen binds the listener's address; Serve begins to accept. It returns the address bound, whose port is the one that
// the system chose where the configured one was 0.
func (s *Server) Listen(l Listener) (net.Addr, error) {
	ln, err := s.opt.Env.Net.Listen(s.ctx, l.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: cannot listen on %s: %w", l.Name, l.Address, err)
	}
	if l.Budget == nil {
		l.Budget = NewBudget(s.opt.Limits.RequestMemory)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, errors.Join(net.ErrClosed, ln.Close())
	}
	s.mu.listeners = append(s.mu.listeners, bound{Listener: ln, config: l})
	s.metrics.addBudget(l.Name, l.Budget)
	return ln.Addr(), nil
}

// Serve begins to accept on the addresses that are bound.
func (s *Server) Serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.mu.listeners {
		b := &s.mu.listeners[i]
		if b.serving {
			continue
		}
		b.serving = true
		ln, config := b.Listener, b.config
		s.spawn("server accept", func() { s.accept(ln, config) }) // ends when Close closes ln
	}
}

// Metrics returns the counters of the server.
func (s *Server) Metrics() *Metrics { return &s.metrics }

// Close stops to accept, closes all connections and waits for their goroutines. A client whose response was not sent
// does not know the outcome of its request, as after any loss of a connection. Handlers that wait are told by Call.Waits.
func (s *Server) Close() {
	s.CloseListeners()
	s.cancel()
	s.mu.Lock()
	s.mu.closed = true
	conns := slices.Collect(maps.Keys(s.mu.conns))
	s.mu.Unlock()
	for _, c := range conns {
		c.hangUp(nil)
	}
	s.tasks.Wait()
}

// CloseListeners stops to accept; connections go on.
func (s *Server) CloseListeners() {
	s.mu.Lock()
	listeners := s.mu.listeners
	s.mu.listeners = nil
	s.mu.Unlock()
	for _, ln := range listeners {
		_ = ln.Close() // it was open; nothing can be done about an error
	}
}

func (s *Server) accept(ln net.Listener, l Listener) {
	var pace pacer
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely: connections that end will free some.
			s.opt.Logger.Error("cannot accept a connection", "listener", l.Name, "error", err)
			if env.Sleep(s.ctx, s.opt.Env.Clock, 100*time.Millisecond) != nil {
				return
			}
			continue
		}
		pace.rate = s.limits.Load().ConnectionRate
		if d := pace.next(s.opt.Env.Clock.Now()); d > 0 && env.Sleep(s.ctx, s.opt.Env.Clock, d) != nil {
			_ = nc.Close()
			return
		}
		s.admit(nc, l)
	}
}

// admit starts a connection, or closes it where a limit is reached (W-10). Over max.connections the least recently used
// connection of a client listener makes room, so that clients cannot starve the cluster's own traffic.
func (s *Server) admit(nc net.Conn, l Listener) {
	ip := hostOf(nc.RemoteAddr())
	c := newConn(s, nc, l, ip)
	limit := s.limits.Load()
	perIP, limited := limit.of(ip)
	s.mu.Lock()
	if s.mu.closed || limited && s.mu.perIP[ip] >= perIP {
		refused := !s.mu.closed
		s.mu.Unlock()
		_ = nc.Close()
		if refused {
			s.metrics.ConnectionsRefused.Add(1)
			s.opt.Logger.Warn("connection refused: too many from one address", "listener", l.Name, "remote", ip,
				"max.connections.per.ip", perIP)
		}
		return
	}
	var victims []*conn
	for limit.Connections > 0 && len(s.mu.conns) >= limit.Connections {
		victim := s.leastRecentlyUsedLocked()
		if victim == nil {
			break // all are the cluster's own
		}
		victims = append(victims, victim)
		delete(s.mu.conns, victim) // it does not count any more, so that the next who comes finds another
	}
	s.mu.conns[c] = struct{}{}
	s.mu.perIP[ip]++
	s.tasks.Add(1)
	s.mu.Unlock()
	for _, victim := range victims {
		victim.hangUp(fmt.Errorf("max.connections=%d reached: the connection unused for longest makes room", limit.Connections))
	}
	s.metrics.ConnectionsAccepted.Add(1)
	s.metrics.Connections.Add(1)
	s.opt.Env.Go("server connection", func() { // ends when the connection does; Close closes it and waits
		defer s.tasks.Done()
		c.serve()
		s.forget(c)
	})
}

func (s *Server) leastRecentlyUsedLocked() *conn {
	var oldest *conn
	for c := range s.mu.conns {
		if c.listener.Kind&ForBrokers != 0 && (oldest == nil || c.usedAt.Load() < oldest.usedAt.Load()) {
			oldest = c
		}
	}
	return oldest
}

func (s *Server) forget(c *conn) {
	s.metrics.Connections.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	if s.mu.perIP[c.ip]--; s.mu.perIP[c.ip] == 0 {
		delete(s.mu.perIP, c.ip)
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
