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

// TestAppendReadReopen goes the common way on real files: append, read, stop cleanly, stop uncleanly, truncate.
func TestAppendReadReopen(t *testing.T) {
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
	if r := l.Recovery(); r.Scanned != int64(len(all)) || r.Reason != "" {
		t.Fatalf("%+v", r)
	}
	if e, end := l.EpochEnd(1); e != 1 || end != 600 {
		t.Fatal(e, end)
	}
	for ts, want := range map[moldau.Timestamp]moldau.Offset{0: 0, 1000: 0, 1001: 1, 1100: 296, 1201: 599} {
		if st, ok, err := l.OffsetForTimestamp(ts, l.End()); err != nil || !ok || st.Offset != want {
			t.Errorf("the first record since %d: %+v %v %v, want offset %d", ts, st, ok, err, want)
		}
	}
	if ts, err := l.LastTimestamp(); err != nil || ts != 1201 {
		t.Errorf("the last timestamp is %d %v", ts, err)
	}
	if _, err := l.TruncateTo(301); err != nil {
		t.Fatal(err)
	}
	if l.End() != 300 {
		t.Fatal(l.End())
	}
	all = all[:len(all)/2]
	check()
}
