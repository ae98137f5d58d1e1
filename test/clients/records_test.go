// Package clients lets the clients that people use, unmodified and from their package registries, write to the broker
// under test and read from it, in every compression.
package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// record is what a client writes and another must read.
type record struct {
	key, value []byte
	headers    []header
}

type header struct {
	name  string
	value []byte
}

func (r record) String() string {
	return fmt.Sprintf("key %q value %.40q headers %q", r.key, r.value, r.headers)
}

// codecs are the compressions by the number that a batch bears.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// sample is records that compress well and stress what clients differ in: characters beyond ASCII, an empty value, a
// long one, bytes of every kind unless text is asked for.
func sample(text bool) []record {
	var rs []record
	for i := range 60 {
		r := record{
			key:     fmt.Appendf(nil, "key-%03d-žluťoučký", i),
			value:   []byte(strings.Repeat(fmt.Sprintf("the water of record %d flows on. ", i), 1+i%17)),
			headers: []header{{"origin", []byte("Šumava")}, {"step", []byte("1")}},
		}
		switch {
		case i == 20:
			r.value = []byte(strings.Repeat("Ich bin ein langer Fluß. ", 4000))
		case i == 30 && !text:
			r.value = []byte{}
		case i%7 == 3 && !text:
			for b := range 256 {
				r.value = append(r.value, byte(b))
			}
		}
		rs = append(rs, r)
	}
	return rs
}

// same fails the test when got is not want, record for record.
func same(t *testing.T, reader string, got, want []record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s read %d records, want %d", reader, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		ok := bytes.Equal(g.key, w.key) && bytes.Equal(g.value, w.value) && len(g.headers) == len(w.headers)
		for j := 0; ok && j < len(w.headers); j++ {
			ok = g.headers[j].name == w.headers[j].name && bytes.Equal(g.headers[j].value, w.headers[j].value)
		}
		if !ok {
			t.Fatalf("%s read record %d as %v, want %v", reader, i, g, w)
		}
	}
}

// client is one of those under test.
type client struct {
	name string
	// text says that the client handles records as lines of text.
	text bool
	// codecs that it has; nil means all.
	codecs []string
	// produce writes the records to partition 0, compressed.
	produce func(t *testing.T, address, topic, codec string, rs []record)
	// consume reads so many records from the start of partition 0, without a group; nil when the client cannot.
	consume func(t *testing.T, address, topic string, n int) []record
	// member reads so many records as a member of a group, commits each, and leaves; nil when the client cannot.
	member func(t *testing.T, address, topic, group string, n int) []record
}

// roundTrips lets c and franz-go write and read each other's records, in every codec.
func roundTrips(t *testing.T, c client) {
	names := c.codecs
	if names == nil {
		names = codecs
	}
	for _, codec := range names {
		t.Run(codec, func(t *testing.T) {
			address := subject.Address(t)
			want := sample(c.text)
			topic := subject.Topic(t, address, 1)
			c.produce(t, address, topic, codec, want)
			same(t, "franz-go", franzConsume(t, address, topic, len(want), codec), want)
			if c.consume == nil {
				return
			}
			same(t, c.name, c.consume(t, address, topic, len(want)), want)
			theirs := subject.Topic(t, address, 1)
			franzProduce(t, address, theirs, codec, want)
			same(t, c.name+" (written by franz-go)", c.consume(t, address, theirs, len(want)), want)
		})
	}
	if c.member != nil {
		t.Run("group", func(t *testing.T) { inGroup(t, c) })
	}
}

// franzCodecs are the codecs as franz-go calls them, by our names.
var franzCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func franzClient(t testing.TB, address string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(address))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func franzProduce(t *testing.T, address, topic, codec string, rs []record) {
	t.Helper()
	c := franzClient(t, address, kgo.ProducerBatchCompression(franzCodecs[codec]), kgo.ProducerLinger(20*time.Millisecond))
	var send []*kgo.Record
	for _, r := range rs {
		k := &kgo.Record{Topic: topic, Key: r.key, Value: r.value}
		for _, h := range r.headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
		send = append(send, k)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.ProduceSync(ctx, send...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// franzConsume reads n records and checks that their batches are compressed with the codec, and the offsets gapless.
func franzConsume(t *testing.T, address, topic string, n int, codec string) []record {
	t.Helper()
	c := franzClient(t, address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var rs []record
	compressed := 0
	for len(rs) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(rs), n, err)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			if k.Offset != int64(len(rs)) {
				t.Fatalf("record %d has offset %d", len(rs), k.Offset)
			}
			if codecs[k.Attrs.CompressionType()] == codec {
				compressed++
			}
			r := record{key: k.Key, value: k.Value}
			for _, h := range k.Headers {
				r.headers = append(r.headers, header{h.Key, h.Value})
			}
			rs = append(rs, r)
		})
	}
	// A client may send a batch as it is when compression would make it larger, which short ones are.
	if codec != "" && compressed < n/2 {
		t.Errorf("only %d of %d records lie in batches with %s", compressed, n, codec)
	}
	return rs
}

// encode writes records as lines, for programs of other languages: key, value and each header's name and value, as
// base64, with tabs between them.
func encode(rs []record) *bytes.Buffer {
	var b bytes.Buffer
	text := base64.StdEncoding.EncodeToString
	for _, r := range rs {
		b.WriteString(text(r.key) + "\t" + text(r.value))
		for _, h := range r.headers {
			b.WriteString("\t" + text([]byte(h.name)) + "\t" + text(h.value))
		}
		b.WriteByte('\n')
	}
	return &b
}

func decode(t *testing.T, text string) []record {
	t.Helper()
	var rs []record
	s := bufio.NewScanner(strings.NewReader(text))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var f [][]byte
		for _, word := range strings.Split(s.Text(), "\t") {
			b, err := base64.StdEncoding.DecodeString(word)
			if err != nil {
				t.Fatalf("the program printed %.200q, which is no record: %v", s.Text(), err)
			}
			f = append(f, b)
		}
		if len(f) < 2 || len(f)%2 != 0 {
			t.Fatalf("the program printed %.200q, which is no record", s.Text())
		}
		r := record{key: f[0], value: f[1]}
		for i := 2; i < len(f); i += 2 {
			r.headers = append(r.headers, header{string(f[i]), f[i+1]})
		}
		rs = append(rs, r)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return rs
}
