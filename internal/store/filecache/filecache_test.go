package filecache

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
)

// files makes n files that hold their number, of a cache with room for limit.
func files(t *testing.T, fsys *memfs.FS, limit, n int) (*FS, []*File) {
	t.Helper()
	c := New(limit).On(fsys)
	list := make([]*File, n)
	for i := range list {
		list[i] = c.File(fmt.Sprintf("/%d", i))
		if err := list[i].Create(); err != nil {
			t.Fatal(err)
		}
		if _, err := list[i].WriteAt([]byte{byte(i)}, 0); err != nil {
			t.Fatal(err)
		}
		if err := list[i].Sync(); err != nil {
			t.Fatal(err)
		}
	}
	return c, list
}

func holds(t *testing.T, f *File, want byte) {
	t.Helper()
	var b [1]byte
	if _, err := f.ReadAt(b[:], 0); err != nil || b[0] != want {
		t.Fatalf("%s holds %d, %v; want %d", f.Name(), b[0], err, want)
	}
}

func TestLimitHolds(t *testing.T) {
	fsys := memfs.New()
	c, list := files(t, fsys, 4, 20)
	for round := range 3 {
		for i, f := range list {
			holds(t, f, byte(i))
			if n := fsys.Opened(); n > 4 || n != c.cache.Stats().Open {
				t.Fatalf("round %d: %d files are open, the cache says %+v", round, n, c.cache.Stats())
			}
		}
	}
	for _, f := range list {
		if !f.Drop() {
			t.Error("somebody holds", f.Name())
		}
		if err := f.Acquire(); !errors.Is(err, ErrClosed) {
			t.Error("a file was opened after its end:", err)
		}
	}
	if n := fsys.Opened(); n != 0 {
		t.Errorf("%d files are open at the end", n)
	}
}

// A file that is used again and again stays open while others come and go.
func TestSecondChance(t *testing.T) {
	c, list := files(t, memfs.New(), 4, 40)
	for i := 1; i < len(list); i++ {
		holds(t, list[i], byte(i))
		before := c.cache.Stats().Opens
		if holds(t, list[0], 0); i > 4 && c.cache.Stats().Opens != before {
			t.Fatalf("the busy file was closed at %d", i)
		}
	}
}

// Who holds a file keeps it open, over the limit if need be, and whatever happens to its name.
func TestHeldStaysOpen(t *testing.T) {
	fsys := memfs.New()
	_, list := files(t, fsys, 2, 8)
	for _, f := range list[:4] {
		if err := f.Acquire(); err != nil {
			t.Fatal(err)
		}
	}
	if err := list[4].Keep(); err != nil {
		t.Fatal(err)
	}
	for i := range list[:5] {
		if err := fsys.Rename(list[i].Name(), list[i].Name()+".deleted"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for i, f := range list {
			holds(t, f, byte(i))
		}
	}
	if list[0].Drop() {
		t.Error("a held file ended with its owner's share")
	}
	holds(t, list[0], 0)
	if !list[0].Release() {
		t.Error("the last reference was not the end")
	}
	if _, err := list[0].Size(); !errors.Is(err, ErrClosed) {
		t.Error("used after its end:", err)
	}
	if !list[4].Drop() {
		t.Error("a kept file outlives its owner")
	}
}

// Bytes that were written are synced before the descriptor that wrote them is closed, and a failure of that is not lost.
func TestUnsyncedIsSyncedFirst(t *testing.T) {
	fsys := memfs.New()
	c, list := files(t, fsys, 2, 3)
	var synced []string
	var failing error
	fsys.Hook = func(op memfs.Op) error {
		if op.Kind == "sync" {
			synced = append(synced, op.Name)
			return failing
		}
		return nil
	}
	write := func(f *File) error { _, err := f.WriteAt([]byte{9}, 0); return err }
	for _, f := range list[:2] {
		if err := write(f); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, list[2], 2)
	if len(synced) != 1 || c.cache.Stats().Open != 2 {
		t.Fatalf("synced %v to make room, %+v", synced, c.cache.Stats())
	}
	kept, failed := list[0], list[1]
	if synced[0] == "/1" {
		kept, failed = failed, kept
	}
	failing = syscall.EIO
	if err := list[2].Acquire(); err != nil { // so that there is none that could go without a sync
		t.Fatal(err)
	}
	holds(t, kept, 9)
	if len(synced) != 2 || c.cache.Stats().Open != 2 {
		t.Fatalf("synced %v to make room, %+v", synced, c.cache.Stats())
	}
	failing = nil
	if err := failed.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error("the next sync does not tell of the one that failed:", err)
	}
	if err := write(failed); !errors.Is(err, syscall.EIO) {
		t.Error("the next write does not tell of the sync that failed:", err)
	}
}

// Where the process has no descriptor left the cache gives one up, and where it has none either the error says why.
func TestTooManyFiles(t *testing.T) {
	fsys := memfs.New()
	c, list := files(t, fsys, 0, 6)
	most := fsys.Opened()
	fsys.Hook = func(op memfs.Op) error {
		if (op.Kind == "open" || op.Kind == "create" || op.Kind == "syncdir") && c.cache.Stats().Open >= most {
			return &fs.PathError{Op: op.Kind, Path: op.Name, Err: syscall.EMFILE}
		}
		return nil
	}
	f := c.File("/new")
	if err := f.Create(); err != nil {
		t.Fatal(err)
	}
	if err := c.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	for _, f := range append(list, f) {
		if err := f.Acquire(); env.TooManyFiles(err) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		defer f.Release()
	}
	if n := c.cache.Stats().Open; n != most {
		t.Errorf("%d files are held open, want %d", n, most)
	}
	if err := c.SyncDir("/"); !env.TooManyFiles(err) {
		t.Error("with every file held:", err)
	}
}

// TestTogether uses a few files of a small cache from many goroutines, while their owners end them one after another.
func TestTogether(t *testing.T) {
	fsys := memfs.New()
	_, list := files(t, fsys, 3, 12)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() { // ends after its rounds
			var b [1]byte
			for i := range 2000 {
				n := (i*7 + g) % len(list)
				switch err := list[n].Acquire(); {
				case errors.Is(err, ErrClosed):
				case err != nil:
					t.Error(err)
				default:
					if _, err := list[n].Held().ReadAt(b[:], 0); err != nil || b[0] != byte(n) {
						t.Errorf("%d holds %d, %v", n, b[0], err)
					}
					list[n].Release()
				}
			}
		})
	}
	for i, f := range list {
		wg.Go(func() { // the owner; ends after its rounds
			for range 300 {
				if _, err := f.WriteAt([]byte{byte(i)}, 0); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				f.Drop()
			}
		})
	}
	wg.Wait()
	for i, f := range list {
		if i%2 == 1 && !f.Drop() {
			t.Errorf("%d is held by nobody and did not end", i)
		}
	}
	if n := fsys.Opened(); n != 0 {
		t.Errorf("%d files are open at the end", n)
	}
}

func TestNoAllocations(t *testing.T) {
	c := New(4).On(env.OS{})
	list := []*File{c.File(filepath.Join(t.TempDir(), "0")), c.File(filepath.Join(t.TempDir(), "1"))}
	b := make([]byte, 1)
	for _, f := range list {
		if err := f.Create(); err != nil {
			t.Fatal(err)
		}
		defer f.Drop()
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := list[0].Acquire(); err != nil {
			t.Fatal(err)
		}
		list[0].Release()
		if _, err := list[0].ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := list[1].WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
