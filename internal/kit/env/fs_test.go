package env_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
)

// TestFS runs the suite of the FS interface over every implementation.
func TestFS(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) (env.FS, string){
		"OS":    func(t *testing.T) (env.FS, string) { return env.OS{}, t.TempDir() },
		"memfs": func(*testing.T) (env.FS, string) { return memfs.New(), "/" },
	} {
		t.Run(name, func(t *testing.T) {
			for name, check := range suite {
				t.Run(name, func(t *testing.T) {
					fsys, dir := make(t)
					check(&world{t, fsys, dir})
				})
			}
		})
	}
}

// world is a file system under test and an empty directory in it.
type world struct {
	*testing.T
	env.FS
	dir string
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) is(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("got %v, want %v", err, want)
	}
}

// file creates a file with this content.
func (w *world) file(name, content string) env.File {
	w.Helper()
	f, err := w.Create(w.path(name))
	w.ok(err)
	w.Cleanup(func() { _ = f.Close() }) // some tests close it themselves
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		w.Fatal(err)
	}
	return f
}

// holds checks the content of a file.
func (w *world) holds(name, want string) {
	w.Helper()
	got, err := env.ReadFile(w.FS, w.path(name), 1<<20)
	if err != nil || string(got) != want {
		w.Errorf("%s holds %q, %v; want %q", name, got, err, want)
	}
}

// names checks what a directory lists.
func (w *world) names(dir string, want ...string) {
	w.Helper()
	list, err := w.ReadDir(w.path(dir))
	w.ok(err)
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		w.Errorf("%q lists %q, want %q", dir, got, want)
	}
}

