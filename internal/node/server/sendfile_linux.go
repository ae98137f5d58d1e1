package server

import (
	"errors"
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
// Errors: errors.ErrUnsupported where the file system cannot do it, and nothing was sent.
func (c *conn) sendfile(g Region) error {
	file, _ := osFile(g.File)
	source, err := file.SyscallConn()
	if err != nil {
		return err
	}
	c.taking.begin(sendfileStep)
	defer c.taking.end()
	var sent error
	err = source.Control(func(in uintptr) {
		pos, left := g.Pos, g.Len
		err := c.raw.Write(func(out uintptr) (done bool) {
			for left > 0 {
				n, err := unix.Sendfile(int(out), int(in), &pos, min(left, sendfileStep))
				switch {
				case n > 0:
					left -= n
					c.taking.begin(sendfileStep)
				case err == unix.EAGAIN:
					return false // wait until the socket takes more
				case err == unix.EINTR:
				case left == g.Len && (err == unix.EINVAL || err == unix.ENOSYS || err == unix.EOPNOTSUPP):
					sent = errors.ErrUnsupported
					return true
				case err == nil:
					sent = fmt.Errorf("%s ends before %d: %w", file.Name(), pos+int64(left), io.ErrUnexpectedEOF)
					return true
				default:
					sent = fmt.Errorf("sendfile %s at %d: %w", file.Name(), pos, err)
					return true
				}
			}
			return true
		})
		if sent == nil {
			sent = err
		}
	})
	if err != nil {
		return fmt.Errorf("sendfile %s: %w", file.Name(), err)
	}
	return sent
}

// writeMore sends bytes and tells the kernel that more of the same response follows, so that they share a packet.
func (c *conn) writeMore(b []byte) error {
	if c.raw == nil {
		return c.write(b)
	}
	c.taking.begin(len(b))
	defer c.taking.end()
	var sent error
	err := c.raw.Write(func(out uintptr) (done bool) {
		for len(b) > 0 {
			n, err := unix.SendmsgN(int(out), b, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				sent = err
				return true
			default:
				b = b[n:]
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return sent
}
