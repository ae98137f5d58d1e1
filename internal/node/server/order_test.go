package server

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moldau/moldau/internal/proto/wire"
)

// TestResponsesInRequestOrder: whatever completes first, and however a response is made (X-10, W-5).
func TestResponsesInRequestOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		const requests = 60
		var gates [requests]chan struct{}
		for i := range gates {
			gates[i] = make(chan struct{})
		}
		var seen atomic.Int64
		handle := func(c *Call) Pending {
			i := int(c.Body[0])
			if at := int(seen.Add(1)) - 1; at != i {
				t.Errorf("request %d was handled as number %d", i, at)
			}
			write := func(r *Reply) { r.Buf = append(r.Buf, byte(i)) }
			switch c.Body[1] {
			case 0:
				return Now(write)
			case 1:
				return Later(gates[i], write, nil)
			case 2:
				return Poll(func(closed <-chan struct{}) {
					select {
					case <-gates[i]:
					case <-closed:
					}
				}, write, nil)
			}
			return Nothing()
		}
		h := overTCP(t, routes{wire.Produce: {Handle: handle, Overlap: true}}, nil)
		nc := h.dial()
		var waiting []int
		var answered []int32
		for i := range requests {
			kind := rng.IntN(4)
			if kind == 1 || kind == 2 {
				waiting = append(waiting, i)
			}
			if kind != 3 {
				answered = append(answered, int32(i))
			}
			send(t, nc, request(wire.Produce, int32(i), []byte{byte(i), byte(kind)}))
		}
		var opening sync.WaitGroup
		opening.Add(1)
		go func() {
			defer opening.Done()
			for _, i := range rng.Perm(len(waiting)) {
				close(gates[waiting[i]])
			}
		}()
		expect(t, nc, answered...)
		opening.Wait()
	}
}

// TestSerialRouteHoldsTheNextRequest: a Heartbeat must not overtake its JoinGroup.
func TestSerialRouteHoldsTheNextRequest(t *testing.T) {
	for _, kind := range []string{"later", "poll"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				var beats atomic.Int64
				h := overPipes(t, routes{
					wire.JoinGroup: {Handle: func(*Call) Pending {
						write := func(r *Reply) { r.Buf = append(r.Buf, 1) }
						if kind == "later" {
							return Later(gate, write, nil)
						}
						return Poll(func(<-chan struct{}) { <-gate }, write, nil)
					}},
					wire.Heartbeat: {Handle: func(c *Call) Pending { beats.Add(1); return echo(c) }},
				}, nil)
				nc := h.dial()
				send(t, nc, request(wire.JoinGroup, 1, nil), request(wire.Heartbeat, 2, nil))
				synctest.Wait()
				if beats.Load() != 0 {
					t.Error("the second request began before the first was done")
				}
				close(gate)
				expect(t, nc, 1, 2)
				nc.Close()
				h.Close()
			})
		})
	}
}

// TestNothingIsAnswered: acks=0 (W-7).
func TestNothingIsAnswered(t *testing.T) {
	h := overTCP(t, routes{
		wire.Produce:  {Handle: func(*Call) Pending { return Nothing() }, Overlap: true},
		wire.Metadata: {Handle: echo},
	}, nil)
	nc := h.dial()
	for i := range int32(100) {
		send(t, nc, request(wire.Produce, i, []byte("records")))
	}
	send(t, nc, request(wire.Metadata, 1000, nil))
	expect(t, nc, 1000)
}

// TestPromisedResponsesGoOutBeforeTheHangUp: the requests before one that ends the connection are answered, as if they had
// been served one by one; a producer would send again what has been appended.
func TestPromisedResponsesGoOutBeforeTheHangUp(t *testing.T) {
	endings := map[string][]byte{
		"a handler hangs up":  request(wire.Fetch, 9, nil),
		"a handler panics":    request(wire.ListOffsets, 9, nil),
		"an encoder panics":   request(wire.OffsetFetch, 9, nil),
		"a poll panics":       request(wire.SyncGroup, 9, nil),
		"an encoder fails":    request(wire.LeaveGroup, 9, nil),
		"a key is not served": request(wire.Heartbeat, 9, nil),
		"a header is cut":     {0, 0, 0, 3, 0, 0, 0},
		"a size is negative":  {255, 255, 255, 255},
	}
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := overPipes(t, routes{
					wire.Metadata: {Handle: echo},
					wire.Produce: {Overlap: true, Handle: func(*Call) Pending {
						ready := make(chan struct{})
						time.AfterFunc(time.Second, func() { close(ready) })
						return Later(ready, func(*Reply) {}, nil)
					}},
					wire.Fetch:       {Handle: func(*Call) Pending { return HangUp(errStalled) }},
					wire.ListOffsets: {Handle: func(*Call) Pending { panic("handler") }},
					wire.OffsetFetch: {Handle: func(*Call) Pending { return Now(func(*Reply) { panic("encoder") }) }},
					wire.SyncGroup: {Overlap: true, Handle: func(*Call) Pending {
						return Poll(func(<-chan struct{}) { panic("poll") }, func(*Reply) {}, nil)
					}},
					wire.LeaveGroup: {Handle: func(*Call) Pending {
						return Now(func(r *Reply) { r.Buf = append(r.Buf, "half a resp"...); r.Fail(errStalled) })
					}},
				}, nil)
				other := h.dial()
				inline, parked := h.dial(), h.dial()
				go func() {
					_, _ = inline.Write(concat(request(wire.Metadata, 1, nil), request(wire.Metadata, 2, nil), ending))
				}()
				expect(t, inline, 1, 2)
				expectClosed(t, inline)
				go func() {
					_, _ = parked.Write(concat(request(wire.Produce, 1, nil), request(wire.Metadata, 2, nil), ending))
				}()
				expect(t, parked, 1, 2)
				expectClosed(t, parked)
				send(t, other, request(wire.Metadata, 7, nil))
				expect(t, other, 7)
				other.Close()
				h.Close()
				if n := h.Metrics().ConnectionsFailed.Load(); n != 2 {
					t.Errorf("%d connections failed, want 2", n)
				}
			})
		})
	}
}

