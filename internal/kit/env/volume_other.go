//go:build !linux

package env

import (
	"errors"
	"io/fs"
	"os"
)

func syncContent(f *os.File) error { return f.Sync() }

func openVolume(dir string) (Volume, error) {
	return nil, &fs.PathError{Op: "sync volume", Path: dir, Err: errors.ErrUnsupported}
}
