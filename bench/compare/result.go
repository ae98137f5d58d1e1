package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/moldau/moldau/bench/subject"
)

// bar is what Moldau has to reach: its metric at most (or, for a rate, at least) factor times that of another.
type bar struct {
	workload, metric, against string
	factor                    float64
}

// atLeast says which metrics are the better the higher they are.
func (b bar) atLeast() bool { return b.metric == "rate" }

// memory stands where a workload's name would, for what holds over the whole run.
const memory = "memory"

var bars = []bar{
	{"produce", "CPU per GB", "kafka", 0.35}, {"produce", "CPU per GB", "floor", 1.5}, {"produce", "rate", "kafka", 1.5},
	{"produce-6", "CPU per GB", "kafka", 0.35}, {"produce-6", "CPU per GB", "floor", 1.5}, {"produce-6", "rate", "kafka", 1.5},
	{"produce-lz4", "CPU per GB", "kafka", 0.4}, {"produce-zstd", "CPU per GB", "kafka", 0.4},
	{"fetch", "CPU per GB", "kafka", 1.1}, {"fetch", "CPU per GB", "floor", 1.3},
	{"acks-50", "CPU per record", "kafka", 0.5},
	{"synced-50", "rate", "kafka", 10}, {"synced-50-200", "rate", "kafka", 5},
	{"e2e-1000", "p50", "kafka", 0.5}, {"e2e-1000", "p99", "kafka", 0.5},
	{"e2e-20000", "p50", "kafka", 0.5}, {"e2e-20000", "p99", "kafka", 0.5},
	{memory, "peak", "kafka", 0.25},
}

// row is one metric of one workload for all subjects.
type row struct {
	Workload string               `json:"workload"`
	Title    string               `json:"title"`
	Metric   string               `json:"metric"`
	Unit     string               `json:"unit"`
	Samples  map[string][]float64 `json:"samples"` // by subject
	Median   map[string]float64   `json:"median"`
	Bars     []verdict            `json:"bars,omitempty"`
}

// verdict is a bar and whether Moldau reaches it.
type verdict struct {
	Against string  `json:"against"`
	Ratio   float64 `json:"ratio"`
	Bar     float64 `json:"bar"`
	AtLeast bool    `json:"at_least"`
	Pass    bool    `json:"pass"`
}

// result is everything that was measured.
type result struct {
	CPUs     int      `json:"cpus"`
	Platform string   `json:"platform"`
	Heap     string   `json:"kafka_heap"`
	Reps     int      `json:"repetitions"`
	Subjects []string `json:"subjects"`
	Rows     []*row   `json:"rows"`
}

func newResult(o *options, subjects []*subject.Subject) *result {
	r := &result{CPUs: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Heap: o.heap, Reps: o.reps}
	for _, s := range subjects {
		r.Subjects = append(r.Subjects, s.Name)
	}
	return r
}

func (r *result) add(w workload, s *subject.Subject, m *measurement) {
	for _, x := range w.metrics {
		r.addSample(w.name, w.title, x.name, x.unit, s.Name, x.of(m))
	}
}

func (r *result) addMemory(s *subject.Subject) error {
	peak, err := s.MemoryPeak()
	if err == nil {
		r.addSample(memory, "resident at its highest, under all of the above", "peak", "MiB", s.Name, float64(peak)/(1<<20))
	}
	return err
}

func (r *result) addSample(workload, title, metric, unit, subject string, v float64) {
	i := slices.IndexFunc(r.Rows, func(x *row) bool { return x.Workload == workload && x.Metric == metric })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, &row{Workload: workload, Title: title, Metric: metric, Unit: unit,
			Samples: map[string][]float64{}, Median: map[string]float64{}})
	}
	x := r.Rows[i]
	x.Samples[subject] = append(x.Samples[subject], v)
	x.Median[subject] = median(x.Samples[subject])
	x.judge()
}

// judge compares the medians with the bars.
func (x *row) judge() {
	x.Bars = nil
	ours, ok := x.Median["moldau"]
	if !ok {
		return
	}
	for _, b := range bars {
		theirs, ok := x.Median[b.against]
		if b.workload != x.Workload || b.metric != x.Metric || !ok || theirs == 0 {
			continue
		}
		v := verdict{Against: b.against, Ratio: ours / theirs, Bar: b.factor, AtLeast: b.atLeast()}
		v.Pass = v.AtLeast && v.Ratio >= v.Bar || !v.AtLeast && v.Ratio <= v.Bar
		x.Bars = append(x.Bars, v)
	}
}

func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// failed reports whether a bar is missed.
func (r *result) failed() bool {
	return slices.ContainsFunc(r.Rows, func(x *row) bool {
		return slices.ContainsFunc(x.Bars, func(v verdict) bool { return !v.Pass })
	})
}

func (r *result) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints medians, what Moldau's are in proportion to the others', and the bars.
func (r *result) writeTable(out io.Writer) error {
	fmt.Fprintf(out, "%d CPUs, %s, Kafka's heap %s, medians of %d\n\n", r.CPUs, r.Platform, r.Heap, r.Reps)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "workload\tmetric\t%s\tto kafka\tto floor\tbars\n", strings.Join(r.Subjects, "\t"))
	last := ""
	for _, x := range r.Rows {
		name := x.Workload
		if name == last {
			name = ""
		}
		last = x.Workload
		fmt.Fprintf(w, "%s\t%s (%s)", name, x.Metric, x.Unit)
		for _, s := range r.Subjects {
			fmt.Fprintf(w, "\t%s", number(x.Median, s))
		}
		fmt.Fprintf(w, "\t%s\t%s\t", x.ratio("kafka"), x.ratio("floor"))
		for _, v := range x.Bars {
			word, sign := "FAIL", "≤"
			if v.Pass {
				word = "PASS"
			}
			if v.AtLeast {
				sign = "≥"
			}
			fmt.Fprintf(w, "%s %s %g %s  ", word, sign, v.Bar, v.Against)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	seen := map[string]bool{}
	for _, x := range r.Rows {
		if !seen[x.Workload] {
			seen[x.Workload] = true
			if _, err := fmt.Fprintf(out, "%-13s %s\n", x.Workload, x.Title); err != nil {
				return err
			}
		}
	}
	return nil
}

func number(of map[string]float64, subject string) string {
	v, ok := of[subject]
	switch {
	case !ok:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// ratio is Moldau's median over another's.
func (x *row) ratio(to string) string {
	ours, ok := x.Median["moldau"]
	theirs := x.Median[to]
	if !ok || theirs == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ours/theirs)
}
