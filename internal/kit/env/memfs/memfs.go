// Package memfs is a file system in memory for tests, which can lose power.
//
// It keeps two states, what programs see and what would survive, and each change between the two. File.Sync makes a file's content
// durable, SyncDir the names in a directory. Crash goes back to what was durable and as much of the rest as it is told.
package memfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
)

// Op is a call that a hook is told of before it takes place.
type Op struct {
	Kind string // create, open, link, rename, remove, mkdir, syncdir, syncvolume, write, truncate, sync, read
	Name string
	To   string // of a link or a rename
	Off  int64  // of a read or write
	Len  int
}

func (o Op) String() string {
	switch o.Kind {
	case "rename", "link":
		return fmt.Sprintf("%s %s %s", o.Kind, o.Name, o.To)
	case "write", "read":
		return fmt.Sprintf("%s %s %d+%d", o.Kind, o.Name, o.Off, o.Len)
	}
	return o.Kind + " " + o.Name
}

// Changes reports whether the call changes what programs see or what would survive.
func (o Op) Changes() bool { return o.Kind != "read" && o.Kind != "open" }

// ShortWrite is an error of a hook that lets the first N bytes of a write through.
type ShortWrite struct {
	N   int
	Err error
}

func (s ShortWrite) Error() string { return s.Err.Error() }
func (s ShortWrite) Unwrap() error { return s.Err }

// FS implements env.FS. It may be used by many goroutines.
type FS struct {
	// Hook, where set, is asked before each call; its error becomes that of the call, which does not take place.
	Hook func(Op) error
	// Capacity is how many bytes all files together may have, 0 for no limit. A write beyond it is cut short and fails with
	// ENOSPC.
	Capacity int64
	// SyncTime is how long a sync of a file, a directory or the volume takes before anything is durable.
	SyncTime time.Duration
	// Now gives files their modification time; nil: they all have the zero time.
	Now func() time.Time

	mu     sync.Mutex
	root   *node
	locked map[string]bool
	opened int
}

var _ env.FS = (*FS)(nil)

// New makes an empty file system.
func New() *FS { return &FS{root: newDir(), locked: map[string]bool{}} }

// Opened is the number of files that are open.
func (f *FS) Opened() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened
}

func (f *FS) ask(op Op) error {
	if f.Hook != nil {
		if err := f.Hook(op); err != nil {
			return err
		}
	}
	if f.SyncTime > 0 && (op.Kind == "sync" || op.Kind == "syncdir" || op.Kind == "syncvolume") {
		time.Sleep(f.SyncTime)
	}
	return nil
}

func fail(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

func split(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// parent returns the directory that holds name, nil where it does not exist, and the last part of the name.
func (f *FS) parent(name string) (*node, string) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, ""
	}
	n := f.root
	for _, p := range parts[:len(parts)-1] {
		if n = n.children[p]; n == nil || !n.dir {
			return nil, ""
		}
	}
	return n, parts[len(parts)-1]
}

func (f *FS) find(name string) *node {
	if len(split(name)) == 0 {
		return f.root
	}
	if dir, last := f.parent(name); dir != nil {
		return dir.children[last]
	}
	return nil
}

func (f *FS) now() time.Time {
	if f.Now == nil {
		return time.Time{}
	}
	return f.Now()
}

