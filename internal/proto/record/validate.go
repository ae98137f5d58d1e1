package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/moldau/moldau"
)

// Policy is what a topic demands of the batches that producers send. It does not change while it is used and may be
// shared.
type Policy struct {
	// MessageBytesMax is max.message.bytes: the largest batch with its header, as sent and as recompressed. 0: no limit.
	MessageBytesMax int
	// SegmentBytesMax is segment.bytes: a larger batch would fit no segment. 0: no limit.
	SegmentBytesMax int
	// LogAppendTime is message.timestamp.type=LogAppendTime: the caller stamps the time, what the producer sent is not
	// looked at.
	LogAppendTime bool
	// TimestampBeforeMaxMs and TimestampAfterMaxMs are how far a record's time may lie in the past and in the future:
	// message.timestamp.before.max.ms and message.timestamp.after.max.ms. math.MaxInt64 is no bound.
	TimestampBeforeMaxMs, TimestampAfterMaxMs int64
	// Compacted is cleanup.policy=compact: every record needs a key.
	Compacted bool
	// Compression is compression.type where that is not "producer": batches of another codec are recompressed to it.
	Compression *Compression
	// Strict opens every compressed batch. Otherwise one is opened only if something inside has to be known or changed:
	// a compacted topic, recompression, or a header whose timestamps do not look right.
	Strict bool
	// OpenBytesMax is the most that the records of one batch may take when decompressed. 0: OpenLimit decides.
	OpenBytesMax int
	// Codecs decompress and compress; never nil.
	Codecs *Codecs
}

// openFloor is the decompressed size that OpenLimit allows in any case. Producers fill a batch until its estimated
// compressed size is reached, so that a batch of a megabyte may well hold twenty.
const openFloor = 32 << 20

// OpenLimit is the usual bound for the decompressed records of a batch: ten times its size, or twice max.message.bytes,
// or 32 MiB, whichever is most.
func OpenLimit(batchBytes, messageBytesMax int) int {
	return max(10*batchBytes, 2*messageBytesMax, openFloor)
}

// zstdSince is the version of Produce that may carry zstd (KIP-110).
const zstdSince = 7

// Validate checks what a producer sent to one partition, and makes it ready to be appended but for base offset, leader
// epoch and, where the policy says so, log append time, which the caller stamps.
//
// records: the records field of the request, owned by the caller and modified in place: a max timestamp that is not that
// of the records is set right. The batch that is returned is a view of it, or new memory if the batch had to be
// recompressed or its records renumbered. now is the time that the timestamp bounds count from, produceVersion the
// version of the request. The order of the checks is Apache Kafka's, since it decides which code is answered when more
// than one thing is wrong: L-1 to L-8, KIP-467 for the failing records.
//
// As in Apache Kafka a piece of a second batch behind the first whole one is ignored, and a whole one is refused.
func Validate(records []byte, now moldau.Timestamp, produceVersion int16, p *Policy) (Batch, *Refusal) {
	batch, refusal := onlyBatch(records, produceVersion)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := p.checkHeader(batch); refusal != nil {
		return nil, refusal
	}
	batch, refusal = p.checkRecords(batch, now)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := p.checkSize(batch); refusal != nil {
		return nil, refusal
	}
	if p.SegmentBytesMax > 0 && len(batch) > p.SegmentBytesMax {
		return nil, refuse(moldau.RecordListTooLarge,
			"the record batch takes %d bytes, more than a segment may hold (segment.bytes=%d)", len(batch), p.SegmentBytesMax)
	}
	return batch, nil
}

// onlyBatch finds the one batch of records. What counts as absent and what as corrupt is as in Apache Kafka, whose reader
// takes a batch that is cut off for the end.
func onlyBatch(records []byte, produceVersion int16) (Batch, *Refusal) {
	size, refusal := extent(records)
	if refusal != nil {
		return nil, refusal
	}
	if size == 0 {
		return nil, refuse(moldau.InvalidRecord, "the request has no whole record batch for the partition (%d bytes)", len(records))
	}
	if m := int8(records[magicAt]); m != magic {
		return nil, refuse(moldau.InvalidRecord, "the record batch has format version %d: only version 2 is accepted", m)
	}
	if size < HeaderLen {
		return nil, refuse(moldau.CorruptMessage, "the record batch takes %d bytes, less than its header of %d", size, HeaderLen)
	}
	batch := Batch(records[:size:size])
	if produceVersion < zstdSince && batch.Codec() == Zstd {
		return nil, refuse(moldau.UnsupportedCompressionType, "Produce version %d cannot carry zstd: version %d is the first that can",
			produceVersion, zstdSince)
	}
	second, refusal := extent(records[size:])
	if refusal != nil {
		return nil, refusal
	}
	if second != 0 {
		return nil, refuse(moldau.InvalidRecord, "the request has more than one record batch for the partition")
	}
	return batch, nil
}

// recordSizeMin is the least that a length field of any format version may say: the overhead of a message of version 0.
const recordSizeMin = 14