var suite = map[string]func(*world){
	"create": func(w *world) {
		f := w.file("a", "alpha")
		if f.Name() != w.path("a") {
			w.Errorf("the file is named %q", f.Name())
		}
		_, err := w.Create(w.path("a"))
		w.is(err, fs.ErrExist)
		_, err = w.Create(w.path("no/a"))
		w.is(err, fs.ErrNotExist)
		w.holds("a", "alpha")
	},
	"open": func(w *world) {
		_, err := w.Open(w.path("a"))
		w.is(err, fs.ErrNotExist)
		w.ok(w.file("a", "alpha").Close())
		f, err := w.Open(w.path("a"))
		w.ok(err)
		if _, err := f.WriteAt([]byte("A"), 0); err != nil {
			w.Error(err)
		}
		w.ok(f.Close())
		w.holds("a", "Alpha")
	},
	"open for reading": func(w *world) {
		_, err := w.OpenRead(w.path("a"))
		w.is(err, fs.ErrNotExist)
		w.ok(w.file("a", "alpha").Close())
		f, err := w.OpenRead(w.path("a"))
		w.ok(err)
		if _, err := f.WriteAt([]byte("A"), 0); err == nil {
			w.Error("what is open for reading was written")
		}
		w.ok(f.Close())
		w.holds("a", "alpha")
	},
	"link": func(w *world) {
		w.is(w.Link(w.path("a"), w.path("b")), fs.ErrNotExist)
		w.file("a", "alpha")
		w.ok(w.Link(w.path("a"), w.path("b")))
		w.is(w.Link(w.path("a"), w.path("b")), fs.ErrExist)
		w.ok(w.Remove(w.path("a")))
		w.holds("b", "alpha")
		w.names("", "b")
	},
	"read": func(w *world) {
		f := w.file("a", "alphabet")
		b := make([]byte, 5)
		for _, c := range []struct {
			at, n int
			want  error
		}{{0, 5, nil}, {3, 5, nil}, {6, 2, io.EOF}, {8, 0, io.EOF}, {100, 0, io.EOF}} {
			n, err := f.ReadAt(b, int64(c.at))
			if n != c.n || err != c.want || string(b[:n]) != "alphabet"[min(c.at, 8):min(c.at+c.n, 8)] {
				w.Errorf("read at %d: %q, %v", c.at, b[:n], err)
			}
		}
		if n, err := f.ReadAt(nil, 100); n != 0 || err != nil {
			w.Errorf("reading nothing: %d, %v", n, err)
		}
		if _, err := f.ReadAt(b, -1); err == nil || err == io.EOF {
			w.Errorf("read at -1: %v", err)
		}
	},
	"write beyond the end": func(w *world) {
		f := w.file("a", "al")
		_, err := f.WriteAt([]byte("pha"), 5)
		w.ok(err)
		w.holds("a", "al\x00\x00\x00pha")
		_, err = f.WriteAt([]byte("p"), 2)
		w.ok(err)
		w.holds("a", "alp\x00\x00pha")
		if _, err := f.WriteAt([]byte("x"), -1); err == nil {
			w.Error("wrote at -1")
		}
	},
	"truncate": func(w *world) {
		f := w.file("a", "alphabet")
		w.ok(f.Truncate(5))
		w.holds("a", "alpha")
		w.ok(f.Truncate(7))
		w.holds("a", "alpha\x00\x00")
		if size, err := f.Size(); size != 7 || err != nil {
			w.Errorf("size %d, %v", size, err)
		}
		if f.Truncate(-1) == nil {
			w.Error("truncated to -1")
		}
	},
	"close": func(w *world) {
		f := w.file("a", "alpha")
		w.ok(f.Sync())
		w.ok(f.Close())
		w.is(f.Close(), fs.ErrClosed)
		w.is(f.Sync(), fs.ErrClosed)
		w.is(f.Truncate(0), fs.ErrClosed)
		_, err := f.ReadAt(make([]byte, 1), 0)
		w.is(err, fs.ErrClosed)
		_, err = f.WriteAt(make([]byte, 1), 0)
		w.is(err, fs.ErrClosed)
		_, err = f.Size()
		w.is(err, fs.ErrClosed)
		w.holds("a", "alpha")
	},
	"rename": func(w *world) {
		w.ok(w.file("a", "alpha").Close())
		w.ok(w.file("b", "beta").Close())
		w.ok(w.Rename(w.path("a"), w.path("b")))
		w.holds("b", "alpha")
		w.ok(w.Rename(w.path("b"), w.path("b")))
		w.holds("b", "alpha")
		w.names(".", "b")
		w.is(w.Rename(w.path("a"), w.path("c")), fs.ErrNotExist)
		w.is(w.Rename(w.path("b"), w.path("no/b")), fs.ErrNotExist)
	},
	"rename a directory": func(w *world) {
		w.ok(w.MkdirAll(w.path("d")))
		w.ok(w.file("d/a", "alpha").Close())
		w.ok(w.Rename(w.path("d"), w.path("e")))
		w.holds("e/a", "alpha")
		w.ok(w.MkdirAll(w.path("d")))
		if w.Rename(w.path("d"), w.path("e")) == nil {
			w.Error("a directory took the place of one that is not empty")
		}
		w.ok(w.file("f", "").Close())
		if w.Rename(w.path("f"), w.path("d")) == nil {
			w.Error("a file took the place of a directory")
		}
		w.holds("e/a", "alpha")
	},
	"remove": func(w *world) {
		w.ok(w.MkdirAll(w.path("d/e")))
		w.ok(w.file("d/a", "alpha").Close())
		if w.Remove(w.path("d")) == nil {
			w.Error("removed a directory that is not empty")
		}
		w.ok(w.Remove(w.path("d/a")))
		w.is(w.Remove(w.path("d/a")), fs.ErrNotExist)
		w.ok(w.Remove(w.path("d/e")))
		w.ok(w.Remove(w.path("d")))
		w.names(".")
	},
	"remove all": func(w *world) {
		w.ok(w.MkdirAll(w.path("d/e")))
		w.ok(w.file("d/e/a", "alpha").Close())
		w.ok(w.RemoveAll(w.path("d")))
		w.ok(w.RemoveAll(w.path("d")))
		w.ok(w.RemoveAll(w.path("no/d")))
		w.names(".")
	},
	"an open file outlives its name": func(w *world) {
		if runtime.GOOS == "windows" {
			w.Skip("open files keep their names there")
		}
		f := w.file("a", "alpha")
		w.ok(w.Rename(w.path("a"), w.path("b")))
		w.ok(w.Remove(w.path("b")))
		b := make([]byte, 5)
		if n, err := f.ReadAt(b, 0); n != 5 || err != nil {
			w.Errorf("read %q, %v", b[:n], err)
		}
	},
	"directories": func(w *world) {
		w.ok(w.MkdirAll(w.path("d/e")))
		w.ok(w.MkdirAll(w.path("d/e")))
		for _, name := range []string{"b", "a", "c"} {
			w.ok(w.file("d/"+name, name).Close())
		}
		w.names("d", "a", "b", "c", "e")
		_, err := w.ReadDir(w.path("no"))
		w.is(err, fs.ErrNotExist)
		if w.MkdirAll(w.path("d/a")) == nil {
			w.Error("made a directory where a file is")
		}
		w.ok(w.SyncDir(w.path("d")))
		w.is(w.SyncDir(w.path("no")), fs.ErrNotExist)
	},
	"stat": func(w *world) {
		w.ok(w.MkdirAll(w.path("d")))
		w.ok(w.file("d/a", "alpha").Close())
		info, err := w.Stat(w.path("d/a"))
		w.ok(err)
		if info.Name() != "a" || info.Size() != 5 || info.IsDir() {
			w.Errorf("%s: %d bytes, directory %v", info.Name(), info.Size(), info.IsDir())
		}
		if info, err := w.Stat(w.path("d")); err != nil || !info.IsDir() {
			w.Errorf("%v, %v", info, err)
		}
		_, err = w.Stat(w.path("no"))
		w.is(err, fs.ErrNotExist)
	},
	"lock": func(w *world) {
		first, err := w.Lock(w.path(".lock"))
		w.ok(err)
		_, err = w.Lock(w.path(".lock"))
		w.is(err, env.ErrLocked)
		other, err := w.Lock(w.path(".other"))
		w.ok(err)
		w.ok(other.Close())
		w.ok(first.Close())
		second, err := w.Lock(w.path(".lock"))
		w.ok(err)
		if first.Close() == nil {
			w.Error("a lock was given back twice")
		}
		_, err = w.Lock(w.path(".lock"))
		w.is(err, env.ErrLocked)
		w.ok(second.Close())
		_, err = w.Lock(w.path("no/.lock"))
		w.is(err, fs.ErrNotExist)
	},
	"space": func(w *world) {
		if total, free, err := w.Space(w.dir); err != nil || total <= 0 || free < 0 || free > total {
			w.Errorf("%d bytes, %d free, %v", total, free, err)
		}
	},
	"volume": func(w *world) {
		_, err := w.OpenVolume(w.path("no"))
		if !errors.Is(err, errors.ErrUnsupported) {
			w.is(err, fs.ErrNotExist)
		}
		v, err := w.OpenVolume(w.dir)
		if errors.Is(err, errors.ErrUnsupported) {
			w.Skip(err)
		}
		w.ok(err)
		w.file("a", "alpha")
		w.ok(v.Sync())
		w.ok(v.Sync())
		w.holds("a", "alpha")
		w.ok(v.Close())
		w.is(v.Sync(), fs.ErrClosed)
		w.is(v.Close(), fs.ErrClosed)
	},
	"whole files": func(w *world) {
		w.ok(w.file("a.tmp", "left by a crash, and longer than what comes").Close())
		w.ok(env.WriteFile(w.FS, w.dir, "a", []byte("alpha")))
		w.ok(env.WriteFile(w.FS, w.dir, "a", []byte("beta")))
		w.holds("a", "beta")
		w.names(".", "a")
		_, err := env.ReadFile(w.FS, w.path("a"), 3)
		if err == nil {
			w.Error("read a file that is larger than allowed")
		}
		_, err = env.ReadFile(w.FS, w.path("no"), 3)
		w.is(err, fs.ErrNotExist)
		w.ok(env.WriteFile(w.FS, w.dir, "a", nil))
		w.holds("a", "")
	},
}

