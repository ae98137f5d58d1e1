// Package script plays the stories that tests of decisions are written as: testdata/*.txt, in blocks with empty lines
// between them. A block is comments (#) and commands, a line of dashes, and what the commands print.
package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Play plays every story in testdata, each on a stage of its own: begin makes one and returns what runs the commands of a
// block on it. With rewrite set what is printed replaces what should be.
func Play(t *testing.T, rewrite bool, begin func(t *testing.T) func(commands []string) string) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file, rewrite, begin(t)) })
	}
}

func play(t *testing.T, file string, rewrite bool, run func([]string) string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		story, want, _ := strings.Cut(block, "\n----")
		out.WriteString(story + "\n")
		commands := commandsOf(story)
		if len(commands) == 0 {
			continue
		}
		got := strings.TrimSpace(run(commands))
		out.WriteString(strings.TrimRight("----\n"+got, "\n") + "\n")
		if want = strings.TrimSpace(want); !rewrite && got != want {
			t.Errorf("%s\nprints\n%s\nand should print\n%s", story, got, want)
		}
	}
	if rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// commandsOf are the lines of a story that are no comments.
func commandsOf(story string) (commands []string) {
	for line := range strings.SplitSeq(story, "\n") {
		if !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	return commands
}
