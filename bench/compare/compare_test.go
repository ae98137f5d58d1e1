package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moldau/moldau/bench/subject"
)

func TestBarsName(t *testing.T) {
	for _, b := range bars {
		if b.workload == memory {
			continue
		}
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == b.workload })
		if i < 0 || !slices.ContainsFunc(workloads[i].metrics, func(m metric) bool { return m.name == b.metric }) {
			t.Errorf("no workload yields %s of %s", b.metric, b.workload)
		}
	}
}

func TestVerdicts(t *testing.T) {
	r := &result{Subjects: []string{"moldau", "kafka", "floor"}, Reps: 3}
	sample := func(metric, subject string, values ...float64) {
		for _, v := range values {
			r.addSample("produce", "title", metric, "s", subject, v)
		}
	}
	sample("CPU per GB", "moldau", 9, 1.6, 1.5) // one outlier: the median is 1.6
	sample("CPU per GB", "kafka", 5, 5, 5)
	sample("CPU per GB", "floor", 1, 1, 1)
	sample("rate", "moldau", 700)
	sample("rate", "kafka", 400)
	want := []verdict{{"kafka", 0.32, 0.35, false, true}, {"floor", 1.6, 1.5, false, false}}
	if got := r.Rows[0].Bars; !slices.Equal(got, want) {
		t.Errorf("verdicts %+v, want %+v", got, want)
	}
	if got := r.Rows[1].Bars; !slices.Equal(got, []verdict{{"kafka", 1.75, 1.5, true, true}}) {
		t.Errorf("verdicts on the rate: %+v", got)
	}
	if !r.failed() {
		t.Error("a missed bar is not seen")
	}
	var table, js bytes.Buffer
	if err := r.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"PASS ≤ 0.35 kafka", "FAIL ≤ 1.5 floor", "PASS ≥ 1.5 kafka"} {
		if !strings.Contains(table.String(), w) {
			t.Errorf("the table lacks %q:\n%s", w, table.String())
		}
	}
	if err := r.writeJSON(&js); err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Rows) != 2 {
		t.Errorf("%d rows come back from JSON: %v", len(back.Rows), err)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{{"--help", 0}, {"-reps 0", 2}, {"stray", 2}, {"-o yaml", 2}, {"-workloads nonsense", 1}, {"-only nobody", 1},
		{"-only moldau -moldau /nonexistent/moldau", 1}} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(c.args), &out, &errs); code != c.code || code != 0 && errs.Len() == 0 || code == 0 && out.Len() == 0 {
			t.Errorf("%s: code %d, %q, %q", c.args, code, out.String(), errs.String())
		}
	}
}

// TestFloorAlone runs every workload, shortly, on the floor.
func TestFloorAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("CPU times come from /proc")
	}
	var out, progress bytes.Buffer
	args := strings.Fields("-only floor -reps 1 -mib 2 -seconds 2 -warmup 10ms -o json -dir " + t.TempDir())
	if code := run(args, &out, &progress); code != 0 {
		t.Fatalf("code %d: %s", code, progress.String())
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads {
		if w.suits(&subject.Subject{Name: "floor"}) != slices.ContainsFunc(r.Rows, func(x *row) bool { return x.Workload == w.name && len(x.Samples["floor"]) == 1 }) {
			t.Errorf("%s: measured, or not, against its suit", w.name)
		}
	}
}
