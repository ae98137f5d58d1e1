package server

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moldau/moldau/internal/proto/wire"
)

// Connections are counted by what clients say they are, and responses that wait by their request (O-21, O-22).
func TestClientsAndWaitingResponsesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, long := make(chan struct{}), strings.Repeat("x", 1000)
		h := overPipes(t, routes{
			wire.ListOffsets: {Handle: echo},
			wire.Metadata:    {Handle: func(c *Call) Pending { c.Introduce("kafka", long); return echo(c) }},
			wire.Fetch:       {Overlap: true, Handle: func(*Call) Pending { return Later(gate, func(*Reply) {}, nil) }},
		}, nil)
		told, other, gone := h.dial(), h.dial(), h.dial()
		send(t, told, request(wire.Metadata, 1, nil))
		expect(t, told, 1)
		send(t, other, request(wire.ListOffsets, 1, nil))
		expect(t, other, 1)
		send(t, other, request(wire.Fetch, 2, nil))
		gone.Close()
		synctest.Wait()
		m := h.Metrics()
		want := []Clients{{Listener: "PLAINTEXT", Count: 1}, {"PLAINTEXT", "kafka", long[:softwareMax], 1}}
		if got := m.Clients(); !slices.Equal(got, want) {
			t.Errorf("clients are %v, want %v", got, want)
		}
		if fetch, all := m.Request(wire.Fetch).Parked.Load(), m.Parked.Load(); fetch != 1 || all != 1 {
			t.Errorf("%d fetches and %d responses wait, want 1 and 1", fetch, all)
		}
		close(gate)
		expect(t, other, 2)
		synctest.Wait()
		if n := m.Request(wire.Fetch).Parked.Load(); n != 0 {
			t.Errorf("%d fetches wait after the answer", n)
		}
		told.Close()
		other.Close()
		h.Close()
		if n := len(m.Clients()); n != 0 {
			t.Errorf("%d clients at the end", n)
		}
	})
}

// Work and waiting are told apart, where the reader waits and where the writer does: a long poll is no slow request (O-22).
func TestWaitingIsNotWork(t *testing.T) {
	for _, overlap := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			work := func() { time.Sleep(time.Second) }
			h := overPipes(t, routes{wire.Fetch: {Overlap: overlap, Handle: func(*Call) Pending {
				work()
				ready := make(chan struct{})
				time.AfterFunc(5*time.Second, func() { close(ready) })
				return Later(ready, func(*Reply) { work() }, nil)
			}}}, nil)
			nc := h.dial()
			send(t, nc, request(wire.Fetch, 1, nil))
			expect(t, nc, 1)
			nc.Close()
			h.Close()
			m := h.Metrics().Request(wire.Fetch)
			if total, worked, waited := m.TotalTime.Sum(), m.WorkTime.Sum(), m.WaitTime.Sum(); total != 7*time.Second || worked != 2*time.Second || waited != 5*time.Second {
				t.Errorf("overlap %v: %v in all, %v of work, %v of waiting; want 7s, 2s and 5s", overlap, total, worked, waited)
			}
		})
	}
}
