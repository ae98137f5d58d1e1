package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// fullAt makes the calls from number n on that need room fail, so many of them. Every second write gets some bytes through.
func fullAt(n, calls int) func(memfs.Op) error {
	count := 0
	return func(op memfs.Op) error {
		if op.Kind != "create" && op.Kind != "write" && op.Kind != "rename" {
			return nil
		}
		count++
		switch {
		case count <= n || count > n+calls:
			return nil
		case op.Kind == "write" && count%2 == 0:
			return memfs.ShortWrite{N: op.Len / 2, Err: syscall.ENOSPC}
		}
		return syscall.ENOSPC
	}
}

// meetNoSpace goes on after a step that found no space, where that step may: it has changed nothing.
func (w *world) meetNoSpace(name string, met error) error {
	w.pending = nil
	switch name {
	case "truncate": // what it has removed cannot be brought back
		return w.crash(memfs.All, 0)
	case "reopen", "kill":
		w.fs = w.fs.Crash(memfs.All, 0) // a start that did not succeed, and the next one
		return w.begin(false)
	case "compact":
		// The pass has ended. What it has put in place stays, once the names are final.
		for range 5 { // the volume is full for four calls at most
			if err := w.log.Sweep(w.now); err == nil {
				break
			}
		}
		w.before = nil
	}
	if !errors.Is(met, ErrNoSpace) {
		return fmt.Errorf("not told as a lack of space: %w", met)
	}
	segs := w.log.Segments()
	active := segs[len(segs)-1]
	info, err := w.fs.Stat(fmt.Sprintf("%s/%020d.log", w.log.Dir(), active.Base))
	if err != nil || info.Size() != active.Bytes {
		return fmt.Errorf("the file of the active segment has %d bytes, want %d: %w", info.Size(), active.Bytes, err)
	}
	return w.log.Poisoned()
}

// TestNoSpaceAtEveryCall enumerates: the volume is full at each call that needs room, for one call or for some. The step
// that meets it is refused and leaves the log, its files and the producers' state as they were (KAFKA-6683); what follows
// and what a kill leaves is as if it had never been asked.
func TestNoSpaceAtEveryCall(t *testing.T) {
	seeds, steps := uint64(10), 50
	if testing.Short() {
		seeds, steps = 3, 30
	}
	met := map[string]int{}
	for seed := range seeds {
		for n := 0; ; n++ {
			full, err := noSpaceAt(seed, steps, n, 1+int(seed+uint64(n))%4, met)
			if err != nil {
				t.Fatalf("trace %d, call %d: %v", seed, n, err)
			}
			if !full {
				break
			}
		}
	}
	for _, name := range []string{"append", "marker", "flush", "reopen"} {
		if met[name] == 0 && !testing.Short() {
			t.Errorf("%s never met a full volume: %v", name, met)
		}
	}
}

// noSpaceAt reports whether any step has met the full volume.
func noSpaceAt(seed uint64, steps, n, calls int, met map[string]int) (full bool, err error) {
	pick := seeded(seed)
	c := pickConfig(pick)
	if seed%3 > 0 {
		c.SegmentBytes = 600
	}
	w := newWorld(c)
	w.uncut = true // a truncation that fails beside a pass leaves two histories, and the model knows one
	if err := w.begin(false); err != nil {
		return false, err
	}
	w.fs.Hook = fullAt(n, calls)
	for i := range steps {
		name, err := w.step(pick)
		if i%9 == 8 && err == nil {
			name, err = "flush", w.flush(pick)
		}
		if err != nil && env.NoSpace(err) {
			full = true
			met[name]++
			err = w.meetNoSpace(name, err)
		}
		if err == nil {
			err = w.check(pick)
		}
		if err != nil {
			return full, fmt.Errorf("step %d, %s: %w", i, name, err)
		}
	}
	if err := w.crash(memfs.All, 0); err != nil {
		return full, err
	}
	return full, w.check(pick)
}

