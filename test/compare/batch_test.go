package compare

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// longAgo is the timestamp of records whose time does not matter. It is fixed, so that stored bytes are the same.
const longAgo = 1700000000000

// Attributes of a batch.
const (
	gzipped = 1 + iota
	snappied
	lz4ed
	zstded
	logAppendTime = 0x08
	transactional = 0x10
	control       = 0x20
)

// batch is a record batch, right or wrong: what is not set is derived.
type batch struct {
	values     []string
	noKeys     bool
	attributes int16
	timestamp  int64 // of the first record, each next one is 1 ms later
	maxTime    int64
	producer   int64
	epoch      int16
	sequence   int32
	base       int64
	magic      int8

	spoil   func(raw []byte)          // after the CRC
	rewrite func(raw []byte)          // before it
	deltas  func(i int) int32         // offset deltas of the records
	payload func(plain []byte) []byte // instead of compression
	grow    []byte                    // after the batch
}

// of is a good batch with these values, keyed k0, k1, ….
func of(values ...string) batch {
	return batch{values: values, timestamp: longAgo, producer: -1, epoch: -1, sequence: -1, magic: 2}
}

func (b batch) with(attributes int16) batch { b.attributes |= attributes; return b }

// by makes it a batch of an idempotent producer.
func (b batch) by(producer int64, epoch int16, sequence int32) batch {
	b.producer, b.epoch, b.sequence = producer, epoch, sequence
	return b
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b batch) bytes() []byte {
	if b.magic < 2 {
		return b.messages()
	}
	records := b.plain()
	switch {
	case b.payload != nil:
		records = b.payload(records)
	case b.attributes&7 != 0:
		records = compress(b.attributes&7, records)
	}
	if b.maxTime == 0 {
		b.maxTime = b.timestamp + int64(max(len(b.values)-1, 0))
		if b.timestamp < 0 {
			b.maxTime = b.timestamp
		}
	}
	rb := kmsg.RecordBatch{
		FirstOffset: b.base, Length: int32(49 + len(records)), PartitionLeaderEpoch: -1, Magic: b.magic, Attributes: b.attributes,
		LastOffsetDelta: int32(len(b.values) - 1), FirstTimestamp: b.timestamp, MaxTimestamp: b.maxTime, ProducerID: b.producer,
		ProducerEpoch: b.epoch, FirstSequence: b.sequence, NumRecords: int32(len(b.values)), Records: records,
	}
	raw := rb.AppendTo(nil)
	if b.rewrite != nil {
		b.rewrite(raw)
	}
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	if b.spoil != nil {
		b.spoil(raw)
	}
	return append(raw, b.grow...)
}

func (b batch) plain() []byte {
	var records []byte
	for i, v := range b.values {
		r := kmsg.Record{OffsetDelta: int32(i), TimestampDelta64: int64(i), Value: []byte(v)}
		if b.timestamp < 0 {
			r.TimestampDelta64 = 0
		}
		if b.deltas != nil {
			r.OffsetDelta = b.deltas(i)
		}
		if !b.noKeys {
			r.Key = []byte("k" + strconv.Itoa(i))
		}
		body := r.AppendTo(nil)[1:] // a length of 0 takes one byte
		r.Length = int32(len(body))
		records = r.AppendTo(records)
	}
	return records
}

// messages is the batch as a message set of magic 0 or 1.
func (b batch) messages() []byte {
	var out []byte
	for i, v := range b.values {
		m := []byte{byte(b.magic), byte(b.attributes)}
		if b.magic == 1 {
			m = binary.BigEndian.AppendUint64(m, uint64(b.timestamp))
		}
		key := "k" + strconv.Itoa(i)
		m = append(binary.BigEndian.AppendUint32(m, uint32(len(key))), key...)
		m = append(binary.BigEndian.AppendUint32(m, uint32(len(v))), v...)
		out = binary.BigEndian.AppendUint64(out, uint64(i))
		out = binary.BigEndian.AppendUint32(out, uint32(len(m)+4))
		out = append(binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(m)), m...)
	}
	return out
}

func compress(codec int16, plain []byte) []byte {
	c, err := kgo.DefaultCompressor([]kgo.CompressionCodec{gzipped: kgo.GzipCompression(), snappied: kgo.SnappyCompression(),
		lz4ed: kgo.Lz4Compression(), zstded: kgo.ZstdCompression()}[codec])
	if err != nil {
		panic(err) // no codec of that number
	}
	out, _ := c.Compress(new(bytes.Buffer), plain)
	return bytes.Clone(out)
}

// batches tells of stored record batches: their headers field by field, a sum of their bytes and what the records hold.
func (r *reader) batches(path, at, name string, raw []byte) {
	if raw == nil {
		r.fields = append(r.fields, field{at, name, "null"})
		return
	}
	if len(raw) == 0 {
		r.fields = append(r.fields, field{at, name, "[]"})
	}
	for i := 0; len(raw) > 0; i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		if len(raw) < 61 || len(raw) < 12+int(int32(binary.BigEndian.Uint32(raw[8:]))) {
			r.fields = append(r.fields, field{at, "Truncated", "true"})
			return
		}
		var b kmsg.RecordBatch
		size := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		if err := b.ReadFrom(raw[:size]); err != nil {
			r.fields = append(r.fields, field{at, "Error", err.Error()})
			return
		}
		sum := crc32.Checksum(raw[21:size], castagnoli)
		for _, f := range []struct {
			name  string
			value any
		}{
			{"Base", b.FirstOffset}, {"Bytes", size}, {"Epoch", b.PartitionLeaderEpoch}, {"Magic", b.Magic},
			{"CRC", map[bool]string{true: "good", false: "bad"}[sum == uint32(b.CRC)]}, {"Attributes", b.Attributes},
			{"Last", b.LastOffsetDelta}, {"FirstTime", r.number("FirstTime", b.FirstTimestamp)},
			{"MaxTime", r.number("MaxTime", b.MaxTimestamp)}, {"ProducerEpoch", b.ProducerEpoch}, {"Sequence", b.FirstSequence},
			{"Count", b.NumRecords}, {"Payload", fmt.Sprintf("%08x", crc32.Checksum(b.Records, castagnoli))},
			{"Holds", records(b)},
		} {
			r.fields = append(r.fields, field{at, f.name, fmt.Sprint(f.value)})
		}
		raw = raw[size:]
	}
}

// records tells what a batch holds: offset delta, timestamp delta, key and value of each record.
func records(b kmsg.RecordBatch) string {
	plain, err := kgo.DefaultDecompressor().Decompress(b.Records, kgo.CompressionCodecType(b.Attributes&7))
	if err != nil {
		return "not readable"
	}
	var out []string
	for len(plain) > 0 {
		n, width := binary.Varint(plain)
		if width <= 0 || n < 0 || width+int(n) > len(plain) {
			return "not readable"
		}
		var rec kmsg.Record
		if err := rec.ReadFrom(plain[:width+int(n)]); err != nil {
			return "not readable"
		}
		out = append(out, fmt.Sprintf("%d@%d:%s=%s", rec.OffsetDelta, rec.TimestampDelta64, rec.Key, short(rec.Value)))
		plain = plain[width+int(n):]
	}
	return strings.Join(out, ",")
}

func short(value []byte) string {
	if len(value) > 20 {
		return fmt.Sprintf("%s…%d", value[:10], len(value))
	}
	return string(value)
}
