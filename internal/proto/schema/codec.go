package schema

import (
	"encoding/binary"

	"github.com/moldau/moldau"
)

// codec reads or writes a flexible message, so that each record lists its fields once. Writing appends to buf; reading
// consumes buf from its front and, after the first thing that does not fit, only sets failed.
type codec struct {
	buf     []byte
	version int16
	writing bool
	failed  bool
}

// take consumes the next n bytes, or nil where there are fewer.
func (c *codec) take(n int) []byte {
	if c.failed || n > len(c.buf) {
		c.failed, c.buf = true, nil
		return nil
	}
	b := c.buf[:n]
	c.buf = c.buf[n:]
	return b
}

func (c *codec) uvarint() uint64 {
	v, n := binary.Uvarint(c.buf)
	if n <= 0 || v > 1<<31-1 {
		c.failed, c.buf = true, nil
		return 0
	}
	c.buf = c.buf[n:]
	return v
}

// length carries the compact length of a string or array: n+1, and 0 for null (n = -1). size is the least an element
// takes; a length that the rest of the buffer cannot hold fails before anything is allocated for it.
func (c *codec) length(n, size int) int {
	if c.writing {
		c.buf = binary.AppendUvarint(c.buf, uint64(n+1))
		return n
	}
	n = int(c.uvarint()) - 1
	if n > 0 && n > len(c.buf)/size {
		c.failed, c.buf = true, nil
		return 0
	}
	return n
}

// required is length for what cannot be null.
func (c *codec) required(n, size int) int {
	n = c.length(n, size)
	if n < 0 {
		c.failed, n = true, 0
	}
	return n
}

func (c *codec) bool(v *bool) {
	n := int8(0)
	if *v {
		n = 1
	}
	c.int8(&n)
	*v = n != 0
}

func (c *codec) int8(v *int8) {
	if c.writing {
		c.buf = append(c.buf, byte(*v))
	} else if b := c.take(1); b != nil {
		*v = int8(b[0])
	}
}

func (c *codec) int16(v *int16) {
	u := uint16(*v)
	c.uint16(&u)
	*v = int16(u)
}

func (c *codec) uint16(v *uint16) {
	if c.writing {
		c.buf = binary.BigEndian.AppendUint16(c.buf, *v)
	} else if b := c.take(2); b != nil {
		*v = binary.BigEndian.Uint16(b)
	}
}

// int32Field carries any named 32-bit integer; a free function since methods have no type parameters.
func int32Field[T ~int32](c *codec, v *T) {
	if c.writing {
		c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(*v))
	} else if b := c.take(4); b != nil {
		*v = T(binary.BigEndian.Uint32(b))
	}
}

func int64Field[T ~int64](c *codec, v *T) {
	if c.writing {
		c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(*v))
	} else if b := c.take(8); b != nil {
		*v = T(binary.BigEndian.Uint64(b))
	}
}

func (c *codec) uuid(v *moldau.UUID) {
	if c.writing {
		c.buf = append(c.buf, v[:]...)
	} else {
		copy(v[:], c.take(len(v)))
	}
}

func (c *codec) string(v *string) {
	n := c.required(len(*v), 1)
	if c.writing {
		c.buf = append(c.buf, *v...)
	} else {
		*v = string(c.take(n))
	}
}

// nullableString carries a string or, as nil, null.
func (c *codec) nullableString(v **string) {
	switch {
	case c.writing && *v == nil:
		c.length(-1, 1)
	case c.writing:
		c.string(*v)
	default:
		if n := c.length(0, 1); n >= 0 {
			s := string(c.take(n))
			*v = &s
		}
	}
}

// array carries an array that cannot be null; an empty one is read as nil.
func array[T any](c *codec, v *[]T, size int, element func(*T)) {
	n := c.required(len(*v), size)
	if !c.writing && n > 0 {
		*v = make([]T, n)
	}
	for i := range *v {
		element(&(*v)[i])
	}
}

// nullableArray carries an array that may be null: nil and an empty slice are two values.
func nullableArray[T any](c *codec, v *[]T, size int, element func(*T)) {
	n := len(*v)
	if *v == nil {
		n = -1
	}
	n = c.length(n, size)
	if !c.writing && n >= 0 {
		*v = make([]T, n)
	}
	for i := range *v {
		element(&(*v)[i])
	}
}

func (c *codec) brokers(v *[]moldau.BrokerID) {
	array(c, v, 4, func(b *moldau.BrokerID) { int32Field(c, b) })
}

func (c *codec) nullableBrokers(v *[]moldau.BrokerID) {
	nullableArray(c, v, 4, func(b *moldau.BrokerID) { int32Field(c, b) })
}

func (c *codec) uuids(v *[]moldau.UUID) { array(c, v, 16, c.uuid) }

func (c *codec) nullableUUIDs(v *[]moldau.UUID) { nullableArray(c, v, 16, c.uuid) }

// tag is a tagged field: present says, when writing, that its value is not the default.
type tag struct {
	id      uint64
	present bool
	field   func(c *codec)
}

// tags carries the tagged fields, given in ascending order of their ids. Unknown ones are skipped when reading (W-3).
func (c *codec) tags(known ...tag) {
	if c.writing {
		c.writeTags(known)
		return
	}
	for n := c.uvarint(); n > 0 && !c.failed; n-- {
		id, size := c.uvarint(), c.uvarint()
		body := codec{buf: c.take(int(size)), version: c.version, failed: c.failed}
		for _, t := range known {
			if t.id == id {
				t.field(&body)
				c.failed = c.failed || body.failed || len(body.buf) > 0
			}
		}
	}
}

func (c *codec) writeTags(known []tag) {
	n := 0
	for _, t := range known {
		if t.present {
			n++
		}
	}
	c.buf = binary.AppendUvarint(c.buf, uint64(n))
	for _, t := range known {
		if !t.present {
			continue
		}
		body := codec{version: c.version, writing: true}
		t.field(&body)
		c.buf = binary.AppendUvarint(c.buf, t.id)
		c.buf = binary.AppendUvarint(c.buf, uint64(len(body.buf)))
		c.buf = append(c.buf, body.buf...)
	}
}
