package filecache

import (
	"fmt"
	"sync/atomic"

	"github.com/moldau/moldau/internal/kit/env"
)

// Bits of File.refs above the number of those who hold it, of whom the owner is one and unsynced bytes are another.
const (
	owned = 1 << 40 // the owner has not closed it
	shut  = 1 << 41 // it is not open
	count = owned - 1
)

// File is one file, open or not. It implements env.File: each call holds it while it lasts, so that the file may be closed
// between calls and nobody notices. Who needs it open for longer holds it with Acquire.
type File struct {
	fsys *FS
	name string
	// refs is 0 once the owner has closed the File and nobody holds it: then it is closed for good. While only the owner
	// holds it, it may be shut to make room.
	refs     atomic.Int64
	used     atomic.Bool // since the hand came by last
	unsynced atomic.Bool // bytes were written through it since the last sync began
	failure  atomic.Pointer[error]

	file env.File // while it is open; changed under the mutex of the cache, read by those who hold it
	slot int      // in the ring; guarded by the same
}

var _ env.File = (*File)(nil)

// Create makes the file, which fails with fs.ErrExist where the name is taken.
func (f *File) Create() error {
	err := f.open(f.fsys.Create)
	if err == nil {
		f.Release()
	}
	return err
}

// Acquire opens the file where it is not open, and keeps it open until Release.
// Errors: ErrClosed; those of opening it, which leave it as it was.
func (f *File) Acquire() error {
	for {
		n := f.refs.Load()
		switch {
		case n&count == 0:
			return ErrClosed
		case n&shut != 0:
			if err := f.open(f.fsys.Open); err != errAgain {
				return err
			}
		case f.refs.CompareAndSwap(n, n+1):
			if !f.used.Load() {
				f.used.Store(true)
			}
			return nil
		}
	}
}

// Retain holds the file once more, for one who holds it already.
func (f *File) Retain() { f.refs.Add(1) }

// Release gives back what Acquire took, and reports whether that was the end of the File.
func (f *File) Release() (last bool) {
	if f.refs.Add(-1) != 0 {
		return false
	}
	f.finish()
	return true
}

// Close implements env.File: it is Drop.
func (f *File) Close() error {
	f.Drop()
	return nil
}

// Drop is the owner's last call, and reports whether that was the end of the File. The file stays open for those who hold it
// and is not opened anew, so that its name may be given to another one.
func (f *File) Drop() (last bool) {
	if f.unsynced.Swap(false) {
		f.refs.Add(-1)
	}
	for {
		n := f.refs.Load()
		after := n - 1
		if n&owned != 0 {
			after = n - owned - 1
		}
		switch {
		case !f.refs.CompareAndSwap(n, after):
		case after == 0:
			f.finish()
			return true
		case after == shut: // it was not open
			f.refs.Store(0)
			return true
		default:
			return false
		}
	}
}

// Keep opens the file and keeps it open until its owner closes it: its name is about to be taken away.
func (f *File) Keep() error {
	if f.refs.Load()&owned == 0 {
		return nil
	}
	if err := f.Acquire(); err != nil {
		return err
	}
	f.refs.Add(-owned - 1) // what we have acquired takes the place of the owner's share
	return nil
}

// Renamed says that the file bears another name now. The owner calls it before anybody else knows of the File.
func (f *File) Renamed(name string) { f.name = name }

// Held is the open file, for one who holds it.
func (f *File) Held() env.File { return f.file }

// open opens the file by means of fn, and holds it. errAgain: another was faster.
func (f *File) open(fn func(name string) (env.File, error)) error {
	f.fsys.cache.room()
	file, err := fn(f.name)
	if err != nil {
		return err
	}
	if err := f.adopt(file); err != nil {
		_ = file.Close() // nothing went through it
		return err
	}
	f.fsys.cache.opens.Add(1)
	return nil
}

// adopt makes file that of f.
func (f *File) adopt(file env.File) error {
	c := f.fsys.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n := f.refs.Load()
		switch {
		case n&count == 0:
			return ErrClosed
		case n&shut == 0:
			return errAgain
		}
		f.file = file // nobody looks at it while it is shut
		if f.refs.CompareAndSwap(n, n&^shut+1) {
			break
		}
		f.file = nil
	}
	f.used.Store(true)
	f.slot = len(c.mu.ring)
	c.mu.ring = append(c.mu.ring, f)
	return nil
}

// finish closes the file after its last use. Bytes that the owner wanted on the disk were synced before.
func (f *File) finish() {
	f.fsys.cache.mu.Lock()
	file := f.fsys.cache.takeLocked(f)
	f.fsys.cache.mu.Unlock()
	_ = file.Close()
}

// Name implements env.File.
func (f *File) Name() string { return f.name }

// ReadAt implements env.File.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if err := f.Acquire(); err != nil {
		return 0, err
	}
	defer f.Release()
	return f.file.ReadAt(p, off)
}

// Size implements env.File.
func (f *File) Size() (int64, error) {
	if err := f.Acquire(); err != nil {
		return 0, err
	}
	defer f.Release()
	return f.file.Size()
}

// WriteAt implements env.File.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if err := f.acquireToWrite(); err != nil {
		return 0, err
	}
	n, err := f.file.WriteAt(p, off)
	f.written()
	f.Release()
	return n, err
}

// Truncate implements env.File.
func (f *File) Truncate(size int64) error {
	if err := f.acquireToWrite(); err != nil {
		return err
	}
	err := f.file.Truncate(size)
	f.written()
	f.Release()
	return err
}

func (f *File) acquireToWrite() error {
	if failure := f.failure.Load(); failure != nil {
		return *failure
	}
	return f.Acquire()
}

// written notes a write that has just ended. Noted before, it could be taken for covered by a sync that began in between.
func (f *File) written() {
	if f.unsynced.Load() {
		return
	}
	f.refs.Add(1)
	if !f.unsynced.CompareAndSwap(false, true) {
		f.refs.Add(-1)
	}
}

// Sync implements env.File. After an error the File takes no more writes.
func (f *File) Sync() error {
	if err := f.acquireToWrite(); err != nil {
		return err
	}
	f.settle()
	f.Release()
	if failure := f.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// settle syncs a file that is held.
func (f *File) settle() {
	pending := f.unsynced.Swap(false) // before the sync: what is written meanwhile may not be covered by it
	if err := f.file.Sync(); err != nil {
		err = fmt.Errorf("sync %s: %w", f.name, err)
		f.failure.CompareAndSwap(nil, &err)
	}
	if pending {
		f.refs.Add(-1)
	}
}
