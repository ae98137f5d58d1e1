package record

import (
	"math/rand/v2"
	"testing"

	"github.com/moldau/moldau"
)

// fill makes a batch of about 64 KiB, uncompressed, from records of the given size that compress to about a half.
func fill(b *testing.B, codec Codec, valueBytes int) Batch {
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, valueBytes)
	build := NewBuilder(0)
	build.Compression.Codec = codec
	for i := 0; build.Size() < 64<<10; i++ {
		for j := range value {
			value[j] = "0123456789abcdef"[random.IntN(16)]
		}
		build.Add(Record{Timestamp: testNow + moldau.Timestamp(i/10), Key: []byte("key-0123"), Value: value})
	}
	batch, err := build.Build(new(Codecs))
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

var shapes = []struct {
	name  string
	codec Codec
	bytes int
}{
	{"none/1KiB", Uncompressed, 1024}, {"none/100B", Uncompressed, 100},
	{"lz4/1KiB", LZ4, 1024}, {"lz4/100B", LZ4, 100}, {"zstd/1KiB", Zstd, 1024}, {"zstd/100B", Zstd, 100},
}

func BenchmarkValidate(b *testing.B) {
	for _, strict := range []bool{false, true} {
		for _, s := range shapes {
			name := s.name
			if strict {
				if s.codec == Uncompressed {
					continue
				}
				name += "/opened"
			}
			b.Run(name, func(b *testing.B) {
				batch := fill(b, s.codec, s.bytes)
				p := lenient()
				p.Strict = strict
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				for b.Loop() {
					if _, refusal := Validate(batch, testNow, 9, p); refusal != nil {
						b.Fatal(refusal)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Count()), "ns/record")
			})
		}
	}
}

// BenchmarkCRC is the part of BenchmarkValidate that cannot be saved.
func BenchmarkCRC(b *testing.B) {
	batch := fill(b, Uncompressed, 1024)
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if !batch.CRCValid() {
			b.Fatal("wrong CRC")
		}
	}
}

// BenchmarkWalk is the rest of it.
func BenchmarkWalk(b *testing.B) {
	for _, s := range shapes[:2] {
		b.Run(s.name, func(b *testing.B) {
			batch := fill(b, Uncompressed, s.bytes)
			bounds := lenient().bounds(testNow)
			for b.Loop() {
				w := walk{bounds: bounds, base: batch.BaseTimestamp()}
				if err := w.all(batch.payload(), batch.Count()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Count()), "ns/record")
		})
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			batch, c := fill(b, s.codec, s.bytes), new(Codecs)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range batch.Records(c, testLimit) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
