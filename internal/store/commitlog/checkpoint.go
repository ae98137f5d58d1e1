package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moldau/moldau/internal/kit/env"
)

// checkpointBytesMax bounds what is read of a checkpoint file.
const checkpointBytesMax = 256 << 20

// Kafka's checkpoint files are text: a version, the number of rows, and a row a line with its fields between spaces.
const checkpointVersion = "0"

// writeCheckpoint replaces the checkpoint file name in dir by rows; after a crash the old or the new one is there whole.
func writeCheckpoint(fsys env.FS, dir, name string, rows int, row func(dst []byte, i int) []byte) error {
	b := append([]byte(checkpointVersion), '\n')
	b = strconv.AppendInt(b, int64(rows), 10)
	b = append(b, '\n')
	for i := range rows {
		b = append(row(b, i), '\n')
	}
	if err := env.WriteFile(fsys, dir, name, b); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// readCheckpoint calls row with the fields of each row of the file name in dir. An absent file satisfies
// errors.Is(err, fs.ErrNotExist); anything else that is not a whole checkpoint is another error with the file's name.
func readCheckpoint(fsys env.FS, dir, name string, fields int, row func(fields []string) error) error {
	path := filepath.Join(dir, name)
	b, err := env.ReadFile(fsys, path, checkpointBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		err = parseCheckpoint(b, fields, row)
	}
	if err != nil {
		return fmt.Errorf("read checkpoint %s: %w", path, err)
	}
	return nil
}

func parseCheckpoint(b []byte, fields int, row func(fields []string) error) error {
	line, rest, whole := bytes.Cut(b, []byte{'\n'})
	if string(line) != checkpointVersion || !whole {
		return fmt.Errorf("the version is %.20q, want %q", line, checkpointVersion)
	}
	line, rest, whole = bytes.Cut(rest, []byte{'\n'})
	count, err := strconv.ParseUint(string(line), 10, 31)
	if err != nil || !whole {
		return fmt.Errorf("the number of rows is %.20q", line)
	}
	for i := range count {
		line, rest, whole = bytes.Cut(rest, []byte{'\n'})
		if !whole {
			return fmt.Errorf("%d rows are announced, %d are there", count, i)
		}
		f := strings.Split(string(line), " ")
		if len(f) != fields {
			return fmt.Errorf("row %d has %d fields, want %d", i+1, len(f), fields)
		}
		if err := row(f); err != nil {
			return fmt.Errorf("row %d: %w", i+1, err)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes stand behind the %d rows announced", len(rest), count)
	}
	return nil
}
