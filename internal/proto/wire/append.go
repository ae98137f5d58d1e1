package wire

import (
	"encoding/binary"
	"math"

	"github.com/moldau/moldau"
)

// appender writes values to the end of buf in the form of one version.
type appender struct {
	buf      []byte
	version  int16
	flexible bool
}

func (a *appender) int16(v int16) { a.buf = binary.BigEndian.AppendUint16(a.buf, uint16(v)) }
func (a *appender) int32(v int32) { a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(v)) }
func (a *appender) int64(v int64) { a.buf = binary.BigEndian.AppendUint64(a.buf, uint64(v)) }

func (a *appender) uuid(id moldau.UUID) { a.buf = append(a.buf, id[:]...) }

func (a *appender) uvarint(v uint32) {
	for v >= 0x80 {
		a.buf = append(a.buf, byte(v)|0x80)
		v >>= 7
	}
	a.buf = append(a.buf, byte(v))
}

// count writes the count of an array or the length of bytes; -1 is null.
func (a *appender) count(n int) {
	if a.flexible {
		a.uvarint(uint32(n + 1))
		return
	}
	a.int32(int32(n))
}

// stringLen writes the length of a string; -1 is null.
func (a *appender) stringLen(n int) {
	if a.flexible {
		a.uvarint(uint32(n + 1))
		return
	}
	a.int16(int16(n))
}

// string writes s. A classic string ends after 32767 bytes, all that its length can say; only a message to a person is
// ever that long.
func (a *appender) string(s string) {
	if !a.flexible {
		s = s[:min(len(s), math.MaxInt16)]
	}
	a.stringLen(len(s))
	a.buf = append(a.buf, s...)
}

// nullableString writes null for the empty string.
func (a *appender) nullableString(s string) {
	if s == "" {
		a.stringLen(-1)
		return
	}
	a.string(s)
}

// tagCount begins the tagged fields that end a struct in a flexible version. The fields themselves follow in ascending
// order of their tags, each as tag and size and value.
func (a *appender) tagCount(n int) {
	if a.flexible {
		a.uvarint(uint32(n))
	}
}

// tag begins a tagged field of size bytes.
func (a *appender) tag(tag uint32, size int) {
	a.uvarint(tag)
	a.uvarint(uint32(size))
}

// uvarintLen is the number of bytes that uvarint writes for v.
func uvarintLen(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// compactLen is the number of bytes of a string in a flexible version.
func compactLen(s string) int { return uvarintLen(uint32(len(s)+1)) + len(s) }
