package record

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/moldau/moldau"
)

func lenient() *Policy {
	return &Policy{TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: 3_600_000, Codecs: new(Codecs)}
}

// A good batch is accepted where it lies, and nothing is allocated, however many records it has.
func TestValidateInPlace(t *testing.T) {
	for _, codec := range allCodecs {
		b := build(t, Compression{Codec: codec}, sample(100)...)
		before := slices.Clone(b)
		p := lenient()
		got, refusal := Validate(b, testNow, 9, p)
		if refusal != nil {
			t.Fatalf("%v: %v", codec, refusal)
		}
		if &got[0] != &b[0] || !bytes.Equal(b, before) {
			t.Errorf("%v: a good batch was copied or changed", codec)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = Validate(b, testNow, 9, p) }); n != 0 {
			t.Errorf("%v: Validate allocates %v times", codec, n)
		}
	}
}

// What is set right in place lies outside what the producer's records say: the max timestamp and the CRC.
func TestValidateCorrectsMaxTimestamp(t *testing.T) {
	b := edit(build(t, Compression{}, sample(10)...), put64(maxTimestampAt, 12))
	got, refusal := Validate(b, testNow, 9, lenient())
	if refusal != nil || got.MaxTimestamp() != testNow+9 || !got.CRCValid() {
		t.Errorf("%v, %v", got, refusal)
	}
	p := lenient()
	p.LogAppendTime = true
	b = edit(build(t, Compression{}, sample(10)...), put64(maxTimestampAt, 12))
	if got, refusal := Validate(b, testNow, 9, p); refusal != nil || got.MaxTimestamp() != 12 {
		t.Errorf("with log append time: %v, %v", got, refusal)
	}
}

// An unopened batch may not claim more records than it has bytes: its count would eat offsets.
func TestValidateFalseCount(t *testing.T) {
	b := build(t, Compression{Codec: Zstd}, sample(10)...)
	b = edit(edit(b, put32(countAt, math.MaxInt32)), put32(lastOffsetDeltaAt, math.MaxInt32-1))
	_, refusal := Validate(b, testNow, 9, lenient())
	if refusal == nil || refusal.Code != moldau.InvalidRecord || !strings.Contains(refusal.Message, "more records than") {
		t.Errorf("%v", refusal)
	}
}

