package env_test

import (
	"syscall"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
)

// Whoever has the error of a change knows that the watch was told before. What is the caller's own affair is not told.
func TestWatch(t *testing.T) {
	inner := memfs.New()
	failed, full := 0, 0
	fsys := env.Watch(inner, func(error) { failed++ }, func(error) { full++ })
	if err := fsys.MkdirAll("/d"); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Create("/d/f")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := fsys.Open("/d/f")
	if err != nil {
		t.Fatal(err)
	}
	volume, err := fsys.OpenVolume("/d")
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]func() error{
		"create":   func() error { _, err := fsys.Create("/d/new"); return err },
		"rename":   func() error { return fsys.Rename("/d/f", "/d/g") },
		"remove":   func() error { return fsys.Remove("/d/f") },
		"mkdir":    func() error { return fsys.MkdirAll("/d/e") },
		"syncdir":  func() error { return fsys.SyncDir("/d") },
		"write":    func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		"truncate": func() error { return opened.Truncate(0) },
		"sync":     func() error { return f.Sync() },
		"volume":   func() error { return volume.Sync() },
	}
	for _, c := range []struct {
		err         error
		failed, all int // how often failed is told, and both together
		syncFails   bool
	}{
		{syscall.EIO, 1, 1, true}, {syscall.EROFS, 1, 1, true}, {syscall.ENOSPC, 0, 1, true}, {syscall.EMFILE, 0, 0, false}, {syscall.ENOENT, 0, 0, false},
		{syscall.ENOTEMPTY, 0, 0, false}, {syscall.ENAMETOOLONG, 0, 0, false},
	} {
		inner.Hook = func(memfs.Op) error { return c.err }
		for kind, change := range changes {
			failed, full = 0, 0
			want := c.failed
			if c.syncFails && (kind == "sync" || kind == "syncdir" || kind == "volume") {
				want = 1
			}
			if err := change(); err == nil || failed != want || failed+full != c.all {
				t.Errorf("%s that ends with %v: %v; told of %d failures and %d times of a full disk", kind, c.err, err, failed, full)
			}
		}
		failed, full = 0, 0
		if _, err := f.ReadAt(make([]byte, 1), 0); err == nil || failed+full != 0 {
			t.Errorf("a read that ends with %v: %v; it was told", c.err, err)
		}
	}
}
