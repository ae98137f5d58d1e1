package server

import (
	"path/filepath"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/wire"
)

// A reader of old data leaves nothing in the page cache that it brought there; one that comes soon after it does, since others may want
// that too. What was there before stays in any case.
func TestCatchingUpLeavesThePageCache(t *testing.T) {
	const (
		step   = 1 << 20
		steps  = 96
		size   = steps * step
		looked = size - sendBehindMax - readAheadMax // behind that the kernel may have read on
		reads  = steps - sendBehindMax/step
	)
	f, err := env.OS{}.Create(filepath.Join(t.TempDir(), "segment"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	var traces *env.Traces
	read := func() {
		t.Helper()
		at := 0
		h := overTCP(t, routes{wire.Fetch: {Handle: func(*Call) Pending {
			return Now(func(r *Reply) {
				r.SpliceAt(len(r.Buf), Region{File: f, Pos: int64(at), Len: step, Traces: traces, Release: func() {}})
			})
		}}}, nil)
		nc := h.dial()
		for i := range reads {
			at = i * step
			send(t, nc, request(wire.Fetch, int32(i), nil))
			expect(t, nc, int32(i))
		}
		nc.Close()
		h.Close()
	}
	traces = new(env.Traces)
	read()
	if !env.Resident(f, 0, size) {
		t.Error("what was in the page cache before is gone")
	}
	env.Drop(f, 0, size)
	if env.Resident(f, 0, size) {
		t.Skip("the file system of the temporary directory keeps what it has")
	}
	read()
	if env.Resident(f, 0, looked) {
		t.Error("what the reader has left behind is in the page cache")
	}
	read() // soon after
	if !env.Resident(f, 0, looked) {
		t.Error("what two have asked for is not in the page cache")
	}
}
