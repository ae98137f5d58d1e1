package commitlog

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/moldau/moldau"
)

// The map agrees with a plain one until it is full, and says so when a new key finds no room; known keys still move.
func TestKeyMap(t *testing.T) {
	for _, places := range []int64{1, 10, 500, 5000} {
		m := newKeyMap((places+overrun)*slotLen, 0.9, 1<<40, [keySecretLen]byte{1})
		want := map[uint64]moldau.Offset{}
		r := rand.New(rand.NewPCG(uint64(places), 3))
		key := func(k uint64) []byte { return binary.AppendUvarint(nil, k) }
		refused := false
		for o := range moldau.Offset(3 * places) {
			k := r.Uint64N(uint64(2*places) + 2)
			_, known := want[k]
			if ok := m.put(key(k), o); ok {
				want[k] = o
			} else if refused = true; known || m.n < m.limit {
				t.Fatalf("%d places: key %d is refused with %d of %d", places, k, m.n, m.limit)
			}
		}
		if !refused {
			t.Errorf("%d places were never full", places)
		}
		for k := range uint64(2*places) + 2 {
			o, ok := want[k]
			if !ok {
				o = noOffset
			}
			if got := m.last(key(k)); got != o {
				t.Fatalf("%d places: key %d is last at %d, want %d", places, k, got, o)
			}
		}
	}
}

func TestKeyMapDoesNotAllocate(t *testing.T) {
	m := newKeyMap(1<<20, 0.9, 1<<40, [keySecretLen]byte{})
	key, o := []byte("a key of some length"), moldau.Offset(0)
	if n := testing.AllocsPerRun(100, func() { o++; key[0]++; m.put(key, o); m.last(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkKeyMap fills the map of 256 MiB with as many keys as it takes, ten million, and looks each up again.
func BenchmarkKeyMap(b *testing.B) {
	key := make([]byte, 16)
	for b.Loop() {
		m := newKeyMap(256<<20, 0.9, 1<<40, [keySecretLen]byte{1})
		n := uint64(0)
		for ; ; n++ {
			binary.BigEndian.PutUint64(key, n)
			if !m.put(key, moldau.Offset(n)) {
				break
			}
		}
		for k := range n {
			binary.BigEndian.PutUint64(key, k)
			if m.last(key) != moldau.Offset(k) {
				b.Fatal(k)
			}
		}
		b.ReportMetric(float64(n), "keys")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*n), "ns/op-key")
	}
}
