//go:build linux

package load

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// keepTime ties the calling goroutine to a thread whose sleeps end within a few microseconds; the kernel otherwise takes
// the liberty of 50 µs, which would be a good part of the latency that is to be measured. The goroutine keeps the thread.
func keepTime() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // nanoseconds; without it sleeps are less exact
}

// sleepUntil sleeps in the kernel. The runtime's own timers wake up to a millisecond late, since its poller waits in
// whole milliseconds; that would be most of the latency that is to be measured.
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
