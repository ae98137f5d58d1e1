package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
)

// testNow is the time of the tests: 2023-11-14.
const testNow moldau.Timestamp = 1_700_000_000_000

// testLimit is what tests let a batch take when decompressed.
const testLimit = 8 << 20

var allCodecs = []Codec{Uncompressed, Gzip, Snappy, LZ4, Zstd}

// sample makes n records that compress like real ones; the key of record i is "key-i".
func sample(n int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{
			Offset:    moldau.Offset(i),
			Timestamp: testNow + moldau.Timestamp(i),
			Key:       fmt.Appendf(nil, "key-%d", i),
			Value:     fmt.Appendf(nil, "GET /page/%d HTTP/1.1 200 - a value that repeats itself, itself", i%7),
		}
		if i%3 == 0 {
			records[i].Headers = []Header{{Key: []byte("trace"), Value: []byte{byte(i), 0}}, {Key: []byte{}, Value: nil}}
		}
	}
	return records
}

// build makes a batch of the records, as a producer without idempotence would.
func build(t testing.TB, how Compression, records ...Record) Batch {
	t.Helper()
	b := NewBuilder(0)
	b.Compression = how
	for _, r := range records {
		b.Add(r)
	}
	batch, err := b.Build(new(Codecs))
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// collect reads all records of b into memory of their own.
func collect(b Batch, c *Codecs, limit int) ([]Record, error) {
	var records []Record
	for r, err := range b.Records(c, limit) {
		if err != nil {
			return records, err
		}
		r.Key, r.Value, r.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
		for i, h := range r.Headers {
			r.Headers[i] = Header{Key: bytes.Clone(h.Key), Value: bytes.Clone(h.Value)}
		}
		records = append(records, r)
	}
	return records, nil
}

// sameRecords compares what is read with what was written; null and empty are different.
func sameRecords(a, b []Record) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d records, want %d", len(a), len(b))
	}
	same := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	for i := range a {
		x, y := a[i], b[i]
		ok := x.Offset == y.Offset && x.Timestamp == y.Timestamp && same(x.Key, y.Key) && same(x.Value, y.Value) &&
			len(x.Headers) == len(y.Headers)
		for j := 0; ok && j < len(x.Headers); j++ {
			ok = same(x.Headers[j].Key, y.Headers[j].Key) && same(x.Headers[j].Value, y.Headers[j].Value)
		}
		if !ok {
			return fmt.Errorf("record %d is %+v, want %+v", i, x, y)
		}
	}
	return nil
}

// kmsgRecords encodes records by kmsg, an encoder that is not ours. Offsets are taken as deltas.
func kmsgRecords(records []Record) []byte {
	var out []byte
	for _, r := range records {
		k := kmsg.NewRecord()
		k.TimestampDelta64 = int64(r.Timestamp - records[0].Timestamp)
		k.OffsetDelta = int32(r.Offset)
		k.Key, k.Value = r.Key, r.Value
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: string(h.Key), Value: h.Value})
		}
		k.Length = int32(len(k.AppendTo(nil)) - 1) // length 0 takes one byte
		out = k.AppendTo(out)
	}
	return out
}

// kmsgBatch makes a batch by kmsg around encoded, perhaps compressed, records.
func kmsgBatch(codec Codec, count int, base, last moldau.Timestamp, payload []byte) Batch {
	k := kmsg.NewRecordBatch()
	k.Length = int32(HeaderLen - Overhead + len(payload))
	k.PartitionLeaderEpoch = -1
	k.Magic = 2
	k.Attributes = int16(codec)
	k.LastOffsetDelta = int32(count - 1)
	k.FirstTimestamp, k.MaxTimestamp = int64(base), int64(last)
	k.ProducerID, k.ProducerEpoch, k.FirstSequence = -1, -1, -1
	k.NumRecords = int32(count)
	k.Records = payload
	b := Batch(k.AppendTo(nil))
	b.stampCRC()
	return b
}

// edit returns a copy of b, changed and with the CRC of the change.
func edit(b Batch, change func(Batch)) Batch {
	b = slices.Clone(b)
	change(b)
	b.stampCRC()
	return b
}

func put16(at int, v uint16) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint16(b[at:], v) }
}

func put32(at int, v int32) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
}

func put64(at int, v int64) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
}

