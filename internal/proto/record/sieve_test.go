package record

import (
	"bytes"
	"testing"

	"github.com/moldau/moldau"
)

// What a sieve keeps reads as before, in every codec; a tombstone gives the batch a delete horizon once, and no timestamp moves.
func TestSieve(t *testing.T) {
	c := new(Codecs)
	s := NewSieve(c)
	for codec := range Codec(5) {
		records := sample(9)
		for i := range records {
			records[i].Key = []byte{byte('a' + i)}
		}
		records[4].Value = nil
		b := build(t, Compression{Codec: codec}, records...)
		b.SetBaseOffset(70)
		was := bytes.Clone(b)
		read := func(b Batch) (list []Record) {
			for r, err := range b.Records(c, testLimit) {
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, Record{Offset: r.Offset, Timestamp: r.Timestamp, Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)})
			}
			return list
		}
		all := read(b)
		const horizon = moldau.Timestamp(1 << 42)
		got, err := s.Sift(b, testLimit, horizon, false, func(it Item) bool { return it.Offset%2 == 0 })
		if err != nil || got.Kept != 5 || !got.Batch.CRCValid() || got.Batch.LastOffset() != 78 || got.Batch.Codec() != codec ||
			!got.Batch.HasDeleteHorizon() || got.Batch.BaseTimestamp() != horizon || !bytes.Equal(b, was) {
			t.Fatalf("%v: %v %v", codec, got.Batch, err)
		}
		again := Batch(bytes.Clone(got.Batch))
		for i, r := range read(again) {
			if w := all[2*i]; r.Offset != w.Offset || r.Timestamp != w.Timestamp || !bytes.Equal(r.Key, w.Key) || (r.Value == nil) != (w.Value == nil) {
				t.Errorf("%v: record %d is %+v, was %+v", codec, i, r, w)
			}
		}
		if same, err := s.Sift(again, testLimit, horizon+5, false, func(Item) bool { return true }); err != nil || &same.Batch[0] != &again[0] {
			t.Errorf("%v: a batch that loses nothing and has a horizon is rebuilt: %v", codec, err)
		}
		if none, err := s.Sift(b, testLimit, horizon, false, func(Item) bool { return false }); err != nil || none.Kept != 0 || none.Batch != nil {
			t.Errorf("%v: %+v %v", codec, none, err)
		}
		if e := s.Empty(again); len(e) != HeaderLen || !e.CRCValid() || e.Count() != 0 || e.LastOffset() != 78 || e.HasDeleteHorizon() || e.Codec() != Uncompressed {
			t.Errorf("%v: %v", codec, e)
		}
	}
}
