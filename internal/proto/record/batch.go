// Package record reads, builds, checks and compresses record batches of format version 2 (KIP-98).
package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/moldau/moldau"
)

// HeaderLen is the number of bytes of a batch before its records.
const HeaderLen = 61

// Overhead is the part of a batch that its length field does not count: base offset and the field itself.
const Overhead = 12

// Where the fields of the header lie. The CRC covers everything from attributes on; base offset and leader epoch lie
// before it, so that a leader can stamp them without touching the rest (L-8).
const (
	baseOffsetAt      = 0
	lengthAt          = 8
	leaderEpochAt     = 12
	magicAt           = 16
	crcAt             = 17
	attributesAt      = 21
	lastOffsetDeltaAt = 23
	baseTimestampAt   = 27
	maxTimestampAt    = 35
	producerIDAt      = 43
	producerEpochAt   = 51
	baseSequenceAt    = 53
	countAt           = 57
)

// Bits of the attributes.
const (
	codecMask        = 0x07
	logAppendTimeBit = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20
	deleteHorizonBit = 0x40
)

// magic is the one format version that this package reads and writes.
const magic = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a view of one whole batch: bytes with methods, borrowed from whoever owns them. Its methods presume that at
// least HeaderLen bytes are there; Split and Validate see to that.
type Batch []byte

func (b Batch) i64(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
func (b Batch) i32(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }
func (b Batch) i16(at int) int16 { return int16(binary.BigEndian.Uint16(b[at:])) }

// BaseOffset is the offset of the batch's first record, or where that stood before compaction.
func (b Batch) BaseOffset() moldau.Offset { return moldau.Offset(b.i64(baseOffsetAt)) }

// SetBaseOffset stamps the base offset; the CRC does not cover it.
func (b Batch) SetBaseOffset(o moldau.Offset) {
	binary.BigEndian.PutUint64(b[baseOffsetAt:], uint64(o))
}

// Size is the number of bytes of the whole batch as its length field tells, which may be more than are there.
func (b Batch) Size() int { return int(b.i32(lengthAt)) + Overhead }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() moldau.LeaderEpoch { return moldau.LeaderEpoch(b.i32(leaderEpochAt)) }

// SetLeaderEpoch stamps the leader epoch; the CRC does not cover it.
func (b Batch) SetLeaderEpoch(e moldau.LeaderEpoch) {
	binary.BigEndian.PutUint32(b[leaderEpochAt:], uint32(e))
}

// Magic is the format version: 2 for all that this package reads.
func (b Batch) Magic() int8 { return int8(b[magicAt]) }

// CRC is the checksum that the batch bears; CRCValid compares it with the bytes.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[crcAt:]) }

// CRCValid reports whether the checksum (CRC-32C of everything from the attributes on) is that of the bytes.
func (b Batch) CRCValid() bool { return b.CRC() == crc32.Checksum(b[attributesAt:], castagnoli) }

func (b Batch) attributes() int16 { return b.i16(attributesAt) }

// Codec is the compression of the records.
func (b Batch) Codec() Codec { return Codec(b.attributes() & codecMask) }

// IsLogAppendTime reports whether the broker, not the producer, set the timestamps.
func (b Batch) IsLogAppendTime() bool { return b.attributes()&logAppendTimeBit != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.attributes()&transactionalBit != 0 }

// IsControl reports whether the batch holds a transaction marker or another control record.
func (b Batch) IsControl() bool { return b.attributes()&controlBit != 0 }

// HasDeleteHorizon reports whether the base timestamp is the time at which tombstones may go (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.attributes()&deleteHorizonBit != 0 }

// LastOffset is the offset of the last record; it stays when compaction removes that record.
func (b Batch) LastOffset() moldau.Offset {
	return b.BaseOffset() + moldau.Offset(b.i32(lastOffsetDeltaAt))
}

// LastOffsetDelta is LastOffset less BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return b.i32(lastOffsetDeltaAt) }

// BaseTimestamp is what the records' timestamp deltas count from.
func (b Batch) BaseTimestamp() moldau.Timestamp { return moldau.Timestamp(b.i64(baseTimestampAt)) }

// MaxTimestamp is the highest timestamp of a record in the batch.
func (b Batch) MaxTimestamp() moldau.Timestamp { return moldau.Timestamp(b.i64(maxTimestampAt)) }

// HasProducer reports whether the batch is one of an idempotent producer: any negative producer id says that it is not.
func (b Batch) HasProducer() bool { return b.ProducerID() > moldau.NoProducer }

// ProducerID is the id of the idempotent producer, or NoProducer.
func (b Batch) ProducerID() moldau.ProducerID { return moldau.ProducerID(b.i64(producerIDAt)) }

// ProducerEpoch is the incarnation of the producer id.
func (b Batch) ProducerEpoch() moldau.ProducerEpoch {
	return moldau.ProducerEpoch(b.i16(producerEpochAt))
}

// BaseSequence is the sequence of the first record, -1 where there is no producer id.
func (b Batch) BaseSequence() moldau.Sequence { return moldau.Sequence(b.i32(baseSequenceAt)) }

// LastSequence is the sequence of the last record; it wraps from 2³¹-1 to 0.
func (b Batch) LastSequence() moldau.Sequence {
	if b.BaseSequence() < 0 {
		return b.BaseSequence()
	}
	return moldau.Sequence((int64(b.BaseSequence()) + int64(b.LastOffsetDelta())) & 0x7fffffff)
}

// Count is the number of records that the header claims.
func (b Batch) Count() int32 { return b.i32(countAt) }

// SetLogAppendTime makes at the timestamp of every record without rewriting them, and stamps a new CRC (L-6).
func (b Batch) SetLogAppendTime(at moldau.Timestamp) {
	binary.BigEndian.PutUint16(b[attributesAt:], uint16(b.attributes()|logAppendTimeBit))
	b.setMaxTimestamp(at)
	b.stampCRC()
}

// setCodec stamps the codec of the records; the CRC has to follow.
func (b Batch) setCodec(c Codec) {
	binary.BigEndian.PutUint16(b[attributesAt:], uint16(b.attributes()&^codecMask|int16(c)))
}

// setMaxTimestamp stamps the highest timestamp; the CRC has to follow.
func (b Batch) setMaxTimestamp(at moldau.Timestamp) {
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(at))
}

// payload is what follows the header: the records as they are stored, compressed or not.
func (b Batch) payload() []byte { return b[HeaderLen:] }

func (b Batch) stampCRC() {
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
}

// String is the header in one line, for logs and error messages. It is safe on bytes that are no batch.
func (b Batch) String() string {
	if len(b) < HeaderLen {
		return fmt.Sprintf("batch cut off after %d bytes", len(b))
	}
	var s strings.Builder
	fmt.Fprintf(&s, "batch %d..%d epoch %d, %d records, %d bytes %v, timestamps %d..%d", b.BaseOffset(), b.LastOffset(),
		b.LeaderEpoch(), b.Count(), b.Size(), b.Codec(), b.BaseTimestamp(), b.MaxTimestamp())
	if b.IsLogAppendTime() {
		s.WriteString(" (log append time)")
	}
	if b.HasProducer() {
		fmt.Fprintf(&s, ", producer %d epoch %d sequence %d..%d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(),
			b.LastSequence())
	}
	if b.IsTransactional() {
		s.WriteString(", transactional")
	}
	if b.IsControl() {
		s.WriteString(", control")
	}
	return s.String()
}
