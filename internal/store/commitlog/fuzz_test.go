package commitlog

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/filecache"
)

// FuzzIndex loads any bytes as an index: what passes is the same when it is written, and a search of the file finds what
// one in memory finds.
func FuzzIndex(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0, 5, 0, 0, 1, 0}, int32(3))
	f.Add([]byte{}, int32(0))
	f.Add(bytes.Repeat([]byte{0xff}, 17), int32(-1))
	long := []byte{}
	for i := range int32(2000) {
		long = offsetEntry{i * 3, i * 70}.append(long)
	}
	f.Add(long, int32(4000))
	f.Fuzz(func(t *testing.T, b []byte, rel int32) {
		fsys := memfs.New()
		file, _ := fsys.Create("/t.index")
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		x := index[offsetEntry]{of: &segment{path: "/t"}}
		c, err := x.load(fsys, 1<<20, func(before, e offsetEntry, first bool) bool {
			return e.rel >= 0 && e.pos >= 0 && (first || e.rel > before.rel && e.pos > before.pos)
		})
		var scratch [indexPage]byte
		atMost := func(e offsetEntry) bool { return e.rel <= rel }
		found, ok, ferr := x.search(filecache.New(0).On(fsys), scratch[:], 0.5, atMost)
		if err != nil {
			return
		}
		x.mem.Store(c)
		if !bytes.Equal(x.encode(), b) {
			t.Fatal("an index changes when it is loaded and written")
		}
		want, wantOK, _ := x.search(filecache.New(0).On(fsys), nil, 0, atMost)
		if ferr != nil || found != want || ok != wantOK {
			t.Fatalf("the file's entry for %d is %+v %v %v, want %+v %v", rel, found, ok, ferr, want, wantOK)
		}
	})
}

// FuzzCheckpoints parses any bytes as each of the small files.
func FuzzCheckpoints(f *testing.F) {
	for _, s := range []string{"0\n1\na 0 7\n", "0\n2\n0 0\n5 100\n", "0\n0\n", "version: 0\ntopic_id: AQAAAAAAAAAAAAAAAAAAAA",
		"version=1\ncluster.id=x\nnode.id=1\ndirectory.id=AQAAAAAAAAAAAAAAAAAAAA\nmoldau.version=1\n", "0\n999999999999\n"} {
		f.Add([]byte(s))
	}
	manifest := appendEntry([]byte(manifestMagic+"\x00\x00\x00\x01"), enlistOp, moldau.TopicPartition{Topic: "a"}, moldau.TopicID{1})
	f.Add(manifest)
	f.Fuzz(func(t *testing.T, b []byte) {
		var table epochTable
		if parseCheckpoint(b, 2, func(fields []string) error {
			e, err := table.parseEpochStart(fields)
			table = append(table, e)
			return err
		}) == nil {
			for i := 1; i < len(table); i++ {
				if table[i].epoch <= table[i-1].epoch || table[i].start <= table[i-1].start {
					t.Fatalf("epochs out of order: %v", table)
				}
			}
		}
		_ = parseCheckpoint(b, 3, func(fields []string) error {
			_, o, err := parseOffsetRow(fields)
			if err == nil && o < 0 {
				t.Fatalf("offset %d", o)
			}
			return err
		})
		if id, err := parseTopicID(string(b)); err == nil {
			if again, err := parseTopicID("version: 0\ntopic_id: " + id.String()); err != nil || again != id {
				t.Fatal(again, err)
			}
		}
		if id, err := parseIdentity(string(b)); err == nil && !id.Apache { // those we never write
			if again, err := parseIdentity(string(id.encode())); err != nil || again != id {
				t.Fatalf("%+v becomes %+v %v", id, again, err)
			}
		}
		m := manifest0()
		if good, err := m.replay(b); err == nil && good > len(b) {
			t.Fatal(good)
		}
	})
}

func manifest0() *manifest {
	return &manifest{live: map[moldau.TopicPartition]moldau.TopicID{}}
}

// FuzzSnapshot decodes any bytes as a producer snapshot: what passes stays the same from the second writing on.
func FuzzSnapshot(f *testing.F) {
	var t producerTable
	t.reset(100)
	f.Add(t.encode())
	for i := range 7 {
		b := record.NewBuilder(moldau.Offset(i))
		b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = 5, 1, moldau.Sequence(i), true
		b.Add(record.Record{Timestamp: 5})
		batch, _ := b.Build(nil)
		t.replay(batch, time.UnixMilli(0))
	}
	f.Add(t.encode())
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := decodeSnapshot(b, 100, time.UnixMilli(0))
		if err != nil {
			return
		}
		once := table.encode()
		again, err := decodeSnapshot(once, 100, time.UnixMilli(0))
		if err != nil || !bytes.Equal(again.encode(), once) || len(again.byID) != len(table.byID) {
			t.Fatalf("%d producers become %d: %v", len(table.byID), len(again.byID), err)
		}
	})
}

