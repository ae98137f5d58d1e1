// Package wire turns the bytes of Kafka's protocol into values and back: frames, headers, the table of keys and
// versions, checked decoding of every request, and views of Produce and Fetch that copy nothing.
//
// The structs of all other messages are franz-go's kmsg. kmsg trusts its input as a client may; Decode is the way in
// for bytes from strangers. Whatever is read here may be hostile: every length is checked before it is used, no more
// memory is taken than the caller allows, and a message that makes no sense is an error that names the field and the
// byte.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/moldau/moldau/internal/kit/must"
)

// Errors of FrameSize. Each says that the connection cannot go on (W-1).
var (
	// ErrTLS: the peer speaks TLS to a listener that does not.
	ErrTLS = errors.New("a TLS client on a listener without TLS: set security.protocol of the client to PLAINTEXT or " +
		"SASL_PLAINTEXT, or connect to an SSL listener")
	// ErrHTTP: the peer is a browser, a health check or a scraper.
	ErrHTTP = errors.New("an HTTP request on a Kafka listener: point browsers, health checks and scrapers at the HTTP " +
		"listener")
	// ErrFrameSize: the size is negative or above the limit.
	ErrFrameSize = errors.New("frame size out of bounds")
)

// FrameSize reads the four bytes in front of a frame and returns how many bytes follow, at most limit (W-1:
// socket.request.max.bytes, before authentication sasl.server.max.receive.size). A size out of bounds is looked at
// again as text, since most of those come from clients of another protocol. Errors: ErrTLS, ErrHTTP, ErrFrameSize.
func FrameSize(prefix [4]byte, limit int32) (int, error) {
	size := int32(binary.BigEndian.Uint32(prefix[:]))
	switch {
	case 0 <= size && size <= limit:
		return int(size), nil
	case (prefix[0] == 0x15 || prefix[0] == 0x16) && prefix[1] == 3:
		return 0, ErrTLS
	case size < 0:
		return 0, fmt.Errorf("%w: %d is negative, so the peer does not speak Kafka's protocol, or lost its place in it",
			ErrFrameSize, size)
	}
	switch text := string(prefix[:]); text {
	case "GET ", "POST", "HEAD", "PUT ", "DELE", "OPTI", "PATC", "CONN", "TRAC", "PRI ":
		return 0, ErrHTTP
	case "SSH-":
		return 0, fmt.Errorf("%w: the first bytes are %q, so the peer speaks SSH", ErrFrameSize, text)
	}
	return 0, fmt.Errorf("%w: %d bytes announced, %d allowed: raise socket.request.max.bytes here, or lower "+
		"max.request.size of the client", ErrFrameSize, size, limit)
}

// frameSizeLen is the number of bytes in front of a frame that hold its size.
const frameSizeLen = 4

// BeginFrame appends room for a frame's size and the header of the response to a request with h. The body follows;
// EndFrame fills in the size.
func BeginFrame(dst []byte, h Header) []byte {
	return AppendResponseHeader(append(dst, 0, 0, 0, 0), h.Key, h.Version, h.CorrelationID)
}

// EndFrame writes the size of a frame that BeginFrame began at the front of frame. omitted is the number of bytes that
// belong to it but are not in it: the file regions that will be sent at the cuts of a FetchResponse.
func EndFrame(frame []byte, omitted int) {
	size := len(frame) - frameSizeLen + omitted
	must.True(len(frame) >= frameSizeLen && omitted >= 0 && size <= math.MaxInt32,
		"a frame of %d bytes in memory and %d elsewhere", len(frame), omitted)
	binary.BigEndian.PutUint32(frame, uint32(size))
}
