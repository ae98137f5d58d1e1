package moldau_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPackageComments: every package says what it is, in one place.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	told := make(map[string][]string)
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if _, ok := told[s.dir]; !ok {
			told[s.dir] = nil
		}
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command "
		}
		if s.file.Doc != nil {
			told[s.dir] = append(told[s.dir], s.path)
			if !strings.HasPrefix(s.file.Doc.Text(), want) {
				t.Errorf("%s: the package comment begins with %q", s.path, want)
			}
		}
	}
	for dir, where := range told {
		if len(where) != 1 {
			t.Errorf("%s: a package has one package comment, this one has %d %s", dir, len(where), strings.Join(where, " "))
		}
	}
}

// TestCoreOrder: a map is walked in no order, and what core decides must not depend on it.
func TestCoreOrder(t *testing.T) {
	t.Parallel()
	type compiled struct {
		ImportPath, Dir, Export, Name string
		GoFiles                       []string
	}
	packages := decodeAll[compiled](t, run(t, "go", "list", "-e", "-export", "-deps", "-json=ImportPath,Dir,Export,Name,GoFiles", "./internal/core/..."))
	exports := make(map[string]string)
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s was not compiled", path)
		}
		return os.Open(exports[path])
	})
	for _, p := range packages {
		if !strings.HasPrefix(p.ImportPath, module+"/internal/core/") {
			continue
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		info := types.Info{Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object)}
		if _, err := (&types.Config{Importer: imports}).Check(p.ImportPath, fset, files, &info); err != nil {
			t.Errorf("%s cannot be checked: %v", p.ImportPath, err)
			continue
		}
		for _, f := range files {
			for _, at := range unordered(fset, f, &info) {
				t.Errorf("%s: a map is walked in no order, and core must decide the same each time: sort the keys, or say above it why it is fine: // order does not matter: …",
					fset.Position(at))
			}
		}
	}
}

// unordered finds the places where a file walks a map without sorting, and without a word why that is fine.
func unordered(fset *token.FileSet, f *ast.File, info *types.Info) (places []token.Pos) {
	notes := notesOf(fset, f)
	excused := func(at token.Pos) bool {
		const word = "order does not matter: "
		line := fset.Position(at).Line
		return strings.Contains(notes[line], word) || strings.Contains(notes[line-1], word)
	}
	sorted := make(map[ast.Expr]bool) // arguments of slices.Sorted and its like
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.RangeStmt:
			if t := info.TypeOf(n.X); t != nil {
				if _, ok := t.Underlying().(*types.Map); ok && !excused(n.Pos()) {
					places = append(places, n.Pos())
				}
			}
		case *ast.CallExpr:
			pkg, name := callee(n, info)
			if pkg == "slices" && strings.HasPrefix(name, "Sorted") {
				sorted[n.Args[0]] = true
			}
			if pkg == "maps" && (name == "Keys" || name == "Values" || name == "All") && !sorted[n] && !excused(n.Pos()) {
				places = append(places, n.Pos())
			}
		}
		return true
	})
	return places
}

// callee is the package and the name of a function that is called by its qualified name.
func callee(c *ast.CallExpr, info *types.Info) (pkg, name string) {
	if sel, ok := c.Fun.(*ast.SelectorExpr); ok {
		if id, ok := sel.X.(*ast.Ident); ok {
			if p, ok := info.Uses[id].(*types.PkgName); ok {
				return p.Imported().Path(), sel.Sel.Name
			}
		}
	}
	return "", ""
}

