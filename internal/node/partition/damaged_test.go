package partition

import (
	"errors"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// A read that meets bytes which are no batch fails alone: the partition stays online, says so, and serves what is around them.
func TestReadOfDamagedBytes(t *testing.T) {
	h := leading(t, Settings{Log: commitlog.DefaultConfig(), MinInSync: 1, FlushMessages: 1 << 60})
	for range 100 { // more than the tail of the log remembers
		h.append(h.batch(1, 5000), false, nil, 0)
	}
	const file = "/data/pageviews-3/00000000000000000000.log"
	f, err := h.fs.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	header := make(record.Batch, record.HeaderLen)
	if _, err := f.ReadAt(header, 0); err != nil {
		t.Fatal(err)
	}
	at := int64(10 * header.Size()) // of the batch at offset 10
	if _, err := f.WriteAt([]byte{0}, at+16); err != nil {
		t.Fatal(err)
	}
	read := func(at moldau.Offset) moldau.Code {
		res := h.Read(ReadRequest{At: at, Epoch: moldau.NoEpoch, LastRead: moldau.NoEpoch, MaxBytes: 100, WholeBatch: true})
		res.Region.Release()
		return res.Code
	}
	if code := read(3); code != moldau.None || h.Damage() != nil {
		t.Errorf("before the damage: %v, %v", code, h.Damage())
	}
	for range 2 {
		if code := read(10); code != moldau.KafkaStorageError || !h.Online() || !errors.Is(h.Damage(), commitlog.ErrDamaged) {
			t.Errorf("the damage: %v, online %v, %v", code, h.Online(), h.Damage())
		}
	}
	if code := read(90); code != moldau.None {
		t.Errorf("behind the damage: %v", code)
	}
	if _, code, err := h.Append(h.batch(1, 10), false, nil, 0); code != moldau.None {
		t.Errorf("an append: %v %v", code, err)
	}
}
