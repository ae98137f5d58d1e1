package commitlog_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

var topic = moldau.TopicPartition{Topic: "pageviews", Partition: 0}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func options(t testing.TB) Options {
	return Options{FS: env.OS{}, Now: time.Now, Dir: t.TempDir() + "/pageviews-0", Partition: topic, TopicID: moldau.TopicID{1}, Config: DefaultConfig()}
}

func batch(t testing.TB, n int, ts moldau.Timestamp, size int) record.Batch {
	t.Helper()
	b := record.NewBuilder(0)
	for i := range n {
		b.Add(record.Record{Timestamp: ts + moldau.Timestamp(i), Value: bytes.Repeat([]byte{byte(i)}, size)})
	}
	bt, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return bt
}

func TestSmoke(t *testing.T) {
	o := options(t)
	o.Config.SegmentBytes = 20000
	l := open(t, o)
	var all []byte
	for i := range 200 {
		b := batch(t, 3, moldau.Timestamp(1000+i), 100)
		a, err := l.Append(b, 1)
		if err != nil {
			t.Fatal(err)
		}
		if a.Base != moldau.Offset(3*i) || a.Last != a.Base+2 {
			t.Fatalf("%+v", a)
		}
		all = append(all, b...)
	}
	check := func() {
		t.Helper()
		for _, maxBytes := range []int{1, 500, 5000, 1 << 20} {
			var got []byte
			for at := l.Start(); at < l.End(); {
				r, err := l.Read(at, maxBytes, l.End(), true)
				if err != nil {
					t.Fatal(err)
				}
				if got, err = r.Append(got); err != nil {
					t.Fatal(err)
				}
				r.Release()
				if r.Next <= at {
					t.Fatalf("stuck at %d: %+v", at, r)
				}
				at = r.Next
			}
			if !bytes.Equal(got, all) {
				t.Fatalf("%d bytes read, %d written, limit %d", len(got), len(all), maxBytes)
			}
		}
	}
	check()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.Clean = true
	l = open(t, o)
	check()
	if l.Recovery().Scanned != 0 {
		t.Fatalf("%+v", l.Recovery())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.Clean = false
	l = open(t, o)
	check()
	t.Logf("%+v", l.Recovery())
	if e, end := l.EpochEnd(1); e != 1 || end != 600 {
		t.Fatal(e, end)
	}
	for _, ts := range []moldau.Timestamp{0, 1000, 1001, 1100, 1201} {
		st, ok, err := l.OffsetForTimestamp(ts, l.End())
		t.Log(ts, st, ok, err)
	}
	t.Log(l.MaxTimestamp())
	if _, err := l.TruncateTo(301); err != nil {
		t.Fatal(err)
	}
	if l.End() != 300 {
		t.Fatal(l.End())
	}
	all = all[:len(all)/2]
	check()
}