func TestValidateFailingRecords(t *testing.T) {
	b := NewBuilder(0)
	for range 5000 {
		b.Add(Record{Timestamp: testNow, Value: []byte("no key")})
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := lenient()
	p.Compacted = true
	_, refusal := Validate(batch, testNow, 9, p)
	if refusal == nil || refusal.Code != moldau.InvalidRecord || len(refusal.Records) != failuresMax ||
		refusal.Records[999].Index != 999 || !strings.HasPrefix(refusal.Message, "5000 of the batch's") {
		t.Errorf("%v with %d records", refusal, len(refusal.Records))
	}
	p.Compacted = false
	p.TimestampAfterMaxMs = -1
	_, refusal = Validate(batch, testNow, 9, p)
	want := "timestamp 1700000000000 is out of range: the topic accepts -9223370336854775807 to 1699999999999"
	if refusal == nil || refusal.Code != moldau.InvalidTimestamp || refusal.Records[0].Message != want {
		t.Errorf("%v: %s", refusal, refusal.Records[0].Message)
	}
}

// A batch whose decompressed records pass the limit gets the code on which producers split and retry.
func TestValidateOpenLimit(t *testing.T) {
	for _, codec := range allCodecs[1:] {
		b := build(t, Compression{Codec: codec}, Record{Timestamp: testNow, Key: []byte("k"), Value: make([]byte, 100_000)})
		p := lenient()
		p.Strict = true
		p.OpenBytesMax = 100_000
		if _, refusal := Validate(b, testNow, 9, p); refusal == nil || refusal.Code != moldau.MessageTooLarge {
			t.Errorf("%v: %v", codec, refusal)
		}
		p.OpenBytesMax = 100_100
		if _, refusal := Validate(b, testNow, 9, p); refusal != nil {
			t.Errorf("%v: %v", codec, refusal)
		}
	}
	if got := OpenLimit(1000, 1048588); got != 32<<20 {
		t.Errorf("OpenLimit for a small batch: %d", got)
	}
	if got := OpenLimit(10<<20, 1048588); got != 100<<20 {
		t.Errorf("OpenLimit for a large batch: %d", got)
	}
	if got := OpenLimit(1000, 100<<20); got != 200<<20 {
		t.Errorf("OpenLimit for a large topic: %d", got)
	}
}

// A level that the codec does not have is our configuration's fault, not the producer's.
func TestValidateBadLevel(t *testing.T) {
	p := lenient()
	p.Compression = &Compression{Codec: Gzip, Level: 77}
	_, refusal := Validate(build(t, Compression{}, sample(1)...), testNow, 9, p)
	if refusal == nil || refusal.Code != moldau.UnknownServerError || !strings.Contains(refusal.Message, "level 77") {
		t.Errorf("%v", refusal)
	}
}

// Whatever the policy, what is accepted holds the records that were sent, numbered from 0, and is accepted again unchanged.
func TestValidateKeepsRecords(t *testing.T) {
	c := new(Codecs)
	rapid.Check(t, func(t *rapid.T) {
		records := arbitraryRecords(t)
		deltas := rapid.SampledFrom([]string{"in order", "shifted", "backwards"}).Draw(t, "deltas")
		claimed := slices.Clone(records)
		for i := range claimed {
			switch deltas {
			case "shifted":
				claimed[i].Offset += 3
			case "backwards":
				claimed[i].Offset = moldau.Offset(len(claimed) - i)
			}
		}
		codec := rapid.SampledFrom(allCodecs).Draw(t, "codec")
		packed, err := c.Compress(nil, Compression{Codec: codec}, kmsgRecords(claimed))
		if err != nil {
			t.Fatal(err)
		}
		sent := kmsgBatch(codec, len(records), records[0].Timestamp, records[0].Timestamp, packed)
		p := &Policy{TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: math.MaxInt64, Strict: true, Codecs: c}
		if rapid.Bool().Draw(t, "recompress") {
			p.Compression = &Compression{Codec: rapid.SampledFrom(allCodecs).Draw(t, "to")}
			codec = p.Compression.Codec
		}
		b, refusal := Validate(sent, testNow, 9, p)
		if refusal != nil {
			t.Fatal(refusal)
		}
		got, err := collect(b, c, testLimit)
		if err == nil {
			err = sameRecords(got, records)
		}
		if err != nil || b.Codec() != codec || !b.CRCValid() {
			t.Fatalf("%v: %v", b, err)
		}
		latest := slices.MaxFunc(records, func(a, b Record) int { return int(a.Timestamp - b.Timestamp) }).Timestamp
		if b.MaxTimestamp() != latest {
			t.Fatalf("max timestamp %d, want %d", b.MaxTimestamp(), latest)
		}
		again, refusal := Validate(slices.Clone(b), testNow, 9, p)
		if refusal != nil || !bytes.Equal(again, b) {
			t.Fatalf("the second time: %v, %v, want %v", again, refusal, b)
		}
	})
}

// FuzzValidate feeds hostile requests: no panic, and what is accepted is a batch that stands on its own.
func FuzzValidate(f *testing.F) {
	for _, c := range verdictCases(f) {
		p := policyOf(f, c.config)
		target := int8(-1)
		if p.Compression != nil {
			target = int8(p.Compression.Codec)
		}
		f.Add(c.records, c.version, p.Compacted, p.LogAppendTime, false, target, false)
		f.Add(c.records, c.version, p.Compacted, p.LogAppendTime, true, target, true)
	}
	c := new(Codecs)
	f.Fuzz(func(t *testing.T, in []byte, version int16, compacted, appendTime, strict bool, target int8, sign bool) {
		in = slices.Clone(in)
		if sign && len(in) >= HeaderLen { // past the CRC, where the mutations are worth more
			b := Batch(in)
			put32(lengthAt, int32(len(in)-Overhead))(b)
			b.stampCRC()
		}
		p := &Policy{MessageBytesMax: 1 << 20, SegmentBytesMax: 1 << 20, LogAppendTime: appendTime, Compacted: compacted, Strict: strict,
			TimestampBeforeMaxMs: 1 << 41, TimestampAfterMaxMs: 3_600_000, OpenBytesMax: 1 << 20, Codecs: c}
		if target >= 0 && Codec(target).Known() {
			p.Compression = &Compression{Codec: Codec(target)}
		}
		b, refusal := Validate(in, testNow, version, p)
		if (b == nil) == (refusal == nil) {
			t.Fatalf("batch %v, refusal %v", b, refusal)
		}
		if refusal != nil {
			if refusal.Message == "" || len(refusal.Records) > failuresMax {
				t.Fatalf("%v with %d records", refusal, len(refusal.Records))
			}
			return
		}
		if got, rest, err := Split(b); err != nil || len(rest) != 0 || len(got) != len(b) {
			t.Fatalf("%v: %d bytes left, %v", got, len(rest), err)
		}
		if !b.CRCValid() || b.BaseOffset() != 0 || b.Count() <= 0 || b.LastOffsetDelta() != b.Count()-1 || b.IsControl() ||
			b.IsLogAppendTime() || p.Compression != nil && b.Codec() != p.Compression.Codec {
			t.Fatalf("accepted %v", b)
		}
		if b.Codec() != Uncompressed && !strict && !compacted {
			return // not opened
		}
		records, err := collect(b, c, 1<<20)
		if err != nil || len(records) != int(b.Count()) {
			t.Fatalf("accepted %v: %v", b, err)
		}
		for i, r := range records {
			if int(r.Offset) != i || compacted && r.Key == nil || !appendTime && r.Timestamp > b.MaxTimestamp() && r.Timestamp != -1 {
				t.Fatalf("accepted %v with record %d: %+v", b, i, r)
			}
		}
	})
}
