package commitlog

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/moldau/moldau"
)

// keyMap tells for each key of a stretch of a log at which offset it occurs last (L-61). Keys are known by a keyed hash of 128
// bits, so that an entry takes 24 bytes whatever the key's length (docs/adr/0013-compaction.md says why that loses nothing).
//
// The table is open and sorted by hash: an entry stands at the place that its hash is the share of, or as little behind as there is
// room. A search for a key that is not there ends at the first larger hash, which keeps it short in a table that is nine tenths full.
type keyMap struct {
	slots  []slotEntry
	places uint64 // that hashes are spread over; the slots behind take what runs over at the end
	limit  int    // how many entries it takes
	n      int
	buf    []byte // secret, then the key at hand
	latest moldau.Offset
}

// slotEntry is one key. An offset of 0 is an empty slot, so that offsets are stored with one added.
type slotEntry struct {
	hi, lo uint64
	offset int64
}

// slotLen is the size of a slot in bytes.
const slotLen = 24

// keySecretLen is the length of the secret that hashes are keyed with.
const keySecretLen = 16

// overrun is how many slots stand behind the places of the hashes.
const overrun = 512

// newKeyMap makes a map of at most memory bytes of which the share load may be filled. No more is taken than keysMax need.
func newKeyMap(memory int64, load float64, keysMax int64, secret [keySecretLen]byte) *keyMap {
	places := max(memory/slotLen-overrun, 1)
	load = min(max(load, 0.01), 1)
	if float64(places)*load > float64(keysMax) {
		places = int64(float64(keysMax)/load) + 1
	}
	m := &keyMap{
		slots: make([]slotEntry, places+overrun), places: uint64(places), limit: max(int(float64(places)*load), 1),
		buf: make([]byte, keySecretLen, 256), latest: noOffset,
	}
	copy(m.buf, secret[:])
	return m
}

// hash is the first half of a SHA-256 over the secret and the key.
func (m *keyMap) hash(key []byte) (hi, lo uint64) {
	m.buf = append(m.buf[:keySecretLen], key...)
	sum := sha256.Sum256(m.buf)
	return binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])
}

// find returns the slot that holds a hash, or the one where it belongs.
func (m *keyMap) find(hi, lo uint64) (at uint64, found bool) {
	at, _ = bits.Mul64(hi, m.places)
	for ; at < uint64(len(m.slots)); at++ {
		switch s := &m.slots[at]; {
		case s.offset == 0 || s.hi > hi || s.hi == hi && s.lo > lo:
			return at, false
		case s.hi == hi && s.lo == lo:
			return at, true
		}
	}
	return at, false
}

// put notes that key occurs at offset, which is not below those before. It returns false where the map is full and does not know
// the key yet.
func (m *keyMap) put(key []byte, offset moldau.Offset) bool {
	hi, lo := m.hash(key)
	at, found := m.find(hi, lo)
	if found {
		m.slots[at].offset = int64(offset) + 1
		return true
	}
	if m.n >= m.limit {
		return false
	}
	end := at
	for end < uint64(len(m.slots)) && m.slots[end].offset != 0 {
		end++
	}
	if end == uint64(len(m.slots)) {
		return false // a run has reached the end of the table
	}
	copy(m.slots[at+1:end+1], m.slots[at:end])
	m.slots[at] = slotEntry{hi, lo, int64(offset) + 1}
	m.n++
	return true
}

// last returns the offset at which key occurs last in the stretch, or noOffset.
func (m *keyMap) last(key []byte) moldau.Offset {
	at, found := m.find(m.hash(key))
	if !found {
		return noOffset
	}
	return moldau.Offset(m.slots[at].offset - 1)
}
