package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	for _, c := range []struct {
		args string
		code int
		out  int // lines on standard output
	}{
		{"-n 3", 0, 3},
		{"-n 4 -o " + file, 0, 0},
		{"--nonsense", 2, 0},
		{"stray", 2, 0},
		{"-n 1 -o " + filepath.Join(file, "below-a-file"), 1, 0},
	} {
		var out, errs bytes.Buffer
		code := run(strings.Fields(c.args), &out, &errs)
		if code != c.code || bytes.Count(out.Bytes(), []byte("\n")) != c.out || (code != 0) != (errs.Len() > 0) {
			t.Errorf("%s: code %d, %d bytes out, errors %q", c.args, code, out.Len(), errs.String())
		}
	}
	if b, err := os.ReadFile(file); err != nil || bytes.Count(b, []byte("\n")) != 4 {
		t.Errorf("the file has %d bytes: %v", len(b), err)
	}
	var help bytes.Buffer
	if code := run([]string{"--help"}, &help, &help); code != 0 || !strings.Contains(help.String(), "Examples:") {
		t.Errorf("help: code %d, %q", code, help.String())
	}
}
