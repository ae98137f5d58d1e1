package server

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moldau/moldau/internal/proto/wire"
)

// TestHugeLengthTakesNoMemory: a size beyond the limit closes; one within it costs what has arrived, not what is announced.
func TestHugeLengthTakesNoMemory(t *testing.T) {
	h := overTCP(t, routes{wire.Metadata: {Handle: echo}}, nil)
	refused := h.dial()
	send(t, refused, []byte{0x7f, 255, 255, 255})
	expectClosed(t, refused)

	const conns = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range conns {
		nc := h.dial()
		send(t, nc, []byte{0x06, 0, 0, 0}, make([]byte, 3000)) // 100 MB
	}
	budget := h.Metrics().Budgets()["PLAINTEXT"]
	for budget.Used() < conns*frameStep {
		runtime.Gosched()
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > conns*4*frameStep {
		t.Errorf("%d connections that announce 100 MB took %d bytes", conns, taken)
	}
	if used := budget.Used(); used != conns*frameStep {
		t.Errorf("%d bytes are charged, want %d", used, conns*frameStep)
	}
	h.Close()
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are charged after the end", used)
	}
}

// TestFrameSizes: frames on both sides of every boundary arrive whole, in pieces of any size.
func TestFrameSizes(t *testing.T) {
	h := overTCP(t, routes{wire.Metadata: {Handle: echo}}, nil)
	nc := h.dial()
	for _, size := range []int{0, 1, readAhead - 18, readAhead, frameStep - 14, frameStep, frameStep + 1, 3 * frameStep, 1<<21 + 1, 5<<20 + 3} {
		body := bytes.Repeat([]byte{byte(size), 7, 13}, size/3+1)[:size]
		var writing sync.WaitGroup
		writing.Add(1)
		go func() {
			defer writing.Done()
			frame := request(wire.Metadata, int32(size), body)
			for len(frame) > 0 {
				n := min(len(frame), 100_000)
				if _, err := nc.Write(frame[:n]); err != nil {
					t.Error(err)
					return
				}
				frame = frame[n:]
			}
		}()
		correlation, got := response(t, nc)
		writing.Wait()
		if correlation != int32(size) || !bytes.Equal(got, body) {
			t.Fatalf("a body of %d bytes came back as %d", size, len(got))
		}
	}
	nc.Close()
	h.Close()
	if used := h.Metrics().Budgets()["PLAINTEXT"].Used(); used != 0 {
		t.Errorf("%d bytes are charged after the end", used)
	}
}

// TestSlowClientsAreGivenUp: after RequestArrival and one sweep or two, whichever way they are slow.
func TestSlowClientsAreGivenUp(t *testing.T) {
	frame := request(wire.Metadata, 1, make([]byte, 100))
	later := func(c *Call) Pending {
		ready := make(chan struct{})
		close(ready)
		return Later(ready, func(r *Reply) { r.Buf = append(r.Buf, 1) }, nil)
	}
	r := routes{wire.Metadata: {Handle: echo}, wire.Produce: {Handle: later, Overlap: true}}
	for _, c := range []struct {
		name string
		most time.Duration
		run  func(net.Conn)
	}{
		{"two bytes of a size", 33 * time.Second, func(nc net.Conn) { _, _ = nc.Write(frame[:2]) }},
		{"half a frame", 33 * time.Second, func(nc net.Conn) { _, _ = nc.Write(frame[:50]) }},
		{"a byte now and then", 75 * time.Second, func(nc net.Conn) {
			for i := range frame {
				time.Sleep(10 * time.Second)
				if _, err := nc.Write(frame[i : i+1]); err != nil {
					return
				}
			}
		}},
		{"takes no response", 33 * time.Second, func(nc net.Conn) { _, _ = nc.Write(frame) }},
		{"takes no response of the writer", 33 * time.Second, func(nc net.Conn) { _, _ = nc.Write(request(wire.Produce, 1, nil)) }},
		{"takes no response and goes on to send", 33 * time.Second, func(nc net.Conn) {
			for {
				if _, err := nc.Write(request(wire.Produce, 1, make([]byte, 5000))); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := overPipes(t, r, nil)
				begun := time.Now()
				nc := h.dial()
				var client sync.WaitGroup
				client.Go(func() { c.run(nc) })
				for h.Metrics().ConnectionsFailed.Load() == 0 && time.Since(begun) < time.Hour {
					time.Sleep(time.Second)
				}
				if took := time.Since(begun); took < 29*time.Second || took > c.most {
					t.Errorf("given up after %v", took)
				}
				nc.Close()
				client.Wait()
				h.Close()
			})
		})
	}
}

