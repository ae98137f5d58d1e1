//go:build unix

package load

import (
	"os"

	"golang.org/x/sys/unix"
)

// shutdown ends both directions of a socket, so that whoever waits for it returns.
func shutdown(f *os.File) error { return unix.Shutdown(int(f.Fd()), unix.SHUT_RDWR) }
