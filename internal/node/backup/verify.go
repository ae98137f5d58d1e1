package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/moldau/moldau/internal/kit/env"
)

// Problem is what is wrong with a file of a backup.
type Problem struct {
	File string `json:"file"`
	What string `json:"what"`
}

// Verify reads every file of the backup that m describes and tells what is not as it was written. progress, where not nil,
// is told how many bytes of how many were read. An error is that of ctx or of the machinery, not of the backup.
func Verify(ctx context.Context, fsys env.FS, repo string, m *Manifest, progress func(done, total int64)) ([]Problem, error) {
	problems := []Problem{}
	done, total := int64(0), m.Bytes()
	for _, f := range m.files() {
		told := func(p []byte) error {
			if done += int64(len(p)); progress != nil {
				progress(done, total)
			}
			return ctx.Err()
		}
		err := f.read(fsys, filepath.Join(repo, m.ID), told)
		if ctx.Err() != nil {
			return problems, ctx.Err()
		}
		if err != nil {
			problems = append(problems, Problem{filepath.Join(repo, m.ID, filepath.FromSlash(f.Name)), err.Error()})
		}
	}
	return problems, nil
}

// files are all files that the manifest names.
func (m *Manifest) files() []File {
	files := []File{m.Metadata}
	for _, p := range m.Partitions {
		files = append(files, p.Files...)
	}
	return files
}

const readBuffer = 1 << 20

// read passes the content of the file to told, and returns an error where it is not what the manifest says.
func (f File) read(fsys env.FS, dir string, told func([]byte) error) error {
	in, err := fsys.OpenRead(filepath.Join(dir, filepath.FromSlash(f.Name)))
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is missing")
	}
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	size, err := in.Size()
	if err != nil {
		return err
	}
	if size != f.Bytes {
		return fmt.Errorf("it has %d bytes, and had %d", size, f.Bytes)
	}
	sum := sha256.New()
	buf := make([]byte, min(size, readBuffer))
	for at := int64(0); at < size; {
		p := buf[:min(size-at, readBuffer)]
		if n, err := in.ReadAt(p, at); n < len(p) {
			return fmt.Errorf("it cannot be read at byte %d: %w", at, errors.Join(err, io.ErrUnexpectedEOF))
		}
		sum.Write(p) // a hash returns no error
		if err := told(p); err != nil {
			return err
		}
		at += int64(len(p))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("its content has changed: SHA-256 %s, and it was %s", got, f.SHA256)
	}
	return nil
}
