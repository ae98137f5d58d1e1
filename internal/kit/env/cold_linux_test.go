package env_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/moldau/moldau/internal/kit/env"
)

// A cold read returns what a read returns, and leaves the page cache as it was: pages that somebody has there stay, others are
// dropped again.
func TestColdReadLeavesThePageCache(t *testing.T) {
	const size, half = 8 << 20, 4 << 20
	fsys := env.Watch(env.OS{}, func(error) {}, func(error) {}) // as a broker has it
	f, err := fsys.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := bytes.Repeat([]byte("moldau "), size/7+1)[:size]
	if _, err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // only clean pages can be dropped
		t.Fatal(err)
	}
	fd := int(f.(interface{ Unwrap() env.File }).Unwrap().(env.OSFile).Fd())
	if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if cached(t, fd, 0, size) > 0 {
		t.Skip("the file system of the temporary directory keeps what it has")
	}
	got := make([]byte, size)
	if _, err := f.ReadAt(got[:64<<10], 0); err != nil { // somebody uses the beginning
		t.Fatal(err)
	}
	warm, ahead := cached(t, fd, 0, half), cached(t, fd, half, half) // the kernel may have read on
	cold := env.Cold(f)
	for at := 0; at < size; at += 64 << 10 {
		if n, err := cold.ReadAt(got[at:at+64<<10], int64(at)); n != 64<<10 || err != nil {
			t.Fatal(n, err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("it reads something else")
	}
	for _, c := range []struct{ off, n, want int }{{1, 10, 10}, {4095, 2, 2}, {size - 3, 3, 3}, {size - 3, 10, 3}, {size, 5, 0}, {100, 300_000, 300_000}} {
		p := make([]byte, c.n)
		n, err := cold.ReadAt(p, int64(c.off))
		if n != c.want || !bytes.Equal(p[:n], want[c.off:c.off+n]) || (n < c.n) != errors.Is(err, io.EOF) {
			t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	if now := cached(t, fd, 0, half); now < warm {
		t.Errorf("%d pages that were in use are cached, %d before", now, warm)
	}
	if now := cached(t, fd, half, half); now > ahead || ahead == half/4096 {
		t.Errorf("%d pages that nobody used are cached, %d before", now, ahead)
	}
}

// What was dropped is not in the page cache, and what else is there stays.
func TestDropLeavesTheRest(t *testing.T) {
	const size, half = 8 << 20, 4 << 20
	f, err := env.OS{}.Create(filepath.Join(t.TempDir(), "f"))
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
	fd := int(f.(env.OSFile).Fd())
	if !env.Resident(f, 0, size) {
		t.Error("what was written is not in the page cache")
	}
	env.Drop(f, 0, half)
	if cached(t, fd, 0, half) > 0 {
		t.Skip("the file system of the temporary directory keeps what it has")
	}
	if env.Resident(f, 0, half) || env.Resident(f, 0, size/8*5) || !env.Resident(f, half, half) {
		t.Error("the half that was dropped is there, or the other one is not")
	}
}

// cached is how many pages of a part of a file are in the page cache.
func cached(t *testing.T, fd, off, n int) (pages int) {
	t.Helper()
	m, err := unix.Mmap(fd, int64(off), n, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	in := make([]byte, (n+4095)/4096)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(n), uintptr(unsafe.Pointer(&in[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range in {
		pages += int(p & 1)
	}
	return pages
}
