package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/wire"
)

// segment is a file of n bytes, each four of which say where they are.
func segment(t testing.TB, fsys env.FS, name string, n int) env.File {
	t.Helper()
	f, err := fsys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteAt(pattern(0, n), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// pattern is what a segment holds from at to at+n.
func pattern(at, n int) []byte { return patterned()[at : at+n] }

var patterned = sync.OnceValue(func() []byte {
	b := make([]byte, 4<<20)
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], uint32(i)*2654435761)
	}
	return b
})

// regions handles requests whose body names regions of f (position and length, four bytes each). It answers with their
// bytes, each between two marks.
func regions(f env.File, open *atomic.Int64) Handler {
	return func(c *Call) Pending {
		body := bytes.Clone(c.Body)
		return Now(func(r *Reply) {
			for at := 0; at < len(body); at += 8 {
				r.Buf = append(r.Buf, '<')
				open.Add(1)
				r.SpliceAt(len(r.Buf), Region{
					File: f, Pos: int64(binary.BigEndian.Uint32(body[at:])), Len: int(binary.BigEndian.Uint32(body[at+4:])),
					Release: func() { open.Add(-1) },
				})
				r.Buf = append(r.Buf, '>')
			}
		})
	}
}

type span struct{ at, n int }

func ask(correlation int32, spans []span) []byte {
	var body []byte
	for _, s := range spans {
		body = binary.BigEndian.AppendUint32(body, uint32(s.at))
		body = binary.BigEndian.AppendUint32(body, uint32(s.n))
	}
	return request(wire.Fetch, correlation, body)
}

func answerTo(spans []span) []byte {
	var want []byte
	for _, s := range spans {
		want = append(want, '<')
		want = append(want, pattern(s.at, s.n)...)
		want = append(want, '>')
	}
	return want
}

// TestRegionsUnderConcurrentReaders: a hundred readers of one file, regions small and large, and every byte is right. The
// position that a file descriptor has is shared; whoever relies on it mixes the readers up.
func TestRegionsUnderConcurrentReaders(t *testing.T) {
	const size = 2 << 20
	onDisk := segment(t, env.OS{}, filepath.Join(t.TempDir(), "segment"), size)
	inMemory := segment(t, memfs.New(), "segment", size)
	plain := func(o *Options) {
		o.Env.Net = wrapped{o.Env.Net, func(nc net.Conn) net.Conn { return counting{nc, new(atomic.Int64)} }}
	}
	for _, c := range []struct {
		name   string
		file   env.File
		change func(*Options)
	}{
		{"file to socket", onDisk, nil},
		{"memory to socket", inMemory, nil},
		{"file to a connection that is no socket", onDisk, plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			readers, rounds := 100, 2
			if testing.Short() {
				readers = 20
			}
			var open atomic.Int64
			h := overTCP(t, routes{wire.Fetch: {Handle: regions(c.file, &open)}}, c.change)
			var reading sync.WaitGroup
			for i := range readers {
				nc := h.dial()
				reading.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), 3))
					for round := range rounds {
						if err := readSpans(nc, int32(round), randomSpans(rng, size)); err != nil {
							t.Errorf("reader %d: %v", i, err)
							return
						}
					}
				})
			}
			reading.Wait()
			h.Close()
			if n := open.Load(); n != 0 {
				t.Errorf("%d regions were not released", n)
			}
		})
	}
}

func randomSpans(rng *rand.Rand, size int) []span {
	var spans []span
	for range 1 + rng.IntN(6) {
		n := rng.IntN(4 << 10)
		switch rng.IntN(4) {
		case 0:
			n = sendfileMin - 1 + rng.IntN(3)
		case 1:
			n = rng.IntN(300 << 10)
		}
		spans = append(spans, span{rng.IntN(size - n), n})
	}
	return spans
}

func readSpans(nc net.Conn, correlation int32, spans []span) error {
	if _, err := nc.Write(ask(correlation, spans)); err != nil {
		return err
	}
	frame, err := readResponse(nc)
	if err != nil {
		return err
	}
	if got := int32(binary.BigEndian.Uint32(frame)); got != correlation {
		return fmt.Errorf("response to %d, want %d", got, correlation)
	}
	if !bytes.Equal(frame[4:], answerTo(spans)) {
		return fmt.Errorf("the bytes of %v are not those of the file", spans)
	}
	return nil
}

