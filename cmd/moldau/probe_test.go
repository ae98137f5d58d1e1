package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fakeServer listens on a port of its own and handles each connection by handle, which need not close it.
func fakeServer(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	done := make(chan struct{})
	open.Go(func() { // ends when the listener is closed
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { // ends when handle does, at the latest when the test ends
				defer conn.Close()
				stop := context.AfterFunc(t.Context(), func() { _ = conn.Close() })
				defer stop()
				handle(conn)
				<-done
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close() // nothing is written through it
		close(done)
		open.Wait()
	})
	return listener.Addr().String()
}

// saying is a server that reads some bytes of a request and answers with text.
func saying(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 8)) // whatever comes is answered
		_, _ = io.WriteString(conn, text)         // the client may be gone
		_ = conn.(*net.TCPConn).CloseWrite()
	}
}

// kafka is a server that answers ApiVersions with the given keys.
func kafka(keys ...kmsg.Key) func(net.Conn) {
	return func(conn net.Conn) {
		header := make([]byte, 12)
		if _, err := io.ReadFull(conn, header); err != nil {
			return
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		for _, key := range keys {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey = key.Int16()
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
		body := resp.AppendTo(append([]byte(nil), header[8:12]...))
		_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)) // the client may be gone
	}
}

// tlsServer is an HTTPS server that does not log what it thinks of its clients.
func tlsServer(t *testing.T) *httptest.Server {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestProbe(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := tlsServer(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ address, want string }{
		"a broker":           {fakeServer(t, kafka(kmsg.Produce, kmsg.Metadata)), ""},
		"a controller":       {fakeServer(t, kafka(kmsg.Fetch, kmsg.Vote)), "is a listener for controllers"},
		"HTTP":               {web.Listener.Addr().String(), "is an HTTP server"},
		"TLS":                {secure.Listener.Addr().String(), "speaks TLS"},
		"TLS alert":          {fakeServer(t, saying("\x15\x03\x03\x00\x02\x02\x46")), "speaks TLS"},
		"TLS alert, cut":     {fakeServer(t, saying("\x15\x03")), "speaks TLS"},
		"Redis":              {fakeServer(t, saying("-ERR unknown command\r\n")), "is a Redis server"},
		"SSH":                {fakeServer(t, saying("SSH-2.0-OpenSSH_9.6\r\n")), "is an SSH server"},
		"MySQL":              {fakeServer(t, saying("\x4a\x00\x00\x00\x0a8.0.36\x00")), "is a MySQL server"},
		"PostgreSQL":         {fakeServer(t, saying("E\x00\x00\x00\x1eSFATAL\x00")), "is a PostgreSQL server"},
		"something else":     {fakeServer(t, saying("hello there\n")), `it answered "hello th"`},
		"half a frame":       {fakeServer(t, saying("\x00\x00\x00\x40\r\n\r\n\x00\x00")), "cannot be read"},
		"a huge length":      {fakeServer(t, saying("\x7f\xff\xff\xff\r\n\r\n")), "is not a Kafka broker"},
		"closing":            {fakeServer(t, saying("")), "closes the connection"},
		"silent":             {fakeServer(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), "did not answer within"},
		"nobody":             {free.Addr().String(), "nothing listens at"},
		"a name that is not": {"no-such-host.invalid:9092", "does not resolve"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := 5 * time.Second
			if name == "silent" {
				patience = 100 * time.Millisecond
			}
			err := probe(context.Background(), c.address, patience)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if name == "a name that is not" && isTimeout(err) {
				t.Skip("the resolver here does not answer")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			host, _, _ := strings.Cut(c.address, ":")
			var f *failure
			if !strings.Contains(err.Error(), host) || !errors.As(err, &f) || name != "half a frame" && f.try == "" {
				t.Errorf("the error does not name the address, or has no advice: %v", err)
			}
		})
	}
}

func TestProbeTellsTLSThatClosesSilently(t *testing.T) {
	secure := tlsServer(t)
	// A TLS server that hangs up at anything but a handshake, and passes handshakes on.
	address := fakeServer(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		first, err := in.Peek(1)
		if err != nil || first[0] != 0x16 {
			_ = conn.Close() // that is the point
			return
		}
		back, err := net.Dial("tcp", secure.Listener.Addr().String())
		if err != nil {
			return
		}
		defer back.Close()
		var pump sync.WaitGroup
		pump.Go(func() { // ends with conn
			_, _ = io.Copy(back, in)
			_ = back.Close()
		})
		_, _ = io.Copy(conn, back) // ends with back
		_ = conn.Close()
		pump.Wait()
	})
	err := probe(context.Background(), address, 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "speaks TLS") {
		t.Fatalf("error %v, want one that says TLS", err)
	}
}

func TestProbeAnyTakesTheFirstThatAnswers(t *testing.T) {
	c := &cli{timeout: 5 * time.Second}
	broker, web := fakeServer(t, kafka(kmsg.Metadata)), fakeServer(t, saying("HTTP/1.1 400 Bad Request\r\n\r\n"))
	if err := c.probeAny(context.Background(), []string{web, broker}); err != nil {
		t.Errorf("one of two is a broker, but: %v", err)
	}
	err := c.probeAny(context.Background(), []string{web, web})
	if err == nil || strings.Count(err.Error(), "HTTP server") != 2 {
		t.Errorf("error %v, want what was found at each address", err)
	}
}
