package env

import (
	"errors"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// coldAlign is what direct reads are aligned to, in memory and in the file: enough for every common device.
const coldAlign = 4096

// Cold returns a reader of f that goes past the page cache (O_DIRECT) where the file system allows it: a long read of old data
// pushes nothing out that others use, and sees what is on the device, not what was once read from it. f is to be read through
// nothing else from then on, and by one goroutine.
func Cold(f File) io.ReaderAt {
	inner := f
	for {
		wrapped, ok := inner.(interface{ Unwrap() File })
		if !ok {
			break
		}
		inner = wrapped.Unwrap()
	}
	of, ok := inner.(OSFile)
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
	from := off &^ (coldAlign - 1)
	skip := int(off - from)
	b := c.aligned((skip + len(p) + coldAlign - 1) &^ (coldAlign - 1))
	n := 0
	for n < skip+len(p) {
		m, err := unix.Pread(int(c.file.Fd()), b[n:], from+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EINVAL): // taken by fcntl and not by the file system
			_, _ = unix.FcntlInt(c.file.Fd(), unix.F_SETFL, c.flags)
			c.warm = true
			return c.file.ReadAt(p, off)
		case err != nil:
			return 0, err
		}
		n += max(m, 0)
		if m == 0 || n%coldAlign != 0 { // the end of the file
			break
		}
	}
	n = copy(p, b[min(skip, n):n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// aligned returns n bytes of memory that begin at a multiple of coldAlign.
func (c *coldFile) aligned(n int) []byte {
	if len(c.buf) < n {
		b := make([]byte, n+coldAlign)
		at := -int(uintptr(unsafe.Pointer(&b[0]))) & (coldAlign - 1)
		c.buf = b[at : at+n]
	}
	return c.buf[:n]
}