// FuzzRecovery opens any bytes as a segment, after a power loss: what is left is a log that reads, takes appends and is found
// the same by the next start. Where whatever happened cannot have left such bytes they are damage, and nothing is changed.
func FuzzRecovery(f *testing.F) {
	var seed []byte
	for i := range 3 {
		b := record.NewBuilder(moldau.Offset(2 * i))
		b.LeaderEpoch = 1
		b.Add(record.Record{Timestamp: 5, Value: []byte("abc")})
		b.Add(record.Record{Timestamp: 6, Key: []byte("k")})
		batch, _ := b.Build(nil)
		seed = append(seed, batch...)
	}
	seed = append(seed, record.BuildMarker(6, 9, 3, 0, record.Marker{})...)
	f.Add(seed, int64(0), []byte{})
	f.Add(seed[:len(seed)-7], int64(4), []byte{1, 2, 3})
	f.Add(append(slices.Clone(seed), make([]byte, 700)...), int64(100), bytes.Repeat([]byte{0, 0, 0, 9}, 4))
	f.Fuzz(func(t *testing.T, segment []byte, point int64, index []byte) {
		fsys := memfs.New()
		if err := fsys.MkdirAll("/d/t-0"); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{".log": segment, ".index": index, ".timeindex": index, ".txnindex": index, ".snapshot": index} {
			file, _ := fsys.Create("/d/t-0/" + stem(0) + name)
			if _, err := file.WriteAt(content, 0); err != nil {
				t.Fatal(err)
			}
		}
		o := Options{FS: fsys, Now: func() time.Time { return time.UnixMilli(0) }, Dir: "/d/t-0", Config: DefaultConfig(), RecoveryPoint: moldau.Offset(point), Outage: Rebooted}
		l, err := Open(o)
		if errors.Is(err, ErrDamaged) || err == nil && l.Damage() != nil {
			left, readErr := env.ReadFile(fsys, "/d/t-0/"+stem(0)+".log", 1<<20)
			if readErr != nil || !bytes.Equal(left, segment) {
				t.Fatalf("%v, and the segment was changed: %v", err, readErr)
			}
			if err == nil {
				err = l.Close()
				if err != nil {
					t.Fatal(err)
				}
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		end := l.End()
		for at := l.Start(); at < end; {
			r, err := l.Read(at, 200, end, true)
			if err != nil || r.Len == 0 && r.Next == at {
				t.Fatalf("read at %d of %d: %+v %v", at, end, r, err)
			}
			r.Release()
			at = r.Next
		}
		if end < 1<<62 {
			b := record.NewBuilder(0)
			b.Add(record.Record{Value: []byte("after")})
			batch, _ := b.Build(nil)
			if a, err := l.Append(batch, l.LatestEpoch()); err != nil || a.Base != end {
				t.Fatal(a, err)
			}
		}
		end = l.End()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, clean := range []bool{true, false} {
			o.Clean, o.RecoveryPoint = clean, 0
			if clean {
				o.RecoveryPoint = end
			}
			l, err = Open(o)
			if err != nil || clean && l.End() != end {
				t.Fatalf("clean %v: the log ends at %d, want %d: %v", clean, l.End(), end, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzInspect walks any bytes as a segment: batches and the stretches between them cover the file without a hole, offsets go up,
// and each batch is whole.
func FuzzInspect(f *testing.F) {
	one := func(base moldau.Offset) []byte {
		b := record.NewBuilder(base)
		b.Add(record.Record{Value: []byte("moldau")})
		raw, _ := b.Build(nil)
		return raw
	}
	f.Add(slices.Concat(one(5), one(6), one(7)))
	f.Add(slices.Concat(one(5), []byte("garbage"), one(7), make([]byte, 100)))
	f.Add(slices.Concat(one(5), one(1<<30), one(7)))
	f.Add(one(5)[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		var in Inspector
		at, last := int64(0), moldau.Offset(4)
		_, _, err := in.Segment(bytes.NewReader(b), int64(len(b)), 5, moldau.NoEpoch, func(pos int64, batch record.Batch) error {
			if pos != at || batch.BaseOffset() <= last || !batch.CRCValid() || len(batch) != batch.Size() {
				t.Fatalf("batch %v at byte %d, what is before ends at %d with offset %d", batch, pos, at, last)
			}
			at, last = pos+int64(len(batch)), batch.LastOffset()
			return nil
		}, func(st Stretch) error {
			if st.From != at || st.To <= st.From || st.Offset != last+1 {
				t.Fatalf("a stretch %+v, what is before ends at %d with offset %d", st, at, last)
			}
			at = st.To
			return nil
		})
		if err != nil || at != int64(len(b)) {
			t.Fatalf("%d of %d bytes are told of: %v", at, len(b), err)
		}
	})
}
