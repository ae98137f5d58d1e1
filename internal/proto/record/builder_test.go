package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestBuilderReuse(t *testing.T) {
	b := NewBuilder(5)
	if _, err := b.Build(nil); err == nil {
		t.Error("a batch without records was built")
	}
	b.Add(Record{Timestamp: 100, Value: []byte("one")})
	b.Add(Record{Timestamp: 90, Value: []byte("two")})
	first, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	keep := bytes.Clone(first)
	if b.Count() != 2 || b.Size() != len(first) {
		t.Errorf("%d records in %d bytes, want 2 in %d", b.Count(), b.Size(), len(first))
	}
	b.Reset(7)
	b.Add(Record{Timestamp: 1, Key: []byte("three")})
	second, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, keep) {
		t.Error("the second batch overwrote the first")
	}
	if second.BaseOffset() != 7 || second.Count() != 1 || second.BaseTimestamp() != 1 || second.MaxTimestamp() != 1 {
		t.Errorf("the second batch is %v", second)
	}
	if first.BaseTimestamp() != 100 || first.MaxTimestamp() != 100 {
		t.Errorf("the first batch is %v", first)
	}
	b.Compression.Codec = 6
	if _, err := b.Build(new(Codecs)); !errors.Is(err, ErrCodec) {
		t.Errorf("codec 6: %v", err)
	}
}

func TestBuilderDoesNotAllocatePerRecord(t *testing.T) {
	b := NewBuilder(0)
	records := sample(100)
	fill := func() {
		b.Reset(0)
		for _, r := range records {
			b.Add(r)
		}
	}
	fill()
	if n := testing.AllocsPerRun(20, fill); n != 0 {
		t.Errorf("100 records took %v allocations", n)
	}
}

// Control batches are never compressed (L-7), and a batch of the wanted codec is left alone.
func TestRecompressLeavesAlone(t *testing.T) {
	c := new(Codecs)
	marker := BuildMarker(3, testNow, 1, 1, Marker{})
	if got, err := marker.Recompress(c, Compression{Codec: Zstd}, testLimit); err != nil || &got[0] != &marker[0] {
		t.Errorf("a marker became %v, %v", got, err)
	}
	b := build(t, Compression{Codec: LZ4}, sample(4)...)
	if got, err := b.Recompress(c, Compression{Codec: LZ4, Level: 3}, testLimit); err != nil || &got[0] != &b[0] {
		t.Errorf("lz4 to lz4: %v, %v", got, err)
	}
	if _, err := b.Recompress(c, Compression{Codec: Zstd}, 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("past the limit: %v", err)
	}
	if _, err := b.Recompress(c, Compression{Codec: Zstd, Level: 99}, testLimit); err == nil || !strings.Contains(err.Error(), "recompress batch 0..3") {
		t.Errorf("a bad level: %v", err)
	}
}

func TestRecompressKeepsTheRest(t *testing.T) {
	c := new(Codecs)
	b := build(t, Compression{Codec: Snappy}, sample(40)...)
	b.SetBaseOffset(900)
	b.SetLeaderEpoch(4)
	b.SetLogAppendTime(testNow + 77)
	got, err := b.Recompress(c, Compression{Codec: Gzip, Level: 9}, testLimit)
	if err != nil {
		t.Fatal(err)
	}
	back, err := got.Recompress(c, Compression{Codec: Snappy}, testLimit)
	if err != nil || !bytes.Equal(back, b) || got.Codec() != Gzip || !got.CRCValid() {
		t.Errorf("%v became %v, %v", b, back, err)
	}
}

func TestMarkers(t *testing.T) {
	for _, m := range []Marker{{Commit: true, CoordinatorEpoch: 7}, {Commit: false, CoordinatorEpoch: 0}} {
		b := BuildMarker(41, testNow, 4711, 3, m)
		got, err := b.Marker()
		if err != nil || got != m {
			t.Errorf("%+v reads as %+v, %v", m, got, err)
		}
		if !b.IsControl() || !b.IsTransactional() || b.ProducerID() != 4711 || b.ProducerEpoch() != 3 || b.BaseSequence() != -1 ||
			b.LastSequence() != -1 || b.Count() != 1 || b.LastOffset() != 41 || b.MaxTimestamp() != testNow || !b.CRCValid() {
			t.Errorf("%v", b)
		}
		if !strings.HasSuffix(b.String(), "sequence -1..-1, transactional, control") {
			t.Errorf("%v", b)
		}
		records, err := franzRecords(b)
		if err != nil || len(records) != 1 || records[0].Offset != 41 {
			t.Errorf("franz-go reads %v, %v", records, err)
		}
	}
	control := func(count int, key, value []byte) Batch {
		b := NewBuilder(0)
		b.Control = true
		for range count {
			b.Add(Record{Timestamp: testNow, Key: key, Value: value})
		}
		batch, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		return batch
	}
	commit, epoch := []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 9}
	for want, b := range map[string]Batch{
		"no plain control batch":      build(t, Compression{}, sample(1)...),
		"a single record":             control(2, commit, epoch),
		"control key has 3 of 4":      control(1, commit[:3], epoch),
		"control key has 0 of 4":      control(1, nil, epoch),
		"control record of type 2":    control(1, []byte{0, 0, 0, 2}, epoch),
		"value has 5 of 6":            control(1, commit, epoch[:5]),
		"passes the end of the batch": control(1, commit, epoch)[:HeaderLen+5],
		"plain control batch":         edit(control(1, commit, epoch), func(b Batch) { b.setCodec(LZ4) }),
	} {
		if _, err := b.Marker(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	newer := control(1, []byte{0, 1, 0, 1, 0xff}, []byte{0, 1, 0, 0, 0, 9, 1, 2})
	if m, err := newer.Marker(); err != nil || m != (Marker{Commit: true, CoordinatorEpoch: 9}) {
		t.Errorf("a newer version with more fields: %+v, %v", m, err)
	}
}
