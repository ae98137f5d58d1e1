package wire

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"github.com/moldau/moldau"
)

// reader takes values off the front of src, which it borrows. The first value that is not there or makes no sense
// marks it as failed: why and at tell the reason and the place, and every later read returns zero. It never reads past
// end, and checks each length before it is used.
type reader struct {
	src      []byte // ends where the readable part ends
	at       int
	flexible bool // lengths are uvarints of length+1, arrays' too (KIP-482)
	why      string
}

// each yields the elements of an array that was read through before: src is their bytes, in a request of that version.
func each[T any](src []byte, key Key, version int16, read func(*reader, int16) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		r := reader{src: src, flexible: key.Flexible(version)}
		for r.left() > 0 && r.ok() && yield(read(&r, version)) {
		}
	}
}

func (r *reader) ok() bool { return r.why == "" }

func (r *reader) left() int { return len(r.src) - r.at }

// fail notes the first failure and makes the rest unreadable.
func (r *reader) fail(format string, args ...any) {
	if r.why == "" {
		r.why = fmt.Sprintf(format, args...)
		r.src = r.src[:r.at]
	}
}

// span takes n bytes, which stay those of src.
func (r *reader) span(n int) []byte {
	if n < 0 || n > r.left() {
		r.short(n)
		return nil
	}
	b := r.src[r.at : r.at+n : r.at+n]
	r.at += n
	return b
}

func (r *reader) int8() int8 {
	at := r.take(1)
	if at < 0 {
		return 0
	}
	return int8(r.src[at])
}

func (r *reader) int16() int16 {
	at := r.take(2)
	if at < 0 {
		return 0
	}
	return int16(binary.BigEndian.Uint16(r.src[at:]))
}

func (r *reader) int32() int32 {
	at := r.take(4)
	if at < 0 {
		return 0
	}
	return int32(binary.BigEndian.Uint32(r.src[at:]))
}

func (r *reader) int64() int64 {
	at := r.take(8)
	if at < 0 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(r.src[at:]))
}

// take passes over n bytes and returns where they begin, or -1 if they are not there.
func (r *reader) take(n int) int {
	at := r.at
	if len(r.src)-at < n {
		r.short(n)
		return -1
	}
	r.at = at + n
	return at
}

func (r *reader) short(n int) { r.fail("%d bytes wanted, %d left", n, r.left()) }

func (r *reader) uuid() (id moldau.UUID) {
	copy(id[:], r.span(len(id)))
	return id
}

// uvarint takes an unsigned number of seven bits a byte, least significant first. More than 32 bits are a failure;
// zeros above the number are not.
func (r *reader) uvarint() uint32 {
	if r.at < len(r.src) && r.src[r.at] < 0x80 {
		r.at++
		return uint32(r.src[r.at-1])
	}
	var x uint32
	for i := range 5 {
		if i >= r.left() {
			r.fail("a number of variable length has no end")
			return 0
		}
		c := r.src[r.at+i]
		if i == 4 && c > 0x0f {
			break
		}
		x |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.at += i + 1
			return x
		}
	}
	r.fail("a number of variable length has more than 32 bits")
	return 0
}

// count takes a length or count that is an int32, or a uvarint of one more where flexible; -1 is null.
func (r *reader) count() int {
	if !r.flexible {
		return int(r.int32())
	}
	n := r.uvarint()
	if n > math.MaxInt32 {
		r.fail("length %d is beyond 31 bits", n-1)
		return 0
	}
	return int(n) - 1
}

// stringLen takes the length of a string, which classic versions keep in 16 bits; -1 is null.
func (r *reader) stringLen() int {
	if !r.flexible {
		return int(r.int16())
	}
	return r.count()
}

// sized takes n bytes; n of -1 is null, which is nil and an error unless nullable. Of length 0 it is never nil.
func (r *reader) sized(n int, nullable bool) []byte {
	switch {
	case n == -1 && nullable, !r.ok():
		return nil
	case n == -1:
		r.fail("null is not allowed")
		return nil
	case n < 0:
		r.fail("length %d is negative", n)
		return nil
	case n > r.left():
		r.fail("length %d, %d bytes left", n, r.left())
		return nil
	}
	return r.span(n)
}

func (r *reader) string() []byte         { return r.sized(r.stringLen(), false) }
func (r *reader) nullableString() []byte { return r.sized(r.stringLen(), true) }
func (r *reader) nullableBytes() []byte  { return r.sized(r.count(), true) }

// array takes the count of an array's elements; -1 is null. Since no element is smaller than a byte, a count above the
// number of bytes left is a failure.
func (r *reader) array(nullable bool) int {
	n := r.count()
	switch {
	case n == -1 && nullable:
	case n == -1:
		r.fail("null is not allowed")
	case n < 0:
		r.fail("count %d is negative", n)
	case n > r.left():
		r.fail("count %d, %d bytes left", n, r.left())
	default:
		return n
	}
	if r.ok() {
		return -1
	}
	return 0
}

// tagCount takes the number of tagged fields that end a struct of a flexible version; a classic one has none.
func (r *reader) tagCount() uint32 {
	if !r.flexible {
		return 0
	}
	return r.uvarint()
}

// openTag takes a tagged field's tag and size and narrows the reader to its bytes until closeTag gets outer.
func (r *reader) openTag() (tag uint32, outer int) {
	tag = r.uvarint()
	size := r.uvarint()
	if int64(size) > int64(r.left()) {
		r.fail("tagged field %d of %d bytes, %d left", tag, size, r.left())
	}
	outer = len(r.src)
	if r.ok() {
		r.src = r.src[:r.at+int(size)]
	}
	return tag, outer
}

// closeTag widens the reader again. Of a field that was known every byte must have been taken; of another all are
// skipped (W-3).
func (r *reader) closeTag(outer int, known bool) {
	if known && r.left() > 0 {
		r.fail("tagged field has %d bytes too many", r.left())
	}
	if r.ok() {
		r.at = len(r.src)
		r.src = r.src[:outer]
	}
}

// skipTags passes over all tagged fields that end a struct.
func (r *reader) skipTags() {
	for n := r.tagCount(); n > 0 && r.ok(); n-- {
		_, outer := r.openTag()
		r.closeTag(outer, false)
	}
}
