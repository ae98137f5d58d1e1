package partition

import (
	"fmt"
	"time"
)

// Level is how near a volume is to being full, and what is done about it.
type Level int32

// The levels. Each includes what the ones before it do.
const (
	Ample     Level = iota
	Scarce          // said in the log, on /healthz and in the metrics; retention runs early
	Throttled       // responses to producers tell them to wait, the longer the less is left
	Refusing        // clients' records are refused; reads, deletions and metadata go on with what is kept back
)

// Space is a measure of the volume of a log directory.
type Space struct {
	Total, Free int64 // bytes
	Reserve     int64 // bytes that records of clients do not get
	Level       Level
	Delay       time.Duration // for which a producer is to wait
}

const (
	reserveMin, reserveMax = 16 << 20, 512 << 20
	scarceMax              = 10 << 30
	delayMax               = time.Second
)

// ReserveOf is what is kept back of a volume where nobody has said how much: a hundredth, within bounds that hold for a disk
// of 10 TB as for a file system of some megabytes. Metadata, offsets, transaction markers, checkpoints and the indexes of the
// segments that are open live on it, and what is written between two measures.
func ReserveOf(total int64) int64 {
	return min(min(max(total/100, reserveMin), reserveMax), total/8)
}

// next is the space after another measure. A level is entered below its bound and left a quarter above it, so that it does not
// flutter where retention and producers are in balance.
func (s Space) next(total, free, reserve int64) Space {
	bounds := [...]int64{Scarce: max(4*reserve, min(total/10, scarceMax)), Throttled: 2 * reserve, Refusing: reserve}
	n := Space{Total: total, Free: free, Reserve: reserve}
	for level := Refusing; level > Ample; level-- {
		bound := bounds[level]
		if s.Level >= level {
			bound += bound / 4
		}
		if free < bound {
			n.Level = level
			break
		}
	}
	if n.Level >= Throttled {
		gone := min(max(2*reserve-free, 0), reserve)
		n.Delay = time.Duration(float64(delayMax) * float64(gone) / float64(reserve))
	}
	return n
}

// Measured takes a measure of the directory's volume, and returns the measure before and this one. It is called from one goroutine.
func (d *Directory) Measured(total, free, reserve int64) (before, now Space) {
	if last := d.space.Load(); last != nil {
		before = *last
	}
	now = before.next(total, free, reserve)
	d.written.Store(0)
	d.space.Store(&now)
	return before, now
}

// Space is what was measured last, less what was written since: a small volume can fill between two measures. Before the first one
// all is ample.
func (d *Directory) Space() Space {
	s := d.space.Load()
	if s == nil {
		return Space{Total: -1, Free: -1}
	}
	if n := d.written.Load(); n > 0 {
		return s.next(s.Total, s.Free-n, s.Reserve)
	}
	return *s
}

// Full is what a client is told whose records the directory has no room for.
func (d *Directory) Full() string {
	s := d.Space()
	return fmt.Sprintf("log directory %s has no room for records: %d bytes of %d are free and %d are kept back; "+
		"delete topics or records, shorten retention, or enlarge the volume, and it goes on by itself", d.Path, max(s.Free, 0), s.Total, s.Reserve)
}