func concat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// TestCloseWhileResponsesWait: each response that will not be sent lets go of what it holds, and no goroutine stays.
func TestCloseWhileResponsesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cancelled, released atomic.Int64
		cancel := func() { cancelled.Add(1) }
		region := func(r *Reply) { r.SpliceAt(len(r.Buf), Region{Len: 10, Release: func() { released.Add(1) }}) }
		h := overPipes(t, routes{
			wire.Produce: {Overlap: true, Handle: func(*Call) Pending { return Later(make(chan struct{}), func(*Reply) {}, cancel) }},
			wire.Fetch: {Overlap: true, Handle: func(*Call) Pending {
				return Poll(func(closed <-chan struct{}) { <-closed }, func(*Reply) {}, cancel)
			}},
			wire.ListOffsets: {Overlap: true, Handle: func(*Call) Pending { return Now(region) }},
		}, nil)
		ends := []func(nc interface{ Close() error }){
			func(interface{ Close() error }) { h.Close() },
			func(nc interface{ Close() error }) { nc.Close() },
		}
		first, second := h.dial(), h.dial()
		for _, nc := range []interface {
			Write([]byte) (int, error)
		}{first, second} {
			for _, key := range []wire.Key{wire.Produce, wire.Fetch, wire.ListOffsets} {
				if _, err := nc.Write(request(key, 1, nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		ends[1](second)
		synctest.Wait()
		if c, r := cancelled.Load(), released.Load(); c != 2 || r != 1 {
			t.Errorf("the client went: %d cancelled, %d released; want 2 and 1", c, r)
		}
		ends[0](first)
		if c, r := cancelled.Load(), released.Load(); c != 4 || r != 2 {
			t.Errorf("the server closed: %d cancelled, %d released; want 4 and 2", c, r)
		}
		first.Close()
	})
}

// TestParkedResponsesAreBounded: at the limit the reader stops, and goes on when the first is written.
func TestParkedResponsesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var handled atomic.Int64
		h := overPipes(t, routes{wire.Produce: {Overlap: true, Handle: func(*Call) Pending {
			handled.Add(1)
			return Later(gate, func(*Reply) {}, nil)
		}}}, nil)
		nc := h.dial()
		const requests = 3 * parkedMax
		go func() {
			for i := range int32(requests) {
				_, _ = nc.Write(request(wire.Produce, i, nil))
			}
		}()
		synctest.Wait()
		if n := handled.Load(); n > parkedMax+2 {
			t.Errorf("%d requests were taken while none was answered", n)
		}
		close(gate)
		for i := range int32(requests) {
			expect(t, nc, i)
		}
		nc.Close()
		h.Close()
	})
}

// TestMute: the response goes out first, then the connection rests (W-6), also where the writer sent it.
func TestMute(t *testing.T) {
	for _, parked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			write := func(r *Reply) { r.Mute(3 * time.Second) }
			h := overPipes(t, routes{
				wire.Produce: {Overlap: true, Handle: func(*Call) Pending {
					if !parked {
						return Now(write)
					}
					ready := make(chan struct{})
					time.AfterFunc(time.Millisecond, func() { close(ready) })
					return Later(ready, write, nil)
				}},
				wire.Metadata: {Handle: echo},
			}, nil)
			nc := h.dial()
			send(t, nc, request(wire.Produce, 1, nil))
			begun := time.Now()
			expect(t, nc, 1)
			if took := time.Since(begun); took > time.Second {
				t.Errorf("the throttled response came after %v", took)
			}
			go func() { _, _ = nc.Write(request(wire.Metadata, 2, nil)) }()
			expect(t, nc, 2)
			if took := time.Since(begun); took < 3*time.Second {
				t.Errorf("parked %v: the next request was served after %v", parked, took)
			}
			if m := h.Metrics().Request(wire.Produce); m.MutedTime.Sum() != 3*time.Second {
				t.Errorf("parked %v: the connection rested for %v, say the metrics", parked, m.MutedTime.Sum())
			}
			nc.Close()
			h.Close()
		})
	}
}

// TestHandlerThatWaits: what was answered before goes out, and the handler learns that the client went.
func TestHandlerThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		h := overPipes(t, routes{
			wire.Metadata: {Handle: echo},
			wire.Produce: {Handle: func(c *Call) Pending {
				<-c.Waits()
				close(ended)
				return Nothing()
			}},
		}, nil)
		nc := h.dial()
		go func() { _, _ = nc.Write(concat(request(wire.Metadata, 1, nil), request(wire.Produce, 2, nil))) }()
		expect(t, nc, 1)
		h.Close()
		<-ended
		nc.Close()
	})
}
