package server

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
)

// sweepInterval is how often connections are looked over for idleness and stalls. One pass over all of them costs less
// than a timer for each.
const sweepInterval = time.Second

var errStalled = errors.New("the client neither sent the rest of its request nor took its response in time")

func (s *Server) sweep() {
	for env.Sleep(s.ctx, s.opt.Env.Clock, sweepInterval) == nil {
		now := s.opt.Env.Clock.Now().UnixNano()
		var idle, stalled []*conn
		s.mu.Lock()
		for c := range s.mu.conns {
			switch {
			case c.stalls(now):
				stalled = append(stalled, c)
			case s.opt.Limits.Idle > 0 && !c.inFlight() && now-c.usedAt.Load() > int64(s.opt.Limits.Idle):
				idle = append(idle, c)
			}
		}
		s.mu.Unlock()
		for _, c := range idle {
			c.hangUp(nil) // W-9: the client expects it
		}
		for _, c := range stalled {
			c.hangUp(errStalled)
		}
	}
}

// inFlight reports whether a request or a response is under way.
func (c *conn) inFlight() bool {
	return c.busy.Load() || c.waiting.Load() > 0 || c.arrival.pending() || c.taking.pending()
}

// stalls reports whether the peer has kept the connection waiting for too long.
func (c *conn) stalls(now int64) bool {
	limit := c.srv.opt.Limits.RequestArrival
	return limit > 0 && (c.arrival.over(now, limit) || c.taking.over(now, limit))
}

// patience is how long the peer may keep one direction of its connection waiting. To begin and to end it reads no clock:
// the sweep notes the time when it first sees it. The zero patience waits for nothing.
type patience struct {
	// 0: nothing is waited for; positive: when patience ends, Unix nanoseconds; negative: not seen by the sweep yet, and
	// one more than the nanoseconds that it has beyond the usual.
	until atomic.Int64
}

// begin has patience for n bytes to pass, at 1 MB/s at least beyond the usual time. Where it had begun it begins anew:
// the peer has made progress.
func (p *patience) begin(n int) { p.until.Store(-1 - int64(n)*int64(time.Microsecond)) }

func (p *patience) end() { p.until.Store(0) }

func (p *patience) pending() bool { return p.until.Load() != 0 }

func (p *patience) over(now int64, usual time.Duration) bool {
	until := p.until.Load()
	if until < 0 {
		p.until.CompareAndSwap(until, now+int64(usual)-until-1)
		return false
	}
	return until != 0 && now > until
}

// pacer spreads events to a rate a second.
type pacer struct {
	rate int
	due  time.Time
}

// next returns how long to wait before the event that happens now.
func (p *pacer) next(now time.Time) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	step := time.Second / time.Duration(p.rate)
	if p.due.Before(now.Add(-time.Second)) {
		p.due = now.Add(-time.Second) // an allowance of one second's worth
	}
	p.due = p.due.Add(step)
	return p.due.Sub(now)
}
