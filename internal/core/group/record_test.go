package group

import (
	"bytes"
	"testing"
)

// FuzzDecode reads any key and value; what is understood is written back as it was, in the versions that we write.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00"), []byte("\x00\x03\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x07\x00\x04note\x00\x00\x00\x00\x00\x00\x00\x09"))
	f.Add([]byte("\x00\x02\x00\x01g"), []byte("\x00\x03\x00\x08consumer\x00\x00\x00\x01\x00\x05range\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x02\x00\x01g"), []byte(nil))
	f.Add([]byte("\x00\x03\x00\x01g"), []byte("of another kind"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, known, err := Decode(key, value)
		if (r != nil) != (known && err == nil) {
			t.Fatalf("record %v, known %v, error %v", r, known, err)
		}
		if r == nil {
			return
		}
		again, known, err := Decode(Encode(r))
		if err != nil || !known {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		key, value = Encode(r)
		if k, v := Encode(again); !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Fatalf("written twice as %x %x and %x %x", key, value, k, v)
		}
	})
}
