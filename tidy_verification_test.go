package moldau_test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestVerification holds docs/verification.md to the code: the tests that it names are there and cite what they are named for, and
// its planted bugs are those of internal/kit/plant, each of them planted somewhere.
func TestVerification(t *testing.T) {
	t.Parallel()
	const page = "docs/verification.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	tests, planted := readTests(t), readPlants(t)
	for n, line := range strings.Split(string(text), "\n") {
		names := testName.FindAllString(line, -1)
		for _, name := range names {
			if _, ok := tests[name]; !ok {
				t.Errorf("%s:%d names %s, which is not there", page, n+1, name)
			}
		}
		if m := plantedRow.FindStringSubmatch(line); m != nil {
			if !planted[m[1]] {
				t.Errorf("%s:%d: no code asks for the bug %s", page, n+1, m[1])
			}
			delete(planted, m[1])
		}
		if m := catalogueRow.FindStringSubmatch(line); m != nil && len(names) > 0 {
			for _, id := range strings.Split(m[1], ", ") {
				if !cites(tests, names, id) {
					t.Errorf("%s:%d: none of the tests of %s cites it, in its name or in its comment", page, n+1, id)
				}
			}
		}
	}
	for name, used := range planted {
		t.Errorf("the bug %s (asked for: %t) is not in the table of %s", name, used, page)
	}
}

var (
	testName     = regexp.MustCompile(`\bTest[A-Z]\w+`)
	plantedRow   = regexp.MustCompile("^\\| `([a-z-]+)` \\|")
	catalogueRow = regexp.MustCompile(`^\| \*\*([^*]+)\*\* \|`)
)

// readTests are the comments of all tests of the tree, by name.
func readTests(t *testing.T) map[string]string {
	tests := make(map[string]string)
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && testName.MatchString(f.Name.Name) {
				tests[f.Name.Name] += f.Doc.Text()
			}
		}
	}
	return tests
}

// cites reports whether one of the tests bears an id as KAFKA-4529 in its name or its comment.
func cites(tests map[string]string, names []string, id string) bool {
	inName := strings.NewReplacer("-", "", " ", "").Replace(id)
	for _, name := range names {
		comment := strings.ReplaceAll(tests[name], "\n", " ")
		if strings.Contains(name, inName) || regexp.MustCompile(regexp.QuoteMeta(id)+`\b`).MatchString(comment) {
			return true
		}
	}
	return false
}

// readPlants are the bugs that can be planted, and whether some code asks for them.
func readPlants(t *testing.T) map[string]bool {
	const dir, pkg = "internal/kit/plant", module + "/internal/kit/plant"
	asked := make(map[string]bool) // by constant
	names := make(map[string]string)
	for _, s := range sources(t) {
		if s.dir != dir {
			s.uses(pkg, func(_ token.Pos, name string) { asked[name] = true })
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					names[v.Names[0].Name] = unquote(lit)
				}
			}
			return true
		})
	}
	bugs := make(map[string]bool)
	for constant, name := range names {
		bugs[name] = asked[constant]
	}
	return bugs
}
