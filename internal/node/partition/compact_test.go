package partition

import (
	"errors"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// compacted is a partition of a compacted topic with superseded records in sealed segments, all of them synced.
func compacted(t *testing.T) *harness {
	t.Helper()
	s := settings()
	s.Log = commitlog.DefaultConfig()
	s.Log.CompactEnabled, s.Log.DeleteEnabled, s.Log.SegmentBytes = true, false, 1000
	h := leading(t, s)
	for i := range 40 {
		b := record.NewBuilder(0)
		b.Add(record.Record{Timestamp: moldau.Timestamp(time.Now().UnixMilli()), Key: []byte{byte('a' + i%3)}, Value: make([]byte, 200)})
		raw, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		h.append(raw, true, nil, 0)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *harness) compact(moved func(int64) error) (commitlog.Compacted, error) {
	return h.Compact(commitlog.CompactionOptions{Limit: h.Log().RecoveryPoint(), Now: time.Now(), MapBytes: 1 << 20, MapLoad: 0.9}, moved)
}

// A pass ends when its topic is not to be compacted any more (KAFKA-12840), and leaves a log that is read, that retention deletes from, and
// that is compacted when it is to be so again.
func TestKAFKA12840PolicyChangesInAPass(t *testing.T) {
	for after := range 8 {
		h := compacted(t)
		before, deleting := *h.Settings(), *h.Settings()
		deleting.Log.CompactEnabled, deleting.Log.DeleteEnabled, deleting.Log.RetentionBytes = false, true, 1500
		step := 0
		_, err := h.compact(func(int64) error {
			if step++; step == after+1 {
				h.Reconfigure(&deleting)
			}
			return nil
		})
		if step <= after { // it had no more steps
			if after < 3 || err != nil {
				t.Errorf("a pass of %d steps: %v", step, err)
			}
			return
		}
		if !errors.Is(err, ErrNotCompacted) {
			t.Fatalf("after step %d: %v, want ErrNotCompacted", after, err)
		}
		if _, ok, err := h.Dirt(time.Now(), h.Log().End()); ok || err != nil {
			t.Errorf("a topic that is not compacted has dirt: %v", err)
		}
		if _, err := h.Retain(time.Now()); err != nil {
			t.Fatal(err)
		}
		if start := h.Log().Start(); start == 0 {
			t.Error("retention has deleted nothing")
		}
		h.Reconfigure(&before)
		if done, err := h.compact(func(int64) error { return nil }); err != nil || h.Log().FirstDirty() != done.End || done.End <= done.From {
			t.Errorf("compacted again: %+v, %v, up to %d", done, err, h.Log().FirstDirty())
		}
		res := h.read(h.Log().Start())
		if res.Code != moldau.None || res.Region.Len == 0 {
			t.Errorf("read: %v", res.Code)
		}
		res.Region.Release()
	}
}

// A pass ends with the error of whoever paces it, at the next step, and the log is whole.
func TestPassIsStopped(t *testing.T) {
	h := compacted(t)
	stop := errors.New("the broker stops")
	steps := 0
	_, err := h.compact(func(int64) error { steps++; return stop })
	if !errors.Is(err, stop) || steps != 1 {
		t.Errorf("after %d steps: %v", steps, err)
	}
	if h.Log().FirstDirty() != 0 || h.Log().Poisoned() != nil {
		t.Errorf("compacted up to %d, %v", h.Log().FirstDirty(), h.Log().Poisoned())
	}
	if _, err := h.compact(func(int64) error { return nil }); err != nil || h.Log().FirstDirty() == 0 {
		t.Errorf("another pass: %v, up to %d", err, h.Log().FirstDirty())
	}
}
