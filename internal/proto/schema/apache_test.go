package schema

import (
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

// C-1: records that only Apache's controllers write are read as far as an import tells of them, and a metadata log of ours
// never takes one.
func TestApacheRecords(t *testing.T) {
	want := map[string]Record{
		"token":        &DelegationToken{"User:alice", "t-1"},
		"remove-token": &RemoveDelegationToken{"t-1"},
		"quota":        &ClientQuota{[]QuotaEntity{{"user", ptr("alice")}, {"client-id", nil}}, "producer_byte_rate", true},
		"scram":        &ScramCredential{"alice", 2},
		"remove-scram": &RemoveScramCredential{"alice", 1},
		"acl":          &AccessControl{idA, 2, "orders", 4, "User:alice", "*", 3, 2},
		"remove-acl":   &RemoveAccessControl{idA},
		"begin":        Boundary(BeginTransactionType),
		"end":          Boundary(EndTransactionType),
		"abort":        Boundary(AbortTransactionType),
		"controller":   &NoOp{},
		"clear-elr":    &NoOp{},
		"zk":           &NoOp{},
	}
	text, err := os.ReadFile("testdata/apache.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, digits, found := strings.Cut(strings.TrimSpace(line), " ")
		if name == "#" || !found {
			continue
		}
		value, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeApache(value)
		if err != nil || !reflect.DeepEqual(got, want[name]) {
			t.Errorf("%s: read %+v, %v, want %+v", name, got, err, want[name])
		}
		delete(want, name)
		if _, err := Decode(value); !errors.Is(err, ErrVersion) {
			t.Errorf("%s: Decode says %v, and is to refuse it", name, err)
		}
	}
	for name := range want {
		t.Errorf("no line of testdata/apache.txt has %s", name)
	}
	if _, err := DecodeApache([]byte{1, 99, 0}); !errors.Is(err, ErrVersion) {
		t.Errorf("a type that nobody knows: %v", err)
	}
	if _, err := DecodeApache([]byte{1, 11, 0, 200}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a name that is cut off: %v", err)
	}
}

func FuzzApacheRecord(f *testing.F) {
	f.Add([]byte{1, 14, 0, 2, 5, 'u', 's', 'e', 'r', 0, 0})
	f.Fuzz(func(t *testing.T, value []byte) {
		if r, err := DecodeApache(value); err == nil && r == nil {
			t.Error("neither a record nor an error")
		}
	})
}