// extent is the size of the first batch of b, of whatever format version; 0 if it is not there as a whole.
func extent(b []byte) (int, *Refusal) {
	if len(b) < Overhead {
		return 0, nil
	}
	length := int32(binary.BigEndian.Uint32(b[lengthAt:]))
	if length < recordSizeMin {
		return 0, refuse(moldau.CorruptMessage, "the length field of the record batch says %d", length)
	}
	if len(b) <= magicAt {
		return 0, nil
	}
	if m := int8(b[magicAt]); m < 0 || m > magic {
		return 0, refuse(moldau.CorruptMessage, "the record batch has format version %d, which does not exist", m)
	}
	if int(length) > len(b)-Overhead {
		return 0, nil
	}
	return int(length) + Overhead, nil
}

// checkHeader checks everything that needs no look at the records.
func (p *Policy) checkHeader(b Batch) *Refusal {
	if b.BaseOffset() != 0 {
		return refuse(moldau.InvalidRecord, "the record batch has base offset %d: a producer has to send 0", b.BaseOffset())
	}
	if refusal := p.checkSize(b); refusal != nil {
		return refusal
	}
	if !b.CRCValid() {
		return refuse(moldau.CorruptMessage, "the record batch of %d bytes bears CRC %08x, which is not that of its content: it was damaged on the way",
			len(b), b.CRC())
	}
	switch count := int64(b.LastOffsetDelta()) + 1; {
	case !b.Codec().Known():
		return refuse(moldau.InvalidRecord, "the record batch bears %v, which does not exist", b.Codec())
	case count <= 0:
		return refuse(moldau.InvalidRecord, "the record batch has last offset delta %d", b.LastOffsetDelta())
	case b.Count() <= 0:
		return refuse(moldau.InvalidRecord, "the record batch counts %d records", b.Count())
	case int64(b.Count()) != count:
		return refuse(moldau.InvalidRecord, "the record batch counts %d records and has last offset delta %d", b.Count(), b.LastOffsetDelta())
	case b.IsControl():
		return refuse(moldau.InvalidRecord, "the record batch is a control batch: those are written by brokers alone")
	case b.HasProducer() && b.BaseSequence() < 0:
		return refuse(moldau.InvalidRecord, "the record batch of producer %d has sequence %d", b.ProducerID(), b.BaseSequence())
	case b.IsLogAppendTime():
		return refuseAll(b, moldau.InvalidTimestamp, "the record batch claims log append time: that is for the broker to set")
	}
	return nil
}

// refuseAll refuses every record of b by its index for the same reason.
func refuseAll(b Batch, code moldau.Code, message string) *Refusal {
	r := &Refusal{Code: code, Message: message}
	for i := range min(b.Count(), failuresMax) {
		r.Records = append(r.Records, RecordError{Index: i, Message: message})
	}
	return r
}

func (p *Policy) checkSize(b Batch) *Refusal {
	if p.MessageBytesMax > 0 && len(b) > p.MessageBytesMax {
		return refuse(moldau.MessageTooLarge, "the record batch takes %d bytes, more than the topic accepts (max.message.bytes=%d)",
			len(b), p.MessageBytesMax)
	}
	return nil
}

// checkRecords walks the records where it has to and returns the batch that is to be stored.
func (p *Policy) checkRecords(b Batch, now moldau.Timestamp) (Batch, *Refusal) {
	target := Compression{Codec: b.Codec()}
	if p.Compression != nil && p.Compression.Codec != b.Codec() {
		target = *p.Compression
	}
	bounds := p.bounds(now)
	plain := b.payload()
	if b.Codec() != Uncompressed {
		if !p.mustOpen(b, target.Codec, bounds) {
			return b, nil
		}
		limit := p.OpenBytesMax
		if limit <= 0 {
			limit = OpenLimit(len(b), p.MessageBytesMax)
		}
		buf := p.Codecs.buffer()
		defer p.Codecs.release(buf)
		var err error
		if *buf, err = p.Codecs.Decompress(*buf, b.Codec(), plain, limit); err != nil {
			return nil, refuseOpening(b, limit, err)
		}
		plain = *buf
	}
	w := walk{bounds: bounds, base: b.BaseTimestamp(), keyed: p.Compacted}
	if err := w.all(plain, b.Count()); err != nil {
		return nil, refuse(moldau.InvalidRecord, "record %d of %d: %v", w.count, b.Count(), err)
	}
	if w.failed > 0 {
		return nil, w.refusal()
	}
	if !p.LogAppendTime && w.max != b.MaxTimestamp() {
		b.setMaxTimestamp(w.max)
		b.stampCRC()
	}
	if !w.inOrder {
		return b.renumbered(p.Codecs, target, plain)
	}
	if target.Codec == b.Codec() {
		return b, nil
	}
	out, err := b.withPayload(p.Codecs, target, plain)
	if err != nil {
		return nil, refuse(moldau.UnknownServerError, "compress the record batch with %v: %v", target.Codec, err)
	}
	return out, nil
}