// TestNoSpaceClearsItself fills a small volume until appends are refused, makes room by retention, and goes on.
func TestNoSpaceClearsItself(t *testing.T) {
	c := DefaultConfig()
	c.SegmentBytes, c.FileDeleteDelayMs = 4000, 0
	w := newWorld(c)
	w.fs.Capacity = 30_000
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	pick := seeded(1)
	for range 3 {
		var err error
		for n := 0; err == nil; n++ {
			if n > 1000 {
				t.Fatal("the volume does not fill")
			}
			err = w.append(pick)
		}
		if !errors.Is(err, ErrNoSpace) || w.log.Poisoned() != nil {
			t.Fatalf("a full volume: %v, poisoned: %v", err, w.log.Poisoned())
		}
		w.pending = nil
		if err := w.check(pick); err != nil {
			t.Fatal(err)
		}
		w.start = w.log.End() - 3
		if err := w.log.AdvanceStart(w.start); err != nil {
			t.Fatal(err)
		}
		w.fs.Hook = func(op memfs.Op) error { // not even a longer name has room at first
			if op.Kind == "rename" {
				return syscall.ENOSPC
			}
			return nil
		}
		if err := w.retain(func(string, int) int { return 1 }); !errors.Is(err, ErrNoSpace) || w.log.Poisoned() != nil {
			t.Fatal(err)
		}
		w.fs.Hook = nil
		if err := w.log.Sweep(w.now); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.crash(memfs.All, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.check(pick); err != nil {
		t.Fatal(err)
	}
}

// A lack of space that cannot be taken back is a failure like any other: what is on disk is unknown.
func TestNoSpaceThatCannotBeUndone(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	w.fs.Hook = func(op memfs.Op) error {
		switch op.Kind {
		case "write":
			return memfs.ShortWrite{N: 10, Err: syscall.ENOSPC}
		case "truncate":
			return syscall.EIO
		}
		return nil
	}
	if err := w.append(seeded(1)); err == nil || errors.Is(err, ErrNoSpace) || !errors.Is(w.log.Poisoned(), ErrPoisoned) {
		t.Errorf("%v, poisoned: %v", err, w.log.Poisoned())
	}
}

// A sync that finds no space has lost what it was to write, as any sync that fails (fsyncgate).
func TestNoSpaceInSyncIsAFailure(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	if err := w.append(seeded(1)); err != nil {
		t.Fatal(err)
	}
	w.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "sync" {
			return syscall.ENOSPC
		}
		return nil
	}
	if _, err := w.log.Flush(); err == nil || errors.Is(err, ErrNoSpace) || !errors.Is(w.log.Poisoned(), ErrPoisoned) {
		t.Errorf("%v, poisoned: %v", err, w.log.Poisoned())
	}
}

// The manifest of a directory on a full volume refuses a partition and goes on with the next.
func TestManifestWithoutSpace(t *testing.T) {
	fs := memfs.New()
	d, err := OpenDirectory(fs, "/data")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(Identity{ClusterID: "c", NodeID: 1, DirectoryID: moldau.DirectoryID{1}}); err != nil {
		t.Fatal(err)
	}
	one := map[moldau.TopicPartition]moldau.TopicID{{Topic: "a"}: {1}}
	two := map[moldau.TopicPartition]moldau.TopicID{{Topic: "b"}: {2}}
	fs.Hook = fullAt(0, 2)
	for range 2 {
		if err := d.Enlist(one); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	}
	for _, add := range []map[moldau.TopicPartition]moldau.TopicID{one, two} {
		if err := d.Enlist(add); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = OpenDirectory(fs, "/data"); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(Identity{ClusterID: "c", NodeID: 1}); err != nil {
		t.Fatal(err)
	}
	if got := d.Listed(); len(got) != 2 {
		t.Errorf("it lists %v", got)
	}
}

// The marker of an aborted transaction is refused whole when its entry of the transaction index finds no room.
func TestNoSpaceForTheTransactionIndex(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	data := w.build(seeded(3), 100)
	if _, err := w.log.Append(data.raw, 0); err != nil {
		t.Fatal(err)
	}
	end, before := w.log.End(), w.log.Producers()
	marker := record.BuildMarker(0, 1, 100, 0, record.Marker{Commit: false})
	w.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "write" && bytes.HasSuffix([]byte(op.Name), []byte(".txnindex")) {
			return memfs.ShortWrite{N: 5, Err: syscall.ENOSPC}
		}
		return nil
	}
	if _, err := w.log.Append(marker, 0); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if got := w.log.Producers(); w.log.End() != end || got[0] != before[0] {
		t.Errorf("the log ends at %d, want %d; its producer is %+v, was %+v", w.log.End(), end, got[0], before[0])
	}
	w.fs.Hook = nil
	if _, err := w.log.Append(marker, 0); err != nil {
		t.Fatal(err)
	}
	if list, err := w.log.AbortedIn(0, w.log.End()); err != nil || len(list) != 1 {
		t.Errorf("aborted: %v, %v", list, err)
	}
}
