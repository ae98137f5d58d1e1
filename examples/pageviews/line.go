package pageviews

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Line is one request as the log tells it. Its strings are parts of the line that was parsed.
type Line struct {
	Host     string
	Time     time.Time
	Method   string
	Path     string
	Status   int
	Bytes    int64 // of the body; 0 where the log has a dash
	Referrer string
	Agent    string
}

// Parse reads one line of the combined format, with or without its line break.
func Parse(s string) (Line, error) {
	var l Line
	rest := strings.TrimRight(s, "\r\n")
	cut := func(sep string) (before string) {
		var ok bool
		if before, rest, ok = strings.Cut(rest, sep); !ok {
			rest = "" // what follows fails on the empty rest
		}
		return before
	}
	l.Host = cut(" ")
	cut("[")
	stamp := cut(`] "`)
	l.Method = cut(" ")
	l.Path = cut(" ")
	cut(`" `)
	status, size := cut(" "), cut(` "`)
	l.Referrer = cut(`" "`)
	agent, ok := strings.CutSuffix(rest, `"`)
	l.Agent = agent
	if !ok || l.Path == "" {
		return Line{}, fmt.Errorf("%.200q is no line of the combined log format", s)
	}
	var err error
	if l.Time, err = time.Parse(stampFormat, stamp); err != nil {
		return Line{}, fmt.Errorf("time of access log line: %w", err)
	}
	if l.Status, err = strconv.Atoi(status); err != nil {
		return Line{}, fmt.Errorf("status of access log line: %w", err)
	}
	if size != "-" {
		if l.Bytes, err = strconv.ParseInt(size, 10, 64); err != nil {
			return Line{}, fmt.Errorf("size of access log line: %w", err)
		}
	}
	return l, nil
}

// Reader reads an access log line by line:
//
//	for r.Next() {
//		views[r.Line().Path]++
//	}
//	if err := r.Err(); err != nil { … }
type Reader struct {
	scanner *bufio.Scanner
	line    Line
	text    string
	number  int
	err     error
}

// NewReader reads from r; a line may have 64 KiB.
func NewReader(r io.Reader) *Reader { return &Reader{scanner: bufio.NewScanner(r)} }

// Next goes to the next line; it reports false at the end of the log and at the first error.
func (r *Reader) Next() bool {
	if r.err != nil || !r.scanner.Scan() {
		return false
	}
	r.number++
	r.text = r.scanner.Text()
	if r.line, r.err = Parse(r.text); r.err != nil {
		r.err = fmt.Errorf("line %d: %w", r.number, r.err)
	}
	return r.err == nil
}

// Line is the line that Next went to.
func (r *Reader) Line() Line { return r.line }

// Text is the same line as it stands in the log, without its line break.
func (r *Reader) Text() string { return r.text }

// Err is what ended the reading, nil for the end of the log.
func (r *Reader) Err() error {
	if r.err != nil {
		return r.err
	}
	if err := r.scanner.Err(); err != nil {
		return fmt.Errorf("read access log after line %d: %w", r.number, err)
	}
	return nil
}
