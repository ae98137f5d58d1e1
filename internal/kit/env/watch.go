package env

import (
	"errors"
	"io/fs"
	"syscall"
)

// Watch is fsys with failed hearing of each change of the disk that failed, and full of each that found no space, before the
// call returns: whoever learns of a failure from the call knows that failed has run. Names that are absent, taken
// (by a directory that is not empty, too) or too long, files that are closed, and too many open ones are the caller's affair and none of the disk's. A sync without space has lost what it was
// to write, and counts as failed. Both may be called from any goroutine, and must not block.
func Watch(fsys FS, failed, full func(error)) FS {
	return watched{fsys, watcher{failed, full}}
}

type watcher struct{ failed, full func(error) }

// changed hears the outcome of a change and returns it.
func (w watcher) changed(err error) error {
	switch {
	case err == nil:
	case NoSpace(err):
		w.full(err)
	default:
		w.synced(err)
	}
	return err
}

// synced is changed for a sync.
func (w watcher) synced(err error) error {
	if err == nil {
		return nil
	}
	for _, own := range [...]error{fs.ErrNotExist, fs.ErrExist, fs.ErrClosed, syscall.ENAMETOOLONG, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, own) {
			return err
		}
	}
	w.failed(err)
	return err
}

type watched struct {
	FS
	watcher
}

func (w watched) Create(name string) (File, error) { return w.watch(w.FS.Create(name)) }

func (w watched) Open(name string) (File, error) {
	f, err := w.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, w.watcher}, nil
}

func (w watched) watch(f File, err error) (File, error) {
	if w.changed(err) != nil {
		return nil, err
	}
	return &watchedFile{f, w.watcher}, nil
}

func (w watched) Rename(from, to string) error { return w.changed(w.FS.Rename(from, to)) }
func (w watched) Remove(name string) error     { return w.changed(w.FS.Remove(name)) }
func (w watched) RemoveAll(name string) error  { return w.changed(w.FS.RemoveAll(name)) }
func (w watched) MkdirAll(dir string) error    { return w.changed(w.FS.MkdirAll(dir)) }
func (w watched) SyncDir(dir string) error     { return w.synced(w.FS.SyncDir(dir)) }

func (w watched) OpenVolume(dir string) (Volume, error) {
	v, err := w.FS.OpenVolume(dir)
	if err != nil {
		return nil, err
	}
	return watchedVolume{v, w.watcher}, nil
}

type watchedVolume struct {
	Volume
	watcher
}

func (v watchedVolume) Sync() error { return v.synced(v.Volume.Sync()) }

type watchedFile struct {
	File
	watcher
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.changed(err)
}

func (f *watchedFile) Truncate(size int64) error { return f.changed(f.File.Truncate(size)) }
func (f *watchedFile) Sync() error               { return f.synced(f.File.Sync()) }

// Unwrap is the file that is watched.
func (f *watchedFile) Unwrap() File { return f.File }
