package commitlog_test

import (
	"errors"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// A scrub reads each sealed segment in turn, finds what has changed in it, and takes nothing offline.
func TestScrub(t *testing.T) {
	c := DefaultConfig()
	c.SegmentBytes = 700
	w := written(t, c)
	if err := w.begin(true); err != nil {
		t.Fatal(err)
	}
	scrub := func() (bases []moldau.Offset, found []Damage, read int64) {
		in := Inspector{Read: func(n int64) error { read += n; return nil }}
		for at := moldau.Offset(0); ; {
			res, ok, err := w.log.Scrub(&in, at)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return bases, found, read
			}
			bases, found, at = append(bases, res.Base), append(found, res.Damage...), res.Base+1
		}
	}
	if bases, found, read := scrub(); len(bases) != 3 || bases[2] != 20 || len(found) > 0 || read != int64(w.sizeOf(3)) {
		t.Errorf("of a sound log: segments %v, damage %v, %d bytes", bases, found, read)
	}
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { b[300] ^= 4; return b },
		func(b []byte) []byte { return b[:len(b)-1] },
	} {
		var was []byte
		poke(t, w.fs, "00000000000000000010.log", func(b []byte) []byte { was = append(was, b...); return change(b) })
		if bases, found, _ := scrub(); len(bases) != 3 || len(found) == 0 || found[0].Offset != 10 || found[0].File != dir+"00000000000000000010.log" {
			t.Errorf("segments %v, damage %v", bases, found)
		}
		poke(t, w.fs, "00000000000000000010.log", func([]byte) []byte { return was })
	}
	if _, err := w.log.Append(batch(t, 1, 5000, 10), 5); err != nil || w.log.Damage() != nil {
		t.Errorf("an append after the damage was found: %v", err)
	}
	stop := errors.New("the broker stops")
	if _, _, err := w.log.Scrub(&Inspector{Read: func(int64) error { return stop }}, 0); !errors.Is(err, stop) {
		t.Errorf("it goes on: %v", err)
	}
	w.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "read" {
			return errors.New("input/output error")
		}
		return nil
	}
	if _, ok, err := w.log.Scrub(&Inspector{}, 0); !ok || err == nil {
		t.Errorf("a device that cannot read: %v", err)
	}
}
