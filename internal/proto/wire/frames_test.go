package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameLimit and requestBudget are what the corpus is read with.
const (
	frameLimit    = 100 << 20
	requestBudget = 4 << 20
)

// readFrame does with the bytes of a connection what a server does with the first frame of it.
func readFrame(conn []byte) error {
	if len(conn) < frameSizeLen {
		return io.ErrUnexpectedEOF
	}
	size, err := FrameSize([4]byte(conn), frameLimit)
	if err != nil {
		return err
	}
	if conn = conn[frameSizeLen:]; len(conn) < size {
		return io.ErrUnexpectedEOF
	}
	h, body, err := ParseHeader(conn[:size])
	if err != nil {
		return err
	}
	switch h.Key {
	case Produce:
		_, err = ParseProduce(h.Version, body)
	case Fetch:
		_, err = ParseFetch(h.Version, body)
	default:
		_, err = Decode(h.Key, h.Version, body, requestBudget)
	}
	return err
}

// framed puts the size in front of a header with key, version and client id "c", and of a body: numbers of one, two, four
// and eight bytes by their Go types, strings and byte slices as they are.
func framed(key Key, version int16, body ...any) []byte {
	parts := []any{int16(key), version, int32(7), int16(1), "c"}
	if key.Flexible(version) {
		parts = append(parts, byte(0))
	}
	return raw(append(parts, body...)...)
}

// raw is framed without a header.
func raw(parts ...any) []byte {
	frame := make([]byte, frameSizeLen)
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			frame = append(frame, p...)
		case []byte:
			frame = append(frame, p...)
		default:
			frame, _ = binary.Append(frame, binary.BigEndian, p)
		}
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-frameSizeLen))
	return frame
}

