package memfs

import (
	"errors"
	"io"
	"io/fs"
)

// file is an open file.
type file struct {
	fs       *FS
	node     *node
	name     string
	readOnly bool
	closed   bool
}

func (f *file) Name() string { return f.name }

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fail("stat", f.name, fs.ErrClosed)
	}
	return int64(len(f.node.data)), nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask(Op{Kind: "read", Name: f.name, Off: off, Len: len(p)}); err != nil {
		return 0, fail("read", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case f.closed:
		return 0, fail("read", f.name, fs.ErrClosed)
	case off < 0:
		return 0, fail("read", f.name, fs.ErrInvalid)
	case len(p) == 0:
		return 0, nil
	case off >= int64(len(f.node.data)):
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	err := f.fs.ask(Op{Kind: "write", Name: f.name, Off: off, Len: len(p)})
	if short := (ShortWrite{}); errors.As(err, &short) {
		p = p[:min(short.N, len(p))]
	} else if err != nil {
		return 0, fail("write", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fail("write", f.name, fs.ErrClosed)
	}
	if f.readOnly {
		return 0, fail("write", f.name, fs.ErrPermission)
	}
	if off < 0 {
		return 0, fail("write", f.name, fs.ErrInvalid)
	}
	if err == nil {
		p, err = f.fs.room(f.node, p, off)
	}
	if len(p) > 0 {
		f.node.write(write{off, p})
	}
	f.node.modified = f.fs.now()
	if err != nil {
		return len(p), fail("write", f.name, err)
	}
	return len(p), nil
}

func (f *file) Truncate(size int64) error {
	if err := f.fs.ask(Op{Kind: "truncate", Name: f.name, Off: size}); err != nil {
		return fail("truncate", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail("truncate", f.name, fs.ErrClosed)
	}
	if size < 0 {
		return fail("truncate", f.name, fs.ErrInvalid)
	}
	f.node.write(write{off: size})
	return nil
}

func (f *file) Sync() error {
	if err := f.fs.ask(Op{Kind: "sync", Name: f.name}); err != nil {
		return fail("sync", f.name, err)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail("sync", f.name, fs.ErrClosed)
	}
	f.node.sync()
	return nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	f.fs.opened--
	return nil
}
