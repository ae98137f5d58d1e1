package record

import (
	"encoding/binary"
	"fmt"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/must"
)

// Marker is the control record that ends a transaction in one partition (L-27).
type Marker struct {
	Commit           bool  // or abort
	CoordinatorEpoch int32 // of the transaction coordinator that wrote it; a lower one than seen is fenced
}

// The types of control record that end a transaction. Others exist in Kafka's metadata log only.
const (
	abortType  = 0
	commitType = 1
)

// BuildMarker makes the control batch that ends the transaction of the producer id: transactional, one record, never
// compressed, without a sequence.
func BuildMarker(base moldau.Offset, at moldau.Timestamp, id moldau.ProducerID, epoch moldau.ProducerEpoch, m Marker) Batch {
	key := make([]byte, 4) // version 0, type
	if m.Commit {
		binary.BigEndian.PutUint16(key[2:], commitType)
	}
	value := make([]byte, 6) // version 0, coordinator epoch
	binary.BigEndian.PutUint32(value[2:], uint32(m.CoordinatorEpoch))

	b := NewBuilder(base)
	b.ProducerID, b.ProducerEpoch = id, epoch
	b.Transactional, b.Control = true, true
	b.Add(Record{Timestamp: at, Key: key, Value: value})
	batch, err := b.Build(nil)
	must.NoError(err, "build the marker of producer %d at offset %d", id, base)
	return batch
}

// Marker reads the marker that b holds. Errors: b is no control batch of one record, or its record is of another type or
// cut off.
func (b Batch) Marker() (Marker, error) {
	if !b.IsControl() || b.Codec() != Uncompressed {
		return Marker{}, fmt.Errorf("%v holds no marker: it is no plain control batch", b)
	}
	scan := scanner{bytes: b.payload()}
	var it item
	if err := scan.next(&it); err != nil {
		return Marker{}, fmt.Errorf("read the marker of %v: %w", b, err)
	}
	if b.Count() != 1 || scan.more() {
		return Marker{}, fmt.Errorf("%v holds no marker: that is a single record", b)
	}
	if len(it.key) < 4 {
		return Marker{}, fmt.Errorf("%v holds no marker: the control key has %d of 4 bytes", b, len(it.key))
	}
	kind := int16(binary.BigEndian.Uint16(it.key[2:]))
	if kind != abortType && kind != commitType {
		return Marker{}, fmt.Errorf("%v holds no marker but a control record of type %d", b, kind)
	}
	if len(it.value) < 6 {
		return Marker{}, fmt.Errorf("%v holds no marker: its value has %d of 6 bytes", b, len(it.value))
	}
	return Marker{Commit: kind == commitType, CoordinatorEpoch: int32(binary.BigEndian.Uint32(it.value[2:]))}, nil
}
