package quorum

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
)

// A full volume ends nothing: what was decided is of unknown outcome and committed once there is room, what comes meanwhile is
// refused, and after that all goes on as before; a kill in the midst of it loses nothing that was acknowledged.
func TestFullVolumeRefusesCommands(t *testing.T) {
	fs := memfs.New()
	if err := fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	var full atomic.Bool
	var left atomic.Int64 // writes that a full volume still takes
	fs.Hook = func(op memfs.Op) error {
		if full.Load() && (op.Kind == "write" || op.Kind == "create") && left.Add(-1) < 0 {
			return memfs.ShortWrite{N: op.Len / 2, Err: syscall.ENOSPC}
		}
		return nil
	}
	e := env.Real()
	e.FS = fs
	log, err := OpenLog(e, "/data/m", 0)
	if err != nil {
		t.Fatal(err)
	}
	o := options("/data/m", log)
	o.Env = e
	r := start(t, o)
	r.propose("a")
	full.Store(true)
	if _, err := r.Propose(context.Background(), []byte("b")); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, ErrNoSpace) {
		t.Fatalf("the command that met it: %v", err)
	}
	if _, err := r.Propose(context.Background(), []byte("c")); !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("the command behind it: %v", err)
	}
	killed := fs.Crash(memfs.All, 0)
	full.Store(false)
	for {
		if _, err = r.Propose(context.Background(), []byte("d")); !errors.Is(err, ErrNoSpace) {
			break
		}
		<-time.After(time.Millisecond) // until the loop tries again
	}
	if err != nil {
		t.Fatal(err)
	}
	r.wantList("a", "b", "d")

	full.Store(true) // and it can be stopped while it waits
	if _, err := r.Propose(context.Background(), []byte("e")); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	full.Store(false)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fs   *memfs.FS
		want string
	}{{fs, "a b d"}, {killed, "a"}} {
		c.fs.Hook = nil
		e.FS = c.fs
		if log, err = OpenLog(e, "/data/m", 0); err != nil {
			t.Fatal(err)
		}
		o.Env, o.Log = e, log
		r = start(t, o)
		<-r.machine.led
		if got := strings.Join(r.machine.list(), " "); got != c.want {
			t.Errorf("after a start it is %q, want %q", got, c.want)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A snapshot that finds no space is taken later; nothing else waits for it.
func TestSnapshotWithoutSpace(t *testing.T) {
	fs := memfs.New()
	if err := fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	var met atomic.Int64
	fs.Hook = func(op memfs.Op) error {
		if op.Kind == "create" && strings.Contains(op.Name, checkpointSuffix) {
			met.Add(1)
			return syscall.ENOSPC
		}
		return nil
	}
	e := env.Real()
	e.FS = fs
	log, err := OpenLog(e, "/data/m", 0)
	if err != nil {
		t.Fatal(err)
	}
	o := options("/data/m", log)
	o.Env, o.SnapshotBytes = e, 1
	r := start(t, o)
	for met.Load() == 0 {
		r.propose("a")
	}
	r.propose("b")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}