// mustOpen decides whether a compressed batch has to be decompressed (L-4). A time out of bounds in the header is a
// reason: the records that fail have to be named, or the header lies and has to be set right. More records than bytes
// are another: hardly any batch is like that, and a false count would eat the offsets of the partition.
func (p *Policy) mustOpen(b Batch, target Codec, bounds bounds) bool {
	if p.Strict || p.Compacted || target != b.Codec() || int(b.Count()) > len(b.payload()) {
		return true
	}
	if p.LogAppendTime {
		return false
	}
	return b.MaxTimestamp() < b.BaseTimestamp() || !bounds.hold(b.BaseTimestamp()) || !bounds.hold(b.MaxTimestamp())
}

// refuseOpening answers for a batch that cannot be decompressed. Too large is a code on which producers split the batch
// and try again; the others are no use trying again.
func refuseOpening(b Batch, limit int, err error) *Refusal {
	if errors.Is(err, ErrTooLarge) {
		return refuse(moldau.MessageTooLarge, "the record batch of %d bytes takes more than %d when decompressed (%v)", len(b), limit, b.Codec())
	}
	return refuse(moldau.InvalidRecord, "the records of the batch cannot be read: %v", err)
}

// renumbered is b with offset deltas 0 to n-1. Old clients count them otherwise; Apache Kafka sets them right too.
func (b Batch) renumbered(c *Codecs, how Compression, plain []byte) (Batch, *Refusal) {
	build := NewBuilder(b.BaseOffset())
	build.ProducerID, build.ProducerEpoch, build.BaseSequence = b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()
	build.LeaderEpoch = b.LeaderEpoch()
	build.Transactional = b.IsTransactional()
	build.Compression = how
	scan := scanner{bytes: plain, headers: true}
	var it item
	for range b.Count() {
		if err := scan.next(&it); err != nil {
			return nil, refuse(moldau.InvalidRecord, "renumber the records of the batch: %v", err)
		}
		build.Add(b.record(&it))
	}
	out, err := build.Build(c)
	if err != nil {
		return nil, refuse(moldau.UnknownServerError, "renumber the records of the batch: %v", err)
	}
	return out, nil
}

// bounds are the times that a record may bear, both inclusive.
type bounds struct{ first, last moldau.Timestamp }

func (p *Policy) bounds(now moldau.Timestamp) bounds {
	if p.LogAppendTime {
		return bounds{math.MinInt64, math.MaxInt64}
	}
	in := bounds{first: now - moldau.Timestamp(p.TimestampBeforeMaxMs), last: math.MaxInt64}
	if after := moldau.Timestamp(p.TimestampAfterMaxMs); after < in.last-now { // or the sum is past the end of time
		in.last = now + after
	}
	return in
}

// hold reports whether a record may bear the time. No timestamp is always allowed.
func (in bounds) hold(at moldau.Timestamp) bool {
	return at >= in.first && at <= in.last || at == moldau.NoTimestamp
}

// walk is one pass over uncompressed records.
type walk struct {
	bounds bounds
	base   moldau.Timestamp
	keyed  bool // every record needs a key

	count    int32 // records seen; after an error the index of the bad one
	inOrder  bool  // offset deltas are 0, 1, 2, ...
	max      moldau.Timestamp
	failed   int // records that break a rule of the topic
	untimely bool
	failures []RecordError // the first failuresMax of them
}

// failuresMax bounds the list of failing records in an answer; further ones fail without being named.
const failuresMax = 1000

// all walks count records, after which no byte may be left. An error is about the encoding; records that break a rule of
// the topic are gathered in failures. It allocates nothing unless there are such records.
func (w *walk) all(plain []byte, count int32) error {
	w.inOrder = true
	w.max = moldau.NoTimestamp
	scan := scanner{bytes: plain}
	var it item
	for i := range count {
		w.count = i
		if err := scan.next(&it); err != nil {
			return err
		}
		at := w.base + moldau.Timestamp(it.timestampDelta)
		w.max = max(w.max, at)
		w.inOrder = w.inOrder && it.offsetDelta == i
		if w.keyed && it.key == nil || !w.bounds.hold(at) {
			w.fail(i, at, it.key)
		}
	}
	if scan.more() {
		return errTrailing
	}
	return nil
}

// fail notes that record i breaks a rule; a missing key comes before a wrong time.
func (w *walk) fail(i int32, at moldau.Timestamp, key []byte) {
	w.failed++
	keyless := w.keyed && key == nil
	w.untimely = w.untimely || !keyless
	if len(w.failures) == failuresMax {
		return
	}
	message := "the topic is compacted: a record needs a key"
	if !keyless {
		message = fmt.Sprintf("timestamp %d is out of range: the topic accepts %d to %d", at, w.bounds.first, w.bounds.last)
	}
	w.failures = append(w.failures, RecordError{Index: i, Message: message})
}

// refusal answers for the failing records: one wrong time makes the whole an INVALID_TIMESTAMP (L-5).
func (w *walk) refusal() *Refusal {
	r := refuse(moldau.InvalidRecord, "%d of the batch's records were refused, so none was stored", w.failed)
	if w.untimely {
		r.Code = moldau.InvalidTimestamp
	}
	r.Records = w.failures
	return r
}
