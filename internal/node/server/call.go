package server

import (
	"time"

	"github.com/moldau/moldau/internal/proto/wire"
)

// Call is one request as its handler sees it. It is reused for the connection's next request.
type Call struct {
	Key      wire.Key
	Version  int16
	ClientID string
	Body     []byte // borrowed from Frame
	Frame    *Frame
	Arrived  time.Time
	*Peer

	conn *conn
}

// Peer is what is known of the client at the other end of a connection.
type Peer struct {
	Listener  *Listener
	Remote    string // address without port
	Principal string // "User:ANONYMOUS" on listeners without authentication (S-14)
	// Client software as ApiVersions told it (W-31); empty before.
	Software, SoftwareVersion string
}

// Waits is for a handler that has to wait for something before it returns: what the client was answered so far goes out,
// and the channel returned is closed when the connection is, so that nobody waits for a client that is gone.
func (c *Call) Waits() (closed <-chan struct{}) {
	if c.conn == nil {
		return nil
	}
	_ = c.conn.flush() // the connection ends with the next write at the latest
	return c.conn.closed
}

// softwareMax is how much of a client software's name and of its version is kept for metrics.
const softwareMax = 64

// Introduce notes which software the client says it is.
func (c *Call) Introduce(name, version string) {
	c.Peer.Software, c.Peer.SoftwareVersion = name, version
	if c.conn != nil {
		c.conn.software.Store(&[2]string{name[:min(len(name), softwareMax)], version[:min(len(version), softwareMax)]})
	}
}
