// Package filecache keeps a bounded number of files open for logs that have many more.
//
// A File is a file by its name. It is opened by whoever needs it, stays open while somebody holds it or bytes that were
// written through it are not synced, and is closed when others need the room, by second chance (CLOCK): a file that was used
// since the hand came by last is passed over once. Holding and giving back are one atomic operation each.
//
// A File with unsynced bytes is synced before it is closed to make room. The kernel tells a failed write-back to the
// descriptors that are open when it happens, and to the next one opened only while it remembers the file; a descriptor that
// is closed in between could take the only news of lost bytes with it. A sync that fails here is told to the File's next
// write and sync, which is when its log would have learnt of it.
package filecache

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/moldau/moldau/internal/kit/env"
)

// ErrClosed is returned for a File whose owner has closed it and that nobody holds any more.
var ErrClosed = fs.ErrClosed

// Cache is the open files of a process that may be closed when others are needed. It is safe for concurrent use.
type Cache struct {
	limit int

	mu struct {
		sync.Mutex
		ring []*File // those that are open
		hand int
	}
	opens, evictions atomic.Int64
}

// New returns a cache that keeps limit files open, and more only where more are held at the same time. 0 is no limit.
func New(limit int) *Cache { return &Cache{limit: limit} }

// Stats tells how full the cache is.
type Stats struct {
	Open, Limit      int
	Opens, Evictions int64 // since the start
}

// Stats returns the figures of now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{len(c.mu.ring), c.limit, c.opens.Load(), c.evictions.Load()}
}

// FS is a file system whose files may be kept in a cache. It is also an env.FS, for what is open for a moment only: where the
// process has no file descriptor left, one of the cache's is given up for it.
type FS struct {
	env.FS
	cache *Cache
}

// On returns fsys with c as the cache of its files, or fsys itself where that is so already.
func (c *Cache) On(fsys env.FS) *FS {
	if s, ok := fsys.(*FS); ok && s.cache == c {
		return s
	}
	return &FS{fsys, c}
}

// File returns the file of a name, which is opened once it is needed. The caller owns it and drops it.
func (s *FS) File(name string) *File {
	f := &File{fsys: s, name: name}
	f.refs.Store(owned | shut | 1)
	return f
}

// scanMax is how many files the hand passes in search of one that needs no sync, once it has met one that does.
const scanMax = 128

// room makes room for another file within the limit, where there is one that nobody holds.
func (c *Cache) room() {
	const attempts = 8 // a file that was synced to be closed may have been written to again
	for range attempts {
		if c.limit <= 0 || c.Stats().Open < c.limit || !c.evict() {
			return
		}
	}
}

// evict closes the file that was not used for longest, roughly; false where every file is held.
func (c *Cache) evict() bool {
	victim, dirty := c.choose()
	if victim == nil && dirty != nil {
		dirty.settle()
		dirty.Release()
		victim, _ = c.choose()
	}
	if victim == nil {
		return dirty != nil // it is synced, and one of the next rounds takes it
	}
	_ = victim.Close() // every byte of it is synced, or was never written through it
	c.evictions.Add(1)
	return true
}

// choose moves the hand to a file that can be closed and takes it out. Where there is none near, it returns one that needs
// a sync first, held.
func (c *Cache) choose() (victim env.File, dirty *File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range 2 * len(c.mu.ring) {
		if dirty != nil && i >= scanMax {
			break
		}
		if c.mu.hand >= len(c.mu.ring) {
			c.mu.hand = 0
		}
		f := c.mu.ring[c.mu.hand]
		switch {
		case f.used.Swap(false):
		case f.refs.CompareAndSwap(owned|1, owned|shut|1):
			return c.takeLocked(f), nil // the one that comes to stand here is the next to be looked at
		case dirty == nil && f.unsynced.Load() && f.refs.Load() == owned|2:
			dirty = f
		}
		c.mu.hand++
	}
	if dirty != nil && !dirty.refs.CompareAndSwap(owned|2, owned|3) {
		dirty = nil // somebody uses it by now
	}
	return nil, dirty
}

// takeLocked takes f, which nobody can use any more, out of the ring.
func (c *Cache) takeLocked(f *File) env.File {
	last := len(c.mu.ring) - 1
	c.mu.ring[f.slot] = c.mu.ring[last]
	c.mu.ring[f.slot].slot = f.slot
	c.mu.ring[last] = nil
	c.mu.ring = c.mu.ring[:last]
	file := f.file
	f.file = nil
	return file
}

// retry calls fn again as long as it lacks a file descriptor and the cache has one to spare.
func (s *FS) retry(fn func() error) error {
	for {
		err := fn()
		if !env.TooManyFiles(err) || !s.cache.evict() {
			return err
		}
	}
}

// Create implements env.FS.
func (s *FS) Create(name string) (f env.File, err error) {
	err = s.retry(func() error { f, err = s.FS.Create(name); return err })
	return f, err
}

// Open implements env.FS.
func (s *FS) Open(name string) (f env.File, err error) {
	err = s.retry(func() error { f, err = s.FS.Open(name); return err })
	return f, err
}

// ReadDir implements env.FS.
func (s *FS) ReadDir(dir string) (list []fs.DirEntry, err error) {
	err = s.retry(func() error { list, err = s.FS.ReadDir(dir); return err })
	return list, err
}

// SyncDir implements env.FS.
func (s *FS) SyncDir(dir string) error {
	return s.retry(func() error { return s.FS.SyncDir(dir) })
}

// errAgain is returned by open where somebody else has opened the file meanwhile.
var errAgain = errors.New("open by now")
