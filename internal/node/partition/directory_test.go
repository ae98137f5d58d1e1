package partition

import (
	"errors"
	"testing"

	"github.com/moldau/moldau"
)

// The failure of a directory fences all its partitions from that moment on, those too that it does not come from and that nobody
// has told yet (KAFKA-10778): no append is taken, no sync acknowledges what came before, nothing is read.
func TestFailureOfTheDirectoryFences(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.batch(1, 10), true, &w, 0)
	if !h.Home().Fail(errDisk) || h.Home().Fail(errors.New("another")) {
		t.Error("not the first failure counts")
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	w.expectNone(t, 0)
	if _, code, err := h.Append(h.batch(1, 10), true, &w, 1); code != moldau.KafkaStorageError || !errors.Is(err, errDisk) {
		t.Errorf("append: %v, %v", code, err)
	}
	if res := h.read(0); res.Code != moldau.KafkaStorageError {
		t.Errorf("read: %v", res.Code)
	}
	if _, err := h.DeleteRecords(0); !errors.Is(err, ErrOffline) {
		t.Errorf("delete records: %v", err)
	}
	if h.Online() || h.Log() != nil || !errors.Is(h.Failure(), errDisk) {
		t.Errorf("online %v, failure %v", h.Online(), h.Failure())
	}
	h.Fail(h.Home().Failure()) // as the broker does soon after
	w.expect(t, 0, moldau.KafkaStorageError)
	w.expectNone(t, 1)
}

// The failure comes in the midst of an append: what it has written is not acknowledged, nor what waited for it.
func TestFailureOfTheDirectoryDuringAppend(t *testing.T) {
	h := leading(t, settings())
	h.onOp("write", func() { h.Home().Fail(errDisk) })
	var w outcomes
	at, code, err := h.Append(h.batch(1, 10), true, &w, 0)
	if code != moldau.KafkaStorageError || !errors.Is(err, errDisk) || at.Parked || h.HighWatermark() != 0 {
		t.Errorf("append: %+v, %v, %v; high watermark %d", at, code, err, h.HighWatermark())
	}
	w.expectNone(t, 0)
}

// The failure comes while the log is opened, or between that and the end of the opening.
func TestFailureOfTheDirectoryDuringOpening(t *testing.T) {
	h := newHarness(t, settings())
	h.lead(1, 1)
	log := h.openLog()
	h.Home().Fail(errDisk)
	if err := h.Opened(log, 0); !errors.Is(err, errDisk) || h.Online() || h.Loading() {
		t.Errorf("opened: %v, online %v, loading %v", err, h.Online(), h.Loading())
	}
	<-h.Settled()
}
