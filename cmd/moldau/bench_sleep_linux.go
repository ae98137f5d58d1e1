package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// sleepUntil returns at t. Sleeping in the runtime is too coarse to keep a schedule by: an idle process waits in epoll, which
// counts in milliseconds. The kernel's own sleep is off by some 60 µs.
func sleepUntil(t time.Time) {
	for {
		left := time.Until(t)
		if left <= 0 {
			return
		}
		if left > 100*time.Millisecond {
			time.Sleep(left - 50*time.Millisecond)
			continue
		}
		ts := unix.NsecToTimespec(int64(left))
		if err := unix.Nanosleep(&ts, nil); err != nil && !errors.Is(err, unix.EINTR) {
			time.Sleep(left)
		}
	}
}
