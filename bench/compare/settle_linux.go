package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// settle waits until what was written before is on the disk, so that its writing is not measured with what comes next.
func settle() {
	unix.Sync()
	time.Sleep(200 * time.Millisecond)
}