func (f *FS) Create(name string) (env.File, error) {
	if err := f.ask(Op{Kind: "create", Name: name}); err != nil {
		return nil, fail("create", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, last := f.parent(name)
	if dir == nil {
		return nil, fail("create", name, fs.ErrNotExist)
	}
	if dir.children[last] != nil {
		return nil, fail("create", name, fs.ErrExist)
	}
	n := &node{modified: f.now()}
	dir.rename(naming{last: n})
	f.opened++
	return &file{fs: f, node: n, name: name}, nil
}

func (f *FS) Open(name string) (env.File, error) {
	if err := f.ask(Op{Kind: "open", Name: name}); err != nil {
		return nil, fail("open", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(name)
	if n == nil || n.dir {
		return nil, fail("open", name, fs.ErrNotExist)
	}
	f.opened++
	return &file{fs: f, node: n, name: name}, nil
}

// OpenRead opens a file whose writes fail.
func (f *FS) OpenRead(name string) (env.File, error) {
	opened, err := f.Open(name)
	if err == nil {
		opened.(*file).readOnly = true
	}
	return opened, err
}

// Link gives a file a second name.
func (f *FS) Link(from, to string) error {
	if err := f.ask(Op{Kind: "link", Name: from, To: to}); err != nil {
		return fail("link", from, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(from)
	dir, last := f.parent(to)
	switch {
	case n == nil || n.dir || dir == nil:
		return fail("link", from, fs.ErrNotExist)
	case dir.children[last] != nil:
		return fail("link", to, fs.ErrExist)
	}
	dir.rename(naming{last: n})
	return nil
}

func (f *FS) Rename(from, to string) error {
	if err := f.ask(Op{Kind: "rename", Name: from, To: to}); err != nil {
		return fail("rename", from, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fromDir, fromName := f.parent(from)
	toDir, toName := f.parent(to)
	if fromDir == nil || toDir == nil || fromDir.children[fromName] == nil {
		return fail("rename", from, fs.ErrNotExist)
	}
	if err := replaceable(fromDir.children[fromName], toDir.children[toName]); err != nil {
		return fail("rename", from, err)
	}
	n := fromDir.children[fromName]
	switch {
	case fromDir != toDir: // each directory keeps it or not
		fromDir.rename(naming{fromName: nil})
		toDir.rename(naming{toName: n})
	case fromName != toName:
		fromDir.rename(naming{fromName: nil, toName: n})
	}
	return nil
}

// replaceable reports why n cannot take the name of old, which may be nil.
func replaceable(n, old *node) error {
	switch {
	case old == nil || old == n:
		return nil
	case n.dir != old.dir:
		return errors.New("a file and a directory do not replace each other")
	case len(old.children) > 0:
		return errors.New("directory not empty")
	}
	return nil
}

func (f *FS) Remove(name string) error {
	return f.remove(name, func(n *node) error {
		switch {
		case n == nil:
			return fs.ErrNotExist
		case len(n.children) > 0:
			return errors.New("directory not empty")
		}
		return nil
	})
}

func (f *FS) RemoveAll(name string) error {
	return f.remove(name, func(*node) error { return nil })
}

func (f *FS) remove(name string, check func(*node) error) error {
	if err := f.ask(Op{Kind: "remove", Name: name}); err != nil {
		return fail("remove", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, last := f.parent(name)
	var n *node
	if dir != nil {
		n = dir.children[last]
	}
	if err := check(n); err != nil {
		return fail("remove", name, err)
	}
	if n != nil {
		n.empty()
		dir.rename(naming{last: nil})
	}
	return nil
}

func (f *FS) MkdirAll(name string) error {
	if err := f.ask(Op{Kind: "mkdir", Name: name}); err != nil {
		return fail("mkdir", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.root
	for _, p := range split(name) {
		next := n.children[p]
		if next == nil {
			next = newDir()
			n.rename(naming{p: next})
		}
		if !next.dir {
			return fail("mkdir", name, fs.ErrExist)
		}
		n = next
	}
	return nil
}

func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(name)
	if n == nil || !n.dir {
		return nil, fail("readdir", name, fs.ErrNotExist)
	}
	var list []fs.DirEntry
	for _, k := range slices.Sorted(maps.Keys(n.children)) {
		list = append(list, fs.FileInfoToDirEntry(n.children[k].info(k)))
	}
	return list, nil
}

func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(name)
	if n == nil {
		return nil, fail("stat", name, fs.ErrNotExist)
	}
	return n.info(filepath.Base(name)), nil
}

func (f *FS) SyncDir(name string) error {
	if err := f.ask(Op{Kind: "syncdir", Name: name}); err != nil {
		return fail("sync", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.find(name)
	if n == nil || !n.dir {
		return fail("sync", name, fs.ErrNotExist)
	}
	n.sync()
	return nil
}

func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, last := f.parent(name)
	if dir == nil {
		return nil, fail("lock", name, fs.ErrNotExist)
	}
	name = filepath.Clean(name)
	if f.locked[name] {
		return nil, env.ErrLocked
	}
	if dir.children[last] == nil {
		dir.rename(naming{last: &node{modified: f.now()}})
	}
	f.locked[name] = true
	return &lock{fs: f, name: name}, nil
}

type lock struct {
	fs     *FS
	name   string
	closed bool
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.closed { // the lock may be another's by now
		return fail("close", l.name, fs.ErrClosed)
	}
	l.closed = true
	delete(l.fs.locked, l.name)
	return nil
}

func (f *FS) Space(string) (total, free int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Capacity == 0 {
		return 1 << 40, 1 << 39, nil
	}
	return f.Capacity, f.Capacity - f.root.size(), nil
}

// size is how many bytes the files below n have.
func (n *node) size() int64 {
	size := int64(len(n.data))
	for _, child := range n.children {
		size += child.size()
	}
	return size
}

// room is as much of p as the capacity lets be written at off of n, and the error where that is not all.
func (f *FS) room(n *node, p []byte, off int64) ([]byte, error) {
	grow := off + int64(len(p)) - int64(len(n.data))
	if f.Capacity == 0 || grow <= 0 {
		return p, nil
	}
	lack := f.root.size() + grow - f.Capacity
	if lack <= 0 {
		return p, nil
	}
	return p[:max(int64(len(p))-lack, 0)], syscall.ENOSPC
}

func (f *FS) OpenVolume(dir string) (env.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.find(dir); n == nil || !n.dir {
		return nil, fail("open", dir, fs.ErrNotExist)
	}
	f.opened++
	return &volume{fs: f, dir: dir}, nil
}

// volume is all of a file system.
type volume struct {
	fs     *FS
	dir    string
	closed bool
}

func (v *volume) Sync() error {
	if err := v.fs.ask(Op{Kind: "syncvolume", Name: v.dir}); err != nil {
		return fail("sync volume", v.dir, err)
	}
	v.fs.mu.Lock()
	defer v.fs.mu.Unlock()
	if v.closed {
		return fail("sync volume", v.dir, fs.ErrClosed)
	}
	v.fs.root.syncAll()
	return nil
}

func (v *volume) Close() error {
	v.fs.mu.Lock()
	defer v.fs.mu.Unlock()
	if v.closed {
		return fail("close", v.dir, fs.ErrClosed)
	}
	v.closed = true
	v.fs.opened--
	return nil
}

func (n *node) info(name string) fs.FileInfo { return info{n, name, int64(len(n.data))} }

type info struct {
	n    *node
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.n.modified }
func (i info) IsDir() bool        { return i.n.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.n.dir {
		return fs.ModeDir | 0o755
	}
	return 0o600
}
