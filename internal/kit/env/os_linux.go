package env

import "golang.org/x/sys/unix"

// setLock locks for the open file. A lock of the process, F_SETLK, would go when any other descriptor of the file is
// closed; the two kinds contend with each other.
const setLock = unix.F_OFD_SETLK
