package record

import (
	"encoding/binary"
	"errors"
)

// What can be wrong with the bytes at which a batch should begin. They are sentinels without numbers, so that reading
// hostile bytes allocates nothing; callers know the position and add it.
var (
	// ErrShort: the batch is not there to its end. SizeOf tells how many bytes it takes, once its first 17 are there.
	ErrShort = errors.New("the record batch is cut off")
	// ErrLength: the length field is negative or less than a header.
	ErrLength = errors.New("the length field of the record batch is nonsense")
	// ErrMagic: not format version 2. Versions 0 and 1 were last written by producers before Kafka 0.11.
	ErrMagic = errors.New("the record batch is not of format version 2")
)

// SizeOf tells how many bytes the first batch of b takes as a whole, b holding at least its first 17.
// Errors: ErrShort with fewer than that, ErrLength, ErrMagic. It does not allocate.
func SizeOf(b []byte) (int, error) {
	if len(b) < magicAt+1 {
		return 0, ErrShort
	}
	length := int32(binary.BigEndian.Uint32(b[lengthAt:]))
	if b[magicAt] != magic {
		return 0, ErrMagic
	}
	if length < HeaderLen-Overhead {
		return 0, ErrLength
	}
	return int(length) + Overhead, nil
}

// Split takes the first whole batch off b and returns the bytes behind it as rest. It checks the length and the format
// version, nothing else: the CRC may be wrong and the records garbage. Both results are views of b, and a batch cannot
// be appended to without being copied. With an error, batch is nil and rest is b.
// Errors: ErrShort, ErrLength, ErrMagic. It does not allocate.
func Split(b []byte) (batch Batch, rest []byte, err error) {
	size, err := SizeOf(b)
	if err != nil {
		return nil, b, err
	}
	if size > len(b) {
		return nil, b, ErrShort
	}
	return Batch(b[:size:size]), b[size:], nil
}
