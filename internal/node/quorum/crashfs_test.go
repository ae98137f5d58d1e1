package quorum

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
)

var errPower = errors.New("the power is gone")

// crashFS is a file system in memory whose power fails at a chosen change. Then afterCrash makes the file systems that a
// machine might find when it starts again.
type crashFS struct {
	mu      sync.Mutex
	names   map[string]*inode // also directories
	durable map[string]*inode // the names that were synced
	changes int
	failAt  int // the change that fails, and all after it; 0: none
}

type inode struct {
	data, synced []byte
	dir          bool
}

func newCrashFS() *crashFS {
	return &crashFS{names: map[string]*inode{"/": {dir: true}}, durable: map[string]*inode{"/": {dir: true}}}
}

// survival says what of the unsynced a crash leaves.
type survival int

const (
	all    survival = iota // the process was killed
	none                   // the power failed
	some                   // the power failed, and half of each file's new bytes had been written
	strewn                 // as some, but names were not
	survivals
)

func (f *crashFS) afterCrash(s survival) *crashFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := f.durable
	if s == all || s == some {
		names = f.names
	}
	g := newCrashFS()
	for name, n := range names {
		data := n.synced
		switch {
		case s == all:
			data = n.data
		case s != none && len(n.data) > len(n.synced):
			data = n.data[:(len(n.data)+len(n.synced))/2]
		}
		g.names[name] = &inode{slices.Clone(data), slices.Clone(data), n.dir}
		g.durable[name] = g.names[name]
	}
	return g
}

// change counts a change and says whether it is lost.
func (f *crashFS) change() error {
	f.changes++
	if f.failAt > 0 && f.changes >= f.failAt {
		return errPower
	}
	return nil
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

func (f *crashFS) Create(name string) (env.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[name] != nil {
		return nil, pathError("create", name, fs.ErrExist)
	}
	if err := f.change(); err != nil {
		return nil, err
	}
	f.names[name] = &inode{}
	return &crashFile{f, name, f.names[name]}, nil
}

func (f *crashFS) Open(name string) (env.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	if n == nil || n.dir {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return &crashFile{f, name, n}, nil
}

func (f *crashFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[from] == nil {
		return pathError("rename", from, fs.ErrNotExist)
	}
	if err := f.change(); err != nil {
		return err
	}
	f.names[to] = f.names[from]
	delete(f.names, from)
	return nil
}

func (f *crashFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[name] == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if err := f.change(); err != nil {
		return err
	}
	delete(f.names, name)
	return nil
}

func (f *crashFS) RemoveAll(string) error { return errors.ErrUnsupported }

func (f *crashFS) MkdirAll(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[dir] == nil {
		if err := f.change(); err != nil {
			return err
		}
		f.names[dir] = &inode{dir: true}
	}
	return nil
}

func (f *crashFS) ReadDir(dir string) (entries []fs.DirEntry, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[dir] == nil {
		return nil, pathError("open", dir, fs.ErrNotExist)
	}
	for name, n := range f.names {
		if filepath.Dir(name) == dir && name != dir {
			entries = append(entries, fs.FileInfoToDirEntry(crashInfo{filepath.Base(name), n}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (f *crashFS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	if n == nil {
		return nil, pathError("stat", name, fs.ErrNotExist)
	}
	return crashInfo{filepath.Base(name), n}, nil
}

func (f *crashFS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change(); err != nil {
		return err
	}
	for name := range f.durable {
		if filepath.Dir(name) == dir && name != dir {
			delete(f.durable, name)
		}
	}
	for name, n := range f.names {
		if filepath.Dir(name) == dir {
			f.durable[name] = n
		}
	}
	return nil
}

func (f *crashFS) Lock(string) (io.Closer, error)              { return nil, errors.ErrUnsupported }
func (f *crashFS) Space(string) (total, free int64, err error) { return 1 << 40, 1 << 40, nil }

type crashInfo struct {
	name string
	n    *inode
}

func (i crashInfo) Name() string       { return i.name }
func (i crashInfo) Size() int64        { return int64(len(i.n.data)) }
func (i crashInfo) ModTime() time.Time { return time.Time{} }
func (i crashInfo) IsDir() bool        { return i.n.dir }
func (i crashInfo) Sys() any           { return nil }
func (i crashInfo) Mode() fs.FileMode {
	if i.n.dir {
		return fs.ModeDir | 0o755
	}
	return 0o600
}

type crashFile struct {
	f    *crashFS
	name string
	n    *inode
}

func (c *crashFile) Name() string { return c.name }
func (c *crashFile) Close() error { return nil }

func (c *crashFile) Size() (int64, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	return int64(len(c.n.data)), nil
}

func (c *crashFile) ReadAt(b []byte, off int64) (int, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if off >= int64(len(c.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, c.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (c *crashFile) WriteAt(b []byte, off int64) (int, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	err := c.f.change()
	if err != nil && c.f.changes > c.f.failAt {
		return 0, err
	}
	if err != nil {
		b = b[:len(b)/2] // the write during which the power fails is torn
	}
	if grow := int(off) + len(b) - len(c.n.data); grow > 0 {
		c.n.data = append(slices.Clone(c.n.data), make([]byte, grow)...)
	}
	copy(c.n.data[off:], b)
	return len(b), err
}

func (c *crashFile) Truncate(size int64) error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if err := c.f.change(); err != nil {
		return err
	}
	data := make([]byte, size)
	copy(data, c.n.data)
	c.n.data = data
	return nil
}

func (c *crashFile) Sync() error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if err := c.f.change(); err != nil {
		return err
	}
	c.n.synced = slices.Clone(c.n.data)
	return nil
}
