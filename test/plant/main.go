// Command plant builds Moldau with one planted bug after another (internal/kit/plant) and runs the tests that are to catch it, which
// stand in a table of docs/verification.md. It prints how long each took, and fails where one took longer than allowed, or never
// failed.
//
//	go run ./plant                  all of them: make plant
//	go run ./plant tombstone-early  one
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	allowed := flag.Duration("within", 2*time.Minute, "how soon a test has to catch a bug")
	flag.Parse()
	if err := run(*allowed, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "plant:", err)
		os.Exit(1)
	}
}

// bug is a row of the table.
type bug struct {
	name  string
	pkg   string // from the root
	tests string // as for go test -run
}

// row is | `name` | what is wrong | `TestThis`, `TestThat` in [package](../package) | seconds |.
var row = regexp.MustCompile("^\\| `([a-z-]+)` \\|.*\\| (`Test.*`) in \\[[^]]*\\]\\(\\.\\./([^)]+)\\) \\|")

func run(allowed time.Duration, only []string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moldau/moldau").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	dir := strings.TrimSpace(string(root))
	text, err := os.ReadFile(filepath.Join(dir, "docs", "verification.md"))
	if err != nil {
		return err
	}
	bugs := parse(string(text))
	if len(bugs) == 0 {
		return errors.New("docs/verification.md has no table of planted bugs")
	}
	for _, name := range only {
		if !slices.ContainsFunc(bugs, func(b bug) bool { return b.name == name }) {
			return fmt.Errorf("docs/verification.md has no planted bug %q", name)
		}
	}
	missed, tried := 0, 0
	for _, b := range bugs {
		if len(only) > 0 && !slices.Contains(only, b.name) {
			continue
		}
		tried++
		begun := time.Now()
		by, err := catch(dir, b, allowed)
		if err != nil {
			missed++
			fmt.Printf("MISSED  %-28s %v\n", b.name, err)
			continue
		}
		fmt.Printf("caught  %-28s %6.1f s  %s\n", b.name, time.Since(begun).Seconds(), by)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d planted bugs were not caught", missed, tried)
	}
	return nil
}

func parse(text string) (bugs []bug) {
	for line := range strings.Lines(text) {
		if m := row.FindStringSubmatch(line); m != nil {
			tests := strings.Split(strings.ReplaceAll(m[2], "`", ""), ", ")
			bugs = append(bugs, bug{m[1], m[3], "^(" + strings.Join(tests, "|") + ")$"})
		}
	}
	return bugs
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// catch plants b and returns the test that has failed first.
func catch(dir string, b bug, allowed time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), allowed)
	defer cancel()
	args := []string{"test", "-tags", "plant", "-ldflags", "-X github.com/moldau/moldau/internal/kit/plant.planted=" + b.name,
		"-count=1", "-failfast", "-run", b.tests, "./" + b.pkg}
	if usesRapid(ctx, dir, b.pkg) {
		args = append(args, "-rapid.nofailfile") // what it finds here is no case to be kept
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	m := failed.FindSubmatch(out)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("no test has caught it within %v", allowed)
	case err == nil:
		return "", fmt.Errorf("go test -run '%s' ./%s passes", b.tests, b.pkg)
	case m == nil:
		return "", fmt.Errorf("no test has failed: %w\n%s", err, out)
	}
	return string(m[1]), nil
}

func usesRapid(ctx context.Context, dir, pkg string) bool {
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.TestImports}} {{.XTestImports}}", "./"+pkg)
	list.Dir = dir
	out, _ := list.Output() // a package that is not there shows in the test
	return strings.Contains(string(out), "pgregory.net/rapid")
}
