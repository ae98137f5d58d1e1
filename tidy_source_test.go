package moldau_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Sizes above which a thing has more than one noun. The habit is 400 and 70; these are where it is refused.
const (
	fileLinesMax     = 800
	functionLinesMax = 100
)

// ban refuses what some folders may not use of the standard library. Tests are free.
type ban struct {
	pkg     string
	names   *regexp.Regexp // what is refused
	left    *regexp.Regexp // what is not, all else being refused; without either the import itself is
	in      []string
	except  []string // folders, or files by their path without ".go"
	because string
}

const (
	throughSeams = "time, files, sockets, randomness and goroutines come through internal/kit/env, so that a test and the simulator can stand in for the world"
	decides      = "core decides from its arguments alone, so that replaying a log gives the same state each time"
	unshared     = "whoever owns a machine calls it from one place at a time; a lock in core would hide that it does not"
)

var (
	seamed = []string{"internal"}
	seams  = []string{"internal/kit/env",
		"internal/kit/script",                                                // plays scripts for tests
		"internal/node/status/process", "internal/node/status/process_linux"} // tell the figures of this very process
	pure   = []string{"internal/core"}
	silent = []string{"internal/core", "internal/store", "internal/proto"}

	seeded = `New|New(PCG|ChaCha8|Source|Zipf)|PCG|ChaCha8|Rand|Source|Zipf` // generators made from a seed
)

var bans = []ban{
	{"time", whole(`Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker`), nil, seamed, seams, throughSeams},
	{"os", nil, whole(`File|FileInfo|FileMode|DirEntry|PathSeparator|Err.*`), seamed, seams, throughSeams},
	{"net", whole(`Dial.*|Listen(|Config|IP|Packet|TCP|UDP|Unix|Unixgram|MulticastUDP)|Lookup.*|Resolve.*|Default.*|Interface.*|File.*`), nil, seamed, seams, throughSeams},
	{"path/filepath", whole(`Abs|EvalSymlinks|Glob|Walk|WalkDir`), nil, seamed, seams, throughSeams},
	{"math/rand", nil, whole(seeded), seamed, seams, throughSeams},
	{"math/rand/v2", nil, whole(seeded), seamed, seams, throughSeams},
	{"crypto/rand", nil, nil, []string{".", "internal"}, seams, throughSeams},
	{"os/exec", nil, nil, seamed, nil, "a broker starts no programs"},
	{"os/signal", nil, nil, seamed, nil, "signals are for the command; a broker is stopped through its context"},
	{"log", nil, nil, seamed, nil, "logs go through log/slog, to the logger that was handed in"},
	{"log/slog", nil, nil, silent, nil, "handle or return, never both: what goes wrong below node is returned, and logged once at the top"},

	{"os", nil, nil, pure, nil, decides},
	{"io/fs", nil, nil, pure, nil, decides},
	{"net", nil, nil, pure, nil, decides},
	{"runtime", nil, nil, pure, nil, decides},
	{"unsafe", nil, nil, pure, nil, decides},
	{"context", nil, nil, pure, nil, "context is for cancelling across I/O, which core has none of"},
	{"sync", nil, nil, pure, nil, unshared},
	{"sync/atomic", nil, nil, pure, nil, unshared},
}

// starters are the folders where a go statement may stand. In internal/node goroutines start through env.Go.
var starters = []string{"internal/kit/env", "cmd", "bench", "examples", "test"}

// TestSource reads every file of Go in the tree, whatever it is built for.
func TestSource(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		checkSource(s, func(at token.Pos, format string, args ...any) {
			t.Errorf("%s:%d: %s", s.path, s.line(at), fmt.Sprintf(format, args...))
		})
	}
}

func checkSource(s *source, refuse refuser) {
	checkFile(s, refuse)
	checkSizes(s, refuse)
	if s.test {
		return
	}
	checkBans(s, refuse)
	checkStatements(s, refuse)
	if !within(s.dir, []string{"test"}) { // what a test run builds once, it keeps
		checkVariables(s, refuse)
	}
}

type refuser func(at token.Pos, format string, args ...any)

// checkFile looks at what is declared.
func checkFile(s *source, refuse refuser) {
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				refuse(d.Pos(), "func init: what runs before main can be neither ordered, nor tested, nor handed its parts; write a constructor")
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok && emptyNoun.MatchString(ts.Name.Name) {
					refuse(ts.Pos(), "type %s: the name does not say what it is (STYLE.md, rule 4)", ts.Name.Name)
				}
			}
		}
	}
	if emptyNoun.MatchString(s.file.Name.Name) {
		refuse(s.file.Name.Pos(), "package %s: the name does not say what it is (STYLE.md, rule 4)", s.file.Name.Name)
	}
	if s.test && s.imports["synctest"] != "testing/synctest" && !within(s.dir, []string{"bench", "test"}) { // those two face real processes
		s.uses("time", func(at token.Pos, name string) {
			if name == "Sleep" {
				refuse(at, "time.Sleep in a test: wait for what is to happen, or let testing/synctest pass the time (STYLE.md, rule 32)")
			}
		})
	}
}

