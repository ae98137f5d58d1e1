package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/moldau/moldau/bench/load"
)

// ours is the subject that bars are for.
const ours = "moldau"

// Parts of the names of metrics.
const (
	alone  = "alone"
	beside = "beside "
	kept   = "sealed segments in the page cache after "
)

// Bars: what Moldau's medians are to be at most. A reader may not make the tail's p99 more than so many times what it is alone, nor leave
// more than so many percent of the sealed segments in the page cache.
const (
	timesAloneMax = 1.5
	keptMax       = 5
)

// row is one metric of all subjects.
type row struct {
	Metric  string               `json:"metric"`
	Unit    string               `json:"unit"`
	Samples map[string][]float64 `json:"samples"` // by subject
	Median  map[string]float64   `json:"median"`
	// TimesAlone is the median in proportion to that of the tail alone.
	TimesAlone map[string]float64 `json:"times_alone,omitempty"`
	Bar        float64            `json:"bar,omitempty"`
	Pass       *bool              `json:"pass,omitempty"`
}

// result is everything that was measured.
type result struct {
	CPUs     int      `json:"cpus"`
	Platform string   `json:"platform"`
	Heap     string   `json:"kafka_heap"`
	GiB      float64  `json:"cold_gib"`
	Rate     float64  `json:"tail_records_per_second"`
	Reps     int      `json:"repetitions"`
	Subjects []string `json:"subjects"`
	Rows     []*row   `json:"rows"`
}

func newResult(o *options) *result {
	return &result{CPUs: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Heap: o.heap, GiB: o.gib, Rate: o.rate, Reps: o.reps,
		Subjects: strings.Split(o.only, ",")}
}

// addTail adds the latencies of a run of the tail.
func (r *result) addTail(how, subject string, run *load.Report) {
	r.add("p50 "+how, "ms", subject, run.Latency.Quantile(0.5).Seconds()*1e3)
	r.add("p99 "+how, "ms", subject, run.Latency.Quantile(0.99).Seconds()*1e3)
}

func (r *result) add(metric, unit, subject string, v float64) {
	x := r.row(metric)
	if x == nil {
		x = &row{Metric: metric, Unit: unit, Samples: map[string][]float64{}, Median: map[string]float64{}}
		r.Rows = append(r.Rows, x)
	}
	x.Samples[subject] = append(x.Samples[subject], v)
	x.Median[subject] = median(x.Samples[subject])
}

// row returns nil where nothing has been added.
func (r *result) row(metric string) *row {
	if i := slices.IndexFunc(r.Rows, func(x *row) bool { return x.Metric == metric }); i >= 0 {
		return r.Rows[i]
	}
	return nil
}

// judge compares the medians, with each other and with the bars, once all samples are there.
func (r *result) judge() {
	for _, x := range r.Rows {
		quantile, how, _ := strings.Cut(x.Metric, " ")
		if strings.HasPrefix(how, beside) {
			x.TimesAlone = map[string]float64{}
			for s, v := range x.Median {
				x.TimesAlone[s] = v / r.row(quantile + " " + alone).Median[s]
			}
		}
		v, measured := x.Median[ours]
		switch {
		case !measured:
		case strings.HasPrefix(x.Metric, kept):
			x.hold(v, keptMax)
		case quantile == "p99" && strings.HasPrefix(how, beside+"a reader"):
			x.hold(x.TimesAlone[ours], timesAloneMax)
		}
	}
}

func (x *row) hold(v, bar float64) {
	pass := v <= bar
	x.Bar, x.Pass = bar, &pass
}

func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// failed reports whether a bar is missed.
func (r *result) failed() bool {
	return slices.ContainsFunc(r.Rows, func(x *row) bool { return x.Pass != nil && !*x.Pass })
}

func (r *result) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints the medians and the bars.
func (r *result) writeTable(out io.Writer) error {
	fmt.Fprintf(out, "%d CPUs, %s, Kafka's heap %s; a tail of %g records a second beside readers of %g GiB; medians of %d\n\n",
		r.CPUs, r.Platform, r.Heap, r.Rate, r.GiB, r.Reps)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "metric\t%s\tbar\n", strings.Join(r.Subjects, "\t"))
	for _, x := range r.Rows {
		fmt.Fprintf(w, "%s (%s)", x.Metric, x.Unit)
		for _, s := range r.Subjects {
			fmt.Fprintf(w, "\t%s", x.cell(s))
		}
		fmt.Fprintf(w, "\t%s\n", x.verdict())
	}
	return w.Flush()
}

func (x *row) cell(subject string) string {
	text := number(x.Median, subject)
	if x.TimesAlone != nil {
		text += " (" + number(x.TimesAlone, subject) + " times alone)"
	}
	return text
}

func (x *row) verdict() string {
	switch {
	case x.Pass == nil:
		return ""
	case *x.Pass:
		return fmt.Sprintf("PASS ≤ %g", x.Bar)
	}
	return fmt.Sprintf("FAIL ≤ %g", x.Bar)
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
