package env

import (
	"errors"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// coldAlign is what direct reads are aligned to, in memory and in the file: enough for every common device.
const coldAlign = 4096

// Cold returns a reader of f that goes past the page cache (O_DIRECT) where the file system allows it: a long read of old data
// pushes nothing out that others use, and sees what is on the device, not what was once read from it. f is to be read through
// nothing else from then on, and by one goroutine.
func Cold(f File) io.ReaderAt {
	of, ok := osFile(f)
	if !ok {
		return f
	}
	flags, err := unix.FcntlInt(of.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(of.Fd(), unix.F_SETFL, flags|unix.O_DIRECT)
	}
	if err != nil {
		return f
	}
	return &coldFile{file: of, flags: flags}
}

// osFile is the file of the operating system behind f, if there is one.
func osFile(f File) (OSFile, bool) {
	for {
		switch x := f.(type) {
		case OSFile:
			return x, true
		case interface{ Unwrap() File }:
			f = x.Unwrap()
		default:
			return OSFile{}, false
		}
	}
}

type coldFile struct {
	file  OSFile
	flags int // without O_DIRECT
	buf   []byte
	warm  bool // direct reads have failed
}

func (c *coldFile) ReadAt(p []byte, off int64) (int, error) {
	if c.warm {
		return c.file.ReadAt(p, off)
	}
	if need := len(p) + 2*coldAlign; len(c.buf) < need {
		c.buf = coldBuffer(need)
	}
	b, err := readDirect(int(c.file.Fd()), c.buf, off, len(p))
	if errors.Is(err, unix.EINVAL) { // taken by fcntl and not by the file system
		_, _ = unix.FcntlInt(c.file.Fd(), unix.F_SETFL, c.flags)
		c.warm = true
		return c.file.ReadAt(p, off)
	}
	return copy(p, b), err
}

// readDirect reads n bytes at off by means of buf, which coldBuffer has made of n and twice coldAlign bytes, and returns them.
// Fewer come with io.EOF.
func readDirect(fd int, buf []byte, off int64, n int) ([]byte, error) {
	from := off &^ (coldAlign - 1)
	skip := int(off - from)
	b := buf[:(skip+n+coldAlign-1)&^(coldAlign-1)]
	got := 0
	for got < skip+n {
		m, err := unix.Pread(fd, b[got:], from+int64(got))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		got += m
		if m == 0 || got%coldAlign != 0 { // the end of the file
			break
		}
	}
	if got < skip+n {
		return b[min(skip, got):got], io.EOF
	}
	return b[skip : skip+n], nil
}

// coldBuffer returns n bytes of memory that begin at a multiple of coldAlign.
func coldBuffer(n int) []byte {
	b := make([]byte, n+coldAlign)
	at := -int(uintptr(unsafe.Pointer(&b[0]))) & (coldAlign - 1)
	return b[at : at+n]
}

// Resident reports whether at least half of the n bytes at off of f are in the page cache, and true where that cannot be told: before
// Linux 6.5. It reads nothing.
func Resident(f File, off int64, n int) bool {
	of, ok := osFile(f)
	if !ok {
		return true
	}
	var found unix.Cachestat_t
	err := withDescriptor(of.File, "look at", func(fd int) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &found, 0)
	})
	return err != nil || 2*found.Cache*uint64(os.Getpagesize()) >= uint64(n)
}

// Drop takes the n bytes at off of f out of the page cache, as far as they are whole pages that are on the disk.
func Drop(f File, off int64, n int) {
	of, ok := osFile(f)
	if !ok {
		return
	}
	_ = withDescriptor(of.File, "drop", func(fd int) error { return unix.Fadvise(fd, off, int64(n), unix.FADV_DONTNEED) }) // a hint
}