// emptyNoun are names that could be given to anything.
var emptyNoun = regexp.MustCompile(`(?:^|[a-z])(?:[mM]anager|[hH]elpers?|[uU]til(?:s|ities)?|[iI]mpl|[cC]ommon|[mM]isc)$`)

func checkSizes(s *source, refuse refuser) {
	if s.lines > fileLinesMax {
		refuse(s.file.Package, "%d lines, more than %d: a file has one main noun", s.lines, fileLinesMax)
	}
	if s.test {
		return // a table of cases is as long as its cases
	}
	for _, d := range s.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := s.line(fn.End()) - s.line(fn.Pos()) + 1; n > functionLinesMax {
			refuse(fn.Pos(), "%s has %d lines, more than %d: a function fits a screen", fn.Name.Name, n, functionLinesMax)
		}
	}
}

// checkBans looks for what a folder may not use of the standard library.
func checkBans(s *source, refuse refuser) {
	for _, b := range bans {
		if !within(s.dir, b.in) || within(strings.TrimSuffix(s.path, ".go"), b.except) {
			continue
		}
		if b.names == nil && b.left == nil {
			for _, imp := range s.file.Imports {
				if unquote(imp.Path) == b.pkg {
					refuse(imp.Pos(), "import of %s: %s", b.pkg, b.because)
				}
			}
			continue
		}
		s.uses(b.pkg, func(at token.Pos, name string) {
			if b.names != nil && b.names.MatchString(name) || b.left != nil && !b.left.MatchString(name) {
				refuse(at, "%s.%s: %s", path.Base(strings.TrimSuffix(b.pkg, "/v2")), name, b.because)
			}
		})
	}
}

