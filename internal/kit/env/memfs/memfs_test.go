package memfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
)

// TestConformance asks of each FS what storage code relies on.
func TestConformance(t *testing.T) {
	for name, fsys := range map[string]env.FS{"memory": New(), "os": env.OS{}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			conform(t, fsys, dir)
		})
	}
}

func conform(t *testing.T, fsys env.FS, dir string) {
	path := func(name string) string { return filepath.Join(dir, name) }
	check := func(what string, ok bool, err error) {
		t.Helper()
		if !ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := fsys.Create(path("x"))
	check("create in an absent directory", errors.Is(err, fs.ErrNotExist), err)
	_, err = fsys.Stat(dir)
	check("stat of nothing", errors.Is(err, fs.ErrNotExist), err)
	_, err = fsys.ReadDir(dir)
	check("list of nothing", errors.Is(err, fs.ErrNotExist), err)
	check("make", fsys.MkdirAll(dir) == nil, nil)
	check("make again", fsys.MkdirAll(dir) == nil, nil)

	f, err := fsys.Create(path("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = fsys.Create(path("x"))
	check("create twice", errors.Is(err, fs.ErrExist), err)
	n, err := f.WriteAt([]byte("hello"), 3)
	check("write", n == 5 && err == nil, err)
	b := make([]byte, 10)
	n, err = f.ReadAt(b, 0)
	check("short read", n == 8 && errors.Is(err, io.EOF) && string(b[:8]) == "\x00\x00\x00hello", err)
	n, err = f.ReadAt(b[:2], 3)
	check("whole read", n == 2 && err == nil && string(b[:2]) == "he", err)
	n, err = f.ReadAt(b, 100)
	check("read behind the end", n == 0 && errors.Is(err, io.EOF), err)
	check("truncate", f.Truncate(4) == nil && f.Sync() == nil, nil)
	size, err := f.Size()
	check("size", size == 4, err)

	err = fsys.Rename(path("x"), path("y"))
	check("rename", err == nil, err)
	n, err = f.ReadAt(b[:1], 3)
	check("an open file outlives its name", n == 1 && b[0] == 'h', err)
	err = fsys.Rename(path("x"), path("z"))
	check("rename of nothing", errors.Is(err, fs.ErrNotExist), err)
	g, err := fsys.Create(path("x"))
	check("create where a file was", err == nil, err)
	err = fsys.Rename(path("y"), path("x"))
	check("rename over a file", err == nil, err)
	entries, err := fsys.ReadDir(dir)
	check("list", len(entries) == 1 && entries[0].Name() == "x" && !entries[0].IsDir(), err)
	err = fsys.Remove(path("x"))
	check("remove", err == nil, err)
	err = fsys.Remove(path("x"))
	check("remove nothing", errors.Is(err, fs.ErrNotExist), err)
	check("remove all of nothing", fsys.RemoveAll(path("none")) == nil, nil)
	n, err = f.ReadAt(b[:1], 3)
	check("an open file outlives its removal", n == 1, err)
	check("close", f.Close() == nil && g.Close() == nil, nil)
	_, err = f.ReadAt(b, 0)
	check("read after close", errors.Is(err, fs.ErrClosed), err)

	lock, err := fsys.Lock(path(".lock"))
	check("lock", err == nil, err)
	_, err = fsys.Lock(path(".lock"))
	check("lock twice", errors.Is(err, env.ErrLocked), err)
	check("unlock", lock.Close() == nil, nil)
	lock, err = fsys.Lock(path(".lock"))
	check("lock again", err == nil && lock.Close() == nil, err)
	check("sync", fsys.SyncDir(dir) == nil, nil)
	total, free, err := fsys.Space(dir)
	check("space", total > 0 && free > 0 && free <= total, err)
}

// TestCrash: what was synced survives, in content and name, each on its own.
func TestCrash(t *testing.T) {
	f := New()
	write := func(name, content string) env.File {
		file, err := f.Create(name)
		if err == nil {
			_, err = file.WriteAt([]byte(content), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	read := func(f *FS, name string) string {
		b, err := env.ReadFile(f, name, 1000)
		if err != nil {
			return "none"
		}
		return string(b)
	}
	a := write("/a", "synced")
	if err := errors.Join(a.Sync(), f.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteAt([]byte("latest"), 0); err != nil {
		t.Fatal(err)
	}
	b := write("/b", "content without a name")
	if err := errors.Join(b.Sync(), f.Rename("/a", "/c")); err != nil {
		t.Fatal(err)
	}
	none, all := f.Crash(None, 0), f.Crash(All, 0)
	for name, want := range map[string][2]string{"/a": {"synced", "none"}, "/b": {"none", "content without a name"}, "/c": {"none", "latest"}} {
		if got := [2]string{read(none, name), read(all, name)}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(40) {
		some := f.Crash(Some, seed)
		seen[read(some, "/a")+" "+read(some, "/c")] = true
	}
	if len(seen) != 4 || seen["none none"] { // a rename is whole, and what was written may be there or not
		t.Errorf("40 crashes have these outcomes: %v", seen)
	}
	if _, err := write("/d", "").WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	f.Hook = func(op Op) error {
		if op.Kind == "write" {
			return ShortWrite{N: 2, Err: io.ErrShortWrite}
		}
		return nil
	}
	if n, err := b.WriteAt([]byte("XYZ"), 0); n != 2 || !errors.Is(err, io.ErrShortWrite) || read(f, "/b")[:3] != "XYn" {
		t.Errorf("a short write of %d bytes: %v, %q", n, err, read(f, "/b"))
	}
}

// TestCrashAfterVolumeSync: a sync of the volume covers every file and every name, and nothing that comes later.
func TestCrashAfterVolumeSync(t *testing.T) {
	f := New()
	if err := f.MkdirAll("/a/b"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/x", "/a/x", "/a/b/x"} {
		file, err := f.Create(name)
		if err == nil {
			_, err = file.WriteAt([]byte("synced"), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	v, err := f.OpenVolume("/a/b")
	if err == nil {
		err = v.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remove("/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create("/late"); err != nil {
		t.Fatal(err)
	}
	after := f.Crash(None, 0)
	for _, name := range []string{"/x", "/a/x", "/a/b/x"} {
		if b, err := env.ReadFile(after, name, 100); err != nil || string(b) != "synced" {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
	if _, err := after.Stat("/late"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that was not synced: %v", err)
	}
	f.Hook = func(Op) error { return errors.New("the disk has failed") }
	if v.Sync() == nil {
		t.Error("the hook was not asked")
	}
}
