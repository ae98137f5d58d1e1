package wire

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Errors of reading a request. The connection is closed on each of them; Kafka's protocol has no answer (W-4).
var (
	// ErrMalformed: the bytes are no message of this key and version.
	ErrMalformed = errors.New("malformed request")
	// ErrUnknownKey: no such request exists, so its header cannot be read to the end.
	ErrUnknownKey = errors.New("unknown request key")
	// ErrUnknownVersion: the key exists, this version of it does not.
	ErrUnknownVersion = errors.New("unknown request version")
	// ErrBudget: the message is well formed, but would take more memory than allowed.
	ErrBudget = errors.New("request needs more memory than its budget")
)

// Header is what every request begins with. CorrelationID returns to the client in the response.
type Header struct {
	Key           Key
	Version       int16
	CorrelationID int32
	// ClientID is the name that the client gives itself, or nil: a sub-slice of the frame.
	ClientID []byte
}

// ParseHeader reads the header of a request and returns the rest of the frame as body; both borrow frame. The version
// is not judged, as the header of an ApiVersions request of any version must be read to answer it (W-30).
// Errors: ErrMalformed; ErrUnknownKey, with Key, Version and CorrelationID filled in.
func ParseHeader(frame []byte) (h Header, body []byte, err error) {
	r := reader{src: frame}
	h.Key, h.Version, h.CorrelationID = Key(r.int16()), r.int16(), r.int32()
	if r.ok() && !h.Key.Known() {
		return h, nil, fmt.Errorf("%w %d, version %d", ErrUnknownKey, int16(h.Key), h.Version)
	}
	h.ClientID = r.nullableString() // 16 bits of length in every version (W-2)
	r.flexible = h.Key.Flexible(h.Version)
	r.skipTags()
	if !r.ok() {
		return h, nil, fmt.Errorf("%w: header of %d bytes, at byte %d: %s", ErrMalformed, len(frame), r.at, r.why)
	}
	return h, frame[r.at:], nil
}

// AppendResponseHeader appends the header of the response to a request of this key and version. The answer to
// ApiVersions always has the classic header, so that a client can read it before it knows anything (W-2).
func AppendResponseHeader(dst []byte, key Key, version int16, correlation int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if key.Flexible(version) && key != ApiVersions {
		dst = append(dst, 0)
	}
	return dst
}

// AppendResponse appends a whole frame with the response to a request that had this correlation id. The response has
// its version set, which for an ApiVersions request of an unknown version is 0 (W-30).
func AppendResponse(dst []byte, response kmsg.Response, correlation int32) []byte {
	at := len(dst)
	dst = BeginFrame(dst, Header{Key: Key(response.Key()), Version: response.GetVersion(), CorrelationID: correlation})
	dst = response.AppendTo(dst)
	EndFrame(dst[at:], 0)
	return dst
}
