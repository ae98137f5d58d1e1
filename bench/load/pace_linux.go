package load

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// sleepUntil sleeps to within some 60 µs. The runtime's own timers wake up to a millisecond late, since its poller waits
// in whole milliseconds; that would be most of the latency that is to be measured.
func sleepUntil(ctx context.Context, t time.Time) {
	for ctx.Err() == nil {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(min(left, 100*time.Millisecond)))
		_ = unix.Nanosleep(&ts, nil) // an interrupted sleep is begun again
	}
}