func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(` + pattern + `)$`) }

// checkStatements looks for goroutines and channels where none belong.
func checkStatements(s *source, refuse refuser) {
	const none = "no goroutines and no channels in core, store and proto: they do their work in the call, and node decides who calls"
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if !within(s.dir, starters) {
				refuse(n.Pos(), "go statement: %s", throughSeams)
			} else if !s.saysHowItEnds(n) && s.dir != "internal/kit/env" {
				refuse(n.Pos(), "go statement: the line above, or the end of the line, says how it ends (STYLE.md, rule 20)")
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Go" || within(s.dir, []string{"internal/kit/env"}) {
				return true
			}
			_, named := firstArg(n).(*ast.BasicLit)
			switch {
			case within(s.dir, []string{"internal"}) && len(n.Args) == 1:
				refuse(n.Pos(), "a goroutine that bypasses env.Go: %s", throughSeams)
			case (named || len(n.Args) == 1) && !s.saysHowItEnds(n):
				refuse(n.Pos(), "goroutine: the line above, or the end of the line, says how it ends (STYLE.md, rule 20)")
			}
		case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
			if within(s.dir, silent) {
				refuse(n.Pos(), none)
			}
		}
		return true
	})
}

func firstArg(c *ast.CallExpr) ast.Expr {
	if len(c.Args) == 0 {
		return nil
	}
	return c.Args[0]
}

// saysHowItEnds reports whether a comment on the first line of n, or on the line above, has a form of "end".
func (s *source) saysHowItEnds(n ast.Node) bool {
	line := s.line(n.Pos())
	return strings.Contains(s.notes[line], "end") || strings.Contains(s.notes[line-1], "end")
}

// checkVariables holds the variables of a package to sentinels, tables and pools: nothing that a call changes.
func checkVariables(s *source, refuse refuser) {
	const why = "package variables are sentinels, tables and pools, none of which changes; state belongs to a type that a constructor makes (STYLE.md, rule 14)"
	for _, v := range s.packageVariables(func(gen *ast.GenDecl, spec *ast.ValueSpec) bool {
		return len(spec.Values) == 0 && !mayBeZero(s, gen, spec)
	}) {
		refuse(v.Pos(), "variable %s has no value: %s", v.Name, why)
	}
	for _, d := range s.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		local := locals(fn)
		changed := func(at token.Pos, e ast.Expr) {
			if id := root(e); id != nil && s.vars[id.Name] && !local[id.Name] {
				refuse(at, "variable %s is assigned to: %s", id.Name, why)
			}
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, to := range n.Lhs {
					changed(n.Pos(), to)
				}
			case *ast.IncDecStmt:
				changed(n.Pos(), n.X)
			}
			return true
		})
	}
}

// packageVariables are the names of variables of the package that this file declares, of those specs that pick chooses.
func (s *source) packageVariables(pick func(*ast.GenDecl, *ast.ValueSpec) bool) (names []*ast.Ident) {
	for _, d := range s.file.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			if v := spec.(*ast.ValueSpec); pick(gen, v) {
				names = append(names, v.Names...)
			}
		}
	}
	return names
}

// mayBeZero reports whether a variable is useful without a value: pools, what the linker sets, embedded files, and
// tables that are filled once.
func mayBeZero(s *source, gen *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{gen.Doc, v.Doc, v.Comment} {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed ") || strings.Contains(c.Text, "-X main.") || strings.Contains(c.Text, "/plant.planted=") || strings.Contains(c.Text, "when first asked for") {
				return true
			}
		}
	}
	return poolName.MatchString(types.ExprString(v.Type))
}

var poolName = regexp.MustCompile(`[pP]ools?$`)

// locals are the names that a function declares, wherever in it.
func locals(fn *ast.FuncDecl) map[string]bool {
	names := make(map[string]bool)
	add := func(exprs ...ast.Expr) {
		for _, e := range exprs {
			if id, ok := e.(*ast.Ident); ok {
				names[id.Name] = true
			}
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				add(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key, n.Value)
			}
		case *ast.Field:
			for _, id := range n.Names {
				add(id)
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				add(id)
			}
		}
		return true
	})
	return names
}

// root is the variable that an assignment to e changes, or a part of.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// TestSourceRefuses plants what the rules are to catch, and what they are to let pass.
func TestSourceRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, text, want string }{
		{"internal/core/replica/x.go", "func init() {}", "func init"},
		{"internal/core/replica/x.go", `import "sync"; type T struct{ sync.Mutex }`, "import of sync"},
		{"internal/core/replica/x.go", `import "time"; func f() time.Time { return time.Now() }`, "time.Now"},
		{"internal/core/replica/x.go", `import "time"; func f(now time.Time) time.Time { return now.Add(time.Second) }`, ""},
		{"internal/core/replica/x.go", "func f(c chan int) {}", "no goroutines and no channels"},
		{"internal/store/commitlog/x.go", "func f() { go f() }", "go statement"},
		{"internal/store/commitlog/x.go", `import "log/slog"; func f() { slog.Info("x") }`, "import of log/slog"},
		{"internal/node/server/x.go", "func f() { go f() }", "go statement"},
		{"internal/node/server/x.go", `import "sync"; func f(w sync.WaitGroup) { w.Go(f) }`, "bypasses env.Go"},
		{"internal/node/server/x.go", `func f(e Env) { e.Go("x", g) }`, "says how it ends"},
		{"internal/node/server/x.go", "func f(e Env) {\n\te.Go(\"x\", g) // ends at once\n}", ""},
		{"internal/node/server/x.go", `import "os"; func f() { os.Remove("x") }`, "os.Remove"},
		{"internal/node/server/x.go", `import "os"; func f(x *os.File) error { return os.ErrDeadlineExceeded }`, ""},
		{"internal/node/server/x.go", `import "net"; func f() { net.Dial("tcp", "x") }`, "net.Dial"},
		{"internal/node/server/x.go", `import "net"; func f(l net.Listener) error { return net.ErrClosed }`, ""},
		{"internal/node/api/x.go", `import "math/rand/v2"; func f() int { return rand.IntN(3) }`, "rand.IntN"},
		{"internal/node/api/x.go", `import "math/rand/v2"; func f(s uint64) *rand.Rand { return rand.New(rand.NewPCG(s, s)) }`, ""},
		{"internal/node/api/x.go", "var count int", "has no value"},
		{"internal/node/api/x.go", "var count = 1; func f() { count++ }", "is assigned to"},
		{"internal/node/api/x.go", "var names = map[int]string{}; func f() { names[1] = `x` }", "is assigned to"},
		{"internal/node/api/x.go", "var names = map[int]string{}; func f() { names := map[int]string{}; names[1] = `x` }", ""},
		{"internal/node/api/x.go", `import "sync"; var things sync.Pool`, ""},
		{"internal/node/api/x.go", "type TopicManager struct{}", "does not say what it is"},
		{"internal/node/api/x.go", "func f() {" + strings.Repeat("\n", 100) + "}", "fits a screen"},
		{"internal/node/api/x.go", strings.Repeat("\n", 801), "one main noun"},
		{"internal/node/api/x_test.go", `import "time"; func f() { time.Sleep(1) }`, "time.Sleep in a test"},
		{"internal/kit/env/x.go", `import "os"; func f() { os.Remove("x") }`, ""},
		{"cmd/moldau/x.go", `import "os"; func f() { os.Remove("x") }`, ""},
	} {
		s, err := parse(c.path, []byte("package x; "+c.text))
		if err != nil {
			t.Fatal(err)
		}
		s.vars = map[string]bool{"count": true, "names": true, "things": true}
		var told []string
		checkSource(s, func(_ token.Pos, format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) })
		if all := strings.Join(told, "; "); (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
			t.Errorf("%s: %.80s\nwas refused for %q, want %q", c.path, c.text, all, c.want)
		}
	}
}
