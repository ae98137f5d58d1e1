package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestEveryPlantedBugIsCaught is make plant.
func TestEveryPlantedBugIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a test binary for each bug")
	}
	if err := run(2*time.Minute, nil); err != nil {
		t.Error(err)
	}
}

// TestMissedBug: a bug that no test catches is told, and so is one that nobody knows.
func TestMissedBug(t *testing.T) {
	if testing.Short() {
		t.Skip("builds test binaries")
	}
	if by, err := catch("..", bug{"no-such-bug", "plant", "^TestRows$"}, time.Minute); err == nil {
		t.Errorf("a bug that is nowhere was caught by %s", by)
	}
	if err := run(time.Minute, []string{"no-such-bug"}); err == nil {
		t.Error("a bug that is not in the table was taken")
	}
}

func TestRows(t *testing.T) {
	const text = "| bug | what is wrong | caught by | s |\n|---|---|---|---:|\n" +
		"| `ack-early` | an answer, too soon | `TestA`, `TestB` in [node/x](../internal/node/x) | 1 |\n| KAFKA-1 | not one | `TestC` | |\n"
	if bugs := parse(text); len(bugs) != 1 || bugs[0] != (bug{"ack-early", "internal/node/x", "^(TestA|TestB)$"}) {
		t.Errorf("%+v", bugs)
	}
}

// TestReleaseHasNoBugs: what is built without the tag does not even know their names.
func TestReleaseHasNoBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds moldau")
	}
	path := filepath.Join(t.TempDir(), "moldau")
	for tags, want := range map[string]bool{"": false, "plant": true} {
		build := exec.Command("go", "build", "-tags", tags, "-o", path, "./cmd/moldau")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(binary, []byte("recovery-point-too-far")); got != want {
			t.Errorf("with the tags %q the binary has the name of a planted bug: %t", tags, got)
		}
	}
}
