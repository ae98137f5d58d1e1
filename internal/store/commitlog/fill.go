package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/moldau/moldau/internal/kit/env"
)

// unfinishedName is the file that stands in a directory for as long as an import or a restore fills it. No broker works on
// such a directory: what is in it is not all there is.
const unfinishedName = "moldau.unfinished"

// ErrNotEmpty is the error of a directory that is to be filled and holds something already.
var ErrNotEmpty = errors.New("the directory is not empty")

// FillDirectory locks the log directory at path, creating it where it is absent, to be filled by what, a command for a
// person to read. It stays marked as unfinished until Finish. One that was left unfinished is emptied first; any other
// that holds something is refused with ErrNotEmpty.
func FillDirectory(fsys env.FS, path, what string) (*Directory, error) {
	if err := checkEmpty(fsys, path); err != nil { // before the lock, which would be a file in somebody's directory
		return nil, err
	}
	d, err := lockDirectory(fsys, path)
	if err != nil {
		return nil, err
	}
	if err := d.beginFill(what); err != nil {
		return nil, errors.Join(fmt.Errorf("log directory %s: %w", path, err), d.Close())
	}
	return d, nil
}

// CheckFill says whether FillDirectory would take path, and changes nothing.
func CheckFill(fsys env.FS, path string) error { return checkEmpty(fsys, path) }

func checkEmpty(fsys env.FS, path string) error {
	entries, err := fsys.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	other := ""
	for _, e := range entries {
		switch e.Name() {
		case unfinishedName:
			return nil
		case lockName, unfinishedName + ".tmp", "lost+found": // of a try that ended at once; of a file system
		default:
			other = e.Name()
		}
	}
	if other != "" {
		return fmt.Errorf("log directory %s: %w: it has %s, for one; name a new directory", path, ErrNotEmpty, other)
	}
	return nil
}

func (d *Directory) beginFill(what string) error {
	entries, err := d.fsys.ReadDir(d.path)
	if err != nil {
		return err
	}
	if err := env.WriteFile(d.fsys, d.path, unfinishedName, []byte(what+"\n")); err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case unfinishedName, lockName, "lost+found":
			continue
		}
		if err := d.fsys.RemoveAll(filepath.Join(d.path, e.Name())); err != nil {
			return err
		}
	}
	d.identity, d.formatted = Identity{}, false
	return d.fsys.SyncDir(d.path)
}

// Finish takes the mark of a directory that is filled away, durably: from now on a broker may work on it.
func (d *Directory) Finish() error {
	err := d.fsys.Remove(filepath.Join(d.path, unfinishedName))
	if err == nil {
		err = d.fsys.SyncDir(d.path)
	}
	if err != nil {
		return fmt.Errorf("finish log directory %s: %w", d.path, err)
	}
	return nil
}

// refuseUnfinished returns an error where a fill has not finished.
func (d *Directory) refuseUnfinished() error {
	b, err := env.ReadFile(d.fsys, filepath.Join(d.path, unfinishedName), 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("log directory %s: %w: it is not complete; this did not finish: %s; run it again, or remove the directory",
		d.path, ErrForeign, firstLine(b))
}

func firstLine(b []byte) string {
	for i, c := range b {
		if c == '\n' {
			return string(b[:i])
		}
	}
	return string(b)
}
