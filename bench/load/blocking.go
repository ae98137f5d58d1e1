package load

import (
	"net"
	"os"
	"time"
)

// blockingConn is a TCP connection whose reads and writes wait in the kernel.
type blockingConn struct {
	*os.File
	local, remote net.Addr
}

func (c *blockingConn) LocalAddr() net.Addr  { return c.local }
func (c *blockingConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline ends the connection where t has passed; there are no other deadlines.
func (c *blockingConn) SetDeadline(t time.Time) error {
	if t.IsZero() || time.Now().Before(t) {
		return os.ErrNoDeadline
	}
	return shutdown(c.File)
}

func (c *blockingConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *blockingConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
