package txn

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// TestRecordBytes: the bytes are those of Apache Kafka's TransactionLogKey and TransactionLogValue, version 1.
func TestRecordBytes(t *testing.T) {
	x := newTxn("x")
	x.producer, x.previous, x.next, x.timeout = rsm.Producer{ID: 7, Epoch: 3}, 7, 9, time.Minute
	x.state, x.version, x.started = PrepareCommit, 2, time.UnixMilli(5)
	x.partitions = []moldau.TopicPartition{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}, {Topic: "u", Partition: 2}}
	key, value := Encode(Record{"x", x.value(time.UnixMilli(6))})
	if got, want := hex.EncodeToString(key), "0000"+"000178"; got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	want := "0001" + "0000000000000007" + "0003" + "0000ea60" + "02" + // version, producer, epoch, time-out, state
		"03" + "0274" + "03" + "00000000" + "00000001" + "00" + "0275" + "02" + "00000002" + "00" + // partitions
		"0000000000000006" + "0000000000000005" + // updated, started
		"03" + "0008" + "0000000000000007" + "0108" + "0000000000000009" + "0202" + "0002" // tags: previous, next, version
	if got := hex.EncodeToString(value); got != want {
		t.Errorf("value\n%s, want\n%s", got, want)
	}
	x.state, x.partitions = Empty, nil
	if v := x.value(time.UnixMilli(6)); v.Topics != nil {
		t.Error("an empty transaction has a list of partitions; Apache Kafka writes null")
	}
}

// FuzzDecode reads any key and value; what is understood is written back as it was.
func FuzzDecode(f *testing.F) {
	x := newTxn("x")
	x.producer, x.state, x.partitions = rsm.Producer{ID: 7}, Ongoing, []moldau.TopicPartition{{Topic: "t"}}
	key, value := Encode(Record{"x", x.value(time.UnixMilli(1))})
	f.Add(key, value)
	f.Add(key, []byte(nil))
	f.Add([]byte("\x00\x01\x00\x01x"), []byte("of another kind"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, known, err := Decode(key, value)
		if !known || err != nil {
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
		New(Config{}).Replay(0, r)
	})
}
