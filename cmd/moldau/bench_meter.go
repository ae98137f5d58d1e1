package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// meter counts what one client does. Its figures are those of the measured time; interval is for the progress line.
type meter struct {
	sync.Mutex
	records, bytes, failed int64
	latency                histogram
	lag                    histogram
	interval               struct {
		records, bytes int64
		latency        histogram
	}
	first, last time.Time // of what was counted
	err         error     // the first
}

// done counts one record of n bytes at now. latency is negative where it is not measured.
func (m *meter) done(now time.Time, n int, latency time.Duration, counted bool) {
	m.Lock()
	defer m.Unlock()
	m.interval.records++
	m.interval.bytes += int64(n)
	if latency >= 0 {
		m.interval.latency.add(latency)
	}
	if !counted {
		return
	}
	if m.records == 0 {
		m.first = now
	}
	m.last = now
	m.records++
	m.bytes += int64(n)
	if latency >= 0 {
		m.latency.add(latency)
	}
}

func (m *meter) fail(err error) {
	m.Lock()
	defer m.Unlock()
	m.failed++
	if m.err == nil {
		m.err = err
	}
}

// sum returns what all meters counted, as one.
func sum(meters []*meter) *meter {
	all := new(meter)
	for _, m := range meters {
		m.Lock()
		all.records += m.records
		all.bytes += m.bytes
		all.failed += m.failed
		all.latency.merge(&m.latency)
		all.lag.merge(&m.lag)
		if all.err == nil {
			all.err = m.err
		}
		if m.records > 0 && (all.first.IsZero() || m.first.Before(all.first)) {
			all.first = m.first
		}
		if m.last.After(all.last) {
			all.last = m.last
		}
		m.Unlock()
	}
	return all
}

func newMeters(n int) []*meter {
	meters := make([]*meter, n)
	for i := range meters {
		meters[i] = new(meter)
	}
	return meters
}

// watch shows a line each second about what the meters counted in it, until ctx is done.
func watch(ctx context.Context, p *progress, meters []*meter) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	started, shown := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			p.clear()
			return
		case now := <-tick.C:
			var records, bytes int64
			var latency histogram
			for _, m := range meters {
				m.Lock()
				records += m.interval.records
				bytes += m.interval.bytes
				latency.merge(&m.interval.latency)
				m.interval.records, m.interval.bytes, m.interval.latency = 0, 0, histogram{}
				m.Unlock()
			}
			secs := now.Sub(shown).Seconds()
			shown = now
			line := fmt.Sprintf("%3.0f s  %s records/s  %.1f MiB/s", now.Sub(started).Seconds(),
				count(int64(float64(records)/secs)), float64(bytes)/secs/(1<<20))
			if latency.total > 0 {
				l := latency.latencies()
				line += fmt.Sprintf("  p50 %s ms  p99 %s ms  max %s ms", ms(l.P50), ms(l.P99), ms(l.Max))
			}
			p.show(line)
		}
	}
}
