package pageviews

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func generate(t testing.TB, seed uint64, lines int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Generate(&b, seed, lines); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSameSeedSameBytes(t *testing.T) {
	a := generate(t, 7, 5000)
	if !bytes.Equal(a, generate(t, 7, 5000)) {
		t.Error("the same seed made two different logs")
	}
	if !bytes.HasPrefix(a, generate(t, 7, 4000)) {
		t.Error("a longer log does not begin with the shorter one of the same seed")
	}
	if bytes.Equal(a, generate(t, 8, 5000)) {
		t.Error("two seeds made the same log")
	}
	// The bytes are part of what others compare with: a change here is a change of every recorded number.
	const want = "b31189879137a439"
	if sum := sha256.Sum256(a); hex.EncodeToString(sum[:8]) != want {
		t.Errorf("seed 7 begins another log than before: %x, want %s", sum[:8], want)
	}
}

func TestLinesAreRealistic(t *testing.T) {
	const lines = 50_000
	r := NewReader(bytes.NewReader(generate(t, 1, lines)))
	views, status, hosts := map[string]int{}, map[int]int{}, map[string]bool{}
	n, internal, last := 0, 0, time.Time{}
	for r.Next() {
		l := r.Line()
		n++
		views[l.Path]++
		status[l.Status]++
		hosts[l.Host] = true
		if strings.HasPrefix(l.Referrer, origin) {
			internal++
		}
		if l.Time.Before(last) || l.Time.Before(Epoch) {
			t.Fatalf("line %d goes back in time: %v after %v", n, l.Time, last)
		}
		last = l.Time
	}
	if err := r.Err(); err != nil || n != lines {
		t.Fatalf("read %d lines, want %d: %v", n, lines, err)
	}
	if top := views["/"]; top < lines/20 || top > lines/5 {
		t.Errorf("the front page has %d views of %d", top, lines)
	}
	if len(views) < 900 || len(hosts) < 5000 || internal < lines/4 {
		t.Errorf("%d pages, %d hosts, %d internal referrers: too few of something", len(views), len(hosts), internal)
	}
	for _, s := range []int{200, 204, 301, 304, 404, 422, 500, 503} {
		if status[s] == 0 {
			t.Errorf("no answer %d in %d lines", s, lines)
		}
	}
	if status[200] < lines/2 {
		t.Errorf("only %d of %d answers are 200", status[200], lines)
	}
}

func TestCountEqualsAwk(t *testing.T) {
	awk, err := exec.LookPath("awk")
	if err != nil {
		t.Skip("no awk on this machine")
	}
	log := generate(t, 3, 20_000)
	file := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(file, log, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(awk, `{n[$7]++} END{for (p in n) print n[p], p}`, file).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for line := range strings.Lines(string(out)) {
		count, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[path], _ = strconv.Atoi(count)
	}
	got := map[string]int{}
	r := NewReader(bytes.NewReader(log))
	for r.Next() {
		got[r.Line().Path]++
	}
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d pages counted, awk has %d", len(got), len(want))
	}
	for path, n := range want {
		if got[path] != n {
			t.Errorf("%s: counted %d, awk %d", path, got[path], n)
		}
	}
}

func TestParse(t *testing.T) {
	l, err := Parse(`2001:db8::7 - eva [10/Oct/2025:13:55:36 -0700] "GET /a/b HTTP/1.0" 304 - "-" "x "y" z"` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	want := Line{Host: "2001:db8::7", Time: l.Time, Method: "GET", Path: "/a/b", Status: 304, Referrer: "-", Agent: `x "y" z`}
	if l != want || l.Time.UTC().Format(time.DateTime) != "2025-10-10 20:55:36" {
		t.Errorf("got %+v", l)
	}
	for _, bad := range []string{"", "\n", "GET /", `h - - [x] "GET / HTTP/1.1" 200 1 "-" "a"`,
		`h - - [10/Oct/2025:13:55:36 -0700] "GET / HTTP/1.1" two 1 "-" "a"`,
		`h - - [10/Oct/2025:13:55:36 -0700] "GET / HTTP/1.1" 200 x "-" "a"`,
		`h - - [10/Oct/2025:13:55:36 -0700] "GET / HTTP/1.1" 200 1 "-"`} {
		if l, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, l)
		}
	}
	r := NewReader(strings.NewReader("nonsense\n"))
	if r.Next() || r.Err() == nil || !strings.Contains(r.Err().Error(), "line 1") {
		t.Errorf("an error without its line: %v", r.Err())
	}
}

func BenchmarkGenerate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = generate(b, 1, 100_000)
	}
}