// TestWriteFileIsAtomic: a loss of power or a failure at any call leaves the old content or the new, whole; after success
// it is the new, whatever was not synced.
func TestWriteFileIsAtomic(t *testing.T) {
	old, next := bytes.Repeat([]byte("old "), 400), bytes.Repeat([]byte("next"), 500)
	errCut := errors.New("cut")
	for calls := 0; ; calls++ {
		fsys := memfs.New()
		if err := env.WriteFile(fsys, "/", "a", old); err != nil {
			t.Fatal(err)
		}
		left := calls
		fsys.Hook = func(memfs.Op) error {
			if left--; left < 0 {
				return errCut
			}
			return nil
		}
		err := env.WriteFile(fsys, "/", "a", next)
		fsys.Hook = nil
		for _, keep := range memfs.Keeps {
			for seed := range uint64(20) {
				got, rerr := env.ReadFile(fsys.Crash(keep, seed), "/a", 1<<20)
				if rerr != nil || !bytes.Equal(got, next) && (err == nil || !bytes.Equal(got, old)) {
					t.Fatalf("cut at call %d (%v), keeping %v, seed %d: %.20q…, %v", calls, err, keep, seed, got, rerr)
				}
			}
		}
		if n := fsys.Opened(); n != 0 {
			t.Errorf("cut at call %d: %d files are open", calls, n)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, errCut) {
			t.Fatal(fmt.Errorf("call %d: %w", calls, err))
		}
	}
}