func TestCoreOrderRefuses(t *testing.T) {
	t.Parallel()
	const text = `package x
func f(m map[int]int, s []int) (n int) {
	for k := range m { // a map
		n -= k
	}
	// order does not matter: a sum
	for k := range m {
		n += k
	}
	for k := range s {
		n -= k
	}
	return n
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "x.go", text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	info := types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	if _, err := (&types.Config{}).Check("x", fset, []*ast.File{f}, &info); err != nil {
		t.Fatal(err)
	}
	if places := unordered(fset, f, &info); len(places) != 1 || fset.Position(places[0]).Line != 3 {
		t.Errorf("refused at %v, want line 3 alone", places)
	}
}

// route is a row of the table of routes in internal/node/api; handled is the head of a handler's file.
type (
	route struct {
		from, last string // versions
		listeners  string
		overlap    bool
	}
	handled struct {
		name, key, from, last string
		head                  string // the first line
		rest                  string // the lines below: Behaviour, Version notes, Differs from Apache
	}
)

func (r route) versions() string   { return r.from + "–" + r.last }
func (h handled) versions() string { return h.from + "–" + h.last }

const apiDir = "internal/node/api"

var handlerHead = regexp.MustCompile(`^(\w+) \(key (\d+)\), versions? (\d+)(?:–(\d+))?\b.*`)

// TestHandlers: a handler's file is named by its key, opens with its name, key and versions, and the table of routes
// says the same.
func TestHandlers(t *testing.T) {
	t.Parallel()
	routes, heads := readAPI(t)
	for name, h := range heads {
		if r := routes[name]; r.versions() != h.versions() {
			t.Errorf("the head of %s says versions %s and the table of routes %s", h.name, h.versions(), r.versions())
		}
	}
	for name := range routes {
		if _, ok := heads[name]; !ok {
			t.Errorf("%s is in the table of routes, and no file in %s is its handler's", name, apiDir)
		}
	}
}

// readAPI reads the table of routes and the heads of the handlers' files, by name in lower case.
func readAPI(t *testing.T) (routes map[string]route, heads map[string]handled) {
	routes, heads = make(map[string]route), make(map[string]handled)
	for _, s := range sources(t) {
		if s.dir != apiDir || s.test {
			continue
		}
		base := strings.TrimSuffix(path.Base(s.path), ".go")
		if base == "routes" {
			readRoutes(s, routes)
		}
		if base[0] < '0' || base[0] > '9' {
			continue
		}
		h, ok := readHead(s)
		if !ok {
			t.Errorf("%s: a handler's file opens, below its package clause, with // Name (key N), versions A–B, then Behaviour, Version notes and Differs from Apache (STYLE.md, rule 10)", s.path)
			continue
		}
		if want := fmt.Sprintf("%02s_%s", h.key, snake(h.name)); base != want {
			t.Errorf("%s: the file of %s, key %s, is named %s.go", s.path, h.name, h.key, want)
		}
		heads[strings.ToLower(h.name)] = h
	}
	if len(routes) == 0 {
		t.Errorf("no table of routes was found in %s/routes.go", apiDir)
	}
	return routes, heads
}

func readHead(s *source) (handled, bool) {
	if len(s.file.Comments) == 0 {
		return handled{}, false
	}
	first, rest, _ := strings.Cut(s.file.Comments[0].Text(), "\n")
	m := handlerHead.FindStringSubmatch(first)
	if m == nil || !strings.Contains(rest, "Behaviour: ") {
		return handled{}, false
	}
	h := handled{name: m[1], key: m[2], from: m[3], last: m[4], head: first, rest: strings.TrimSpace(rest)}
	if h.last == "" {
		h.last = h.from
	}
	return h, true
}

// readRoutes takes the rows {wire.Key, wire.Range{Min: a, Max: b}, from, listeners, overlap, handler} of the table.
func readRoutes(s *source, routes map[string]route) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		row, ok := n.(*ast.CompositeLit)
		if !ok || len(row.Elts) != 6 {
			return true
		}
		key, isKey := row.Elts[0].(*ast.SelectorExpr)
		advertised, isRange := row.Elts[1].(*ast.CompositeLit)
		from, isNumber := row.Elts[2].(*ast.BasicLit)
		if !isKey || !isRange || !isNumber || len(advertised.Elts) != 2 {
			return true
		}
		last := advertised.Elts[1]
		if kv, ok := last.(*ast.KeyValueExpr); ok {
			last = kv.Value
		}
		routes[strings.ToLower(key.Sel.Name)] = route{
			from: from.Value, last: types.ExprString(last),
			listeners: types.ExprString(row.Elts[3]), overlap: types.ExprString(row.Elts[4]) == "true",
		}
		return false
	})
}

// snake turns DescribeAcls into describe_acls.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
