// Package pageviews makes web access logs out of a seed, and reads them: the input of the demo, of the client tests and
// of the benchmarks.
//
// The lines are in the combined format that Apache httpd and nginx write:
//
//	198.18.3.77 - - [01/Jan/2026:00:00:01 +0000] "GET /docs/quickstart HTTP/1.1" 200 18211 "https://example.org/" "Mozilla/5.0 …"
//
// Visitors come and go, follow links (so the referrer is the page before), prefer few pages over many (Zipf), and sleep
// at night. A path has neither a blank nor a query, so that awk '{n[$7]++}' counts the views of each page.
package pageviews

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// Epoch is the time of the first line; a million lines cover about a day.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Generate writes so many lines to w. The same seed and number make the same bytes on every platform, and a longer log
// begins with the shorter one of its seed.
func Generate(w io.Writer, seed uint64, lines int) error {
	out := bufio.NewWriterSize(w, 256<<10)
	g := newGenerator(seed)
	var line []byte
	for range lines {
		line = g.appendLine(line[:0])
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("write access log: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write access log: %w", err)
	}
	return nil
}

// visitorsMax is how many visitors are on the site at a time.
const visitorsMax = 2048

// visitor is one person or robot on the site.
type visitor struct {
	host  string
	agent string
	// from is the referrer of the next view: where the visitor came from, then the page before.
	from string
	// seen holds the latest pages, which a browser has in its cache.
	seen [4]int32
	left int // views until the visitor leaves
}

type generator struct {
	rand     *rand.Rand
	site     *site
	visitors []visitor
	now      time.Duration // since Epoch
	second   int64         // the second that stamp shows
	stamp    []byte
}

func newGenerator(seed uint64) *generator {
	g := &generator{
		rand:     rand.New(rand.NewPCG(seed, 0x7061676576696577)),
		site:     newSite(),
		visitors: make([]visitor, visitorsMax),
		second:   -1,
	}
	for i := range g.visitors {
		g.arrive(&g.visitors[i])
	}
	return g
}

// arrive replaces v by a visitor who has just come.
func (g *generator) arrive(v *visitor) {
	a := &agents[pick(g.rand, agentWeights)]
	v.agent = a.name
	v.left = 1 + int(g.rand.Uint32N(uint32(a.views)))
	v.from = referrers[pick(g.rand, referrerWeights)]
	if a.robot {
		v.from = "-"
	}
	v.seen = [4]int32{-1, -1, -1, -1}
	v.host = g.host()
}

// host draws an address from the ranges that are set aside for benchmarks (RFC 2544) and documentation (RFC 3849).
func (g *generator) host() string {
	n := g.rand.Uint32()
	if n%5 == 0 {
		return "2001:db8:" + strconv.FormatUint(uint64(n>>16), 16) + "::" + strconv.FormatUint(uint64(n>>4&0xfff|1), 16)
	}
	b := append(make([]byte, 0, 16), "198."...)
	b = append(strconv.AppendUint(b, uint64(18+n>>31), 10), '.')
	b = append(strconv.AppendUint(b, uint64(n>>16&0xff), 10), '.')
	return string(strconv.AppendUint(b, uint64(n>>8&0xff), 10))
}

func (g *generator) appendLine(b []byte) []byte {
	g.pass()
	v := &g.visitors[g.rand.Uint32N(visitorsMax)]
	if v.left == 0 {
		g.arrive(v)
	}
	v.left--
	at := g.site.draw(g.rand)
	p := &g.site.pages[at]
	cached := false
	for _, s := range v.seen {
		cached = cached || s == int32(at)
	}
	copy(v.seen[1:], v.seen[:3])
	v.seen[0] = int32(at)
	status, size := p.answer(g.rand, cached)

	b = append(append(b, v.host...), " - - ["...)
	b = append(append(b, g.stamp...), `] "`...)
	b = append(append(append(b, p.method...), ' '), p.path...)
	b = append(append(b, ` HTTP/1.1" `...), status...)
	b = append(b, ' ')
	if size == 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, int64(size), 10)
	}
	b = append(append(b, ` "`...), v.from...)
	b = append(append(append(b, `" "`...), v.agent...), '"', '\n')
	if v.from != "-" {
		v.from = p.url
	}
	return b
}

// load is how busy each hour of the day is, in hundredths of the mean.
var load = [24]uint64{55, 42, 34, 30, 30, 36, 52, 78, 104, 126, 138, 142, 138, 140, 142, 138, 132, 128, 130, 138, 142, 130, 104, 76}

// gapMean is the mean time between two lines.
const gapMean = 86 * time.Millisecond

// pass lets time pass until the next request.
func (g *generator) pass() {
	hour := g.now / time.Hour % 24
	g.now += time.Duration(g.rand.Uint64N(2*uint64(gapMean)) * 100 / load[hour])
	if s := int64(g.now / time.Second); s != g.second {
		g.second = s
		g.stamp = Epoch.Add(g.now).AppendFormat(g.stamp[:0], stampFormat)
	}
}

// stampFormat is the time as the combined format has it.
const stampFormat = "02/Jan/2006:15:04:05 -0700"

// pick draws an index with the given cumulative weights; the last one is the sum of all.
func pick(r *rand.Rand, cumulative []uint32) int {
	n := r.Uint32N(cumulative[len(cumulative)-1])
	for i, c := range cumulative {
		if n < c {
			return i
		}
	}
	return len(cumulative) - 1
}