// TestSlowReader: a client with a small window that reads a little at a time gets every byte of a large response.
func TestSlowReader(t *testing.T) {
	const size = 3 << 20
	for name, f := range map[string]env.File{
		"disk":   segment(t, env.OS{}, filepath.Join(t.TempDir(), "segment"), size),
		"memory": segment(t, memfs.New(), "segment", size),
	} {
		t.Run(name, func(t *testing.T) {
			var open atomic.Int64
			h := overTCP(t, routes{wire.Fetch: {Handle: regions(f, &open)}}, func(o *Options) { o.Limits.SocketSendBytes = 64 << 10 })
			nc := h.dial()
			_ = nc.(*net.TCPConn).SetReadBuffer(128 << 10) // smaller ones make the kernel wait for its timers
			spans := []span{{1, 100}, {5, 1<<20 + 3}, {7, sendfileMin - 1}, {100, 300 << 10}}
			send(t, nc, ask(1, spans))
			got, err := readResponse(dribble{nc})
			if err != nil || !bytes.Equal(got[4:], answerTo(spans)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// dribble reads at most 5000 bytes at a time.
type dribble struct{ net.Conn }

func (d dribble) Read(b []byte) (int, error) { return d.Conn.Read(b[:min(len(b), 5000)]) }

// TestRegionBeyondItsFile: a response that cannot be completed ends its connection, and gives its regions back.
func TestRegionBeyondItsFile(t *testing.T) {
	f := segment(t, env.OS{}, filepath.Join(t.TempDir(), "segment"), 100<<10)
	var open atomic.Int64
	h := overTCP(t, routes{wire.Fetch: {Handle: regions(f, &open)}}, nil)
	for _, s := range []span{{90 << 10, 20 << 10}, {50 << 10, 100 << 10}} {
		nc := h.dial()
		send(t, nc, ask(1, []span{{0, 10}, s, {0, 10}}))
		if frame, err := readResponse(nc); err == nil {
			t.Errorf("%v: a whole response of %d bytes", s, len(frame))
		}
	}
	h.Close()
	if n, failed := open.Load(), h.Metrics().ConnectionsFailed.Load(); n != 0 || failed != 2 {
		t.Errorf("%d regions were not released, %d connections failed", n, failed)
	}
}

// TestReaderThatGoes: regions of a response that is cut off are released, whoever sends it.
func TestReaderThatGoes(t *testing.T) {
	const size = 4 << 20
	f := segment(t, env.OS{}, filepath.Join(t.TempDir(), "segment"), size)
	var open atomic.Int64
	respond := regions(f, &open)
	later := func(c *Call) Pending {
		p := respond(c)
		ready := make(chan struct{})
		close(ready)
		return Later(ready, p.write, nil)
	}
	h := overTCP(t, routes{wire.Fetch: {Handle: respond}, wire.Produce: {Handle: later, Overlap: true}}, func(o *Options) { o.Limits.SocketSendBytes = 8 << 10 })
	for _, key := range []wire.Key{wire.Fetch, wire.Produce} {
		nc := h.dial()
		frame := ask(1, []span{{0, size}})
		binary.BigEndian.PutUint16(frame[4:], uint16(key))
		send(t, nc, frame)
		if _, err := io.ReadFull(nc, make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	h.Close()
	if n := open.Load(); n != 0 {
		t.Errorf("%d regions were not released", n)
	}
}

// TestPipelinedResponsesShareAWrite: small responses gather while further requests are at hand.
func TestPipelinedResponsesShareAWrite(t *testing.T) {
	var writes atomic.Int64
	h := overTCP(t, routes{wire.Metadata: {Handle: echo}}, func(o *Options) {
		o.Env.Net = wrapped{o.Env.Net, func(nc net.Conn) net.Conn { return counting{nc, &writes} }}
	})
	nc := h.dial()
	var all []byte
	const requests = 50
	for i := range int32(requests) {
		all = append(all, request(wire.Metadata, i, []byte("body"))...)
	}
	send(t, nc, all)
	for i := range int32(requests) {
		expect(t, nc, i)
	}
	if n := writes.Load(); n > 3 { // the requests may arrive in more than one piece
		t.Errorf("%d responses took %d writes", requests, n)
	}
}

// TestRegionBehindGatheredResponses: the frame's length counts its own regions only.
func TestRegionBehindGatheredResponses(t *testing.T) {
	f := segment(t, env.OS{}, filepath.Join(t.TempDir(), "segment"), 200<<10)
	var open atomic.Int64
	h := overTCP(t, routes{wire.Metadata: {Handle: echo}, wire.Fetch: {Handle: regions(f, &open)}}, nil)
	nc := h.dial()
	spans := []span{{10, 100}, {20, 100 << 10}, {30, 1}}
	send(t, nc, request(wire.Metadata, 1, []byte("a")), ask(2, spans), request(wire.Metadata, 3, []byte("b")))
	expect(t, nc, 1)
	if _, body := response(t, nc); !bytes.Equal(body, answerTo(spans)) {
		t.Error("the regions are not those of the file")
	}
	expect(t, nc, 3)
}

// TestInlineAllocations bounds what a small request costs beside its handler.
func TestInlineAllocations(t *testing.T) {
	write := func(r *Reply) { r.Buf = append(r.Buf, "response"...) }
	closed := make(chan struct{})
	close(closed)
	for _, c := range []struct {
		name   string
		handle Handler
		most   float64
	}{
		{"inline", func(*Call) Pending { return Now(write) }, 0},
		{"parked", func(*Call) Pending { return Later(closed, write, nil) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := overTCP(t, routes{wire.Metadata: {Handle: c.handle, Overlap: true}}, nil)
			nc := h.dial()
			frame := request(wire.Metadata, 1, []byte("request"))
			into := make([]byte, 4+4+len("response"))
			got := testing.AllocsPerRun(300, func() {
				if _, err := nc.Write(frame); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(nc, into); err != nil {
					t.Fatal(err)
				}
			})
			if got > c.most {
				t.Errorf("%v allocations for a request, %v allowed", got, c.most)
			}
		})
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	write := func(r *Reply) { r.Buf = append(r.Buf, "response"...) }
	h := overTCP(b, routes{wire.Metadata: {Handle: func(*Call) Pending { return Now(write) }}}, nil)
	nc := h.dial()
	_ = nc.SetDeadline(time.Time{})
	frame := request(wire.Metadata, 1, make([]byte, 100))
	into := make([]byte, 4+4+len("response"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, into); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPortableFile: what decides between sendfile and a copy.
func TestPortableFile(t *testing.T) {
	if f, ok := osFile(segment(t, memfs.New(), "segment", 10)); ok || f != nil {
		t.Error("a file in memory passes for one of the system")
	}
	f := segment(t, env.OS{}, filepath.Join(t.TempDir(), "segment"), 10)
	if of, ok := osFile(f); !ok || of == (*os.File)(nil) {
		t.Error("a file of the system does not pass for one")
	}
}
