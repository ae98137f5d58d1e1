// Package hostile does to the broker what nobody should: it must shed the client that does it, in bounded memory, while
// another client works as if nothing happened.
package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// target is the broker under attack.
type target struct {
	address string
	broker  *subject.Broker // nil when it is given from outside
}

func attack(t *testing.T) *target {
	t.Helper()
	if a := subject.Foreign(); a != "" {
		return &target{address: a}
	}
	b := subject.Start(t, t.TempDir())
	return &target{address: b.Address, broker: b}
}

func (x *target) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", x.address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// healthy fails the test unless a good client can create a topic, write and read within some seconds.
func (x *target) healthy(t *testing.T) {
	t.Helper()
	begun := time.Now()
	topic := subject.Topic(t, x.address, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(x.address), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("well")}).FirstErr(); err != nil {
		t.Fatalf("a good client cannot write: %v", err)
	}
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
		t.Fatalf("a good client read %d records: %v", fetches.NumRecords(), err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("a good client needed %v for one record", took)
	}
}

// bounded fails the test when the broker has had more memory than that.
func (x *target) bounded(t *testing.T, mib int64) {
	t.Helper()
	if x.broker == nil {
		return
	}
	if _, highest, err := x.broker.RSS(); err != nil {
		t.Logf("memory not checked: %v", err)
	} else if highest > mib<<20 {
		t.Errorf("the broker has had %d MiB of memory, more than %d", highest>>20, mib)
	} else {
		t.Logf("the broker has had %d MiB of memory", highest>>20)
	}
}

// closes fails the test unless the broker closes the connection soon.
func closes(t *testing.T, c net.Conn, why string) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open after %s", why)
	}
}

// send writes what the broker may refuse to read.
func send(c net.Conn, b []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write(b) // the broker may have closed already, which is its right
}

// frame puts the length before a request.
func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// header is a request header of version 1, without a client id.
func header(key, version int16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, 7)
	return append(b, 0xff, 0xff)
}

func TestSlowWriter(t *testing.T) {
	x := attack(t)
	request := kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.ApiVersionsRequest{}, 1)
	var conns []net.Conn
	for range 50 {
		conns = append(conns, x.dial(t))
	}
	for i := range request { // one byte at a time, on all
		for _, c := range conns {
			send(c, request[i:i+1])
		}
		if i == len(request)/2 {
			x.healthy(t)
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Slow is not wrong: each gets its answer.
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var length [4]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			t.Fatalf("a slow writer got no answer: %v", err)
		}
	}
	x.bounded(t, 150)
}

func TestHugeLength(t *testing.T) {
	x := attack(t)
	for _, length := range []uint32{1<<31 - 1, 1 << 31, 1<<32 - 1, 200 << 20} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			c := x.dial(t)
			send(c, binary.BigEndian.AppendUint32(nil, length))
			send(c, make([]byte, 1000))
			closes(t, c, "a frame of an absurd length")
		})
	}
	x.healthy(t)
	x.bounded(t, 150)
}

// TestHalfAFrame announces frames that are allowed and sends a part: memory must follow what came, not what was said.
func TestHalfAFrame(t *testing.T) {
	x := attack(t)
	for range 100 {
		c := x.dial(t)
		send(c, binary.BigEndian.AppendUint32(nil, 90<<20))
		send(c, append(header(0, 9), make([]byte, 20_000)...))
	}
	x.healthy(t)
	x.bounded(t, 200)
	for range 100 {
		c := x.dial(t)
		send(c, binary.BigEndian.AppendUint32(nil, 5000))
		send(c, make([]byte, 2500))
		_ = c.Close() // in the middle
	}
	x.healthy(t)
}

// TestFalseCounts sends small frames whose arrays claim to be enormous.
func TestFalseCounts(t *testing.T) {
	x := attack(t)
	huge := []byte{0x7f, 0xff, 0xff, 0xff}
	compact := binary.AppendUvarint([]byte{0}, 1<<31-1) // the header's tags, then a count
	for _, r := range []struct {
		name string
		body []byte
	}{
		{"Metadata v1", append(header(3, 1), huge...)},
		{"Metadata v12", append(header(3, 12), compact...)},
		{"CreateTopics v5", append(header(19, 5), compact...)},
		{"ListOffsets v1", append(append(header(2, 1), 0xff, 0xff, 0xff, 0xff), huge...)},
		{"Fetch v4", append(append(header(1, 4), make([]byte, 17)...), huge...)},
		{"Produce v3", append(append(header(0, 3), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9), huge...)},
		{"DescribeConfigs v4", append(header(32, 4), compact...)},
		{"no body", header(19, 5)[:6]},
	} {
		t.Run(r.name, func(t *testing.T) {
			c := x.dial(t)
			send(c, frame(r.body))
			closes(t, c, "a count that its frame cannot hold")
		})
	}
	x.healthy(t)
	x.bounded(t, 150)
}

func TestGarbageAfterApiVersions(t *testing.T) {
	x := attack(t)
	random := rand.New(rand.NewPCG(3, 5))
	for i := range 50 {
		c := x.dial(t)
		send(c, kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.ApiVersionsRequest{}, 1))
		var length [4]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(length[:]))); err != nil {
			t.Fatal(err)
		}
		garbage := make([]byte, 16+random.IntN(4000))
		for j := range garbage {
			garbage[j] = byte(random.Uint32())
		}
		if i%2 == 0 { // a good length, and then nonsense
			garbage = frame(garbage)
		} else { // a length that cannot be
			garbage[0] |= 0x40
		}
		send(c, garbage)
		closes(t, c, "garbage")
	}
	x.healthy(t)
	x.bounded(t, 150)
}

// TestUnreadAnswers asks for much and reads nothing.
func TestUnreadAnswers(t *testing.T) {
	x := attack(t)
	for range 20 {
		c := x.dial(t)
		f := kmsg.NewRequestFormatter()
		var requests []byte
		for id := range int32(2000) {
			requests = f.AppendRequest(requests, &kmsg.ApiVersionsRequest{Version: 0}, id)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(requests) // the broker stops reading at some point, as it should
	}
	x.healthy(t)
	x.bounded(t, 200)
}

func TestTenThousandConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens ten thousand connections")
	}
	n := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Logf("the limit of open files stays: %v", err)
	}
	if room := int(min(limit.Max, 1<<30)) - 500; n > room {
		t.Logf("only %d files may be open here, so fewer connections", limit.Max)
		n = room
	}
	x := attack(t)
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	request := kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.ApiVersionsRequest{}, 1)
	for len(conns) < n {
		c, err := net.DialTimeout("tcp", x.address, 10*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, c)
		if len(conns)%2 == 0 { // half of them say something and wait
			send(c, request)
		}
	}
	x.healthy(t)
	x.bounded(t, 450)
	for _, c := range conns {
		_ = c.Close()
	}
	x.healthy(t)
}
