//go:build unix && !linux

package env

import "golang.org/x/sys/unix"

// setLock locks for the process.
const setLock = unix.F_SETLK