func TestBatchHeader(t *testing.T) {
	b := NewBuilder(1000)
	b.LeaderEpoch, b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = 3, 77, 5, 1<<31-2, true
	b.Compression.Codec = Zstd
	for _, r := range sample(4) {
		b.Add(r)
	}
	batch, err := b.Build(new(Codecs))
	if err != nil {
		t.Fatal(err)
	}
	var k kmsg.RecordBatch
	if err := k.ReadFrom(batch); err != nil {
		t.Fatal(err)
	}
	type header struct {
		base, last      moldau.Offset
		epoch           moldau.LeaderEpoch
		first, max      moldau.Timestamp
		id              moldau.ProducerID
		producerEpoch   moldau.ProducerEpoch
		sequence        moldau.Sequence
		count, size     int
		magic           int8
		txn, control    bool
		appendT, horizn bool
	}
	ours := header{batch.BaseOffset(), batch.LastOffset(), batch.LeaderEpoch(), batch.BaseTimestamp(), batch.MaxTimestamp(),
		batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence(), int(batch.Count()), batch.Size(), batch.Magic(),
		batch.IsTransactional(), batch.IsControl(), batch.IsLogAppendTime(), batch.HasDeleteHorizon()}
	theirs := header{moldau.Offset(k.FirstOffset), moldau.Offset(k.FirstOffset + int64(k.LastOffsetDelta)),
		moldau.LeaderEpoch(k.PartitionLeaderEpoch), moldau.Timestamp(k.FirstTimestamp), moldau.Timestamp(k.MaxTimestamp),
		moldau.ProducerID(k.ProducerID), moldau.ProducerEpoch(k.ProducerEpoch), moldau.Sequence(k.FirstSequence),
		int(k.NumRecords), int(k.Length) + Overhead, k.Magic, k.Attributes&16 != 0, k.Attributes&32 != 0,
		k.Attributes&8 != 0, k.Attributes&64 != 0}
	if ours != theirs || ours.base != 1000 || ours.last != 1003 || ours.sequence != 1<<31-2 || ours.size != len(batch) {
		t.Errorf("we read %+v, kmsg reads %+v", ours, theirs)
	}
	if got := batch.LastSequence(); got != 1 {
		t.Errorf("the sequence wraps to %d, want 1 (L-21)", got)
	}
	want := fmt.Sprintf("batch 1000..1003 epoch 3, 4 records, %d bytes zstd, timestamps 1700000000000..1700000000003, "+
		"producer 77 epoch 5 sequence 2147483646..1, transactional", len(batch))
	if got := batch.String(); got != want {
		t.Errorf("String:\n%s, want\n%s", got, want)
	}
	if got := batch[:40].String(); got != "batch cut off after 40 bytes" {
		t.Errorf("String of a piece: %s", got)
	}
}

// Base offset and leader epoch lie before the CRC (L-8); log append time does not (L-6).
func TestStamps(t *testing.T) {
	for _, codec := range allCodecs {
		b := build(t, Compression{Codec: codec}, sample(10)...)
		payload := slices.Clone(b.payload())
		b.SetBaseOffset(1 << 40)
		b.SetLeaderEpoch(9)
		if !b.CRCValid() || b.LastOffset() != 1<<40+9 || b.LeaderEpoch() != 9 {
			t.Errorf("%v: stamped %v", codec, b)
		}
		b.SetLogAppendTime(testNow + 5000)
		if !b.CRCValid() || !b.IsLogAppendTime() || !bytes.Equal(payload, b.payload()) {
			t.Errorf("%v: log append time broke %v", codec, b)
		}
		records, err := collect(b, new(Codecs), testLimit)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range records {
			if r.Timestamp != testNow+5000 || r.Offset != 1<<40+moldau.Offset(i) {
				t.Fatalf("%v: record %d has offset %d, timestamp %d", codec, i, r.Offset, r.Timestamp)
			}
		}
	}
}

// franzRecords reads a batch as the Go client does.
func franzRecords(b Batch) ([]Record, error) {
	part := kmsg.NewFetchResponseTopicPartition()
	part.RecordBatches = b
	part.HighWatermark = 1 << 62
	fetched, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{KeepControlRecords: true, Offset: -1 << 62}, &part,
		kgo.DefaultDecompressor(), nil)
	var records []Record
	for _, r := range fetched.Records {
		record := Record{Offset: moldau.Offset(r.Offset), Timestamp: moldau.Timestamp(r.Timestamp.UnixMilli()), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			record.Headers = append(record.Headers, Header{Key: []byte(h.Key), Value: h.Value})
		}
		records = append(records, record)
	}
	return records, fetched.Err
}
