package env

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Within reports whether path is dir or lies below it, by their names; links are not followed.
func Within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+separator)
}

// copyBuffer is how many bytes CopyFile moves at once.
const copyBuffer = 1 << 20

// CopyFile makes the new file to of the first n bytes of from, and syncs its content. told, where not nil, is called with
// the bytes of each step; its error ends the copy. What is there of an unfinished copy stays.
func CopyFile(fsys FS, from, to string, n int64, told func(p []byte) error) error {
	in, err := fsys.OpenRead(from)
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	out, err := fsys.Create(to)
	if err != nil {
		return err
	}
	if err = copyBytes(in, out, n, told); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return nil
}

func copyBytes(in io.ReaderAt, out io.WriterAt, n int64, told func(p []byte) error) error {
	buf := make([]byte, min(n, copyBuffer))
	for at := int64(0); at < n; {
		p := buf[:min(n-at, copyBuffer)]
		if m, err := in.ReadAt(p, at); m < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read at byte %d of %d: %w", at, n, err)
		}
		if _, err := out.WriteAt(p, at); err != nil {
			return err
		}
		if told != nil {
			if err := told(p); err != nil {
				return err
			}
		}
		at += int64(len(p))
	}
	return nil
}
