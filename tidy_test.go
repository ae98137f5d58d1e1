package moldau_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The law of the house. ARCHITECTURE.md tells the shape and STYLE.md the habits; what a machine can see of them stands
// in the tables of tidy_test.go (who may import whom), tidy_source_test.go (what source may do) and tidy_docs_test.go
// (what the documents promise). A refusal comes with its reason. Where the reason no longer holds, the table is what is
// to be changed, on purpose, in a commit that says why.

const module = "github.com/moldau/moldau"

// layer says what the packages in a folder and below it may import of this module. The row with the longest folder
// counts. "." is the root package alone; any other name stands for a package and those below it.
type layer struct {
	in        string
	mayImport []string
	because   string
}

var layers = []layer{
	{".", nil,
		"the root package is the vocabulary that everybody imports; whatever it imported, everybody would"},
	{"internal/kit", []string{".", "internal/kit"},
		"the kit knows nothing of brokers, so that every layer can use it"},
	{"internal/proto", []string{".", "internal/kit/must", "internal/proto"},
		"proto turns bytes into values and back; it touches no file, no clock and no cluster"},
	{"internal/core", []string{".", "internal/kit/must", "internal/proto", "internal/core"},
		"core decides and never acts: what it decides on comes in as arguments, so it runs the same in a test, in the simulator and after a crash"},
	{"internal/store", []string{".", "internal/kit", "internal/proto", "internal/store"},
		"store keeps bytes and does not know why; core and store meet only in node"},
	{"internal/node/server", []string{".", "internal/kit", "internal/proto"},
		"server moves frames for handlers that it does not know"},
	{"internal/node/partition", []string{".", "internal/kit", "internal/proto", "internal/core", "internal/store"},
		"a partition glues one log to its arithmetic; who asks and who is told is not its concern"},
	{"internal/node/quorum", []string{".", "internal/kit", "internal/proto", "internal/store"},
		"the quorum agrees on bytes; what they mean is its machine's concern"},
	{"internal/node/coordinator", []string{".", "internal/kit", "internal/proto", "internal/core/rsm", "internal/store", "internal/node/partition"},
		"a coordinator runs machines of any kind over a partition; what they decide is not its concern"},
	{"internal/node/api", []string{".", "internal/kit", "internal/proto", "internal/core", "internal/store",
		"internal/node/coordinator", "internal/node/partition", "internal/node/quorum", "internal/node/server"},
		"handlers use the parts of a node and never wire them"},
	{"internal/node/status", []string{".", "internal/kit", "internal/proto", "internal/core", "internal/store",
		"internal/node/partition", "internal/node/quorum", "internal/node/server"},
		"status only reads; what it needs of the broker is its Source"},
	{"internal/node/offline", []string{".", "internal/kit", "internal/proto", "internal/store", "internal/node/quorum"},
		"what the tools find offline has to be what a start finds, so they read with the same functions; a broker is no part of it"},
	{"internal/node/broker", []string{".", "internal"},
		"the broker wires everything, and nothing below knows it"},
	{"internal/node/backup", []string{".", "internal/kit", "internal/proto", "internal/core", "internal/store", "internal/node/broker"},
		"a backup is taken beside a broker and made into what one starts on: it stands above the broker, which does not know it"},
	{"internal/node/importer", []string{".", "internal/kit", "internal/proto", "internal/core", "internal/store", "internal/node/broker"},
		"an import makes what a broker is to start on: it stands above the broker, which does not know it"},
	{"cmd/moldau", []string{".", "internal/kit", "internal/proto", "internal/node/backup", "internal/node/broker", "internal/node/importer", "internal/node/offline",
		"internal/store", "examples/pageviews"},
		"the command line speaks to a broker as every client does, or starts one whole, or works on the files of one that is stopped, in the words of the store"},
	{"examples", []string{"examples"},
		"an example that needs our internals is none"},
	{"bench", []string{"bench", "examples"},
		"a benchmark that shares code with what it measures measures itself"},
}

// grant says which folders may import an outside module, or a package of one. The row with the longest path counts.
// Tests may import every module that is listed.
type grant struct {
	path    string
	to      []string
	because string
}

