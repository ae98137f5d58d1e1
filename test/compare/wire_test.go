package compare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answerTimeout bounds the wait for an answer that is to be noted: a broker that takes longer stays silent. Scripts ask no
// broker to wait as long. preparedTimeout bounds that for the other ones; a JVM that has just started is slow.
const (
	answerTimeout   = 5 * time.Second
	preparedTimeout = time.Minute
)

// conn is one TCP connection to a broker, for one request at a time.
type conn struct {
	net.Conn
	format      *kmsg.RequestFormatter
	correlation int32
}

func dial(address string) (*conn, error) {
	c, err := net.DialTimeout("tcp", address, preparedTimeout)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("compare"))}, nil
}

// errHungUp says that the broker closed the connection instead of an answer.
var errHungUp = errors.New("the broker closed the connection")

// send sends req in version v.
func (c *conn) send(v int16, req kmsg.Request) error {
	req.SetVersion(v)
	c.correlation++
	_, err := c.Write(c.format.AppendRequest(nil, req, c.correlation))
	return err
}

// receive reads the response to req and decodes it in version v.
func (c *conn) receive(v int16, req kmsg.Request, wait time.Duration) (kmsg.Response, error) {
	body, err := c.frame(wait)
	if err != nil {
		return nil, err
	}
	if len(body) < 4 || int32(binary.BigEndian.Uint32(body)) != c.correlation {
		return nil, fmt.Errorf("the response is not to correlation id %d: %x", c.correlation, body[:min(len(body), 16)])
	}
	body = body[4:]
	resp := req.ResponseKind()
	resp.SetVersion(v)
	if resp.IsFlexible() && resp.Key() != kmsg.ApiVersions.Int16() { // whose header never has tags
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("the response's header has tags: %x", body[:min(len(body), 16)])
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s version %d does not decode: %w; %x", kmsg.NameForKey(req.Key()), v, err, body)
	}
	return resp, nil
}

// frame reads one frame without its size.
func (c *conn) frame(wait time.Duration) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("no answer within %v: %w", wait, err)
		}
		return nil, errHungUp
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, fmt.Errorf("half a frame: %w", err)
	}
	return body, nil
}
