package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// probeCorrelation is the correlation id of the probe's request: a server that answers with it speaks Kafka's protocol. To servers
// of text protocols (HTTP, Redis, mail) its bytes are two ends of a line, at which they answer instead of waiting for more.
const probeCorrelation = 0x0d0a0d0a

// probeAnswerMax bounds the answer that the probe reads, in bytes. Brokers answer with about 500.
const probeAnswerMax = 64 << 10

// probe finds out whether a Kafka broker answers at address, by the request with which every client begins
// (ApiVersions, version 0). The error says what was found there instead and what to try.
func probe(ctx context.Context, address string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := ask(ctx, address)
	if err == nil {
		return checkAnswer(address, answer)
	}
	if len(answer) == 0 && !isDialError(err) && speaksTLS(ctx, address, patience) {
		return tlsFound(address, err)
	}
	if len(answer) > 0 {
		return checkAnswer(address, answer)
	}
	if isTimeout(err) && !isDialError(err) {
		return &failure{
			what: fmt.Sprintf("%s accepts connections, but did not answer within %v", address, patience),
			try:  "check that this is a broker's port and not another service's; if the broker is busy, a larger --timeout",
			err:  err,
		}
	}
	if isClosed(err) {
		return &failure{
			what: fmt.Sprintf("%s closes the connection at a Kafka request: it is no Kafka broker, or demands something else first", address),
			try:  "check the port (9092 is the usual one) against the broker's listeners",
			err:  err,
		}
	}
	return explainNet(err)
}

// ask sends ApiVersions to address and returns the first bytes of the answer: a whole frame if it looks like ours,
// whatever came otherwise.
func ask(ctx context.Context, address string) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, &dialError{address: address, err: err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	const client = "moldau"
	request := binary.BigEndian.AppendUint32(nil, uint32(2+2+4+2+len(client)))
	request = binary.BigEndian.AppendUint16(request, uint16(kmsg.ApiVersions.Int16()))
	request = binary.BigEndian.AppendUint16(request, 0)
	request = binary.BigEndian.AppendUint32(request, probeCorrelation)
	request = binary.BigEndian.AppendUint16(request, uint16(len(client)))
	request = append(request, client...)
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	answer := make([]byte, 8, 512)
	n, err := io.ReadFull(conn, answer)
	if err != nil {
		return answer[:n], err
	}
	size := int(binary.BigEndian.Uint32(answer))
	if binary.BigEndian.Uint32(answer[4:]) != probeCorrelation || size < 4 || size > probeAnswerMax {
		return answer, nil
	}
	answer = append(answer, make([]byte, size-4)...)
	n, err = io.ReadFull(conn, answer[8:])
	return answer[:8+n], err
}

// checkAnswer judges the bytes that a server sent to the probe.
func checkAnswer(address string, answer []byte) error {
	if len(answer) > 8 && binary.BigEndian.Uint32(answer[4:]) == probeCorrelation {
		return checkKeys(address, answer[8:])
	}
	if len(answer) >= 2 && answer[1] == 3 && (answer[0] == 0x15 || answer[0] == 0x16) { // a TLS alert or handshake
		return tlsFound(address, nil)
	}
	for _, known := range greetings {
		if bytes.HasPrefix(answer[min(known.at, len(answer)):], []byte(known.bytes)) {
			return &failure{
				what: fmt.Sprintf("%s is %s, not a Kafka broker", address, known.server),
				try:  "name the broker's own address with --bootstrap-server host:port (9092 is the usual port)",
			}
		}
	}
	return &failure{
		what: fmt.Sprintf("%s is not a Kafka broker: it answered %q", address, answer[:min(len(answer), 32)]),
		try:  "name the broker's own address with --bootstrap-server host:port (9092 is the usual port)",
	}
}

// greetings are the first bytes by which servers of other protocols give themselves away.
var greetings = []struct {
	at     int
	bytes  string
	server string
}{
	{0, "HTTP/", "an HTTP server"},
	{0, "-ERR", "a Redis server"},
	{0, "-NOAUTH", "a Redis server"},
	{0, "SSH-", "an SSH server"},
	{0, "220", "a mail or FTP server"},
	{0, "AMQP", "an AMQP server (RabbitMQ?)"},
	{0, "INFO {", "a NATS server"},
	{0, "E\x00\x00\x00", "a PostgreSQL server"},
	{3, "\x00\x0a", "a MySQL server"},
	{0, "<", "an XML or HTML server"},
}

// checkKeys judges an ApiVersions answer: a controller's listener answers it too, but serves no data.
func checkKeys(address string, body []byte) error {
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(body); err != nil {
		return &failure{what: fmt.Sprintf("%s answers almost like a Kafka broker, but its ApiVersions cannot be read: %v", address, err), err: err}
	}
	for _, key := range resp.ApiKeys {
		if key.ApiKey == kmsg.Metadata.Int16() {
			return nil
		}
	}
	return &failure{
		what: fmt.Sprintf("%s is a listener for controllers, which clients cannot use", address),
		try:  "name a broker's listener: see listeners and controller.listener.names of its configuration",
	}
}

func tlsFound(address string, cause error) error {
	return &failure{
		what: fmt.Sprintf("%s speaks TLS, and this is a plaintext connection", address),
		try:  "name a PLAINTEXT listener of the broker with --bootstrap-server",
		err:  cause,
	}
}

// speaksTLS reports whether address answers a TLS handshake, whatever its outcome. Some servers close silently at
// plaintext instead of sending an alert.
func speaksTLS(ctx context.Context, address string, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(patience, time.Second))
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // nothing is sent: only whether it is TLS is asked
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close() // nothing was written
		return true
	}
	var alert tls.AlertError
	return errors.As(err, &alert)
}

// dialError is a connection that did not come about, with the address that was tried.
type dialError struct {
	address string
	err     error
}

func (e *dialError) Error() string { return fmt.Sprintf("connect to %s: %v", e.address, e.err) }
func (e *dialError) Unwrap() error { return e.err }

func isDialError(err error) bool {
	var d *dialError
	return errors.As(err, &d)
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// explainNet puts errors of the network into words; others come back as they are.
func explainNet(err error) error {
	var dial *dialError
	if !errors.As(err, &dial) {
		if isTimeout(err) {
			return &failure{what: "the brokers did not answer in time", try: "a larger --timeout, or look at: moldau cluster info", err: err}
		}
		return err
	}
	host, _, _ := net.SplitHostPort(dial.address)
	var dns *net.DNSError
	var opErr *net.OpError
	switch {
	case errors.As(err, &dns):
		return &failure{
			what: fmt.Sprintf("the name %s (of %s) does not resolve", host, dial.address),
			try:  "check its spelling; if the broker itself advertises this name, set advertised.listeners to one that clients can reach",
			err:  err,
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &failure{
			what: fmt.Sprintf("nothing listens at %s (connection refused)", dial.address),
			try:  "start a broker there with: moldau serve, or name another with --bootstrap-server",
			err:  err,
		}
	case isTimeout(err) || errors.As(err, &opErr) && opErr.Timeout():
		return &failure{
			what: fmt.Sprintf("%s cannot be reached: no answer to the connection attempt", dial.address),
			try:  "check host and port, and the firewalls on the way",
			err:  err,
		}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &failure{
			what: fmt.Sprintf("there is no way to %s from this machine", dial.address),
			try:  "check the address and the network",
			err:  err,
		}
	}
	return &failure{what: strings.TrimSpace(dial.Error()), try: "an address has the form host:port", err: err}
}
