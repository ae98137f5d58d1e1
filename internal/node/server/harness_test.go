package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// routes is a Router by key, whatever the version.
type routes map[wire.Key]Route

func (r routes) Route(key wire.Key, _ int16, _ Kind) (Route, error) {
	if route, ok := r[key]; ok {
		return route, nil
	}
	return Route{}, errors.New("not served")
}

// echo answers with the body of the request.
func echo(c *Call) Pending {
	body := bytes.Clone(c.Body)
	return Now(func(r *Reply) { r.Buf = append(r.Buf, body...) })
}

// harness is a server on one listener.
type harness struct {
	*Server
	t    testing.TB
	addr net.Addr
	dial func() net.Conn
}

func limits() Limits {
	return Limits{FrameMax: 100 << 20, RequestMemory: 1 << 30, RequestArrival: 30 * time.Second}
}

// overTCP serves on loopback. change, where not nil, adapts the options.
func overTCP(t testing.TB, r Router, change func(*Options)) *harness {
	t.Helper()
	h := start(t, env.Real().Net, r, change)
	h.dial = func() net.Conn {
		nc, err := net.Dial("tcp", h.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		return nc
	}
	return h
}

// overPipes serves in memory, for tests in a bubble of synctest. Nothing is buffered between client and server.
func overPipes(t testing.TB, r Router, change func(*Options)) *harness {
	t.Helper()
	pipes := &pipeNet{accepts: make(chan net.Conn), closed: make(chan struct{})}
	h := start(t, pipes, r, change)
	h.dial = func() net.Conn { return pipes.connect("192.0.2.1") }
	return h
}

func start(t testing.TB, n env.Net, r Router, change func(*Options)) *harness {
	t.Helper()
	opt := Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Router: r, Limits: limits()}
	opt.Env.Net = n
	if change != nil {
		change(&opt)
	}
	h := &harness{Server: New(opt), t: t}
	t.Cleanup(h.Close)
	addr, err := h.Listen(Listener{Name: "PLAINTEXT", Kind: ForBrokers, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	h.addr = addr
	h.Serve()
	return h
}

// pipeNet is a network of net.Pipe.
type pipeNet struct {
	accepts chan net.Conn
	closing sync.Once
	closed  chan struct{}
}

func (n *pipeNet) Listen(context.Context, string) (net.Listener, error) { return n, nil }
func (n *pipeNet) Dial(context.Context, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
func (n *pipeNet) Accept() (net.Conn, error) {
	select {
	case nc := <-n.accepts:
		return nc, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}
func (n *pipeNet) Close() error   { n.closing.Do(func() { close(n.closed) }); return nil }
func (n *pipeNet) Addr() net.Addr { return &net.TCPAddr{Port: 9092} }

func (n *pipeNet) connect(ip string) net.Conn {
	client, server := net.Pipe()
	n.accepts <- from{server, &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711}}
	return client
}

// from is a connection from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// request is the frame of a request with the header version 1.
func request(key wire.Key, correlation int32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(2+2+4+2+4+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 3) // not flexible for the keys of these tests
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = binary.BigEndian.AppendUint16(b, 4)
	b = append(b, "test"...)
	return append(b, body...)
}

// response reads the next response.
func response(t testing.TB, nc net.Conn) (correlation int32, body []byte) {
	t.Helper()
	frame, err := readResponse(nc)
	if err != nil {
		t.Fatal("no response:", err)
	}
	return int32(binary.BigEndian.Uint32(frame)), frame[4:]
}

func readResponse(nc net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(nc, frame)
	return frame, err
}

func send(t testing.TB, nc net.Conn, b ...[]byte) {
	t.Helper()
	if _, err := nc.Write(bytes.Join(b, nil)); err != nil {
		t.Fatal(err)
	}
}

// expect reads the responses to these requests, in this order.
func expect(t testing.TB, nc net.Conn, correlations ...int32) {
	t.Helper()
	for _, want := range correlations {
		if got, _ := response(t, nc); got != want {
			t.Fatalf("response to request %d, want the one to %d", got, want)
		}
	}
}

// expectClosed reads until the connection ends, and expects no byte.
func expectClosed(t testing.TB, nc net.Conn) {
	t.Helper()
	n, err := io.Copy(io.Discard, nc)
	var timeout net.Error
	if n != 0 || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("%d bytes, then %v; want the end of the connection", n, err)
	}
}

// counting is a connection that counts its writes; it is no socket, so that regions take the portable path.
type counting struct {
	net.Conn
	writes *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// wrapped is a network whose accepted connections are wrapped.
type wrapped struct {
	env.Net
	wrap func(net.Conn) net.Conn
}

func (w wrapped) Listen(ctx context.Context, address string) (net.Listener, error) {
	ln, err := w.Net.Listen(ctx, address)
	return wrappedListener{ln, w.wrap}, err
}

type wrappedListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrappedListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(nc), nil
}
