package traps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`(TestX[0-9]+[A-Z]\\w+)`")
	trapID   = regexp.MustCompile(`^TestX([0-9]+)`)
)

// TestTable holds traps.md against the tests: each line names tests that are there and bear its number, or says what must
// come first; and each test of a trap is in its line.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("traps.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	lines := 0
	for line := range strings.Lines(string(text)) {
		id, isTrap := strings.CutPrefix(line, "| X-")
		if !isTrap {
			continue
		}
		lines++
		number, _, _ := strings.Cut(id, " ")
		names := testName.FindAllStringSubmatch(line, -1)
		if len(names) == 0 && !strings.Contains(line, "not yet: ") {
			t.Errorf("X-%s has neither a test nor a reason", number)
		}
		for _, m := range names {
			told[m[1]] = true
			if trapID.FindStringSubmatch(m[1])[1] != number {
				t.Errorf("X-%s names %s, which is the test of another trap", number, m[1])
			}
		}
	}
	if lines != 46 {
		t.Errorf("the table has %d traps, the contract 46", lines)
	}
	for name := range testsHere(t) {
		if !told[name] {
			t.Errorf("%s is not in traps.md", name)
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("traps.md names %s, which is not there", name)
	}
}

// testsHere are the tests of traps in this package.
func testsHere(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && trapID.MatchString(fn.Name.Name) {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}
