package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is the compression of a batch's records.
type Codec int8

// The codecs of the wire format. Three bits hold them, so that 5 to 7 may arrive and mean nothing.
const (
	Uncompressed Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{Uncompressed: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// Known reports whether the codec is one of those above.
func (c Codec) Known() bool { return c >= 0 && int(c) < len(codecNames) }

// String is Kafka's name of the codec: none, gzip, snappy, lz4, zstd.
func (c Codec) String() string {
	if c.Known() {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", int8(c))
}

// ParseCodec reads the name of a codec as producers (none) and topics (uncompressed) write it.
func ParseCodec(name string) (Codec, error) {
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	if name == "uncompressed" {
		return Uncompressed, nil
	}
	return 0, fmt.Errorf("%q is no compression codec: choose none, gzip, snappy, lz4 or zstd", name)
}

// ErrTooLarge: the records would take more than the caller's limit when decompressed.
var ErrTooLarge = errors.New("the decompressed records pass the limit")

// ErrCodec: the batch bears a codec that does not exist.
var ErrCodec = errors.New("unknown compression codec")

// decompressMax is the limit above all limits of callers.
const decompressMax = 1 << 30

// bufferKeepMax is the largest buffer that goes back to the pool, so that one big batch does not hold its memory for
// ever.
const bufferKeepMax = 4 << 20

// xerialMagic opens the framing that Java's snappy streams bear (snappy-java): magic, version, oldest compatible version,
// then blocks with their length in front. Other clients send one bare snappy block; both are accepted.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderLen = 16

// Codecs keeps compressors, decompressors and buffers for reuse. The zero value is ready; it may be used by many
// goroutines at once, and must not be copied.
type Codecs struct {
	buffers sync.Pool // *[]byte

	gzipReaders sync.Pool // *gzipReader
	lz4Readers  sync.Pool // *lz4Reader
	zstdReaders sync.Pool // *zstd.Decoder

	gzipWriters [gzip.BestCompression + 1]sync.Pool      // *gzip.Writer by level
	lz4Writers  sync.Pool                                // *lz4.Writer
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool // *zstd.Encoder by level
}

// buffer takes an empty buffer from the pool; release gives it back.
func (c *Codecs) buffer() *[]byte {
	if b, ok := c.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (c *Codecs) release(b *[]byte) {
	if cap(*b) <= bufferKeepMax {
		*b = (*b)[:0]
		c.buffers.Put(b)
	}
}

// Decompress appends the decompressed form of src to dst, which must not overlap src.
// limit: the most bytes that may be appended; memory stays within about twice that whatever src claims.
// Errors: ErrTooLarge past the limit, ErrCodec, or the codec's complaint about src.
func (c *Codecs) Decompress(dst []byte, codec Codec, src []byte, limit int) ([]byte, error) {
	limit = min(limit, decompressMax)
	var err error
	switch codec {
	case Uncompressed:
		if len(src) > limit {
			return dst, ErrTooLarge
		}
		return append(dst, src...), nil
	case Gzip:
		dst, err = c.gunzip(dst, src, limit)
	case Snappy:
		dst, err = unsnappy(dst, src, limit)
	case LZ4:
		dst, err = c.unlz4(dst, src, limit)
	case Zstd:
		dst, err = c.unzstd(dst, src, limit)
	default:
		return dst, ErrCodec
	}
	if err != nil && err != ErrTooLarge {
		err = fmt.Errorf("decompress %v: %w", codec, err)
	}
	return dst, err
}

// gzipReader is a decompressor with its source, so that both are reused and the source can be let go.
type gzipReader struct {
	src bytes.Reader
	gzip.Reader
}

func (c *Codecs) gunzip(dst, src []byte, limit int) ([]byte, error) {
	r, ok := c.gzipReaders.Get().(*gzipReader)
	if !ok {
		r = new(gzipReader)
	}
	r.src.Reset(src)
	defer func() {
		r.src.Reset(nil)
		c.gzipReaders.Put(r)
	}()
	if err := r.Reset(&r.src); err != nil {
		return dst, err
	}
	return readLimited(dst, r, firstGuess(len(src), limit), limit)
}

// lz4Reader is what gzipReader is.
type lz4Reader struct {
	src bytes.Reader
	*lz4.Reader
}

func (c *Codecs) unlz4(dst, src []byte, limit int) ([]byte, error) {
	r, ok := c.lz4Readers.Get().(*lz4Reader)
	if !ok {
		r = &lz4Reader{Reader: lz4.NewReader(nil)}
	}
	r.src.Reset(src)
	r.Reset(&r.src)
	defer func() {
		r.src.Reset(nil)
		r.Reset(nil) // gives back its block buffer, which may be 4 MiB
		c.lz4Readers.Put(r)
	}()
	return readLimited(dst, r, firstGuess(len(src), limit), limit)
}

// firstGuess is the room to begin with for the decompressed form of n bytes.
func firstGuess(n, limit int) int { return min(4*n+512, limit) }

// readLimited appends what r has to dst: up to limit bytes, growing as they arrive.
func readLimited(dst []byte, r io.Reader, room, limit int) ([]byte, error) {
	start := len(dst)
	for {
		if len(dst) == cap(dst) || room > cap(dst)-len(dst) {
			dst = grow(dst, max(room, 1))
		}
		room = 0
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > limit:
			return dst[:start], ErrTooLarge
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst[:start], err
		}
	}
}

// grow makes room for at least n more bytes, doubling so that many calls stay cheap.
func grow(b []byte, n int) []byte {
	larger := make([]byte, len(b), max(len(b)+n, 2*cap(b)))
	copy(larger, b)
	return larger
}

func unsnappy(dst, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) {
		return unsnappyBlock(dst, src, limit)
	}
	if len(src) < xerialHeaderLen {
		return dst, io.ErrUnexpectedEOF
	}
	src = src[xerialHeaderLen:]
	start := len(dst)
	for len(src) > 0 {
		if len(src) < 4 {
			return dst[:start], io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(src))
		src = src[4:]
		if n > int64(len(src)) {
			return dst[:start], io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = unsnappyBlock(dst, src[:n], limit-(len(dst)-start)); err != nil {
			return dst[:start], err
		}
		src = src[n:]
	}
	return dst, nil
}

// unsnappyBlock appends one snappy block, whose length it claims in front.
func unsnappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	switch {
	case err != nil:
		return dst, err
	case n > limit:
		return dst, ErrTooLarge
	}
	if cap(dst)-len(dst) < n {
		dst = grow(dst, n)
	}
	// s2 decodes into the length of its first argument, and into memory of its own if that is too short.
	if _, err := s2.Decode(dst[len(dst):len(dst)+n:len(dst)+n], src); err != nil {
		return dst, err
	}
	return dst[:len(dst)+n], nil
}
