package load

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestHistogramQuantiles(t *testing.T) {
	var h, other Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1; i <= 1000; i++ {
		if i%2 == 0 {
			h.Add(time.Duration(i) * time.Millisecond)
		} else {
			other.Add(time.Duration(i) * time.Millisecond)
		}
	}
	h.Merge(&other)
	if h.Count() != 1000 || h.Max() != time.Second {
		t.Errorf("%d durations up to %v", h.Count(), h.Max())
	}
	for _, c := range []struct {
		q    float64
		want time.Duration
	}{{0, time.Millisecond}, {0.5, 501 * time.Millisecond}, {0.99, 991 * time.Millisecond}, {1, time.Second}} {
		if got := h.Quantile(c.q); got < c.want || float64(got) > float64(c.want)*1.016 {
			t.Errorf("quantile %g is %v, want %v to 1.6 %%", c.q, got, c.want)
		}
	}
}

func TestHistogramBucketsAreContiguous(t *testing.T) {
	last := -1
	for v := uint64(0); v < 1<<20; v++ {
		i := bucket(v)
		if i != last && i != last+1 {
			t.Fatalf("%d is in bucket %d, the one before in %d", v, i, last)
		}
		if v > upper(i) || i > 0 && v <= upper(i-1) {
			t.Fatalf("%d is in bucket %d, which ends at %d", v, i, upper(i))
		}
		last = i
	}
	if i := bucket(1<<63 - 1); i >= len(Histogram{}.counts) {
		t.Errorf("the longest duration is in bucket %d", i)
	}
}

func TestBatchIsFormatTwo(t *testing.T) {
	for codec, attributes := range map[string]int16{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4} {
		b, err := NewBatch(0, 1024, 65536, codec, []byte("moldau "))
		if err != nil {
			t.Fatal(err)
		}
		if b.Records != 63 || b.Plain > 65536 || b.Plain < 64000 {
			t.Errorf("%s: %d records in %d bytes", codec, b.Records, b.Plain)
		}
		var parsed kmsg.RecordBatch
		if err := parsed.ReadFrom(b.Bytes); err != nil {
			t.Fatal(err)
		}
		if parsed.Magic != 2 || parsed.Attributes != attributes || parsed.NumRecords != 63 || parsed.LastOffsetDelta != 62 ||
			parsed.ProducerID != -1 || parsed.ProducerEpoch != -1 || parsed.FirstSequence != -1 || int(parsed.Length) != len(b.Bytes)-12 {
			t.Errorf("%s: header %+v", codec, parsed)
		}
		if codec != "none" && len(b.Bytes) > b.Plain/4 {
			t.Errorf("%s: %d of %d bytes left", codec, len(b.Bytes), b.Plain)
		}
	}
	if _, err := NewBatch(1, 1, 0, "brotli", nil); err == nil {
		t.Error("brotli is no compression of Kafka's")
	}
}

func TestEachValue(t *testing.T) {
	b, err := NewBatch(100, 300, 0, "none", []byte("0123456789abc"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := eachValue(b.Bytes, func(v []byte) {
		if len(v) != 300 || v[0] != "0123456789abc"[n*300%13] {
			t.Errorf("value %d has %d bytes and begins with %q", n, len(v), v[0])
		}
		n++
	}); err != nil || n != 100 {
		t.Errorf("%d values: %v", n, err)
	}
	if err := eachValue(b.Bytes[:len(b.Bytes)-50], func([]byte) {}); err == nil {
		t.Error("a batch that ends early was read without an error")
	}
	two := append(append([]byte{}, b.Bytes...), b.Bytes...)
	binary.BigEndian.PutUint64(two[len(b.Bytes):], 100)
	seen := 0
	if next := eachBatch(two[:len(two)-1], 7, func([]byte) { seen++ }); next != 100 || seen != 1 {
		t.Errorf("%d whole batches, the next offset is %d", seen, next)
	}
}

// TestOpenLoopChargesAStall plants a broker that stands still for a while: the requests that were due meanwhile must
// bear it, though the loop could not send them.
func TestOpenLoopChargesAStall(t *testing.T) {
	const stall = 200 * time.Millisecond
	c := stub(t, func(n int) {
		if n == 20 {
			time.Sleep(stall)
		}
	})
	b, err := NewBatch(1, 100, 0, "none", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Produce(t.Context(), ProduceSpec{Topic: "t", Batch: b, Acks: -1, InFlight: 2, Rate: 1000, Requests: 300})
	if err != nil {
		t.Fatal(err)
	}
	// 200 of 300 requests were due in the stall, at even distances.
	if got := r.Latency.Quantile(0.7); got < stall/10 {
		t.Errorf("after a stall of %v the 70th percentile is %v: the requests that had to wait are not counted", stall, got)
	}
	closed, err := c.Produce(t.Context(), ProduceSpec{Topic: "t", Batch: b, Acks: -1, Requests: 100})
	if err != nil {
		t.Fatal(err)
	}
	if got := closed.Latency.Quantile(0.5); got > stall/10 {
		t.Errorf("without a stall the median is %v", got)
	}
}

func TestErrorsNameTheBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := (Cluster{Address: dead}).Await(ctx); err == nil {
		t.Error("there is no broker, yet it answered")
	}
	if _, err := (Cluster{Address: dead}).Produce(t.Context(), ProduceSpec{Topic: "t"}); err == nil {
		t.Error("a run without an end was begun")
	}
}

// stub is a broker that acknowledges everything; before is called with the number of each Produce request.
func stub(t *testing.T, before func(n int)) Cluster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	host, port := l.Addr().(*net.TCPAddr).IP.String(), int32(l.Addr().(*net.TCPAddr).Port)
	n := 0
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c, host, port, func() { n++; before(n) }) // ends with its client; one produces at a time
		}
	}()
	return Cluster{Address: l.Addr().String()}
}

func answer(c net.Conn, host string, port int32, produced func()) {
	defer c.Close()
	var in []byte
	var err error
	for {
		if in, err = readFrame(c, in); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(in)), int16(binary.BigEndian.Uint16(in[2:]))
		a := kmsg.ResponseForKey(key)
		a.SetVersion(version)
		switch a := a.(type) {
		case *kmsg.ApiVersionsResponse:
			a.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 0, MaxVersion: 8}, {ApiKey: 3, MaxVersion: 8}}
		case *kmsg.MetadataResponse:
			p := kmsg.NewMetadataResponseTopicPartition()
			a.Brokers = []kmsg.MetadataResponseBroker{{Host: host, Port: port}}
			a.Topics = []kmsg.MetadataResponseTopic{{Partitions: []kmsg.MetadataResponseTopicPartition{p}}}
		case *kmsg.ProduceResponse:
			produced()
			a.Topics = []kmsg.ProduceResponseTopic{{Partitions: []kmsg.ProduceResponseTopicPartition{{}}}}
		}
		out := append(make([]byte, 4, 64), in[4:8]...)
		out = a.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil && err != io.EOF {
			return
		}
	}
}
