package traps

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// answerTimeout bounds the wait for one response. It is far more than any test asks the broker to wait.
const answerTimeout = 20 * time.Second

// client is one TCP connection to the broker, on which requests may be pipelined.
type client struct {
	net.Conn
	t           testing.TB
	format      *kmsg.RequestFormatter
	correlation int32
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, answerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	return &client{Conn: c, t: t, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("traps"))}
}

// shared dials the broker that the tests of this package share.
func shared(t testing.TB) *client {
	t.Helper()
	return dial(t, subject.Address(t))
}

// send sends req in version v and returns the correlation id that its response must bear.
func (c *client) send(v int16, req kmsg.Request) int32 {
	c.t.Helper()
	req.SetVersion(v)
	c.correlation++
	c.write(c.format.AppendRequest(nil, req, c.correlation))
	return c.correlation
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads one response without its size.
func (c *client) frame() []byte {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		c.t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		c.t.Fatalf("half a response: %v", err)
	}
	return body
}

// receive reads the next response, which must be that to req with this correlation id.
func (c *client) receive(id int32, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	body := c.frame()
	if len(body) < 4 || int32(binary.BigEndian.Uint32(body)) != id {
		c.t.Fatalf("the next response is not that to %s, correlation id %d: %x", kmsg.NameForKey(req.Key()), id, body[:min(len(body), 16)])
	}
	body = body[4:]
	resp := req.ResponseKind()
	if resp.IsFlexible() && resp.Key() != kmsg.ApiVersions.Int16() { // whose header never has tags
		if len(body) == 0 || body[0] != 0 {
			c.t.Fatalf("the header of the response to %s has tags: %x", kmsg.NameForKey(req.Key()), body[:min(len(body), 16)])
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("the response to %s version %d does not decode: %v; %x", kmsg.NameForKey(req.Key()), req.GetVersion(), err, body)
	}
	return resp
}

// ask sends req in version v and returns its response, an R.
func ask[R kmsg.Response](c *client, v int16, req kmsg.Request) R {
	c.t.Helper()
	resp, ok := c.receive(c.send(v, req), req).(R)
	if !ok {
		c.t.Fatalf("%T is not the response to %s", resp, kmsg.NameForKey(req.Key()))
	}
	return resp
}

// hangsUp fails the test unless the broker closes the connection without another byte.
func (c *client) hangsUp(after string) {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		c.t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the connection is still open after %s", after)
	}
	if n > 0 {
		c.t.Errorf("%d bytes came after %s, and none should", n, after)
	}
}

// within tries until ok, or fails the test after a while with what try last said.
func within(t testing.TB, limit time.Duration, try func() (problem string)) {
	t.Helper()
	begun := time.Now()
	for {
		problem := try()
		if problem == "" {
			return
		}
		if time.Since(begun) > limit {
			t.Fatalf("after %v: %s", limit, problem)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// topicOf asks for the metadata of one topic.
func topicOf(c *client, name string) kmsg.MetadataResponseTopic {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	resp := ask[*kmsg.MetadataResponse](c, 12, req)
	if len(resp.Topics) != 1 {
		c.t.Fatalf("one topic asked for, %d answered", len(resp.Topics))
	}
	return resp.Topics[0]
}

// epochOf is the leader epoch of the topic's partition 0, as Metadata tells it.
func epochOf(c *client, topic string) int32 {
	c.t.Helper()
	t := topicOf(c, topic)
	if t.ErrorCode != 0 || len(t.Partitions) == 0 {
		c.t.Fatalf("Metadata of %s: error %d, %d partitions", topic, t.ErrorCode, len(t.Partitions))
	}
	return t.Partitions[0].LeaderEpoch
}

// fresh is a name for a topic that nobody else has.
func fresh(t testing.TB) string {
	return t.Name() + "-" + time.Now().Format("150405.000000000")
}

// equal fails the test unless got is what was wanted.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
