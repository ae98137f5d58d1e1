package partition

import (
	"errors"
	"syscall"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// A full volume refuses what comes with a code that clients retry, and takes nothing offline: those who wait go on
// waiting, records are read, and the batch that was refused is taken when it comes again (KAFKA-6683).
func TestFullVolumeRefusesAndGoesOn(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.sequenced(7, 0, 0, 1), true, &w, 0)
	h.mu.Lock()
	h.fail = func(op memfs.Op) error {
		if op.Kind == "write" || op.Kind == "create" {
			return memfs.ShortWrite{N: op.Len / 3, Err: syscall.ENOSPC}
		}
		return nil
	}
	h.mu.Unlock()
	if _, code, err := h.Append(h.sequenced(7, 0, 1, 1), true, &w, 1); code != moldau.NotEnoughReplicas || !errors.Is(err, commitlog.ErrNoSpace) {
		t.Fatalf("append: %v, %v", code, err)
	}
	if err := h.Flush(); !errors.Is(err, commitlog.ErrNoSpace) { // the epoch's checkpoint is a new file
		t.Fatalf("flush: %v", err)
	}
	if !h.Online() {
		t.Fatal("the partition is offline:", h.Failure())
	}
	w.expectNone(t, 0)
	h.failOn("")
	h.append(h.sequenced(7, 0, 1, 1), true, &w, 2)
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	w.expect(t, 0, moldau.None)
	w.expect(t, 2, moldau.None)
	if res := h.read(0); res.Code != moldau.None || res.Region.Len == 0 {
		t.Errorf("read: %v, %d bytes", res.Code, res.Region.Len)
	} else {
		res.Region.Release()
	}
}
