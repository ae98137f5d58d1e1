package record

import "errors"

// What can be wrong with the encoding of a record. Sentinels: the walk over a batch allocates nothing.
var (
	errVarint    = errors.New("a varint is cut off or longer than its type")
	errBodyCut   = errors.New("its length is negative or passes the end of the batch")
	errField     = errors.New("the length of its key or value passes its end")
	errHeader    = errors.New("its headers pass its end or have a negative count or no key")
	errLeftOver  = errors.New("its fields end before its length does")
	errTrailing  = errors.New("bytes follow the last record that the header counts")
	errNoRecords = errors.New("the header counts more records than there are bytes for")
)

// scanner walks encoded records (not compressed) without copying or allocating.
type scanner struct {
	bytes   []byte
	at      int  // where the next record begins
	headers bool // collect headers into item.headers
}

// item is one record as it is encoded: deltas, and views of the scanned bytes. A null key or value is nil, an empty one is
// not.
type item struct {
	timestampDelta int64
	offsetDelta    int32
	key, value     []byte
	headers        []Header // reused from record to record
}

// more reports whether bytes are left.
func (s *scanner) more() bool { return s.at < len(s.bytes) }

// next decodes the record at s.at into it and moves behind it. After an error the scanner is of no further use.
func (s *scanner) next(it *item) error {
	if !s.more() {
		return errNoRecords
	}
	length, at := varint(s.bytes, s.at)
	switch {
	case at < 0:
		return errVarint
	case length < 1 || int(length) > len(s.bytes)-at:
		return errBodyCut
	}
	end := at + int(length)
	body := s.bytes[:end:end]
	at++ // the record's attributes: unused by every version so far
	if it.timestampDelta, at = varlong(body, at); at < 0 {
		return errVarint
	}
	if it.offsetDelta, at = varint(body, at); at < 0 {
		return errVarint
	}
	if it.key, at = nullable(body, at); at < 0 {
		return errField
	}
	if it.value, at = nullable(body, at); at < 0 {
		return errField
	}
	count, at := varint(body, at)
	if at < 0 || count < 0 || int(count) > end-at {
		return errHeader
	}
	it.headers = it.headers[:0]
	for range count {
		var h Header
		if h.Key, at = nullable(body, at); at < 0 || h.Key == nil {
			return errHeader
		}
		if h.Value, at = nullable(body, at); at < 0 {
			return errHeader
		}
		if s.headers {
			it.headers = append(it.headers, h)
		}
	}
	if at != end {
		return errLeftOver
	}
	s.at = end
	return nil
}

// nullable decodes bytes with their length in front; any negative length is null. It returns where the next field
// begins, or -1.
func nullable(b []byte, at int) ([]byte, int) {
	length, at := varint(b, at)
	switch {
	case at < 0:
		return nil, -1
	case length < 0:
		return nil, at
	case int(length) > len(b)-at:
		return nil, -1
	}
	end := at + int(length)
	return b[at:end:end], end
}

// varint decodes a zigzag varint of 32 bits at b[at:] and returns where it ends, or -1. As in Apache Kafka five bytes
// are the most, and what they hold above 32 bits is dropped.
func varint(b []byte, at int) (int32, int) {
	if uint(at) < uint(len(b)) {
		c := b[at]
		if c < 0x80 {
			return int32(c>>1) ^ -int32(c&1), at + 1
		}
		if uint(at+1) < uint(len(b)) && b[at+1] < 0x80 { // lengths of 64 to 8191
			u := uint32(c&0x7f) | uint32(b[at+1])<<7
			return int32(u>>1) ^ -int32(u&1), at + 2
		}
	}
	return longVarint(b, at)
}

func longVarint(b []byte, at int) (int32, int) {
	var u uint32
	for shift := 0; shift <= 28 && at < len(b); shift += 7 {
		c := b[at]
		at++
		u |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return int32(u>>1) ^ -int32(u&1), at
		}
	}
	return 0, -1
}

// varlong is varint for 64 bits and ten bytes.
func varlong(b []byte, at int) (int64, int) {
	var u uint64
	for shift := 0; shift <= 63 && at < len(b); shift += 7 {
		c := b[at]
		at++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1), at
		}
	}
	return 0, -1
}

// appendVarint encodes v as a zigzag varint.
func appendVarint(b []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

// varintLen is how many bytes appendVarint takes.
func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
