package record

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/moldau/moldau"
)

// Builder makes a batch of records. NewBuilder makes one for a batch without a producer id; set the fields as needed
// before Build. It is used by one goroutine at a time.
type Builder struct {
	BaseOffset    moldau.Offset
	LeaderEpoch   moldau.LeaderEpoch
	ProducerID    moldau.ProducerID
	ProducerEpoch moldau.ProducerEpoch
	BaseSequence  moldau.Sequence
	Compression   Compression
	Transactional bool
	Control       bool

	records       []byte // encoded
	count         int32
	baseTimestamp moldau.Timestamp
	maxTimestamp  moldau.Timestamp
}

// NewBuilder makes a builder for an uncompressed batch at base: no producer id, no leader epoch.
func NewBuilder(base moldau.Offset) *Builder {
	return &Builder{
		BaseOffset:    base,
		LeaderEpoch:   moldau.NoEpoch,
		ProducerID:    moldau.NoProducer,
		ProducerEpoch: -1,
		BaseSequence:  -1,
		baseTimestamp: moldau.NoTimestamp,
		maxTimestamp:  moldau.NoTimestamp,
	}
}

// Add encodes r as the next record, so that r may be reused at once. Its offset is ignored: the records of a batch are
// numbered from BaseOffset on.
func (b *Builder) Add(r Record) {
	if b.count == 0 {
		b.baseTimestamp, b.maxTimestamp = r.Timestamp, r.Timestamp
	}
	b.maxTimestamp = max(b.maxTimestamp, r.Timestamp)
	timestampDelta := int64(r.Timestamp - b.baseTimestamp)
	b.records = appendVarint(b.records, int64(bodyLen(r, timestampDelta, b.count)))
	b.records = append(b.records, 0) // attributes
	b.records = appendVarint(b.records, timestampDelta)
	b.records = appendVarint(b.records, int64(b.count))
	b.records = appendNullable(b.records, r.Key)
	b.records = appendNullable(b.records, r.Value)
	b.records = appendVarint(b.records, int64(len(r.Headers)))
	for _, h := range r.Headers {
		b.records = appendVarint(b.records, int64(len(h.Key)))
		b.records = append(b.records, h.Key...)
		b.records = appendNullable(b.records, h.Value)
	}
	b.count++
}

// bodyLen is the length of r behind its length field.
func bodyLen(r Record, timestampDelta int64, offsetDelta int32) int {
	n := 1 + varintLen(timestampDelta) + varintLen(int64(offsetDelta)) + nullableLen(r.Key) + nullableLen(r.Value) +
		varintLen(int64(len(r.Headers)))
	for _, h := range r.Headers {
		n += varintLen(int64(len(h.Key))) + len(h.Key) + nullableLen(h.Value)
	}
	return n
}

func appendNullable(b, v []byte) []byte {
	if v == nil {
		return appendVarint(b, -1)
	}
	return append(appendVarint(b, int64(len(v))), v...)
}

func nullableLen(v []byte) int {
	if v == nil {
		return 1
	}
	return varintLen(int64(len(v))) + len(v)
}

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Size is how many bytes the batch takes so far, uncompressed and with its header.
func (b *Builder) Size() int { return HeaderLen + len(b.records) }

// SizeWith is what Size would be with r added.
func (b *Builder) SizeWith(r Record) int {
	base := b.baseTimestamp
	if b.count == 0 {
		base = r.Timestamp
	}
	n := bodyLen(r, int64(r.Timestamp-base), b.count)
	return b.Size() + varintLen(int64(n)) + n
}

// Build makes the batch in memory of its own, so that the builder may be Reset and used again.
// c compresses; it may be nil for an uncompressed batch. Errors: no records, more than a batch can hold, as of Compress.
func (b *Builder) Build(c *Codecs) (Batch, error) {
	if b.count == 0 {
		return nil, fmt.Errorf("a batch needs at least one record")
	}
	if len(b.records) > math.MaxInt32-HeaderLen {
		return nil, fmt.Errorf("%d bytes of records do not fit into a batch", len(b.records))
	}
	var header [HeaderLen]byte
	h := header[:]
	binary.BigEndian.PutUint64(h[baseOffsetAt:], uint64(b.BaseOffset))
	binary.BigEndian.PutUint32(h[leaderEpochAt:], uint32(b.LeaderEpoch))
	h[magicAt] = magic
	var attributes uint16
	if b.Transactional {
		attributes |= transactionalBit
	}
	if b.Control {
		attributes |= controlBit
	}
	binary.BigEndian.PutUint16(h[attributesAt:], attributes)
	binary.BigEndian.PutUint32(h[lastOffsetDeltaAt:], uint32(b.count-1))
	binary.BigEndian.PutUint64(h[baseTimestampAt:], uint64(b.baseTimestamp))
	binary.BigEndian.PutUint64(h[maxTimestampAt:], uint64(b.maxTimestamp))
	binary.BigEndian.PutUint64(h[producerIDAt:], uint64(b.ProducerID))
	binary.BigEndian.PutUint16(h[producerEpochAt:], uint16(b.ProducerEpoch))
	binary.BigEndian.PutUint32(h[baseSequenceAt:], uint32(b.BaseSequence))
	binary.BigEndian.PutUint32(h[countAt:], uint32(b.count))
	how := b.Compression
	if b.Control {
		how = Compression{} // L-7
	}
	out, err := Batch(h).withPayload(c, how, b.records)
	if err != nil {
		return nil, fmt.Errorf("build a batch of %d records at offset %d: %w", b.count, b.BaseOffset, err)
	}
	return out, nil
}

// Reset forgets the records and sets the base offset; the other fields and the memory stay.
func (b *Builder) Reset(base moldau.Offset) {
	b.BaseOffset = base
	b.records = b.records[:0]
	b.count = 0
	b.baseTimestamp, b.maxTimestamp = moldau.NoTimestamp, moldau.NoTimestamp
}
