package moldau_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moldau/moldau/internal/proto/config"
)

// A promise in the text is either kept now or an issue; and what stands on one machine means nothing on another.
var (
	promises    = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	machinePath = regexp.MustCompile(`(^|[\s"'(` + "`" + `=])/(home|root|Users|work)/\w`)
)

func TestWords(t *testing.T) {
	t.Parallel()
	err := walk(func(name string, text []byte) error {
		for i, line := range bytes.Split(text, []byte("\n")) {
			if m := promises.Find(line); m != nil {
				t.Errorf("%s:%d: %s: do it now, or file an issue", name, i+1, m)
			}
			if m := machinePath.Find(line); m != nil {
				t.Errorf("%s:%d: %s…: a path of one machine", name, i+1, bytes.TrimSpace(m))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)

// TestLinks: what a document points to is there.
func TestLinks(t *testing.T) {
	t.Parallel()
	err := walk(func(name string, text []byte) error {
		if path.Ext(name) != ".md" {
			return nil
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			if to := path.Join(path.Dir(name), string(m[1])); !exists(to) {
				t.Errorf("%s points to %s, which is not there", name, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ruleID is how comments and documents cite a rule of the contract.
var ruleID = regexp.MustCompile(`\b[A-Z]-\d+\b`)

// TestRules: a rule that is cited is one of the contract, so that a reader can look it up.
func TestRules(t *testing.T) {
	t.Parallel()
	const contract = "docs/contract.md"
	text, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	rules := make(map[string]bool)
	for _, id := range regexp.MustCompile(`\*\*(`+ruleID.String()+`)\*\*`).FindAllSubmatch(text, -1) {
		rules[string(id[1])] = true
	}
	check := func(name string, line int, text string) {
		for _, id := range ruleID.FindAllString(text, -1) {
			if !rules[id] {
				t.Errorf("%s:%d cites the rule %s, which %s does not have", name, line, id, contract)
			}
		}
	}
	for _, s := range sources(t) {
		for line, note := range s.notes {
			check(s.path, line, note)
		}
	}
	err = walk(func(name string, text []byte) error {
		if path.Ext(name) == ".md" && name != contract {
			for i, line := range strings.Split(string(text), "\n") {
				check(name, i+1, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

const decisionLinesMax = 60

// TestDecisions holds the records of decisions to their form, and go.mod to them.
func TestDecisions(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	err := walk(func(name string, text []byte) error {
		if path.Dir(name) != "docs/adr" {
			return nil
		}
		all.Write(text)
		number, _, _ := strings.Cut(path.Base(name), "-")
		if !bytes.HasPrefix(text, []byte("# "+number+": ")) {
			t.Errorf("%s: a decision begins with its number and title: # %s: …", name, number)
		}
		if n := bytes.Count(text, []byte("\n")); n > decisionLinesMax {
			t.Errorf("%s has %d lines; a decision that needs more than %d is two", name, n, decisionLinesMax)
		}
		for _, part := range []string{"Context", "Decision", "Rejected", "Consequence"} {
			if !bytes.Contains(text, []byte("\n## "+part+"\n")) {
				t.Errorf("%s has no part %q", name, part)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(run(t, "go", "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if _, ok := grantOf(r.Path); !r.Indirect && !ok {
			t.Errorf("go.mod requires %s, which nobody may import (the table of tidy_test.go)", r.Path)
		}
		if !r.Indirect && !bytes.Contains(all.Bytes(), []byte("`"+r.Path+"`")) {
			t.Errorf("go.mod requires %s, and no decision in docs/adr tells why and what it weighs", r.Path)
		}
	}
}

var rewrite = flag.Bool("rewrite", false, "write docs/ref anew")

// TestProtocolReference: the reference of the protocol says what the handlers say. `make docs` writes it.
func TestProtocolReference(t *testing.T) {
	t.Parallel()
	checkReference(t, "docs/ref/protocol.md", renderProtocol(readAPI(t)))
}

// TestConfigReference: the reference of the configuration has every key. `make docs` writes it.
func TestConfigReference(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := config.WriteMarkdown(&text); err != nil {
		t.Fatal(err)
	}
	checkReference(t, "docs/ref/config.md", text.Bytes())
}

func checkReference(t *testing.T, name string, want []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the code says: run make docs", name)
	}
}

// ruleIDs are the ids of rules that comments cite; whoever reads the reference has no use for them.
var ruleIDs = regexp.MustCompile(` ?\([A-Z]-\d+(, [A-Z]-\d+)*\)|, [A-Z]-\d+\b`)

func renderProtocol(routes map[string]route, heads map[string]handled) []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- Written by make docs from the heads of internal/node/api and its table of routes. -->

# The protocol

The requests that Moldau answers, by their key in Apache Kafka's protocol. ApiVersions tells a client the same.
A request on a connection starts when the one before it was answered, unless it is marked *overlaps*: then its order is
fixed when it is read, and the next one starts while its answer is awaited.

| key | request | versions | listeners | |
|---:|---|---|---|---|
`)
	sorted := slices.SortedFunc(maps.Values(heads), func(a, b handled) int { return cmp.Compare(number(a.key), number(b.key)) })
	for _, h := range sorted {
		r := routes[strings.ToLower(h.name)]
		listeners := map[string]string{"onBroker": "broker", "onController": "controller", "onBoth": "both"}[r.listeners]
		overlaps := ""
		if r.overlap {
			overlaps = "overlaps"
		}
		versions := h.versions()
		if h.from == h.last {
			versions = h.from
		}
		fmt.Fprintf(&b, "| %s | [%s](#%s) | %s | %s | %s |\n", h.key, h.name, strings.ToLower(h.name), versions, listeners, overlaps)
	}
	for _, h := range sorted {
		fmt.Fprintf(&b, "\n## %s\n\nKey %s%s\n", h.name, h.key, ruleless(strings.TrimPrefix(h.head, h.name+" (key "+h.key+")")))
		for part := range strings.SplitSeq(h.rest, "\n") {
			for _, name := range []string{"Behaviour: ", "Version notes: ", "Differs from Apache: "} {
				if strings.HasPrefix(part, name) {
					fmt.Fprintf(&b, "\n**%s:** ", strings.TrimSuffix(name, ": "))
					part = strings.TrimPrefix(part, name)
				}
			}
			fmt.Fprintf(&b, "%s\n", ruleless(part))
		}
	}
	return b.Bytes()
}

func ruleless(line string) string { return ruleIDs.ReplaceAllString(line, "") }

func number(s string) int {
	n, _ := strconv.Atoi(s) // of digits alone
	return n
}
