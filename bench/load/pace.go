package load

import (
	"context"
	"time"
)

// pace is a clock that says when requests are due: every so often from start, whether or not one kept up.
type pace struct {
	start time.Time
	every time.Duration
	n     int64
}

// wait returns when the next request is due, and when: at once with the time that has passed already for one that is
// late. With every 0 it does not wait, and once ctx
// is done neither.
func (p *pace) wait(ctx context.Context) time.Time {
	due := p.start.Add(time.Duration(p.n) * p.every)
	p.n++
	if p.every > 0 {
		sleepUntil(ctx, due)
	}
	return due
}