var grants = []grant{
	{"github.com/twmb/franz-go/pkg/kmsg",
		[]string{"internal/proto/wire", "internal/core/controller", "internal/core/group", "internal/core/txn", "internal/node/api", "internal/node/broker", "cmd", "bench"},
		"message structs are for those who decode and answer requests; below them the words are ours"},
	{"github.com/twmb/franz-go", []string{"cmd", "bench"},
		"that is a client; the broker is not one"},
	{"go.etcd.io/raft/v3", []string{"internal/node/quorum"},
		"consensus is behind quorum, which can change its mind about how"},
	{"google.golang.org/protobuf", []string{"internal/node/quorum"},
		"Raft's own messages are the only protobuf here"},
	{"github.com/klauspost/compress", []string{"internal/proto/record"},
		"batches are opened in one place"},
	{"github.com/pierrec/lz4/v4", []string{"internal/proto/record"},
		"batches are opened in one place"},
	{"github.com/spf13/cobra", []string{"cmd"},
		"only the command line parses a command line"},
	{"golang.org/x/sys", []string{"internal/kit/env", "internal/node/server", "cmd", "bench"},
		"system calls are behind the seams; sendfile needs the socket itself"},
	{"pgregory.net/rapid", nil, "it is for tests"},
	{"go.uber.org/goleak", nil, "it is for tests"},
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (p listed) folder() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		in := p.folder()
		law, ok := lawOf(in)
		if !ok {
			t.Errorf("package %s is in no layer: give its folder a row in the table of tidy_test.go, with the reason", in)
			continue
		}
		for _, to := range p.Imports {
			if why := refuse(law, in, to, false); why != "" {
				t.Error(why)
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := refuse(law, in, to, true); why != "" {
				t.Error("in a test: " + why)
			}
		}
	}
}

// refuse says why a package may not import another, or nothing. Tests may use all of the kit besides; those of the root
// look at everything.
func refuse(law layer, in, to string, test bool) string {
	own, ours := strings.CutPrefix(to, module)
	switch {
	case ours:
		own = strings.TrimPrefix(own, "/")
		if own == "" {
			own = "."
		}
		may := own == in || within(own, law.mayImport) || test && (in == "." || within(own, []string{".", "internal/kit"}))
		if !may {
			return fmt.Sprintf("%s imports %s, and may import %s: %s", in, own, orNothing(law.mayImport), law.because)
		}
	case strings.Contains(strings.SplitN(to, "/", 2)[0], "."):
		g, ok := grantOf(to)
		switch {
		case !ok:
			return fmt.Sprintf("%s imports %s, which nobody may: a new dependency needs an ADR with its size and a row in tidy_test.go", in, to)
		case !test && !within(in, g.to):
			return fmt.Sprintf("%s imports %s, which is for %s: %s", in, to, orNothing(g.to), g.because)
		}
	}
	return ""
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

// within reports whether a folder is one of those named or below one of them.
func within(folder string, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return folder == name || strings.HasPrefix(folder, name+"/")
	})
}

func lawOf(folder string) (best layer, ok bool) {
	for _, l := range layers {
		if within(folder, []string{l.in}) && len(l.in) >= len(best.in) {
			best, ok = l, true
		}
	}
	return best, ok
}

func grantOf(path string) (best grant, ok bool) {
	for _, g := range grants {
		if within(path, []string{g.path}) && len(g.path) >= len(best.path) {
			best, ok = g, true
		}
	}
	return best, ok
}

// TestLawRefuses breaks the law on paper: a law that never refused proves nothing.
func TestLawRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, to string
		test   bool
		ok     bool
	}{
		{in: "internal/core/replica", to: module + "/internal/store/commitlog"},
		{in: "internal/core/replica", to: module + "/internal/kit/env"},
		{in: "internal/core/replica", to: module + "/internal/kit/env", test: true, ok: true},
		{in: "internal/store/commitlog", to: module + "/internal/core/replica"},
		{in: "internal/node/server", to: module + "/internal/node/api"},
		{in: "internal/node/partition", to: module + "/internal/node/broker"},
		{in: "internal/kit/must", to: module + "/internal/proto/wire"},
		{in: ".", to: module + "/internal/kit/must"},
		{in: "examples/pageviews", to: module},
		{in: "internal/core/controller", to: "github.com/twmb/franz-go/pkg/kmsg", ok: true},
		{in: "internal/core/replica", to: "github.com/twmb/franz-go/pkg/kmsg"},
		{in: "internal/node/api", to: "github.com/twmb/franz-go/pkg/kgo"},
		{in: "internal/node/api", to: "github.com/example/novelty"},
		{in: "internal/node/api", to: "fmt", ok: true},
		{in: "internal/node/api", to: module + "/internal/node/server", ok: true},
	} {
		law, _ := lawOf(c.in)
		if why := refuse(law, c.in, c.to, c.test); (why == "") != c.ok {
			t.Errorf("%s → %s (test %t): refused for %q", c.in, c.to, c.test, why)
		}
	}
}

// list asks the go command for the packages of this module.
func list(t *testing.T) []listed {
	t.Helper()
	return decodeAll[listed](t, run(t, "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./..."))
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, complaint.Bytes())
	}
	return out
}

// decodeAll reads JSON values that follow one another.
func decodeAll[T any](t *testing.T, b []byte) (all []T) {
	t.Helper()
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var v T
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
}
