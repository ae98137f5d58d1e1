package record

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/moldau/moldau"
)

// Sieve takes records out of batches, as compaction does. It is made once and used for batch after batch by one goroutine, so
// that nothing is allocated for a record. KIP-534.
type Sieve struct {
	codecs *Codecs
	plain  []byte // decompressed records of the batch at hand
	kept   []byte // encoded records that stay
	out    []byte // the batch that was made last
	runs   []run  // records that stay, neighbours together
}

// run is a stretch of encoded records.
type run struct{ from, to int }

// NewSieve makes a sieve that compresses and decompresses with c.
func NewSieve(c *Codecs) *Sieve { return &Sieve{codecs: c} }

// Item is a record as a Sieve shows it. The key is borrowed until the next one; nil is null.
type Item struct {
	Offset    moldau.Offset
	Key       []byte
	Tombstone bool // the value is null
}

// Sifted is what is left of a batch.
type Sifted struct {
	// Batch is the batch itself where all records stay as they are, else a new one in the sieve's memory, valid until it is used
	// again; nil where no record stays.
	Batch Batch
	Kept  int
}

// Each shows every record of b to fn, until fn returns false.
// limit: the most that the records may take decompressed. Errors: as of Records.
func (s *Sieve) Each(b Batch, limit int, fn func(Item) bool) error {
	plain, err := s.open(b, limit)
	if err != nil {
		return err
	}
	scan, it := scanner{bytes: plain}, item{}
	for i := range b.Count() {
		if err := scan.next(&it); err != nil {
			return fmt.Errorf("read %v: record %d: %w", b, i, err)
		}
		if !fn(Item{b.BaseOffset() + moldau.Offset(it.offsetDelta), it.key, it.value == nil}) {
			return nil
		}
	}
	if scan.more() {
		return fmt.Errorf("read %v: %w", b, errTrailing)
	}
	return nil
}

// Sift keeps the records of b that keep asks for. Offsets stay what they are, and so do base and last offset of the batch, its
// producer, its leader epoch and its codec.
//
// A batch without a delete horizon whose kept records have a tombstone among them, or are a marker where markers is set, gets
// horizon: it becomes the base timestamp, from which the records' deltas count from then on (L-62).
// limit: as of Each. Errors: as of Each and of Codecs.Compress.
func (s *Sieve) Sift(b Batch, limit int, horizon moldau.Timestamp, markers bool, keep func(Item) bool) (Sifted, error) {
	plain, err := s.open(b, limit)
	if err != nil {
		return Sifted{}, err
	}
	s.runs = s.runs[:0]
	scan, it := scanner{bytes: plain}, item{}
	var sifted Sifted
	highest, tombstones := int64(math.MinInt64), false
	for i := range b.Count() {
		from := scan.at
		if err := scan.next(&it); err != nil {
			return Sifted{}, fmt.Errorf("read %v: record %d: %w", b, i, err)
		}
		if !keep(Item{b.BaseOffset() + moldau.Offset(it.offsetDelta), it.key, it.value == nil}) {
			continue
		}
		sifted.Kept++
		highest = max(highest, it.timestampDelta)
		tombstones = tombstones || it.value == nil
		if n := len(s.runs); n > 0 && s.runs[n-1].to == from {
			s.runs[n-1].to = scan.at
		} else {
			s.runs = append(s.runs, run{from, scan.at})
		}
	}
	if scan.more() {
		return Sifted{}, fmt.Errorf("read %v: %w", b, errTrailing)
	}
	stamp := (tombstones || markers) && !b.HasDeleteHorizon()
	switch {
	case sifted.Kept == 0:
		return sifted, nil
	case sifted.Kept == int(b.Count()) && !stamp:
		sifted.Batch = b
		return sifted, nil
	}
	if sifted.Batch, err = s.rebuild(b, plain, sifted.Kept, highest, horizon, stamp); err != nil {
		return Sifted{}, fmt.Errorf("rebuild %v: %w", b, err)
	}
	return sifted, nil
}

// open returns the encoded records of b.
func (s *Sieve) open(b Batch, limit int) ([]byte, error) {
	if b.Codec() == Uncompressed {
		return b.payload(), nil
	}
	var err error
	if s.plain, err = s.codecs.Decompress(s.plain[:0], b.Codec(), b.payload(), limit); err != nil {
		return nil, fmt.Errorf("read %v: %w", b, err)
	}
	return s.plain, nil
}

// rebuild makes a batch like b of the kept records, whose highest timestamp delta is known.
func (s *Sieve) rebuild(b Batch, plain []byte, count int, highest int64, horizon moldau.Timestamp, stamp bool) (Batch, error) {
	s.kept = s.kept[:0]
	for _, r := range s.runs {
		if !stamp {
			s.kept = append(s.kept, plain[r.from:r.to]...)
			continue
		}
		s.rebase(plain[r.from:r.to], int64(b.BaseTimestamp()-horizon))
	}
	out, err := s.codecs.Compress(append(s.out[:0], b[:HeaderLen]...), Compression{Codec: b.Codec()}, s.kept)
	if err != nil {
		return nil, err
	}
	s.out = out
	if len(out)-Overhead > math.MaxInt32 {
		return nil, fmt.Errorf("a batch of %d bytes does not fit its length field", len(out))
	}
	batch := Batch(out)
	binary.BigEndian.PutUint32(batch[lengthAt:], uint32(len(out)-Overhead))
	binary.BigEndian.PutUint32(batch[countAt:], uint32(count))
	if !b.IsLogAppendTime() {
		batch.setMaxTimestamp(b.BaseTimestamp() + moldau.Timestamp(highest))
	}
	if stamp {
		binary.BigEndian.PutUint16(batch[attributesAt:], uint16(b.attributes()|deleteHorizonBit))
		binary.BigEndian.PutUint64(batch[baseTimestampAt:], uint64(horizon))
	}
	batch.stampCRC()
	return batch, nil
}

// rebase copies encoded records with their timestamp deltas raised by more.
func (s *Sieve) rebase(records []byte, more int64) {
	for at := 0; at < len(records); {
		length, body := varint(records, at)
		end := body + int(length)
		delta, rest := varlong(records, body+1)
		changed := delta + more
		s.kept = appendVarint(s.kept, int64(1+varintLen(changed)+end-rest))
		s.kept = append(s.kept, records[body])
		s.kept = appendVarint(s.kept, changed)
		s.kept = append(s.kept, records[rest:end]...)
		at = end
	}
}

// Empty makes the batch that is left of b without its records: it keeps what its producer's state and the end of the log are
// known by (L-64). It is valid until the sieve is used again.
func (s *Sieve) Empty(b Batch) Batch {
	s.out = append(s.out[:0], b[:HeaderLen]...)
	out := Batch(s.out)
	binary.BigEndian.PutUint32(out[lengthAt:], HeaderLen-Overhead)
	binary.BigEndian.PutUint16(out[attributesAt:], uint16(b.attributes()&^(codecMask|deleteHorizonBit)))
	none := int64(moldau.NoTimestamp)
	binary.BigEndian.PutUint64(out[baseTimestampAt:], uint64(none))
	binary.BigEndian.PutUint32(out[countAt:], 0)
	out.stampCRC()
	return out
}
