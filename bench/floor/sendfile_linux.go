package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sendFile sends n bytes of f from pos on. Its offset is explicit: io.Copy would use the file's own, which is shared.
func sendFile(c *net.TCPConn, f *os.File, pos, n int64) error {
	socket, err := c.SyscallConn()
	if err != nil {
		return err
	}
	file := int(f.Fd())
	var failed error
	err = socket.Write(func(fd uintptr) (done bool) {
		for n > 0 {
			sent, err := unix.Sendfile(int(fd), file, &pos, int(min(n, 1<<30)))
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
				continue
			case err != nil:
				failed = fmt.Errorf("sendfile: %w", err)
				return true
			case sent == 0:
				failed = io.ErrUnexpectedEOF
				return true
			}
			n -= int64(sent)
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}
