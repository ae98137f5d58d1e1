// Package schema holds the record schemas of Apache Kafka's internal topics, byte for byte as Kafka writes them (C-1).
//
// A metadata record's value is a frame: frame version 1, record type and record version as unsigned varints, then the
// flexible message of that type with its tagged fields.
package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type names the kind of a metadata record. Its numbers are Kafka's and are never used again for something else.
type Type uint16

// The types of metadata records that are read and written here.
const (
	RegisterBrokerType           Type = 0
	UnregisterBrokerType         Type = 1
	TopicType                    Type = 2
	PartitionType                Type = 3
	ConfigType                   Type = 4
	PartitionChangeType          Type = 5
	FenceBrokerType              Type = 7
	UnfenceBrokerType            Type = 8
	RemoveTopicType              Type = 9
	FeatureLevelType             Type = 12
	ProducerIDsType              Type = 15
	BrokerRegistrationChangeType Type = 17
	NoOpType                     Type = 20
)

// Record is one metadata record: a pointer to one of the structs of this package.
type Record interface {
	// Type says which record this is.
	Type() Type
	// fields walks the fields in the order of the message, reading or writing each.
	fields(c *codec)
}

var (
	// ErrVersion is the error of a record that a newer program wrote: its frame, type or version is not known here.
	ErrVersion = errors.New("unsupported metadata record")
	// ErrCorrupt is the error of bytes that are no record.
	ErrCorrupt = errors.New("corrupt metadata record")
)

const frameVersion = 1

// kinds says of each type its newest version, which is the one that is written, and how to make an empty record.
var kinds = map[Type]struct {
	newest int16
	make   func() Record
}{
	RegisterBrokerType:           {4, func() Record { return new(RegisterBroker) }},
	UnregisterBrokerType:         {0, func() Record { return new(UnregisterBroker) }},
	TopicType:                    {0, func() Record { return new(Topic) }},
	PartitionType:                {2, func() Record { return new(Partition) }},
	ConfigType:                   {0, func() Record { return new(Config) }},
	PartitionChangeType:          {2, func() Record { return NewPartitionChange() }},
	FenceBrokerType:              {0, func() Record { return new(FenceBroker) }},
	UnfenceBrokerType:            {0, func() Record { return new(UnfenceBroker) }},
	RemoveTopicType:              {0, func() Record { return new(RemoveTopic) }},
	FeatureLevelType:             {0, func() Record { return new(FeatureLevel) }},
	ProducerIDsType:              {0, func() Record { return new(ProducerIDs) }},
	BrokerRegistrationChangeType: {3, func() Record { return new(BrokerRegistrationChange) }},
	NoOpType:                     {0, func() Record { return new(NoOp) }},
}

// Append appends r to dst as the value of a metadata record, in the newest version of its type, and returns the longer
// slice.
func Append(dst []byte, r Record) []byte {
	return appendVersion(dst, r, kinds[r.Type()].newest)
}

// appendVersion is Append in an older version; fields that the version lacks are left out.
func appendVersion(dst []byte, r Record, version int16) []byte {
	dst = binary.AppendUvarint(dst, frameVersion)
	dst = binary.AppendUvarint(dst, uint64(r.Type()))
	dst = binary.AppendUvarint(dst, uint64(version))
	c := codec{buf: dst, version: version, writing: true}
	r.fields(&c)
	return c.buf
}

// Decode reads the value of a metadata record. Nothing of value is retained.
// Errors: ErrVersion for what a newer program wrote, ErrCorrupt for what is no record. KIP-746.
func Decode(value []byte) (Record, error) {
	c := codec{buf: value}
	frame, typ, version := c.uvarint(), c.uvarint(), c.uvarint()
	if c.failed {
		return nil, fmt.Errorf("%w: %d bytes are too few for a frame header", ErrCorrupt, len(value))
	}
	if frame != frameVersion {
		return nil, fmt.Errorf("%w: frame version %d, only %d is known", ErrVersion, frame, frameVersion)
	}
	kind, ok := kinds[Type(typ)]
	if !ok || typ > 0xffff {
		return nil, fmt.Errorf("%w: type %d version %d", ErrVersion, typ, version)
	}
	if version > uint64(kind.newest) {
		return nil, fmt.Errorf("%w: type %d version %d, the newest known is %d", ErrVersion, typ, version, kind.newest)
	}
	r := kind.make()
	c.version = int16(version)
	r.fields(&c)
	if c.failed {
		return nil, fmt.Errorf("%w: type %d version %d of %d bytes ends early or has a bad length", ErrCorrupt, typ, version, len(value))
	}
	if len(c.buf) > 0 {
		return nil, fmt.Errorf("%w: type %d version %d is followed by %d stray bytes", ErrCorrupt, typ, version, len(c.buf))
	}
	return r, nil
}
