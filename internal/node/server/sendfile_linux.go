package server

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// sendfileStep bounds one call, so that a slow reader is seen to make progress.
const sendfileStep = 1 << 20

func (c *conn) canSendfile(g Region) bool {
	_, ok := osFile(g.File)
	return ok && c.raw != nil
}

// sendfile sends a region without moving its bytes through the process. The offset is explicit: the position that the
// file descriptor has is shared by all readers of the segment.
func (c *conn) sendfile(g Region) error {
	file, _ := osFile(g.File)
	source, err := file.SyscallConn()
	if err != nil {
		return err
	}
	pos, left := g.Pos, g.Len
	var sendErr error
	err = source.Control(func(in uintptr) {
		err := c.raw.Write(func(out uintptr) bool {
			for left > 0 {
				n, err := unix.Sendfile(int(out), int(in), &pos, min(left, sendfileStep))
				switch {
				case n > 0:
					left -= n
					if left > 0 {
						c.expect(c.srv.opt.Limits.RequestArrival)
					}
				case err == unix.EAGAIN:
					return false // wait until the socket takes more
				case err == unix.EINTR:
				case err == nil:
					sendErr = fmt.Errorf("%s ends before %d: %w", file.Name(), pos+int64(left), io.ErrUnexpectedEOF)
					return true
				default:
					sendErr = fmt.Errorf("sendfile %s at %d: %w", file.Name(), pos, err)
					return true
				}
			}
			return true
		})
		if sendErr == nil {
			sendErr = err
		}
	})
	if sendErr != nil {
		return sendErr
	}
	return err
}

// writeMore sends bytes and tells the kernel that more of the same response follows, so that they share a packet.
func (c *conn) writeMore(b []byte) error {
	if c.raw == nil {
		return c.write(b)
	}
	var sendErr error
	err := c.raw.Write(func(out uintptr) bool {
		for len(b) > 0 {
			n, err := unix.SendmsgN(int(out), b, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				sendErr = err
				return true
			default:
				b = b[n:]
			}
		}
		return true
	})
	if sendErr != nil {
		return sendErr
	}
	return err
}
