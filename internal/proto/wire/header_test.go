package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// W-2: for every key and version the header ends where kmsg's request formatter ends it.
func TestParseHeaderOfEveryVersion(t *testing.T) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("zähler"))
	anonymous := kmsg.NewRequestFormatter()
	eachVersion(t, func(t *testing.T, key Key, version int16) {
		request := kmsg.RequestForKey(int16(key))
		request.SetVersion(version)
		want := request.AppendTo(nil)
		h, body, err := ParseHeader(formatter.AppendRequest(nil, request, 7)[4:])
		if err != nil || h.Key != key || h.Version != version || h.CorrelationID != 7 || string(h.ClientID) != "zähler" ||
			!bytes.Equal(body, want) {
			t.Errorf("v%d: %+v, body %x instead of %x, %v", version, h, body, want, err)
		}
		h, body, err = ParseHeader(anonymous.AppendRequest(nil, request, -1)[4:])
		if err != nil || h.ClientID != nil || !bytes.Equal(body, want) {
			t.Errorf("v%d without client id: %+v, %v", version, h, err)
		}
	})
}

func TestParseHeaderSkipsTags(t *testing.T) {
	frame := []byte{0, 18, 0, 3, 0, 0, 0, 1, 0, 0, 2, 0x80, 1, 2, 'x', 'y', 5, 0, 'b'}
	h, body, err := ParseHeader(frame)
	if err != nil || string(body) != "b" || h.ClientID == nil || len(h.ClientID) != 0 {
		t.Errorf("%+v, body %q, %v", h, body, err)
	}
}

// W-30: the header of a version from the future can be read.
func TestParseHeaderOfFutureApiVersions(t *testing.T) {
	h, _, err := ParseHeader([]byte{0, 18, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0})
	if err != nil || h.Key != ApiVersions || h.Version != 32767 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestParseHeaderOfUnknownKey(t *testing.T) {
	h, _, err := ParseHeader([]byte{0, 5, 0, 1, 0, 0, 0, 9})
	if !errors.Is(err, ErrUnknownKey) || h.Key != 5 || h.Version != 1 || h.CorrelationID != 9 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestParseHeaderAllocatesNothing(t *testing.T) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("a-client"))
	frame := formatter.AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 1)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := ParseHeader(frame[4:]); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// W-2, W-30: the body begins where a client of the version expects it.
func TestAppendResponse(t *testing.T) {
	eachVersion(t, func(t *testing.T, key Key, version int16) {
		response := kmsg.ResponseForKey(int16(key))
		response.SetVersion(version)
		frame := AppendResponse([]byte("before"), response, 0x01020304)[len("before"):]
		want := []byte{1, 2, 3, 4}
		if response.IsFlexible() && key != ApiVersions {
			want = append(want, 0)
		}
		want = response.AppendTo(want)
		if int(binary.BigEndian.Uint32(frame)) != len(want) || !bytes.Equal(frame[4:], want) {
			t.Errorf("v%d: %x instead of %x", version, frame, want)
		}
	})
}
