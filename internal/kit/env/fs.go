package env

import (
	"errors"
	"io"
	"io/fs"
)

// FS is the file system as storage code sees it. Names are paths with the separators of the operating system. Errors
// satisfy errors.Is with fs.ErrNotExist and fs.ErrExist as those of package os do.
//
// What survives a crash is what was synced: the content of a file by File.Sync, the names in a directory (new, renamed,
// removed) by SyncDir.
type FS interface {
	// Create opens a new file for reading and writing; it fails with fs.ErrExist where the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading only, such as one that is not this program's to change.
	OpenRead(name string) (File, error)
	// Link gives the file from a second name, on the same volume; it fails with fs.ErrExist where the name is taken.
	Link(from, to string) error
	Rename(from, to string) error
	Remove(name string) error
	// RemoveAll removes name and what is below it; an absent name is no error.
	RemoveAll(name string) error
	MkdirAll(dir string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on the file name, creating it if needed. It fails with ErrLocked while another
	// process (or another Lock in this one) holds it, be that process Java's, which locks files in another way. Close
	// releases it, and so does the end of the process.
	Lock(name string) (io.Closer, error)
	// Space tells how many bytes the volume of dir has in all and how many are free for this process.
	Space(dir string) (total, free int64, err error)
	// OpenVolume returns the volume that holds dir. It fails with errors.ErrUnsupported where the system has no call that
	// syncs a volume and tells what went wrong; then files are to be synced one by one.
	OpenVolume(dir string) (Volume, error)
}

// Volume is the file system that holds a directory, as a whole.
type Volume interface {
	// Sync makes durable what was written to the volume before the call, by anybody: content and names. An error may be that
	// of any file since OpenVolume or the Sync before, and is told once: nothing that was not durable before can be
	// trusted.
	Sync() error
	io.Closer
}

// ErrLocked is returned by FS.Lock while somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// File is an open file. ReadAt and WriteAt may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the content durable. After an error the unsynced bytes are lost: it is not to be tried again.
	Sync() error
}

// ReadFile returns the content of a whole file, at most limit bytes of it; a larger file is an error.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("the file is larger than it can be")}
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
		return nil, err
	}
	return b, nil
}

// WriteFile replaces the file name by data so that after a crash either the old or the new content is there whole:
// temporary file, sync, rename, sync of the directory. After an error that NoSpace knows it may be tried again; the old
// content is in place and takes no more room than before.
func WriteFile(fsys FS, dir, name string, data []byte) error {
	path := dir + separator + name
	tmp := path + ".tmp"
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, path)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // what it takes may be what is missing; the next attempt or start removes it otherwise
		return err
	}
	if err = fsys.SyncDir(dir); NoSpace(err) {
		err = errors.New(err.Error()) // a sync that failed is not to be tried again, whatever the reason
	}
	return err
}
