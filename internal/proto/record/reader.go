package record

import (
	"fmt"
	"iter"

	"github.com/moldau/moldau"
)

// Record is one record of a batch. Its bytes are borrowed from the batch or from the buffer it was decompressed into.
type Record struct {
	Offset    moldau.Offset
	Timestamp moldau.Timestamp
	Key       []byte // nil is null, which is not the same as empty
	Value     []byte // nil is null: a tombstone in a compacted topic
	Headers   []Header
}

// Header is a name and a value that a record bears beside its key and value (KIP-82). Names may repeat.
type Header struct {
	Key   []byte // UTF-8 by convention, never null
	Value []byte // nil is null
}

// Records iterates over the records of b, decompressing it if need be. A record and what it points to are valid until the
// next one is asked for: clone what you keep.
// limit: the most bytes that the records may take uncompressed; memory stays within about twice that.
// An error comes with an empty record and ends the iteration: the codec, a record's encoding or the count of records is
// wrong, or ErrTooLarge. The CRC is not checked here. The batch of a marker is iterated like any other.
func (b Batch) Records(c *Codecs, limit int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		plain := b.payload()
		if b.Codec() != Uncompressed {
			buf := c.buffer()
			defer c.release(buf)
			var err error
			if *buf, err = c.Decompress(*buf, b.Codec(), plain, limit); err != nil {
				yield(Record{}, fmt.Errorf("read %v: %w", b, err))
				return
			}
			plain = *buf
		}
		scan := scanner{bytes: plain, headers: true}
		var it item
		for i := range b.Count() {
			if err := scan.next(&it); err != nil {
				yield(Record{}, fmt.Errorf("read %v: record %d: %w", b, i, err))
				return
			}
			if !yield(b.record(&it), nil) {
				return
			}
		}
		if scan.more() {
			yield(Record{}, fmt.Errorf("read %v: %w", b, errTrailing))
		}
	}
}

// record is what it stands for in b: deltas made absolute.
func (b Batch) record(it *item) Record {
	r := Record{
		Offset:    b.BaseOffset() + moldau.Offset(it.offsetDelta),
		Timestamp: b.BaseTimestamp() + moldau.Timestamp(it.timestampDelta),
		Key:       it.key,
		Value:     it.value,
		Headers:   it.headers,
	}
	if b.IsLogAppendTime() {
		r.Timestamp = b.MaxTimestamp()
	}
	return r
}
