// Package metric counts and times what happens, and writes it in the text format of Prometheus.
//
// Values are kept where they arise, as plain atomics, and read at scrape: nothing is registered, so a partition costs
// no series until somebody asks.
package metric

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets that are at most an eighth of their value wide, from 1 µs to more than four
// hours; what is longer counts as that. Its zero value is ready, and it may be used concurrently.
type Histogram struct {
	count   atomic.Int64
	sum     atomic.Int64               // nanoseconds
	buckets [bucketCount]atomic.Uint64 // 32 bits would be full after half a day of a busy broker
}

const (
	subBits     = 3 // buckets a power of two: 8
	bucketCount = 32 << subBits
)

// bucketOf maps microseconds to a bucket: values below 8 exactly, then 8 buckets for each power of two.
func bucketOf(us uint64) int {
	if us < 1<<subBits {
		return int(us)
	}
	exp := bits.Len64(us) - 1 - subBits
	return min((exp+1)<<subBits|int(us>>exp)&(1<<subBits-1), bucketCount-1)
}

// upper is the largest number of microseconds that falls into bucket i.
func upper(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	exp := i>>subBits - 1
	return (uint64(1<<subBits|i&(1<<subBits-1))+1)<<exp - 1
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.count.Add(1)
	h.sum.Add(int64(d))
	h.buckets[bucketOf(uint64((d+time.Microsecond-1)/time.Microsecond))].Add(1) // rounded up: Quantile is not exceeded
}

// Count is the number of durations observed; Sum is their total.
func (h *Histogram) Count() int64 { return h.count.Load() }

// Sum is the total of the durations observed.
func (h *Histogram) Sum() time.Duration { return time.Duration(h.sum.Load()) }

// Quantile returns a duration that at least the part q (0 to 1) of those observed did not exceed, or 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration { return h.quantile(q, 0) }

// quantile is Quantile where zeros more durations were 0 and are not counted in h.
func (h *Histogram) quantile(q float64, zeros uint64) time.Duration {
	total := zeros
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	want, seen := uint64(math.Ceil(q*float64(total))), zeros
	if zeros > 0 && want <= zeros {
		return 0
	}
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen > 0 && seen >= want {
			return time.Duration(upper(i)) * time.Microsecond
		}
	}
	return 0
}

// Writer writes metrics in the text format of Prometheus. Metrics of one name are to be written one after another.
type Writer struct {
	w    io.Writer
	last string
	text []byte // of the line
	err  error
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Err is the first error of the underlying writer.
func (w *Writer) Err() error { return w.err }

// Counter writes a number that only rises. labels are pairs of name and value.
func (w *Writer) Counter(name, help string, value int64, labels ...string) {
	w.line(name, "counter", help, name, strconv.FormatInt(value, 10), labels)
}

// Gauge writes a number that goes up and down.
func (w *Writer) Gauge(name, help string, value float64, labels ...string) {
	w.line(name, "gauge", help, name, strconv.FormatFloat(value, 'g', -1, 64), labels)
}

// Seconds writes a time that only rises, in seconds.
func (w *Writer) Seconds(name, help string, value time.Duration, labels ...string) {
	w.line(name, "counter", help, name, strconv.FormatFloat(value.Seconds(), 'g', -1, 64), labels)
}

// Summary writes the quantiles, the count and the sum of h, in milliseconds as Kafka's dashboards expect.
func (w *Writer) Summary(name, help string, h *Histogram, labels ...string) {
	w.SummaryAmong(name, help, h, h.Count(), labels...)
}

// SummaryAmong is Summary of count durations, of which h has those that were not 0: what is rare is not observed where it does not
// happen.
func (w *Writer) SummaryAmong(name, help string, h *Histogram, count int64, labels ...string) {
	zeros := uint64(max(count-h.Count(), 0))
	for _, q := range [...]float64{0.5, 0.95, 0.99, 0.999} {
		v := strconv.FormatFloat(float64(h.quantile(q, zeros))/float64(time.Millisecond), 'g', -1, 64)
		w.line(name, "summary", help, name, v, append(labels[:len(labels):len(labels)], "quantile", strconv.FormatFloat(q, 'g', -1, 64)))
	}
	w.line(name, "summary", help, name+"_sum", strconv.FormatFloat(float64(h.Sum())/float64(time.Millisecond), 'g', -1, 64), labels)
	w.line(name, "summary", help, name+"_count", strconv.FormatInt(max(count, h.Count()), 10), labels)
}

func (w *Writer) line(family, kind, help, name, value string, labels []string) {
	if w.err != nil {
		return
	}
	if family != w.last {
		w.last = family
		if _, w.err = fmt.Fprintf(w.w, "# HELP %s %s\n# TYPE %s %s\n", family, helpEscaper.Replace(help), family, kind); w.err != nil {
			return
		}
	}
	b := append(w.text[:0], name...)
	for i := 0; i+1 < len(labels); i += 2 {
		b = append(b, "{,"[min(i, 1)])
		b = append(b, labels[i]...)
		b = append(b, `="`...)
		b = append(b, labelEscaper.Replace(labels[i+1])...)
		b = append(b, '"')
	}
	if len(labels) > 1 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	b = append(b, value...)
	w.text = append(b, '\n')
	_, w.err = w.w.Write(w.text)
}

var (
	labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	helpEscaper  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)
