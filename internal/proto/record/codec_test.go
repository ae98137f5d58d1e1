package record

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCodecNames(t *testing.T) {
	for _, c := range allCodecs {
		if got, err := ParseCodec(c.String()); got != c || err != nil {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if got, err := ParseCodec("uncompressed"); got != Uncompressed || err != nil {
		t.Errorf("uncompressed: %v, %v", got, err)
	}
	if _, err := ParseCodec("brotli"); err == nil {
		t.Error("brotli is accepted")
	}
	if got := Codec(7).String(); got != "codec 7" || Codec(7).Known() {
		t.Errorf("7: %s", got)
	}
}

// inputs are contents that compressors treat differently.
func inputs() map[string][]byte {
	noise := make([]byte, 300_000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	return map[string][]byte{
		"empty": {}, "a byte": {7}, "noise": noise, "a repetition": bytes.Repeat([]byte("moldau "), 50_000), "records": kmsgRecords(sample(1000)),
	}
}

func TestCompressAtEveryLevel(t *testing.T) {
	levels := map[Codec][]int{
		Uncompressed: {0}, Gzip: {0, -1, 1, 6, 9}, Snappy: {0}, LZ4: {0, 1, 8, 9, 10, 17}, Zstd: {0, -131072, 1, 3, 7, 22},
	}
	c := new(Codecs)
	for name, in := range inputs() {
		for _, codec := range allCodecs {
			for _, level := range levels[codec] {
				packed, err := c.Compress([]byte("before"), Compression{codec, level}, in)
				if err != nil || !bytes.HasPrefix(packed, []byte("before")) {
					t.Fatalf("%s, %v level %d: %v", name, codec, level, err)
				}
				out, err := c.Decompress([]byte("front"), codec, packed[6:], len(in))
				if err != nil || string(out) != "front"+string(in) {
					t.Fatalf("%s, %v level %d: %d bytes of %d come back, %v", name, codec, level, len(out)-5, len(in), err)
				}
				if len(in) > 1 {
					out, err := c.Decompress([]byte("front"), codec, packed[6:], len(in)-1)
					if !errors.Is(err, ErrTooLarge) || string(out) != "front" {
						t.Fatalf("%s, %v level %d: one byte less than needed gives %d bytes, %v", name, codec, level, len(out), err)
					}
				}
			}
		}
	}
	for _, how := range []Compression{{Gzip, 10}, {Gzip, -2}, {LZ4, 18}, {LZ4, -1}, {Zstd, 23}, {Zstd, -131073}, {5, 0}, {-1, 0}} {
		if _, err := c.Compress(nil, how, []byte("x")); err == nil {
			t.Errorf("%v level %d is accepted", how.Codec, how.Level)
		}
	}
	if _, err := c.Decompress(nil, 6, []byte("x"), 100); !errors.Is(err, ErrCodec) {
		t.Errorf("codec 6: %v", err)
	}
}

// Frames as other clients write them.
func TestForeignFrames(t *testing.T) {
	in := kmsgRecords(sample(3000))
	lz4Frame := func(options ...lz4.Option) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		if err := w.Apply(options...); err != nil {
			t.Fatal(err)
		}
		if err := writeAndClose(w, in); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	gzipOf := func(in []byte) []byte {
		var out bytes.Buffer
		if err := writeAndClose(gzip.NewWriter(&out), in); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	var members []byte
	for part := range slices.Chunk(in, len(in)/9) {
		members = append(members, gzipOf(part)...)
	}
	stream := func(options ...zstd.EOption) []byte {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out, append(options, zstd.WithEncoderConcurrency(1))...)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeAndClose(w, in); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for _, f := range []struct {
		name  string
		codec Codec
		bytes []byte
	}{
		{"one bare block of snappy", Snappy, s2.EncodeSnappy(nil, in)},
		{"xerial", Snappy, appendXerial(nil, in)},
		{"4 MiB blocks with every checksum", LZ4, lz4Frame(lz4.BlockSizeOption(lz4.Block4Mb), lz4.BlockChecksumOption(true), lz4.ChecksumOption(true))},
		{"with the content's size", LZ4, lz4Frame(lz4.SizeOption(uint64(len(in))))},
		{"64 KiB blocks", LZ4, lz4Frame(lz4.BlockSizeOption(lz4.Block64Kb))},
		{"stdlib", Gzip, gzipOf(in)},
		{"nine members", Gzip, members},
		{"a stream that does not tell its size", Zstd, stream()},
		{"a stream with a window of 64 MiB", Zstd, stream(zstd.WithWindowSize(64 << 20))},
		{"a stream without checksum", Zstd, stream(zstd.WithEncoderCRC(false))},
	} {
		out, err := new(Codecs).Decompress(nil, f.codec, f.bytes, len(in))
		if err != nil || !bytes.Equal(out, in) {
			t.Errorf("%v, %s: %d of %d bytes, %v", f.codec, f.name, len(out), len(in), err)
		}
	}
	skippable := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}, stream()...)
	if out, err := new(Codecs).Decompress(nil, Zstd, skippable, len(in)); err != nil || !bytes.Equal(out, in) {
		t.Errorf("behind a skippable frame of zstd: %d of %d bytes, %v", len(out), len(in), err)
	}
	if _, err := new(Codecs).Decompress(nil, Zstd, skippable[:9], len(in)); err == nil {
		t.Error("a skippable frame that is cut off is accepted")
	}
	two := append(stream(), stream()...)
	if out, err := new(Codecs).Decompress(nil, Zstd, two, 2*len(in)); err != nil || len(out) != 2*len(in) {
		t.Errorf("two zstd frames: %d of %d bytes, %v", len(out), 2*len(in), err)
	}
}

// bombs are small inputs that claim or hold far more than a limit of 1 MiB.
func bombs(t testing.TB) map[string]struct {
	codec Codec
	bytes []byte
} {
	type bomb = struct {
		codec Codec
		bytes []byte
	}
	c := new(Codecs)
	zeroes := make([]byte, 32<<20)
	packed := func(codec Codec) bomb {
		out, err := c.Compress(nil, Compression{Codec: codec}, zeroes)
		if err != nil {
			t.Fatal(err)
		}
		return bomb{codec, out}
	}
	all := map[string]bomb{"gzip": packed(Gzip), "xerial": packed(Snappy), "lz4": packed(LZ4), "zstd": packed(Zstd)}
	all["snappy that claims 4 GiB"] = bomb{Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}}
	all["xerial block past its end"] = bomb{Snappy, append(appendXerial(nil, nil), 0x7f, 0xff, 0xff, 0xff, 0)}
	all["zstd that claims 2 GiB of content"] = bomb{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000, 0, 0, 0, 0x80, 1, 0, 0}}
	all["zstd with a window of 2 GiB"] = bomb{Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0}}
	// 2,000 blocks, each of which says in four bytes: 128 KiB of zeroes.
	rle := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3}
	for i := range uint32(2000) {
		header := (128<<10)<<3 | 1<<1
		if i == 1999 {
			header |= 1
		}
		rle = append(rle, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	all["zstd of repeated bytes"] = bomb{Zstd, rle}
	return all
}

// A bomb is refused, and costs about as much memory as the limit (4g.7).
func TestBombs(t *testing.T) {
	c := new(Codecs)
	const limit = 1 << 20
	all := bombs(t)
	runtime.GC()
	for name, bomb := range all {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, err := c.Decompress(nil, bomb.codec, bomb.bytes, limit)
		runtime.ReadMemStats(&after)
		if err == nil || len(out) != 0 {
			t.Errorf("%s: %d bytes become %d, %v", name, len(bomb.bytes), len(out), err)
		}
		// Twice the limit for doubling, and up to 4 MiB for an lz4 block, tables and the like.
		if used := after.TotalAlloc - before.TotalAlloc; used > 2*limit+6<<20 {
			t.Errorf("%s: %d bytes were allocated for a limit of %d", name, used, limit)
		}
		b := kmsgBatch(bomb.codec, 3, testNow, testNow, bomb.bytes)
		if got, err := collect(b, c, limit); err == nil || len(got) != 0 {
			t.Errorf("%s: read %d records, %v", name, len(got), err)
		}
		p := Policy{Strict: true, OpenBytesMax: limit, Codecs: c, TimestampAfterMaxMs: 1}
		if _, refusal := Validate(b, testNow, 9, &p); refusal == nil {
			t.Errorf("%s: was accepted", name)
		}
	}
}

func TestDamagedFrames(t *testing.T) {
	in := kmsgRecords(sample(300))
	c := new(Codecs)
	for _, codec := range allCodecs[1:] {
		packed, err := c.Compress(nil, Compression{Codec: codec}, in)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < len(packed); n += 13 {
			// lz4 and xerial may end at a block, zstd and gzip may not.
			if out, err := c.Decompress(nil, codec, packed[:n], len(in)); err == nil && bytes.Equal(out, in) && n < len(packed)-8 {
				t.Errorf("%v: the first %d of %d bytes are enough", codec, n, len(packed))
			}
			damaged := slices.Clone(packed)
			damaged[n] ^= 0x55
			_, _ = c.Decompress(nil, codec, damaged, len(in))
		}
		if out, err := c.Decompress(nil, codec, packed, len(in)); err != nil || !bytes.Equal(out, in) {
			t.Errorf("%v: the decompressor did not recover: %v", codec, err)
		}
	}
}

func TestCodecsConcurrently(t *testing.T) {
	c := new(Codecs)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			in := bytes.Repeat([]byte("worker "+strconv.Itoa(i)), 1000)
			for n := range 20 {
				codec := allCodecs[n%len(allCodecs)]
				packed, err := c.Compress(nil, Compression{Codec: codec}, in)
				if err != nil {
					t.Error(err)
				}
				if out, err := c.Decompress(nil, codec, packed, len(in)); err != nil || !bytes.Equal(out, in) {
					t.Errorf("%v: %v", codec, err)
				}
			}
		})
	}
	wait.Wait()
}

// Xerial is what snappy-java reads: its header, and blocks with a big-endian length.
func TestXerialFraming(t *testing.T) {
	in := bytes.Repeat([]byte{1, 2, 3}, 30_000)
	out := appendXerial(nil, in)
	if want := "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"; string(out[:16]) != want {
		t.Fatalf("header %q", out[:16])
	}
	blocks := 0
	for rest := out[16:]; len(rest) > 0; blocks++ {
		n := binary.BigEndian.Uint32(rest)
		rest = rest[4+n:]
	}
	if blocks != 3 {
		t.Errorf("%d blocks for %d bytes, want 3 of 32 KiB", blocks, len(in))
	}
}
