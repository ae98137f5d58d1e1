package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Batch is a record batch (format 2) that is encoded once and sent many times.
type Batch struct {
	Bytes   []byte // as it goes over the wire
	Records int
	// Plain is the size in bytes that the batch has without compression: what "a GB" counts.
	Plain int
}

// Fields of the batch header, and its length.
const (
	lengthAt          = 8
	crcAt             = 17
	attributesAt      = 21
	lastOffsetDeltaAt = 23
	producerIDAt      = 43
	producerEpochAt   = 51
	baseSequenceAt    = 53
	headerLen         = 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Codecs are the names of the compressions.
var Codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

// NewBatch builds a batch of records with values of valueLen bytes, cut one after another from fill (which is repeated
// as needed), without keys. With records 0 it holds as many as fit into plainMax bytes.
func NewBatch(records, valueLen, plainMax int, codec string, fill []byte) (Batch, error) {
	comp, ok := Codecs[codec]
	if !ok {
		return Batch{}, fmt.Errorf("no compression is called %q: none, gzip, snappy, lz4 and zstd are", codec)
	}
	if len(fill) == 0 {
		fill = []byte{'x'}
	}
	value := make([]byte, valueLen)
	from := 0
	var body []byte
	n := 0
	for {
		for i := range value {
			value[i] = fill[from%len(fill)]
			from++
		}
		longer := appendRecord(body, int64(n), value)
		if records > 0 && n == records || records == 0 && n > 0 && headerLen+len(longer) > plainMax {
			break
		}
		body = longer
		n++
	}
	plain := headerLen + len(body)
	c, err := kgo.DefaultCompressor(comp)
	if err != nil {
		return Batch{}, fmt.Errorf("compress with %s: %w", codec, err)
	}
	var attributes int16
	if c != nil {
		var kind kgo.CompressionCodecType
		body, kind = c.Compress(new(bytes.Buffer), body)
		attributes = int16(kind)
	}
	b := appendHeader(nil, n, attributes, time.Now().UnixMilli(), len(body))
	b = append(b, body...)
	stampCRC(b)
	return Batch{Bytes: b, Records: n, Plain: plain}, nil
}

// appendHeader appends a batch header for so many records in bodyLen bytes; the CRC is still to be stamped.
func appendHeader(b []byte, records int, attributes int16, timestamp int64, bodyLen int) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, 0)
	b = be.AppendUint32(b, uint32(headerLen-12+bodyLen))
	b = be.AppendUint32(b, 0xffffffff) // leader epoch: as Java sends it
	b = append(b, 2, 0, 0, 0, 0)       // magic, CRC
	b = be.AppendUint16(b, uint16(attributes))
	b = be.AppendUint32(b, uint32(records-1))
	b = be.AppendUint64(b, uint64(timestamp))
	b = be.AppendUint64(b, uint64(timestamp))
	b = be.AppendUint64(b, ^uint64(0)) // producer id, epoch and sequence: none
	b = be.AppendUint16(b, ^uint16(0))
	b = be.AppendUint32(b, ^uint32(0))
	return be.AppendUint32(b, uint32(records))
}

// appendRecord appends one record without key and headers, of the batch's own timestamp.
func appendRecord(b []byte, offsetDelta int64, value []byte) []byte {
	var head [24]byte
	h := append(head[:0], 0, 0) // attributes, timestamp delta
	h = binary.AppendVarint(h, offsetDelta)
	h = append(h, 1) // no key: -1
	h = binary.AppendVarint(h, int64(len(value)))
	b = binary.AppendVarint(b, int64(len(h)+len(value)+1))
	b = append(b, h...)
	b = append(b, value...)
	return append(b, 0) // no headers
}

func stampCRC(batch []byte) {
	binary.BigEndian.PutUint32(batch[crcAt:], crc32.Checksum(batch[attributesAt:], castagnoli))
}

// stampProducer makes the batch the next one of an idempotent producer.
func stampProducer(batch []byte, id int64, epoch int16, sequence int32) {
	binary.BigEndian.PutUint64(batch[producerIDAt:], uint64(id))
	binary.BigEndian.PutUint16(batch[producerEpochAt:], uint16(epoch))
	binary.BigEndian.PutUint32(batch[baseSequenceAt:], uint32(sequence))
	stampCRC(batch)
}

// eachBatch calls f with each whole batch in b, as a broker sends them; what is cut off at the end is left out. It
// returns the offset behind the last of them, or at when there is none.
func eachBatch(b []byte, at int64, f func(batch []byte)) (next int64) {
	for len(b) >= headerLen {
		n := 12 + int(binary.BigEndian.Uint32(b[lengthAt:]))
		if n < headerLen || n > len(b) {
			break
		}
		at = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[lastOffsetDeltaAt:])) + 1
		f(b[:n])
		b = b[n:]
	}
	return at
}

// count is the number of records that the batch claims to hold.
func count(batch []byte) int { return int(binary.BigEndian.Uint32(batch[headerLen-4:])) }

// eachValue calls f with the value of each record of an uncompressed batch.
func eachValue(batch []byte, f func(value []byte)) error {
	b := batch[headerLen:]
	for range count(batch) {
		n, k := binary.Varint(b)
		if k <= 0 || n < 0 || int(n) > len(b)-k {
			return fmt.Errorf("a record of %d bytes in the last %d of its batch", n, len(b))
		}
		r := b[k : k+int(n)]
		b = b[k+int(n):]
		at := 1                // attributes
		skip := func() int64 { // a varint
			v, k := binary.Varint(r[min(at, len(r)):])
			at += max(k, 1)
			return v
		}
		skip() // timestamp
		skip() // offset
		key := skip()
		at += int(max(key, 0))
		size := int(max(skip(), 0))
		if at+size > len(r) {
			return fmt.Errorf("a value of %d bytes in a record of %d", size, len(r))
		}
		f(r[at : at+size])
	}
	return nil
}