// TestIdle: W-9. One that waits for its answer is not idle.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		h := overPipes(t, routes{
			wire.Metadata: {Handle: echo},
			wire.Fetch:    {Overlap: true, Handle: func(*Call) Pending { return Later(gate, func(*Reply) {}, nil) }},
		}, func(o *Options) { o.Limits.Idle = 10 * time.Minute })
		idle, polls := h.dial(), h.dial()
		send(t, polls, request(wire.Fetch, 1, nil))
		for i := range int32(5) {
			time.Sleep(9 * time.Minute)
			send(t, idle, request(wire.Metadata, i, nil))
			expect(t, idle, i)
		}
		begun := time.Now()
		expectClosed(t, idle)
		if took := time.Since(begun); took < 10*time.Minute || took > 10*time.Minute+2*time.Second {
			t.Errorf("closed after %v", took)
		}
		close(gate)
		expect(t, polls, 1)
		if n := h.Metrics().ConnectionsFailed.Load(); n != 0 {
			t.Errorf("%d connections failed; idleness is no failure", n)
		}
		h.Close()
	})
}

// TestBudget: a frame that does not fit waits for others to be released, and is given up when none is.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held []*Frame
		h := overPipes(t, routes{
			wire.Metadata: {Handle: echo},
			wire.Produce: {Handle: func(c *Call) Pending {
				c.Frame.Retain()
				held = append(held, c.Frame)
				return Nothing()
			}},
		}, func(o *Options) { o.Limits.RequestMemory = 1000 })
		holder, waiter, loser := h.dial(), h.dial(), h.dial()
		send(t, holder, request(wire.Produce, 1, make([]byte, 900))) // takes 1024
		synctest.Wait()
		send(t, waiter, request(wire.Metadata, 2, nil)[:5])
		synctest.Wait()
		if n := h.Metrics().BudgetWaits.Load(); n != 1 {
			t.Fatalf("%d frames wait for memory, want 1", n)
		}
		time.Sleep(20 * time.Second)
		held[0].Release()
		send(t, waiter, request(wire.Metadata, 2, nil)[5:])
		expect(t, waiter, 2)
		synctest.Wait()
		if m := h.Metrics().Request(wire.Metadata); m.HeldTime.Sum() != 20*time.Second || m.TotalTime.Sum() != 0 {
			t.Errorf("the request waited for memory for %v and took %v, say the metrics; want 20s and 0", m.HeldTime.Sum(), m.TotalTime.Sum())
		}

		send(t, holder, request(wire.Produce, 3, make([]byte, 900)))
		synctest.Wait()
		send(t, loser, request(wire.Metadata, 4, nil))
		begun := time.Now()
		expectClosed(t, loser)
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("given up after %v", took)
		}
		held[1].Release()
		if used := h.Metrics().Budgets()["PLAINTEXT"].Used(); used != 0 {
			t.Errorf("%d bytes are charged at the end", used)
		}
		send(t, waiter, request(wire.Metadata, 5, nil))
		expect(t, waiter, 5)
		holder.Close()
		waiter.Close()
		h.Close()
	})
}

// TestBudgetLosesNoWakeUp: A takes while B gives and C waits; nobody may wait while there is room.
func TestBudgetLosesNoWakeUp(t *testing.T) {
	budget := NewBudget(100)
	giveUp := time.After(20 * time.Second)
	var done sync.WaitGroup
	for range 8 {
		done.Add(1)
		go func() {
			defer done.Done()
			for i := range 2000 {
				n := 20 + i%60
				for !budget.take(n) {
					select {
					case <-budget.freed:
					case <-giveUp:
						t.Errorf("waits with %d of %d bytes used", budget.Used(), budget.Limit())
						return
					}
				}
				budget.wakeNext()
				runtime.Gosched()
				budget.give(n)
			}
		}()
	}
	done.Wait()
	if budget.Used() != 0 {
		t.Errorf("%d bytes used at the end", budget.Used())
	}
}

