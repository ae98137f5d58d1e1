package record

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdWindowMax bounds the window that a zstd frame may ask for: 128 MiB is the most that zstd's own command line accepts
// without being asked. No memory is set aside for a window here, see unzstd.
const zstdWindowMax = 128 << 20

// zstdBlockMax is the most that one block of a zstd frame decompresses to (RFC 8878, section 3.1.1.2.4).
const zstdBlockMax = 128 << 10

// unzstd appends the frames in src to dst. They are decoded into one piece where the output itself is the window, so that
// a frame that asks for a huge window costs nothing.
func (c *Codecs) unzstd(dst, src []byte, limit int) ([]byte, error) {
	bound, err := zstdBound(src, limit)
	if err != nil {
		return dst, err
	}
	d, ok := c.zstdReaders.Get().(*zstd.Decoder)
	if !ok {
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return dst, err
		}
	}
	defer c.zstdReaders.Put(d)
	// One block more than the limit: a frame that fails for want of room has passed the limit by then.
	start, room := len(dst), min(bound, limit+zstdBlockMax)
	if cap(dst)-start < room {
		dst = grow(dst, room)
	}
	out, err := d.DecodeAll(src, dst[start:start:start+room])
	switch {
	case len(out) > limit:
		return dst, ErrTooLarge
	case err != nil:
		return dst, err
	}
	return dst[:start+len(out)], nil
}

// zstdBound is the most that the frames in src can decompress to, by the headers of their frames and blocks alone.
// Errors: ErrTooLarge if they claim more than limit on top of what compressed blocks hold, a frame that is cut off.
func zstdBound(src []byte, limit int) (int, error) {
	bound, least := 0, 0
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, err
		}
		if h.Skippable {
			if int64(h.SkippableSize) > int64(len(src)-h.HeaderSize) {
				return 0, io.ErrUnexpectedEOF
			}
			src = src[h.HeaderSize+int(h.SkippableSize):]
			continue
		}
		most, certain, size, err := zstdBlocks(src[h.HeaderSize:])
		if err != nil {
			return 0, err
		}
		if h.HasFCS {
			if h.FrameContentSize > uint64(limit) {
				return 0, ErrTooLarge
			}
			most = min(most, int(h.FrameContentSize))
		}
		bound, least = min(bound+most, decompressMax+zstdBlockMax), least+certain
		if least > limit {
			return 0, ErrTooLarge
		}
		size += h.HeaderSize
		if h.HasCheckSum {
			size += 4
		}
		if size > len(src) {
			return 0, io.ErrUnexpectedEOF
		}
		src = src[size:]
	}
	return bound, nil
}

// zstdBlocks adds up the blocks of one frame: the most that they can decompress to, what of it is certain, and the bytes
// that they take.
func zstdBlocks(src []byte) (most, certain, size int, err error) {
	for last := false; !last; {
		if len(src)-size < 3 {
			return 0, 0, 0, io.ErrUnexpectedEOF
		}
		header := int(src[size]) | int(src[size+1])<<8 | int(src[size+2])<<16
		size += 3
		last = header&1 != 0
		length := header >> 3
		switch header >> 1 & 3 {
		case 0: // stored
			most, certain, size = most+length, certain+length, size+length
		case 1: // one byte, repeated
			most, certain, size = most+length, certain+length, size+1
		default: // compressed; the reserved type fails when decoded
			most, size = most+zstdBlockMax, size+length
		}
		if certain > decompressMax {
			return 0, 0, 0, ErrTooLarge
		}
		most = min(most, decompressMax+zstdBlockMax)
	}
	return most, certain, size, nil
}
