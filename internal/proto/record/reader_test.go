package record

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/moldau/moldau"
)

// A batch that kmsg encodes and franz-go compresses reads back as it was written, by every codec and framing.
func TestReadFranz(t *testing.T) {
	records := sample(200)
	plain := kmsgRecords(records)
	for codec, choice := range map[Codec]kgo.CompressionCodec{
		Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	} {
		compress, err := kgo.DefaultCompressor(choice)
		if err != nil {
			t.Fatal(err)
		}
		payload, _ := compress.Compress(new(bytes.Buffer), plain)
		b := kmsgBatch(codec, len(records), testNow, testNow+199, payload)
		got, err := collect(b, new(Codecs), testLimit)
		if err == nil {
			err = sameRecords(got, records)
		}
		if err != nil {
			t.Errorf("%v: %v", codec, err)
		}
	}
	got, err := collect(kmsgBatch(Uncompressed, len(records), testNow, testNow+199, plain), nil, 0)
	if err == nil {
		err = sameRecords(got, records)
	}
	if err != nil {
		t.Errorf("uncompressed: %v", err)
	}
}

// The batches that Java wrote (testdata/Judge.java) read back, and what we make of the same records is the same, byte
// for byte where nothing is compressed.
func TestReadJava(t *testing.T) {
	want := []Record{
		{Offset: 0, Timestamp: testNow, Key: []byte("key"), Value: []byte("value"),
			Headers: []Header{{Key: []byte("h"), Value: []byte("v")}, {Key: []byte("null"), Value: nil}}},
		{Offset: 1, Timestamp: testNow + 5, Key: nil, Value: bytes.Repeat([]byte("abc"), 300)},
		{Offset: 2, Timestamp: testNow - 5, Key: []byte{}, Value: nil},
	}
	for _, codec := range allCodecs {
		java, err := os.ReadFile(filepath.Join("testdata", "java-"+codec.String()+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		b, rest, err := Split(java)
		if err != nil || len(rest) != 0 || !b.CRCValid() || b.Codec() != codec {
			t.Fatalf("%v: %v, %d bytes left, %v", codec, b, len(rest), err)
		}
		got, err := collect(b, new(Codecs), testLimit)
		if err == nil {
			err = sameRecords(got, want)
		}
		if err != nil {
			t.Errorf("%v: %v", codec, err)
		}
		back, err := b.Recompress(new(Codecs), Compression{}, testLimit)
		if err != nil {
			t.Fatal(err)
		}
		if ours := build(t, Compression{}, want...); !bytes.Equal(back[leaderEpochAt+4:], ours[leaderEpochAt+4:]) {
			t.Errorf("%v: the records of Java are\n%x, ours\n%x", codec, []byte(back), []byte(ours))
		}
	}
	java, err := os.ReadFile(filepath.Join("testdata", "java-marker.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if ours := BuildMarker(0, testNow, 4711, 3, Marker{Commit: true, CoordinatorEpoch: 12}); !bytes.Equal(java, ours) {
		t.Errorf("Java's marker is\n%x, ours\n%x", java, []byte(ours))
	}
}

func TestRecordErrors(t *testing.T) {
	plain := kmsgRecords(sample(1))
	record := func(body ...byte) []byte { return append(appendVarint(nil, int64(len(body))), body...) }
	for _, c := range []struct {
		name    string
		payload []byte
		count   int
		want    string
	}{
		{"none", nil, 1, "more records than"},
		{"one too few", plain, 2, "record 1: the header counts more records"},
		{"one too many", slices.Concat(plain, plain), 1, "bytes follow the last record"},
		{"cut off", plain[:len(plain)-1], 1, "passes the end of the batch"},
		{"length -1", []byte{1}, 1, "length is negative"},
		{"length 0", []byte{0}, 1, "length is negative"},
		{"length overlong", []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}, 1, "varint"},
		{"length cut off", []byte{0x80}, 1, "varint"},
		{"timestamp overlong", record(0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 1, 1, 0), 1, "varint"},
		{"offset missing", record(0, 0), 1, "varint"},
		{"key past the end", record(0, 0, 0, 20, 1, 0), 1, "key or value"},
		{"value past the end", record(0, 0, 0, 1, 2, 0), 1, "headers"},
		{"greatest value", record(0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0), 1, "key or value"},
		{"headers -1", record(0, 0, 0, 1, 1, 1), 1, "headers"},
		{"more headers than bytes", record(0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f), 1, "headers"},
		{"header without key", record(0, 0, 0, 1, 1, 2, 1, 1), 1, "headers"},
		{"header value past the end", record(0, 0, 0, 1, 1, 2, 0, 40), 1, "headers"},
		{"bytes left over", record(0, 0, 0, 1, 1, 0, 0), 1, "fields end before"},
	} {
		b := kmsgBatch(Uncompressed, c.count, testNow, testNow, c.payload)
		if _, err := collect(b, new(Codecs), testLimit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
	b := kmsgBatch(Uncompressed, 1, testNow, testNow, record(0, 0, 0, 5, 7, 0))
	if got, err := collect(b, nil, 0); err != nil || got[0].Key != nil || got[0].Value != nil {
		t.Errorf("any negative length is null: %v, %v", got, err)
	}
}

// Reading allocates nothing per record: what it takes for a batch is the scratch of the headers, and now and then a
// decompressor.
func TestRecordsAllocations(t *testing.T) {
	c := new(Codecs)
	for _, codec := range allCodecs {
		b := build(t, Compression{Codec: codec}, sample(1000)...)
		n := testing.AllocsPerRun(50, func() {
			for r, err := range b.Records(c, testLimit) {
				if err != nil || r.Offset == 990 {
					break
				}
			}
		})
		if n > 100 || codec == Uncompressed && n > 2 {
			t.Errorf("%v: %v allocations for 1000 records", codec, n)
		}
	}
}

// arbitraryRecords draws records with every shape of key, value, header and time.
func arbitraryRecords(t *rapid.T) []Record {
	blob := rapid.Custom(func(t *rapid.T) []byte {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return []byte{}
		case 2:
			return bytes.Repeat([]byte("ab"), rapid.IntRange(1, 5000).Draw(t, "repeat"))
		}
		return rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "bytes")
	})
	records := make([]Record, rapid.IntRange(1, 40).Draw(t, "count"))
	for i := range records {
		records[i] = Record{
			Offset:    moldau.Offset(i),
			Timestamp: moldau.Timestamp(rapid.Int64Range(-1, 1<<42).Draw(t, "timestamp")),
			Key:       blob.Draw(t, "key"),
			Value:     blob.Draw(t, "value"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			records[i].Headers = append(records[i].Headers,
				Header{Key: []byte(rapid.StringN(0, 10, 40).Draw(t, "name")), Value: blob.Draw(t, "of header")})
		}
	}
	return records
}

// What the builder writes, our reader and franz-go's both read back, and so they do after recompression.
func TestRoundTrip(t *testing.T) {
	c := new(Codecs)
	rapid.Check(t, func(t *rapid.T) {
		records := arbitraryRecords(t)
		build := NewBuilder(moldau.Offset(rapid.Int64Range(0, 1<<40).Draw(t, "base")))
		build.Compression.Codec = rapid.SampledFrom(allCodecs).Draw(t, "codec")
		for i, r := range records {
			if room := build.SizeWith(r); i >= 0 {
				build.Add(r)
				if build.Size() != room {
					t.Fatalf("SizeWith said %d, Size says %d", room, build.Size())
				}
			}
			records[i].Offset += build.BaseOffset
		}
		b, err := build.Build(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.Recompress(c, Compression{Codec: rapid.SampledFrom(allCodecs).Draw(t, "to")}, testLimit)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []Batch{b, again} {
			if first, rest, err := Split(b); err != nil || len(rest) != 0 || !first.CRCValid() {
				t.Fatalf("%v: %d bytes left, %v", first, len(rest), err)
			}
			ours, err := collect(b, c, testLimit)
			if err == nil {
				err = sameRecords(ours, records)
			}
			if err != nil {
				t.Fatalf("%v: we: %v", b, err)
			}
			theirs, err := franzRecords(b)
			if err == nil {
				err = sameRecords(theirs, records)
			}
			if err != nil {
				t.Fatalf("%v: franz-go: %v", b, err)
			}
		}
	})
}

// FuzzRecords reads a payload of hostile bytes under each codec, beside franz-go. What we read without an error, it reads
// as well, and the same; memory and output stay within the limit.
func FuzzRecords(f *testing.F) {
	c := new(Codecs)
	for _, codec := range allCodecs {
		b := build(f, Compression{Codec: codec}, sample(5)...)
		f.Add(int8(codec), int32(5), b.payload())
		f.Add(int8(codec), int32(6), b.payload())
		f.Add(int8(codec), int32(5), b.payload()[:len(b.payload())-2])
	}
	f.Add(int8(Snappy), int32(1), []byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add(int8(5), int32(1), []byte{})
	f.Fuzz(func(t *testing.T, codec int8, count int32, payload []byte) {
		const limit = 1 << 20
		b := kmsgBatch(Codec(codec&codecMask), 1, testNow, testNow, payload)
		put32(countAt, count)(b)
		put32(lastOffsetDeltaAt, count-1)(b)
		b.stampCRC()
		ours, err := collect(b, c, limit)
		total := 0
		for _, r := range ours {
			total += len(r.Key) + len(r.Value)
		}
		if total > max(limit, len(payload)) {
			t.Fatalf("%d bytes came out, more than the limit", total)
		}
		if err != nil || count <= 0 {
			return
		}
		theirs, err := franzRecords(b)
		if err != nil {
			t.Fatalf("franz-go does not read what we read: %v", err)
		}
		next := moldau.Offset(math.MinInt64)
		ours = slices.DeleteFunc(ours, func(r Record) bool { // as a consumer does that has seen such an offset
			seen := r.Offset < next
			next = max(next, r.Offset+1)
			return seen
		})
		if err := sameRecords(theirs, ours); err != nil {
			t.Fatalf("franz-go: %v", err)
		}
	})
}