// uv is a uvarint.
func uv(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// badFrames is a corpus of frames that real and malicious clients send. Where err is nil the frame is well formed and its
// content for the handler to judge.
var badFrames = []struct {
	name  string
	bytes []byte
	err   error
}{
	// The size.
	{"nothing", nil, io.ErrUnexpectedEOF},
	{"half a size", []byte{0, 0}, io.ErrUnexpectedEOF},
	{"size 0", []byte{0, 0, 0, 0}, ErrMalformed},
	{"size -1", []byte{0xff, 0xff, 0xff, 0xff}, ErrFrameSize},
	{"size -2147483648", []byte{0x80, 0, 0, 0}, ErrFrameSize},
	{"size 2147483647", []byte{0x7f, 0xff, 0xff, 0xff}, ErrFrameSize},
	{"one byte over the limit", []byte{0x06, 0x40, 0, 1}, ErrFrameSize},
	{"the limit and silence", []byte{0x06, 0x40, 0, 0}, io.ErrUnexpectedEOF},
	{"a size and silence", []byte{0, 0, 0, 20}, io.ErrUnexpectedEOF},
	{"half a frame", framed(Metadata, 1, int32(-1))[:12], io.ErrUnexpectedEOF},

	// Other protocols.
	{"HTTP GET", []byte("GET / HTTP/1.1\r\nHost: broker:9092\r\n\r\n"), ErrHTTP},
	{"HTTP POST", []byte("POST /topics HTTP/1.1\r\n\r\n"), ErrHTTP},
	{"HTTP HEAD", []byte("HEAD / HTTP/1.0\r\n\r\n"), ErrHTTP},
	{"HTTP PUT", []byte("PUT /x HTTP/1.1\r\n\r\n"), ErrHTTP},
	{"HTTP OPTIONS", []byte("OPTIONS * HTTP/1.1\r\n\r\n"), ErrHTTP},
	{"HTTP/2 preface", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ErrHTTP},
	{"TLS 1.0 ClientHello", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, ErrTLS},
	{"TLS 1.3 ClientHello", []byte{0x16, 3, 3, 0, 0xa5, 1}, ErrTLS},
	{"TLS alert", []byte{0x15, 3, 3, 0, 2, 2, 0x28}, ErrTLS},
	{"SSH", []byte("SSH-2.0-OpenSSH_9.6\r\n"), ErrFrameSize},
	{"a text of letters", []byte("hello, broker\n"), ErrFrameSize},
	{"SASL v0 token before the handshake", raw("\x00user\x00secret"), ErrUnknownKey},

	// The header.
	{"header of one byte", raw(byte(0)), ErrMalformed},
	{"header without correlation id", raw(int16(3), int16(0)), ErrMalformed},
	{"header without client id", raw(int16(3), int16(0), int32(1)), ErrMalformed},
	{"client id longer than the frame", raw(int16(3), int16(0), int32(1), int16(500), "short"), ErrMalformed},
	{"client id of length -2", raw(int16(3), int16(0), int32(1), int16(-2), int32(0)), ErrMalformed},
	{"client id that is not UTF-8", raw(int16(3), int16(0), int32(1), int16(2), "\xff\xfe", int32(0)), nil},
	{"header v0 of a flexible request", raw(int16(3), int16(9), int32(1)), ErrMalformed},
	{"header v1 of a flexible request", raw(int16(3), int16(9), int32(1), int16(-1)), ErrMalformed},
	{"header v2 of a classic request", raw(int16(3), int16(1), int32(1), int16(-1), byte(0), int32(0)), nil},
	{"unknown key 5", raw(int16(5), int16(0), int32(1), int16(-1)), ErrUnknownKey},
	{"unknown key 1000", raw(int16(1000), int16(0), int32(1), int16(-1)), ErrUnknownKey},
	{"unknown key -1", raw(int16(-1), int16(0), int32(1), int16(-1)), ErrUnknownKey},
	{"header with 2³² tags", raw(int16(3), int16(9), int32(1), int16(-1), "\xff\xff\xff\xff\x0f"), ErrMalformed},
	{"header tag past the end", raw(int16(3), int16(9), int32(1), int16(-1), "\x01\x00\x7f"), ErrMalformed},

	// The version.
	{"Metadata one version on", framed(Metadata, 14, "\x00\x01\x01\x00"), ErrUnknownVersion},
	{"Metadata version -1", framed(Metadata, -1, int32(0)), ErrUnknownVersion},
	{"Metadata version 32767", framed(Metadata, 32767, "\x00"), ErrUnknownVersion},
	{"Produce version 2", framed(Produce, 2, int16(-1), int32(1), int32(0)), ErrUnknownVersion},
	{"Produce version 14", framed(Produce, 14, "\x00"), ErrUnknownVersion},
	{"Fetch version 3", framed(Fetch, 3, int32(-1)), ErrUnknownVersion},
	{"ApiVersions of the future", framed(ApiVersions, 99, "\x01\x01\x00"), ErrUnknownVersion}, // W-30: answered all the same

	// Numbers of variable length.
	{"compact length 2³²-1", framed(Metadata, 9, "\xff\xff\xff\xff\x0f"), ErrMalformed},
	{"compact length 2³¹", framed(Metadata, 9, "\x80\x80\x80\x80\x08"), ErrMalformed},
	{"compact length 2³¹-1", framed(Metadata, 9, "\xff\xff\xff\xff\x07"), ErrMalformed},
	{"overlong number of 5 bytes", framed(ApiVersions, 3, "\x82\x80\x80\x80\x00", "a", "\x02", "b", "\x00"), nil},
	{"number of 5 bytes and 33 bits", framed(ApiVersions, 3, "\x82\x80\x80\x80\x10", "a", "\x02", "b", "\x00"), ErrMalformed},
	{"number of 33 bits in Produce", framed(Produce, 9, "\x80\x80\x80\x80\x10", int16(1), int32(1), "\x01\x00"), ErrMalformed},
	{"overlong number of 10 bytes", framed(Metadata, 9, "\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00"), ErrMalformed},
	{"number without an end", framed(Metadata, 9, "\xff\xff"), ErrMalformed},

	// Null, negative and false counts.
	{"null client software", framed(ApiVersions, 3, "\x00\x02b\x00"), ErrMalformed},
	{"null group", framed(Heartbeat, 0, int16(-1), int32(0), int16(0)), ErrMalformed},
	{"null topic name in Metadata v9", framed(Metadata, 9, "\x02\x00\x00\x01\x00\x00\x00"), ErrMalformed},
	{"null topics in Metadata v0", framed(Metadata, 0, int32(-1)), ErrMalformed},
	{"null topics in Metadata v1", framed(Metadata, 1, int32(-1)), nil}, // all topics
	{"null topics in Produce", framed(Produce, 3, int16(-1), int16(1), int32(1), int32(-1)), ErrMalformed},
	{"null topics in Fetch", framed(Fetch, 4, int32(-1), int32(0), int32(0), int32(0), byte(0), int32(-1)), ErrMalformed},
	{"null configs in CreateTopics", framed(CreateTopics, 2, int32(1), int16(1), "t", int32(1), int16(1), int32(0), int32(-1), int32(0), byte(0)), ErrMalformed},
	{"array of -2", framed(Metadata, 1, int32(-2)), ErrMalformed},
	{"string of length -2", framed(FindCoordinator, 0, int16(-2)), ErrMalformed},
	{"bytes of length -2", framed(SaslAuthenticate, 0, int32(-2)), ErrMalformed},
	{"null SASL token", framed(SaslAuthenticate, 0, int32(-1)), ErrMalformed},
	{"SASL token of 100 MiB announced", framed(SaslAuthenticate, 0, int32(100<<20), "token"), ErrMalformed},
	{"array of one more than there are bytes", framed(Metadata, 1, int32(3), int16(0)), ErrMalformed},
	{"array of 2³¹-1", framed(Metadata, 1, int32(math.MaxInt32), int16(0)), ErrMalformed},
	{"nested arrays of 2³¹-1 each", framed(OffsetFetch, 8, uv(math.MaxInt32), "\x02g", uv(math.MaxInt32), "\x02t", uv(math.MaxInt32), int32(0)), ErrMalformed},
	{"nested arrays that share their bytes", framed(DeleteRecords, 0, int32(2), int16(1), "t", int32(2), int32(0), int64(1)), ErrMalformed},
	{"Produce partitions of 2³¹-1", framed(Produce, 3, int16(-1), int16(1), int32(1), int32(1), int16(1), "t", int32(math.MaxInt32)), ErrMalformed},
	{"Fetch partitions of 2³¹-1", framed(Fetch, 4, int32(-1), int32(0), int32(0), int32(0), byte(0), int32(1), int16(1), "t", int32(math.MaxInt32)), ErrMalformed},
	{"forgotten partitions of 2³⁰", framed(Fetch, 7, make([]byte, 29), int32(1), int16(1), "t", int32(1<<30)), ErrMalformed},
	{"negative records length", framed(Produce, 3, int16(-1), int16(1), int32(1), int32(1), int16(1), "t", int32(1), int32(0), int32(-2)), ErrMalformed},
	{"records longer than the frame", framed(Produce, 3, int16(-1), int16(1), int32(1), int32(1), int16(1), "t", int32(1), int32(0), int32(1<<20), "x"), ErrMalformed},
	{"null records", framed(Produce, 3, int16(-1), int16(1), int32(1), int32(1), int16(1), "t", int32(1), int32(0), int32(-1)), nil},

	// Tagged fields.
	{"2³² tags", framed(ListGroups, 3, "\xff\xff\xff\xff\x0f"), ErrMalformed},
	{"2³¹ tags", framed(ListGroups, 3, uv(1<<31)), ErrMalformed},
	{"2³¹ tags in Fetch", framed(Fetch, 12, make([]byte, 25), "\x01\x01\x01", uv(1<<31)), ErrMalformed},
	{"tag past the end", framed(ListGroups, 3, "\x01\x05\x7fabc"), ErrMalformed},
	{"tag of size 2³²-1", framed(ListGroups, 3, "\x01\x05\xff\xff\xff\xff\x0f"), ErrMalformed},
	{"unknown tag", framed(ListGroups, 3, "\x01\x05\x03abc"), nil}, // W-3
	{"duplicate unknown tags", framed(ListGroups, 3, "\x02\x05\x01a\x05\x01b"), nil},
	{"known tag with a byte too many", framed(Fetch, 12, make([]byte, 25), "\x01\x01\x01\x01\x00\x03\x02xy"), ErrMalformed},
	{"known tag with a byte too few", framed(Fetch, 12, make([]byte, 25), "\x01\x01\x01\x01\x00\x02\x03x"), ErrMalformed},
	{"duplicate known tags", framed(Fetch, 12, make([]byte, 25), "\x01\x01\x01\x02\x00\x02\x02x\x00\x02\x02y"), nil},
	{"200,000 unknown tags", framed(ListGroups, 3, uv(200_000), strings.Repeat("\x05\x00", 200_000)), ErrBudget},

	// Strings that no topic or group is called.
	{"topic name that is not UTF-8", framed(Metadata, 1, int32(1), int16(2), "\xc3\x28"), nil},
	{"topic name of 32767 bytes", framed(Metadata, 1, int32(1), int16(32767), strings.Repeat("t", 32767)), nil},
	{"topic name of 64 KiB", framed(Metadata, 9, "\x02", uv(65537), strings.Repeat("t", 65536), "\x00\x01\x00\x00\x00"), nil},
	{"topic name with NUL", framed(Metadata, 1, int32(1), int16(3), "a\x00b"), nil},
	{"topic called ..", framed(Metadata, 1, int32(1), int16(2), ".."), nil},

	// Much of everything.
	{"a million topics in Metadata", framed(Metadata, 1, int32(1_000_000), strings.Repeat("\x00\x01t", 1_000_000)), ErrBudget},
	{"100,000 groups in DescribeGroups", framed(DescribeGroups, 0, int32(100_000), strings.Repeat("\x00\x01g", 100_000)), nil},
	{"a million groups in DescribeGroups", framed(DescribeGroups, 0, int32(1_000_000), strings.Repeat("\x00\x01g", 1_000_000)), ErrBudget},
	{"a million partitions in OffsetFetch", framed(OffsetFetch, 1, int16(1), "g", int32(1), int16(1), "t", int32(1_000_000), make([]byte, 4_000_000)), nil},
	{"a million partitions in DeleteRecords", framed(DeleteRecords, 0, int32(1), int16(1), "t", int32(1_000_000), make([]byte, 12_000_000), int32(0)), ErrBudget},
	{"a million partitions in Fetch", framed(Fetch, 4, int32(-1), int32(0), int32(0), int32(0), byte(0), int32(1), int16(1), "t", int32(1_000_000), make([]byte, 16_000_000)), nil},
	{"forgotten topics that never end", framed(Fetch, 7, make([]byte, 29), int32(100_000), strings.Repeat("\x00\x01t\x00\x00\x00\x00", 100_000)), nil},
	{"a rest after the message", framed(Metadata, 1, int32(0), "GET / HTTP/1.1"), nil}, // W-3
	{"Envelope inside Envelope", framed(Envelope, 0, uv(14), raw(int16(58), int16(0), int32(1), "\x00")[:13], "\x00\x01\x00"), nil},
}

func TestBadFrames(t *testing.T) {
	if len(badFrames) < 60 {
		t.Errorf("a corpus of %d frames", len(badFrames))
	}
	for _, f := range badFrames {
		t.Run(f.name, func(t *testing.T) {
			if err := readFrame(f.bytes); !errors.Is(err, f.err) {
				t.Errorf("got %v, want %v", err, f.err)
			}
		})
	}
}

// The messages say what was found and what to do.
func TestFrameSizeMessages(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"\x16\x03\x01\x02", "TLS client"},
		{"GET ", "HTTP"},
		{"SSH-", "SSH"},
		{"\xff\xff\xff\xfe", "-2 is negative"},
		{"\x7f\xff\xff\xff", "2147483647 bytes announced, 1024 allowed: raise socket.request.max.bytes"},
	} {
		_, err := FrameSize([4]byte([]byte(c.prefix)), 1024)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v does not say %q", c.prefix, err, c.want)
		}
	}
	if n, err := FrameSize([4]byte{0, 0, 4, 0}, 1024); n != 1024 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestFrameOfFetchResponse(t *testing.T) {
	frame := BeginFrame(nil, Header{Key: Fetch, Version: 12, CorrelationID: 5})
	var w FetchResponse
	w.Begin(frame, 12, 0, 0, 0, 1)
	w.Topic([]byte("t"), [16]byte{}, 1)
	w.Partition(FetchResult{}, 1000)
	frame = w.End(nil)
	EndFrame(frame, w.Omitted)
	if got, want := int(binary.BigEndian.Uint32(frame)), len(frame)-4+1000; got != want {
		t.Errorf("size %d instead of %d", got, want)
	}
}

