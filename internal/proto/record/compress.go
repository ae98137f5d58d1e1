package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is a codec with its level in the codec's own counting, as in compression.gzip.level, compression.lz4.level
// and compression.zstd.level (L-7). Level 0 is the codec's default, also for gzip, whose own 0 Kafka does not allow.
type Compression struct {
	Codec Codec
	Level int
}

// lz4DefaultLevel is Kafka's name for lz4's fast mode; every other level is the slow mode with that depth.
const lz4DefaultLevel = 9

// snappyBlockLen is how much snappy-java puts into one block.
const snappyBlockLen = 32 << 10

// zstdEncodeWindowMax keeps what we compress within reach of decoders that obey the least that RFC 8878 demands.
const zstdEncodeWindowMax = 8 << 20

// Compress appends the compressed form of src to dst, which must not overlap src.
// Errors: ErrCodec, or a level that the codec does not have.
func (c *Codecs) Compress(dst []byte, how Compression, src []byte) ([]byte, error) {
	switch how.Codec {
	case Uncompressed:
		return append(dst, src...), nil
	case Gzip:
		return c.gzip(dst, how.Level, src)
	case Snappy:
		return appendXerial(dst, src), nil
	case LZ4:
		return c.lz4(dst, how.Level, src)
	case Zstd:
		return c.zstd(dst, how.Level, src)
	}
	return dst, ErrCodec
}

func (c *Codecs) gzip(dst []byte, level int, src []byte) ([]byte, error) {
	if level == gzip.DefaultCompression || level == 0 {
		level = 6 // zlib's own default
	}
	if level < gzip.BestSpeed || level > gzip.BestCompression {
		return dst, fmt.Errorf("gzip has no level %d: choose -1 (default) or 1 to 9", level)
	}
	out := bytes.NewBuffer(dst)
	pool := &c.gzipWriters[level]
	w, ok := pool.Get().(*gzip.Writer)
	if ok {
		w.Reset(out)
	} else {
		var err error
		if w, err = gzip.NewWriterLevel(out, level); err != nil {
			return dst, err
		}
	}
	if err := writeAndClose(w, src); err != nil {
		return dst, err
	}
	w.Reset(nil)
	pool.Put(w)
	return out.Bytes(), nil
}

func (c *Codecs) lz4(dst []byte, level int, src []byte) ([]byte, error) {
	if level < 0 || level > 17 {
		return dst, fmt.Errorf("lz4 has no level %d: choose 1 to 17", level)
	}
	depth := lz4.Fast
	if level != 0 && level != lz4DefaultLevel {
		depth = 1 << (8 + min(level, 9)) // pierrec's levels are bits: Level1 is 1<<9, and nine is its last
	}
	out := bytes.NewBuffer(dst)
	w, ok := c.lz4Writers.Get().(*lz4.Writer)
	if !ok {
		w = lz4.NewWriter(nil)
	}
	w.Reset(out)
	// As Kafka's own clients write it: blocks of 64 KiB that stand alone, no checksums (the batch has a better one).
	err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.CompressionLevelOption(depth))
	if err != nil {
		return dst, err
	}
	if err := writeAndClose(w, src); err != nil {
		return dst, err
	}
	w.Reset(nil)
	c.lz4Writers.Put(w)
	return out.Bytes(), nil
}

func writeAndClose(w io.WriteCloser, src []byte) error {
	if _, err := w.Write(src); err != nil {
		return err
	}
	return w.Close()
}

func (c *Codecs) zstd(dst []byte, level int, src []byte) ([]byte, error) {
	if level < -131072 || level > 22 {
		return dst, fmt.Errorf("zstd has no level %d: choose -131072 to 22", level)
	}
	if level == 0 {
		level = 3 // as in zstd itself
	}
	speed := zstd.EncoderLevelFromZstd(level)
	pool := &c.zstdWriters[speed]
	w, ok := pool.Get().(*zstd.Encoder)
	if !ok {
		var err error
		w, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(zstdEncodeWindowMax), zstd.WithLowerEncoderMem(true),
			zstd.WithZeroFrames(true))
		if err != nil {
			return dst, err
		}
	}
	dst = w.EncodeAll(src, dst)
	pool.Put(w)
	return dst, nil
}

// appendXerial writes the framing of snappy-java, which every client reads.
func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 1) // version
	dst = binary.BigEndian.AppendUint32(dst, 1) // the oldest version that can read it
	for len(src) > 0 {
		n := min(len(src), snappyBlockLen)
		lengthAt := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		room := s2.MaxEncodedLen(n)
		if cap(dst)-len(dst) < room {
			dst = grow(dst, room)
		}
		block := s2.EncodeSnappy(dst[len(dst):len(dst)+room], src[:n])
		binary.BigEndian.PutUint32(dst[lengthAt:], uint32(len(block)))
		dst = dst[:len(dst)+len(block)]
		src = src[n:]
	}
	return dst
}

// Recompress makes a batch of the same records under another codec (L-7). Offsets, timestamps, producer fields and the
// encoding of each record stay as they are; length, codec and CRC change. The result is a new piece of memory, or b
// itself if it bears the codec already or is a control batch, which is never compressed.
// limit: the most that the records may take uncompressed. Errors: as of Decompress and Compress.
func (b Batch) Recompress(c *Codecs, how Compression, limit int) (Batch, error) {
	if b.Codec() == how.Codec || b.IsControl() {
		return b, nil
	}
	plain := b.payload()
	if b.Codec() != Uncompressed {
		buf := c.buffer()
		defer c.release(buf)
		var err error
		if *buf, err = c.Decompress(*buf, b.Codec(), plain, limit); err != nil {
			return nil, fmt.Errorf("recompress %v: %w", b, err)
		}
		plain = *buf
	}
	out, err := b.withPayload(c, how, plain)
	if err != nil {
		return nil, fmt.Errorf("recompress %v: %w", b, err)
	}
	return out, nil
}

// withPayload is a new batch with the header of b and the given encoded records, compressed.
func (b Batch) withPayload(c *Codecs, how Compression, plain []byte) (Batch, error) {
	room := len(plain)
	if how.Codec != Uncompressed {
		room = len(plain)/2 + 64
	}
	out, err := c.Compress(append(make([]byte, 0, HeaderLen+room), b[:HeaderLen]...), how, plain)
	if err != nil {
		return nil, err
	}
	if len(out)-Overhead > math.MaxInt32 {
		return nil, fmt.Errorf("a batch of %d bytes does not fit its length field", len(out))
	}
	batch := Batch(out)
	binary.BigEndian.PutUint32(batch[lengthAt:], uint32(len(out)-Overhead))
	batch.setCodec(how.Codec)
	batch.stampCRC()
	return batch, nil
}
