package group

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Record is one record of __consumer_offsets that this package knows: *Stored or *Committed, or the marker *Ended.
type Record interface {
	// Group is whose record it is.
	Group() string
	key() []byte
	value() []byte
}

// Stored is a generation of a classic group with its members, or without any; a nil Value ends the group.
type Stored struct {
	ID    string
	Value *kmsg.GroupMetadataValue
}

// Committed is an offset that a group has committed; a nil Value forgets it.
type Committed struct {
	ID    string
	At    moldau.TopicPartition
	Value *kmsg.OffsetCommitValue
	// Within is whose transaction it belongs to, with whose end it comes to count; nil: it counts at once.
	Within *rsm.Producer
}

// Ended is the end of a transaction of a producer. It has no key and value: it is the log's own.
type Ended struct {
	Producer rsm.Producer
	Commit   bool
}

// Versions of the keys and values, Kafka's. Readers take the older ones too.
const (
	offsetKeyVersion    = 1
	groupKeyVersion     = 2
	offsetValueVersion  = 3
	offsetExpiryVersion = 1 // of a commit that came with a retention time of its own
	groupValueVersion   = 3
)

// Group implements Record.
func (s *Stored) Group() string { return s.ID }

// Group implements Record.
func (c *Committed) Group() string { return c.ID }

// Group implements Record: it concerns all in which the transaction has offsets.
func (e *Ended) Group() string { return "" }

func (e *Ended) key() []byte   { return nil }
func (e *Ended) value() []byte { return nil }

// Within makes r part of the transaction of by.
func Within(r Record, by rsm.Producer) Record {
	if c, ok := r.(*Committed); ok {
		within := *c
		within.Within = &by
		return &within
	}
	return r
}

// Marker is the end of the transaction of by.
func Marker(by rsm.Producer, commit bool) Record { return &Ended{by, commit} }

func (s *Stored) key() []byte {
	k := kmsg.GroupMetadataKey{Version: groupKeyVersion, Group: s.ID}
	return k.AppendTo(nil)
}

func (s *Stored) value() []byte {
	if s.Value == nil {
		return nil
	}
	return s.Value.AppendTo(nil)
}

func (c *Committed) key() []byte {
	k := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: c.ID, Topic: c.At.Topic, Partition: c.At.Partition}
	return k.AppendTo(nil)
}

func (c *Committed) value() []byte {
	if c.Value == nil {
		return nil
	}
	return c.Value.AppendTo(nil)
}

// Encode returns the key and the value of r as __consumer_offsets has them; a nil value is a tombstone (C-2).
func Encode(r Record) (key, value []byte) { return r.key(), r.value() }

// Decode reads a record of __consumer_offsets; what it keeps is its own. known is false for a key of a kind that this
// package does not know, which is no error: other kinds of groups write some.
func Decode(key, value []byte) (r Record, known bool, err error) {
	if len(key) < 2 {
		return nil, false, fmt.Errorf("a key of %d bytes, which has no version", len(key))
	}
	switch binary.BigEndian.Uint16(key) {
	case 0, offsetKeyVersion:
		r, err = decodeCommitted(key, value)
	case groupKeyVersion:
		r, err = decodeStored(key, value)
	default:
		return nil, false, nil
	}
	return r, err == nil, err
}

func decodeCommitted(key, value []byte) (Record, error) {
	var k kmsg.OffsetCommitKey
	if err := k.ReadFrom(key); err != nil {
		return nil, fmt.Errorf("key of a committed offset: %w", err)
	}
	c := &Committed{ID: k.Group, At: moldau.TopicPartition{Topic: k.Topic, Partition: k.Partition}}
	if value == nil {
		return c, nil
	}
	c.Value = new(kmsg.OffsetCommitValue)
	if err := c.Value.ReadFrom(value); err != nil {
		return nil, fmt.Errorf("offset of group %q for %v: %w", c.ID, c.At, err)
	}
	return c, nil
}

func decodeStored(key, value []byte) (Record, error) {
	var k kmsg.GroupMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return nil, fmt.Errorf("key of a group: %w", err)
	}
	s := &Stored{ID: k.Group}
	if value == nil {
		return s, nil
	}
	s.Value = new(kmsg.GroupMetadataValue)
	if err := s.Value.ReadFrom(bytes.Clone(value)); err != nil { // it keeps parts of what it reads
		return nil, fmt.Errorf("group %q: %w", s.ID, err)
	}
	return s, nil
}