// TestConnectionsMax: over max.connections the one that was not used for longest makes room, each time another (W-10).
func TestConnectionsMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := overPipes(t, routes{wire.Metadata: {Handle: echo}}, func(o *Options) { o.Limits.Connections = 3 })
		var conns []net.Conn
		for i := range 3 {
			time.Sleep(time.Second)
			conns = append(conns, h.dial())
			send(t, conns[i], request(wire.Metadata, 1, nil))
			expect(t, conns[i], 1)
		}
		time.Sleep(time.Second)
		send(t, conns[0], request(wire.Metadata, 2, nil)) // now conns[1] is the oldest
		expect(t, conns[0], 2)
		for i := range 2 {
			time.Sleep(time.Second)
			conns = append(conns, h.dial())
			send(t, conns[3+i], request(wire.Metadata, 1, nil))
			expect(t, conns[3+i], 1)
		}
		synctest.Wait()
		if n := h.Metrics().Connections.Load(); n != 3 {
			t.Errorf("%d connections, want 3", n)
		}
		for i, want := range []bool{true, false, false, true, true} {
			_, err := conns[i].Write(request(wire.Metadata, 3, nil))
			if alive := err == nil; alive != want {
				t.Errorf("connection %d alive: %v, want %v", i, alive, want)
			} else if alive {
				expect(t, conns[i], 3)
			}
			conns[i].Close()
		}
		h.Close()
	})
}

// TestEvictionTakesAnotherEachTime: of a burst, while those who were told to go are still there.
func TestEvictionTakesAnotherEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		h := overPipes(t, routes{wire.Metadata: {Handle: func(*Call) Pending { <-gate; return Nothing() }}},
			func(o *Options) { o.Limits.Connections = 5 })
		var conns []net.Conn
		for range 20 {
			nc := h.dial()
			conns = append(conns, nc)
			_, _ = nc.Write(request(wire.Metadata, 1, nil)) // its handler holds the goroutine; it may be evicted by now
			synctest.Wait()
		}
		h.mu.Lock()
		open := len(h.mu.conns)
		h.mu.Unlock()
		if open != 5 {
			t.Errorf("%d connections are open, want 5", open)
		}
		close(gate)
		for _, nc := range conns {
			nc.Close()
		}
		h.Close()
		if n := h.Metrics().Connections.Load(); n != 0 {
			t.Errorf("%d connections at the end", n)
		}
	})
}

func TestConnectionsPerIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := &pipeNet{accepts: make(chan net.Conn), closed: make(chan struct{})}
		h := start(t, pipes, routes{wire.Metadata: {Handle: echo}}, func(o *Options) { o.Limits.ConnectionsPerIP = 2 })
		ask := func(nc net.Conn) bool {
			if _, err := nc.Write(request(wire.Metadata, 1, nil)); err != nil {
				return false
			}
			expect(t, nc, 1)
			return true
		}
		a, b, c := pipes.connect("192.0.2.1"), pipes.connect("192.0.2.1"), pipes.connect("192.0.2.1")
		other := pipes.connect("192.0.2.2")
		if !ask(a) || !ask(b) || ask(c) || !ask(other) {
			t.Error("the third of one address should be refused, and nobody else")
		}
		if n := h.Metrics().ConnectionsRefused.Load(); n != 1 {
			t.Errorf("%d refused, want 1", n)
		}
		a.Close()
		synctest.Wait()
		d := pipes.connect("192.0.2.1")
		if !ask(d) {
			t.Error("the place that became free was not given")
		}
		for _, nc := range []net.Conn{b, c, d, other} {
			nc.Close()
		}
		h.Close()
		if len(h.mu.perIP) != 0 {
			t.Errorf("addresses are remembered: %v", h.mu.perIP)
		}
	})
}