// FuzzFrame reads whole connections: nothing panics, and nothing well formed takes more than its budget.
func FuzzFrame(f *testing.F) {
	for _, b := range badFrames {
		if len(b.bytes) < 1<<12 {
			f.Add(b.bytes)
		}
	}
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("fuzz"))
	for _, key := range Keys() {
		request := kmsg.RequestForKey(int16(key))
		request.SetVersion(request.MaxVersion())
		f.Add(formatter.AppendRequest(nil, request, 1))
	}
	f.Fuzz(func(t *testing.T, conn []byte) {
		err := readFrame(conn)
		known := []error{nil, io.ErrUnexpectedEOF, ErrTLS, ErrHTTP, ErrFrameSize, ErrMalformed, ErrUnknownKey, ErrUnknownVersion, ErrBudget}
		for _, k := range known {
			if errors.Is(err, k) {
				return
			}
		}
		t.Errorf("%v is no error that a server knows", err)
	})
}

// FuzzRequest reads one body as any key and version. It compares what the parsers of this package make of it with what
// kmsg does, and what the result takes with the budget.
func FuzzRequest(f *testing.F) {
	for _, b := range badFrames {
		if len(b.bytes) < 1<<12 && b.err == nil {
			if h, body, err := ParseHeader(b.bytes[frameSizeLen:]); err == nil {
				f.Add(int16(h.Key), h.Version, body)
			}
		}
	}
	for _, version := range []int16{3, 9, 13} {
		f.Add(int16(Produce), version, produceBody(version, 2, 5))
	}
	for _, version := range []int16{4, 7, 12, 18} {
		f.Add(int16(Fetch), version, fetchBody(version, 2))
	}
	for _, key := range Keys() {
		request := kmsg.RequestForKey(int16(key))
		request.SetVersion(request.MaxVersion())
		f.Add(int16(key), request.MaxVersion(), request.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		const budget = 1 << 20
		checkDecode(t, Key(key), version, body, budget)
		if Key(key) == Produce && ProduceVersions.Contains(version) {
			checkProduce(t, version, body)
		}
		if Key(key) == Fetch && FetchVersions.Contains(version) {
			checkFetch(t, version, body)
		}
	})
}

func ExampleFrameSize() {
	_, err := FrameSize([4]byte([]byte("GET ")), 1<<20)
	fmt.Println(err)
	// Output: an HTTP request on a Kafka listener: point browsers, health checks and scrapers at the HTTP listener
}
