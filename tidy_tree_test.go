package moldau_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// source is one file of Go, parsed.
type source struct {
	path    string // from the root, with slashes
	dir     string // "." for the root
	test    bool
	file    *ast.File
	fset    *token.FileSet
	lines   int
	imports map[string]string // local name → import path
	vars    map[string]bool   // the variables of its package; nil for a test
	notes   map[int]string    // comment text by the line that it ends on
}

// sources parses the tree once; the files are shared by the tests and not changed.
func sources(t *testing.T) []*source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var parsed = sync.OnceValues(func() ([]*source, error) {
	var all []*source
	vars := make(map[string]map[string]bool) // by folder
	err := walk(func(name string, text []byte) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		s, err := parse(name, text)
		if err != nil {
			return err
		}
		all = append(all, s)
		if s.test {
			return nil
		}
		if vars[s.dir] == nil {
			vars[s.dir] = make(map[string]bool)
		}
		s.vars = vars[s.dir]
		for _, v := range s.packageVariables(func(*ast.GenDecl, *ast.ValueSpec) bool { return true }) {
			s.vars[v.Name] = v.Name != "_"
		}
		return nil
	})
	return all, err
})

func parse(name string, text []byte) (*source, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	s := &source{
		path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), file: f, fset: fset,
		lines: bytes.Count(text, []byte("\n")), imports: make(map[string]string), notes: notesOf(fset, f),
	}
	for _, imp := range f.Imports {
		p := unquote(imp.Path)
		local := path.Base(strings.TrimSuffix(p, "/v2"))
		if imp.Name != nil {
			local = imp.Name.Name
		}
		s.imports[local] = p
	}
	return s, nil
}

func notesOf(fset *token.FileSet, f *ast.File) map[int]string {
	notes := make(map[int]string)
	for _, g := range f.Comments {
		for _, c := range g.List {
			notes[fset.Position(c.End()).Line] = c.Text
		}
	}
	return notes
}

func unquote(lit *ast.BasicLit) string {
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return lit.Value
	}
	return s
}

func (s *source) line(at token.Pos) int { return s.fset.Position(at).Line }

// uses calls fn with each name of a package that the file uses.
func (s *source) uses(pkg string, fn func(at token.Pos, name string)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && s.imports[id.Name] == pkg {
				fn(sel.Pos(), sel.Sel.Name)
			}
		}
		return true
	})
}

// walk reads every file of the tree that somebody wrote, by its path from the root with slashes.
func walk(fn func(name string, text []byte) error) error {
	return filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != "." && (base[0] == '.' && base != ".ci" || slices.Contains([]string{"testdata", "bin", "moldau-data", "node_modules"}, base)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".md", ".sh", ".java", ".py", ".js", ".xml", ".yml", ""}, filepath.Ext(base)) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return fn(filepath.ToSlash(name), text)
	})
}
