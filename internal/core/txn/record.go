package txn

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Record is a record of __transaction_state: all of a transactional id; a nil Value forgets it.
type Record struct {
	ID    string
	Value *kmsg.TxnMetadataValue
}

// Versions of key and value, Kafka's. A value of version 0, of a Kafka before 3.5, can be read too.
const (
	keyVersion   = 0
	valueVersion = 1
)

// Encode returns the key and the value of r as __transaction_state has them; a nil value is a tombstone (C-2).
func Encode(r Record) (key, value []byte) {
	k := kmsg.TxnMetadataKey{Version: keyVersion, TransactionalID: r.ID}
	key = k.AppendTo(nil)
	if r.Value != nil {
		value = r.Value.AppendTo(nil)
	}
	return key, value
}

// Decode reads a record of __transaction_state; what it keeps is its own. known is false for a key of another version, which
// is no error: a newer Kafka may write some.
func Decode(key, value []byte) (r Record, known bool, err error) {
	if len(key) < 2 {
		return r, false, fmt.Errorf("a key of %d bytes, which has no version", len(key))
	}
	if binary.BigEndian.Uint16(key) != keyVersion {
		return r, false, nil
	}
	var k kmsg.TxnMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return r, false, fmt.Errorf("key of a transactional id: %w", err)
	}
	r.ID = k.TransactionalID
	if value == nil {
		return r, true, nil
	}
	v := kmsg.NewTxnMetadataValue()
	if err := v.ReadFrom(bytes.Clone(value)); err != nil { // it may keep parts of what it reads
		return Record{}, false, fmt.Errorf("transactional id %q: %w", r.ID, err)
	}
	if v.State < Empty || v.State > CompleteAbort {
		return Record{}, false, fmt.Errorf("transactional id %q: a state %d, which is never written", r.ID, v.State)
	}
	r.Value = &v
	return r, true, nil
}
