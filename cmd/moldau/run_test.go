package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

// shell runs command lines with an environment of their own.
type shell struct {
	t   *testing.T
	env []string
}

func newShell(t *testing.T, env ...string) shell {
	return shell{t, append([]string{"MOLDAU_CONFIG_DIR=" + t.TempDir()}, env...)}
}

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

func (s shell) run(stdin string, args ...string) result {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(s.t.Context(), args, s.env, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// ok is run for a command line that must succeed, and returns its standard output.
func (s shell) ok(stdin string, args ...string) string {
	s.t.Helper()
	r := s.run(stdin, args...)
	if r.code != exitDone {
		s.t.Fatalf("moldau %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// deadAddress refuses connections: port 1 of the loopback has no service.
const deadAddress = "127.0.0.1:1"

func TestExitCodesAndMessages(t *testing.T) {
	s := newShell(t, "MOLDAU_BOOTSTRAP="+deadAddress)
	for _, c := range []struct {
		args string
		code int
		want string // in stdout or stderr
	}{
		{"", exitDone, "Available Commands"},
		{"--help", exitDone, "Examples:"},
		{"topic", exitDone, "Available Commands"},
		{"version", exitDone, "platform"},
		{"topc", exitUsage, "Did you mean this?"},
		{"topic lst", exitUsage, "did you mean list?"},
		{"topic frobnicate", exitUsage, `"frobnicate" is no command`},
		{"topic create", exitUsage, "something is missing: it takes NAME..."},
		{"topic list extra", exitUsage, `"extra" is too much`},
		{"topic list --nope", exitUsage, "unknown flag: --nope"},
		{"topic list -o yaml", exitUsage, "it is one of text, json"},
		{"--version", exitDone, "moldau "},
		{"help topic create", exitDone, "Create topics"},
		{"help frob", exitUsage, `"frob" is no command`},
		{"completion tcsh", exitUsage, `"tcsh" is no command`},
		{"completion bash", exitDone, "bash completion"},
		{"demo --lines 0", exitUsage, "--lines must be at least 1"},
		{"topic create t -p x", exitUsage, `"x" for "-p, --partitions" flag: it is not a number` + "\n"},
		{"topic create t -r 70000", exitUsage, "flag: it is too large or too small\n"},
		{"topic list --bootstrap-server=", exitUsage, "--bootstrap-server is empty"},
		{"topic list -b a:1,", exitUsage, "an address of a broker is empty"},
		{"consume --help", exitDone, `(default "%v\n")`},
		{"consume t --max -1", exitUsage, "--max must be at least 0"},
		{"consume t -o json -f %v", exitUsage, "exclude each other"},
		{"topic create t -c novalue", exitUsage, "not of the form key=value"},
		{"topic create a/b", exitFailed, "a character other than"},
		{"topic alter t", exitUsage, "nothing to alter"},
		{"config set topic t", exitUsage, "nothing to set"},
		{"config set nothing t a=b", exitUsage, "bears no configurations"},
		{"config describe topic", exitUsage, "the name of the topic is missing"},
		{"config docs retenton.ms", exitFailed, "moldau config docs retention.ms"},
		{"config docs retention.ms", exitDone, "604800000"},
		{"config docs", exitDone, "| `log.dirs` |"},
		{"consume t --from noon", exitUsage, "is no place"},
		{"consume t --until noon", exitUsage, "is no place"},
		{"consume t -f %q", exitUsage, "%q is no verb"},
		{"consume t -p x", exitUsage, "neither a partition nor a range"},
		{"produce t --json --key k", exitUsage, "none of the others can be"},
		{"produce t -H x", exitUsage, "not of the form name=value"},
		{"produce t -z rar", exitUsage, "it is one of none, gzip"},
		{"bench produce --clients 0", exitUsage, "--clients must be at least 1"},
		{"bench produce --duration 0", exitUsage, "give --records or --duration"},
		{"bench e2e --rate 0", exitUsage, "--rate must be more than 0"},
		{"bench e2e --size 4", exitUsage, "--size must be at least 8"},
		{"backup create", exitUsage, "it takes REPO"},
		{"backup create x --limit -1", exitUsage, "--limit must be at least 0"},
		{"backup create x", exitFailed, "nothing listens at " + deadAddress},
		{"backup restore x", exitUsage, "--to is missing"},
		{"backup restore testdata/none --to x", exitFailed, "testdata/none"},
		{"backup list testdata/none", exitFailed, "testdata/none"},
		{"backup verify .", exitFailed, "holds no backup"},
		{"import --to x", exitUsage, "it takes DIR..."},
		{"import x", exitUsage, "--to is missing"},
		{"import testdata/none --to x", exitFailed, "testdata/none is no log directory"},
		{"topic list", exitFailed, "nothing listens at " + deadAddress},
		{"produce t", exitFailed, "connection refused"},
		{"consume t", exitFailed, "moldau serve"},
		{"cluster info -b nonsense:port", exitUsage, "host:port"},
		{"cluster info --context nowhere", exitFailed, `there is no context "nowhere"`},
	} {
		r := s.run("", strings.Fields(c.args)...)
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.want) {
			t.Errorf("moldau %s: exit code %d, want %d, with %q in\n%s%s", c.args, r.code, c.code, c.want, r.stdout, r.stderr)
		}
		if c.code == exitUsage && !strings.Contains(r.stderr, "--help' for usage") {
			t.Errorf("moldau %s: no word about help in %q", c.args, r.stderr)
		}
		if c.code == exitDone && r.stderr != "" {
			t.Errorf("moldau %s: wrote %q to standard error", c.args, r.stderr)
		}
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s has no example, or no short description", cmd.CommandPath())
		}
		for _, text := range strings.Split(cmd.Example, "\n") {
			if !strings.Contains(text, "moldau ") || !strings.HasPrefix(text, "  ") {
				t.Errorf("%s: the example %q is no command line of moldau, indented by two", cmd.CommandPath(), text)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&cli{}))
}

func TestExamplesAreUnderstood(t *testing.T) {
	var visit func(root, cmd *cobra.Command)
	visit = func(root, cmd *cobra.Command) {
		for _, text := range strings.Split(cmd.Example, "\n") {
			for _, part := range strings.Split(text, "|") {
				words := strings.Fields(strings.NewReplacer("'", "", `\n`, "").Replace(strings.Split(part, " > ")[0]))
				if len(words) == 0 || words[0] != "moldau" {
					continue
				}
				named, rest, err := root.Find(words[1:])
				if err != nil || named.HasSubCommands() && len(rest) > 0 {
					t.Errorf("%s: the example %q names no command: %v", cmd.CommandPath(), part, err)
					continue
				}
				for _, word := range rest {
					name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
					if strings.HasPrefix(word, "--") && named.Flag(name) == nil {
						t.Errorf("%s: the example %q has a flag %s that there is not", cmd.CommandPath(), part, word)
					}
				}
			}
		}
		for _, sub := range cmd.Commands() {
			visit(root, sub)
		}
	}
	root := newRoot(&cli{})
	visit(root, root)
}

func TestContexts(t *testing.T) {
	s := newShell(t)
	if got := s.ok("", "context", "list", "-o", "json"); !strings.Contains(got, `"contexts": {}`) {
		t.Errorf("at first: %s", got)
	}
	s.ok("", "context", "set", "dev", "-b", "127.0.0.1:2,kafka")
	s.ok("", "context", "set", "prod", "-b", "127.0.0.1:3")
	if got, want := s.ok("", "context", "list"), "NAME  USED  BOOTSTRAP\ndev   *     127.0.0.1:2,kafka:9092\nprod        127.0.0.1:3\n"; got != want {
		t.Errorf("two contexts, the first in use:\n%s\nwant\n%s", got, want)
	}
	s.ok("", "context", "use", "prod")
	if r := s.run("", "topic", "list"); r.code != exitFailed || !strings.Contains(r.stderr, "127.0.0.1:3") {
		t.Errorf("the context in use is not used: %s", r.stderr)
	}
	if r := s.run("", "context", "use", "staging"); r.code != exitFailed || !strings.Contains(r.stderr, `no context "staging"`) {
		t.Errorf("use of an absent context: %d %s", r.code, r.stderr)
	}
	if r := s.run("", "context", "set", "x"); r.code != exitUsage {
		t.Errorf("a context without brokers: exit code %d", r.code)
	}
	s.ok("", "context", "delete", "prod")
	if got := s.ok("", "context", "list"); strings.Contains(got, "prod") || strings.Contains(got, "*") {
		t.Errorf("after the one in use was deleted: %s", got)
	}
}

func TestContextFileThatCannotBeReadIsNotTakenForAbsent(t *testing.T) {
	s := newShell(t)
	_, dir, _ := strings.Cut(s.env[0], "=")
	path := filepath.Join(dir, "contexts.json")
	if err := os.WriteFile(path, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.run("", "context", "set", "dev", "-b", "h:1"); r.code != exitFailed || !strings.Contains(r.stderr, path) {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "{broken" {
		t.Errorf("the file was changed: %q, %v", data, err)
	}
}

func TestWhichBrokersAreAsked(t *testing.T) {
	s := newShell(t)
	s.ok("", "context", "set", "used", "-b", "used:1")
	s.ok("", "context", "set", "named", "-b", "named:1")
	for _, c := range []struct {
		bootstrap []string
		context   string
		env       []string
		want      string
	}{
		{nil, "", nil, "used:1"},
		{nil, "", []string{"MOLDAU_CONTEXT=named"}, "named:1"},
		{nil, "", []string{"MOLDAU_CONTEXT=named", "MOLDAU_BOOTSTRAP=env:1, env:2"}, "env:1 env:2"},
		{nil, "named", []string{"MOLDAU_BOOTSTRAP=env:1"}, "named:1"},
		{[]string{"flag"}, "named", []string{"MOLDAU_BOOTSTRAP=env:1"}, "flag:9092"},
		{[]string{"::1", "[::2]:7"}, "", nil, ""},
		{[]string{"[::1]", "[::2]:7"}, "", nil, "[::1]:9092 [::2]:7"},
	} {
		inv := &cli{env: append(slices.Clone(s.env), c.env...), bootstrap: c.bootstrap, context: c.context}
		got, err := inv.addresses()
		if strings.Join(got, " ") != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
	none := &cli{env: newShell(t).env}
	if got, err := none.addresses(); err != nil || !slices.Equal(got, []string{defaultAddress}) {
		t.Errorf("nothing said: %v, %v, want %s", got, err, defaultAddress)
	}
}

func TestVersionAsJSON(t *testing.T) {
	var v buildVersion
	if err := json.Unmarshal([]byte(newShell(t).ok("", "version", "-o", "json")), &v); err != nil || v.Version == "" || v.Go == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestInterruptedConsumeIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	address := fakeServer(t, saying(""))
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"consume", "t", "-b", address}, newShell(t).env, nil, &stdout, &stderr); code != exitDone {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err       error
		message   string
		what, try string
	}{
		{kerr.UnknownTopicOrPartition, "", "topic orders does not exist (UNKNOWN_TOPIC_OR_PARTITION)", "see what there is: moldau topic list"},
		{kerr.InvalidTopicException, "", "orders is not a name that a topic can have (INVALID_TOPIC_EXCEPTION)", "use 1 to 249 of a-z A-Z 0-9 . _ -"},
		{kerr.InvalidTopicException, "Topic 'a_c' collides with existing topics: a.c", "orders is not a name that a topic can have: " +
			"Topic 'a_c' collides with existing topics: a.c (INVALID_TOPIC_EXCEPTION)", "choose a name that differs in more than . and _"},
		{kerr.InvalidRecord, "bad offset", "topic orders refused the record: bad offset (INVALID_RECORD)", ""},
		{kerr.InvalidRecord, "a Key is missing", "topic orders refused the record: a Key is missing (INVALID_RECORD)", keyedAdvice},
		{kerr.InvalidConfig, "Unknown topic config name: foo", "a configuration of topic orders is not valid: Unknown topic config name: foo (INVALID_CONFIG)",
			"every key with its values: moldau config docs"},
		{kerr.UnknownServerError, "it broke.", "topic orders: The server experienced an unexpected error when processing the request: it broke (UNKNOWN_SERVER_ERROR)", ""},
		{errors.New("plain"), "", "plain", ""},
	} {
		err := explain(c.err, "orders", c.message)
		var f *failure
		if errors.As(err, &f) && f.try != c.try || err.Error() != c.what || !errors.Is(err, c.err) {
			t.Errorf("%v: %q (%+v), want %q, try %q", c.err, err, f, c.what, c.try)
		}
		if again := explain(err, "other", ""); again.Error() != c.what {
			t.Errorf("explained twice: %q", again)
		}
	}
	if explain(nil, "t", "") != nil {
		t.Error("no error became one")
	}
}

func TestSentencesNameTheTopicOnce(t *testing.T) {
	for code, s := range sentences {
		if strings.Count(s.what, "%") > 1 || strings.Count(s.what, "%s") != strings.Count(s.what, "%") || kerr.TypedErrorForCode(int16(code)) == nil {
			t.Errorf("%v: %q", code, s.what)
		}
	}
}

func TestPrintErrorGivesEachItsAdvice(t *testing.T) {
	var b strings.Builder
	printError(&b, errors.Join(&failure{what: "one", try: "this"}, errors.New("two"), errors.Join(&failure{what: "three"})))
	if got, want := b.String(), "moldau: one\n  try: this\nmoldau: two\nmoldau: three\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 3 << 30: "3.0 GiB"} {
		if got := byteSize(n); got != want {
			t.Errorf("byteSize(%v) = %q, want %q", n, got, want)
		}
	}
}
