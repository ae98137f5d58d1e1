package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau/bench/load"
)

// TestMain makes the test's binary the command where measure has started it to read.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == consume || os.Args[1] == plain) {
		main()
	}
	os.Exit(m.Run())
}

func TestVerdicts(t *testing.T) {
	r := newResult(&options{only: "moldau,kafka", reps: 3})
	tail := func(how, subject string, p99s ...time.Duration) {
		for _, d := range p99s {
			var report load.Report
			report.Latency.Add(d)
			r.addTail(how, subject, &report)
		}
	}
	tail(alone, "moldau", 1, 20, 1) // a fluke in the middle
	tail(alone, "kafka", 2, 2, 2)
	tail("beside a reader at full speed", "moldau", 3, 3, 3)
	tail("beside a reader at full speed", "kafka", 3, 3, 3)
	tail("beside a reader at 250 MB/s", "moldau", 1, 1, 9)
	tail("beside plain reads at 250 MB/s", "moldau", 50)
	r.add(kept+"a reader at full speed", "%", "moldau", 2)
	r.add(kept+"a reader at full speed", "%", "kafka", 100)
	r.add(kept+"a reader at 250 MB/s", "%", "moldau", 6)
	r.judge()
	for metric, want := range map[string]string{
		"p99 alone":                          "",
		"p50 beside a reader at full speed":  "",
		"p99 beside a reader at full speed":  "FAIL ≤ 1.5",
		"p99 beside a reader at 250 MB/s":    "PASS ≤ 1.5",
		"p99 beside plain reads at 250 MB/s": "", // nothing that a broker could help
		kept + "a reader at full speed":      "PASS ≤ 5",
		kept + "a reader at 250 MB/s":        "FAIL ≤ 5",
	} {
		if got := r.row(metric).verdict(); got != want {
			t.Errorf("%s: verdict %q, want %q", metric, got, want)
		}
	}
	if !r.failed() {
		t.Error("a missed bar is not seen")
	}
	var table, js bytes.Buffer
	if err := r.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"(3 times alone)", "(1.5 times alone)", "FAIL ≤ 1.5", "PASS ≤ 5"} {
		if !strings.Contains(table.String(), w) {
			t.Errorf("the table lacks %q:\n%s", w, table.String())
		}
	}
	if err := r.writeJSON(&js); err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Rows) != len(r.Rows) {
		t.Errorf("%d rows come back from JSON: %v", len(back.Rows), err)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{{"--help", 0}, {"-reps 0", 2}, {"-pace 0", 2}, {"-gib 1 stray", 2}, {"-o yaml", 2}, {"stray", 1}, {"stray 0 file", 1}, {"plain fast file", 1},
		{"plain 0 /nonexistent/file", 1}, {"-only nobody", 1}, {"-only moldau -moldau /nonexistent/moldau", 1}} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(c.args), &out, &errs); code != c.code || code != 0 && errs.Len() == 0 || code == 0 && out.Len() == 0 {
			t.Errorf("%s: code %d, %q, %q", c.args, code, out.String(), errs.String())
		}
	}
}

// Plain reads are of every byte of every file, and at their rate.
func TestPlainReads(t *testing.T) {
	dir := t.TempDir()
	var names []string
	const each, files = 3<<20 + 5, 2
	for _, name := range [files]string{"a", "b"} {
		names = append(names, filepath.Join(dir, name))
		if err := os.WriteFile(names[len(names)-1], make([]byte, each), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	const rate = "62914570" // a tenth of a second for all
	if err := read(t.Context(), append([]string{plain, rate}, names...), &out); err != nil {
		t.Fatal(err)
	}
	var r reading
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Bytes != files*each || r.Seconds < 0.1 {
		t.Errorf("%d of %d bytes in %g s", r.Bytes, files*each, r.Seconds)
	}
}

// TestMoldauAlone runs the whole command, shortly.
func TestMoldauAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	dir := t.TempDir()
	needsPageCache(t, dir)
	binary := filepath.Join(dir, "moldau")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/moldau/moldau/cmd/moldau").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var progress bytes.Buffer
	o, _ := parse(strings.Fields("-only moldau -gib 0.03 -pace 100 -reps 1 -seconds 1 -warmup 1ms -moldau "+binary+" -dir "+dir), &progress, &progress)
	o.apart, o.rest = 0, 0
	r, err := measure(t.Context(), o, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, how := range []string{"a reader at full speed", "plain reads at 100 MB/s", "a reader at 100 MB/s"} {
		p99, rate := r.row("p99 beside "+how), r.row("rate of "+how)
		if p99 == nil || p99.Median[ours] <= 0 || p99.TimesAlone[ours] <= 0 || rate == nil || rate.Median[ours] <= 0 {
			t.Errorf("beside %s: %+v, %+v", how, p99, rate)
		}
	}
	if r := r.row("rate of a reader at 100 MB/s").Median[ours]; r > 101 {
		t.Errorf("a reader at 100 MB/s has %g", r)
	}
}

// needsPageCache skips the test where files of dir cannot be taken out of the page cache.
func needsPageCache(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // what is not on the disk stays
		t.Fatal(err)
	}
	if err := evict([]string{f.Name()}); err != nil {
		t.Skip(err)
	}
}

// What was read is in the page cache, and what was taken out is not.
func TestEvict(t *testing.T) {
	dir := t.TempDir()
	needsPageCache(t, dir)
	names := []string{filepath.Join(dir, "file")}
	for _, want := range []int64{0, 1 << 20} {
		if in, size, err := resident(names); err != nil || in != want || size != 1<<20 {
			t.Errorf("%d of %d bytes are in the page cache, want %d: %v", in, size, want, err)
		}
		if _, err := os.ReadFile(names[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := evict(names); err != nil {
		t.Error(err)
	}
	if in, _, err := resident(names); err != nil || in != 0 {
		t.Errorf("%d bytes stay in the page cache: %v", in, err)
	}
}