// Limits on connections follow a change, an address of its own before that for all.
func TestConnectionLimitsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := &pipeNet{accepts: make(chan net.Conn), closed: make(chan struct{})}
		h := start(t, pipes, routes{wire.Metadata: {Handle: echo}}, func(o *Options) {
			o.Limits.ConnectionsPerIP, o.Limits.ConnectionsOf = 1, map[string]int{"192.0.2.2": 2, "192.0.2.3": 0}
		})
		served := func(ip string) bool {
			nc := pipes.connect(ip)
			t.Cleanup(func() { nc.Close() })
			if _, err := nc.Write(request(wire.Metadata, 1, nil)); err != nil {
				return false
			}
			expect(t, nc, 1)
			return true
		}
		if !served("192.0.2.1") || served("192.0.2.1") || !served("192.0.2.2") || !served("192.0.2.2") || served("192.0.2.2") || served("192.0.2.3") {
			t.Error("an address has its own limit where it is named, else that for all")
		}
		h.Limit(ConnectionLimits{ConnectionsPerIP: 2})
		if !served("192.0.2.1") || served("192.0.2.1") || !served("192.0.2.3") {
			t.Error("a changed limit is not obeyed")
		}
		h.Limit(ConnectionLimits{Connections: 2})
		if !served("192.0.2.4") {
			t.Error("nobody made room")
		}
		synctest.Wait()
		if n := h.Metrics().Connections.Load(); n != 2 {
			t.Errorf("%d connections under a limit of 2", n)
		}
	})
}

// TestConnectionRate: after an allowance of one second's worth the acceptor waits (W-10).
func TestConnectionRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := overPipes(t, routes{}, func(o *Options) { o.Limits.ConnectionRate = 10 })
		begun := time.Now()
		for range 40 {
			h.dial().Close()
		}
		synctest.Wait()
		if took := time.Since(begun); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("40 connections at 10 a second took %v", took)
		}
		h.Close()
	})
}

// TestAcceptGoesOn: running out of file descriptors is not the end of a listener.
func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := &failingListener{pipeNet: &pipeNet{accepts: make(chan net.Conn), closed: make(chan struct{})}}
		failing.left.Store(3)
		h := start(t, failingNet{failing}, routes{wire.Metadata: {Handle: echo}}, nil)
		nc := failing.connect("192.0.2.1")
		send(t, nc, request(wire.Metadata, 1, nil))
		expect(t, nc, 1)
		nc.Close()
		h.Close()
	})
}

type failingNet struct{ *failingListener }

func (f failingNet) Close() error { return f.failingListener.Close() }

type failingListener struct {
	*pipeNet
	left atomic.Int32
}

func (f *failingListener) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, errors.New("too many open files")
	}
	return f.pipeNet.Accept()
}

// TestRetainedFrameIsNotReused: who retains a frame owns its bytes until the release.
func TestRetainedFrameIsNotReused(t *testing.T) {
	var held []*Frame
	var bodies [][]byte
	h := overTCP(t, routes{wire.Produce: {Handle: func(c *Call) Pending {
		c.Frame.Retain()
		held, bodies = append(held, c.Frame), append(bodies, c.Body)
		return echo(c)
	}}}, nil)
	nc := h.dial()
	for i := range 100 {
		send(t, nc, request(wire.Produce, int32(i), bytes.Repeat([]byte{byte(i)}, 300)))
		expect(t, nc, int32(i))
	}
	nc.Close()
	h.Close()
	for i, body := range bodies {
		if !bytes.Equal(body, bytes.Repeat([]byte{byte(i)}, 300)) {
			t.Fatalf("the bytes of request %d were overwritten", i)
		}
		held[i].Release()
	}
	if used := h.Metrics().Budgets()["PLAINTEXT"].Used(); used != 0 {
		t.Errorf("%d bytes are charged at the end", used)
	}
}

func TestReleaseTooOften(t *testing.T) {
	f := newFrame(10, NewBudget(math.MaxInt64))
	f.Release()
	defer func() {
		if recover() == nil {
			t.Error("a frame was released twice, and is in the pool twice")
		}
	}()
	f.Release()
}

// TestCutShort: a client that goes in the middle of a request is worth a line, one between two is not.
func TestCutShort(t *testing.T) {
	h := overTCP(t, routes{wire.Metadata: {Handle: echo}}, nil)
	between := h.dial()
	send(t, between, request(wire.Metadata, 1, nil))
	expect(t, between, 1)
	between.Close()
	for _, n := range []int{2, 20} {
		within := h.dial()
		send(t, within, request(wire.Metadata, 1, make([]byte, 100))[:n])
		if err := within.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, within); err != nil {
			t.Fatal(err)
		}
	}
	h.Close()
	if n := h.Metrics().ConnectionsFailed.Load(); n != 2 {
		t.Errorf("%d connections failed, want 2", n)
	}
}
