package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
)

// anyPartition in a record that is to be produced leaves the choice to the partitioner.
const anyPartition int32 = -1

// lineBytesMax is the longest line that is read: no broker takes a record as large.
const lineBytesMax = 256 << 20

// line is one line of input without its newline, and where it stands.
type line struct {
	source string // the name of the file; <stdin>
	number int64  // from 1
	text   []byte
}

func (l line) place() string { return fmt.Sprintf("%s:%d", l.source, l.number) }

// recordParser makes a record of a line; the record keeps slices of the line.
type recordParser func(text []byte) (*kgo.Record, error)

// textParser parses lines of text: the value, or key, separator and value.
type textParser struct {
	key       *string // the key of every record; nil for none
	separator string  // between key and value; "" where lines have no key
	tombstone bool    // an empty value is a null one, which deletes the key from a compacted topic
}

func (p textParser) parse(text []byte) (*kgo.Record, error) {
	r := &kgo.Record{Value: text, Partition: anyPartition}
	if p.key != nil {
		r.Key = []byte(*p.key)
	}
	if p.separator != "" {
		key, value, ok := bytes.Cut(text, []byte(p.separator))
		if !ok {
			return nil, fmt.Errorf("the line has no key separator %q", p.separator)
		}
		r.Key, r.Value = key, value
	}
	if p.tombstone && len(r.Value) == 0 {
		r.Value = nil
	}
	return r, nil
}

// readLines sends the lines of the named files, or of stdin where there are none or one is "-", until the end or until ctx is
// done. The last line need not end in a newline; one that is empty after the last newline is no line.
func readLines(ctx context.Context, stdin io.Reader, files []string, to chan<- line) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		if err := readFileLines(ctx, stdin, name, to); err != nil {
			return err
		}
	}
	return nil
}

func readFileLines(ctx context.Context, stdin io.Reader, name string, to chan<- line) error {
	source, in := name, stdin
	if name == "-" {
		source = "<stdin>"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return &failure{what: err.Error(), err: err}
		}
		defer f.Close()
		in = f
	}
	r := bufio.NewReaderSize(in, 256<<10)
	for n := int64(1); ; n++ {
		text, err := readLine(r)
		l := line{source, n, text}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", l.place(), err)
		}
		if err == nil || len(text) > 0 {
			select {
			case to <- l:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line without its newline in a slice of its own.
func readLine(r *bufio.Reader) ([]byte, error) {
	text := []byte{} // never nil: an empty line is an empty value, not a null one
	for {
		part, err := r.ReadSlice('\n')
		if len(text)+len(part) > lineBytesMax {
			return nil, fmt.Errorf("the line is longer than %s", byteSize(lineBytesMax))
		}
		text = append(text, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(text, []byte("\n")), err
	}
}
