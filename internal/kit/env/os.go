package env

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

const separator = string(os.PathSeparator)

// OS is the FS of the operating system.
type OS struct{}

func (OS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (OS) Open(name string) (File, error) { return open(name, os.O_RDWR) }

func (OS) OpenRead(name string) (File, error) { return open(name, os.O_RDONLY) }

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return OSFile{f}, nil
}

// ReadOnlyOS is the file system of the operating system for programs that only look: every change fails.
type ReadOnlyOS struct{ OS }

var errReadOnly = errors.New("this program only reads here")

func (ReadOnlyOS) Open(name string) (File, error)   { return open(name, os.O_RDONLY) }
func (ReadOnlyOS) Create(name string) (File, error) { return nil, refuse("create", name) }
func (ReadOnlyOS) Link(from, _ string) error        { return refuse("link", from) }
func (ReadOnlyOS) Rename(from, _ string) error      { return refuse("rename", from) }
func (ReadOnlyOS) Remove(name string) error         { return refuse("remove", name) }
func (ReadOnlyOS) RemoveAll(name string) error      { return refuse("remove", name) }
func (ReadOnlyOS) MkdirAll(dir string) error        { return refuse("mkdir", dir) }

// Lock locks a file that is there; an absent one is fs.ErrNotExist.
func (ReadOnlyOS) Lock(name string) (io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func refuse(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: errReadOnly} }

func (OS) Link(from, to string) error                { return os.Link(from, to) }
func (OS) Rename(from, to string) error              { return os.Rename(from, to) }
func (OS) Remove(name string) error                  { return os.Remove(name) }
func (OS) RemoveAll(name string) error               { return os.RemoveAll(name) }
func (OS) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o755) }
func (OS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (OS) Stat(name string) (fs.FileInfo, error)     { return os.Stat(name) }

func (OS) SyncDir(dir string) error { return syncDir(dir) }

func (OS) Space(dir string) (total, free int64, err error) { return space(dir) }

func (OS) OpenVolume(dir string) (Volume, error) { return openVolume(dir) }

func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OSFile is a File of the operating system. File gives the server what sendfile needs.
type OSFile struct{ *os.File }

// Sync makes the content durable, and of what describes the file what is needed to read it.
func (f OSFile) Sync() error { return syncContent(f.File) }

func (f OSFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
