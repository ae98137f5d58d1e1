package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// sizeOf is the number of bytes of the first n batches.
func (w *world) sizeOf(n int) (size int) {
	for _, e := range w.entries[:n] {
		size += len(e.raw)
	}
	return size
}

// files is the content of every .log file.
func (w *world) files() map[string]string {
	all := map[string]string{}
	entries, _ := w.fs.ReadDir(dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			b, _ := env.ReadFile(w.fs, dir+e.Name(), 1<<20)
			all[e.Name()] = string(b)
		}
	}
	return all
}

func sameFiles(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if a[name] != b[name] {
			return false
		}
	}
	return true
}

// change is a way to damage the bytes of a log of four batches; w knows where they are.
type change struct {
	name string
	do   func(w *world, b []byte) []byte
	left int  // batches before it
	crc  bool // only the CRC shows it
}

var changes = []change{
	{"bit flip midway", func(w *world, b []byte) []byte { b[w.sizeOf(1)+200] ^= 1; return b }, 1, true},
	{"size flipped to more than is left", func(w *world, b []byte) []byte { b[w.sizeOf(1)+8] ^= 1; return b }, 1, false},
	{"size flipped to less than a header", func(w *world, b []byte) []byte { clear(b[w.sizeOf(1)+8 : w.sizeOf(1)+12]); return b }, 1, false},
	{"size flipped by a little", func(w *world, b []byte) []byte { b[w.sizeOf(1)+11] ^= 1; return b }, 1, false},
	{"magic", func(w *world, b []byte) []byte { b[w.sizeOf(2)+16] = 1; return b }, 2, false},
	{"offset flipped (KAFKA-3955)", func(w *world, b []byte) []byte { b[w.sizeOf(2)+7] = 3; return b }, 2, false},
	{"512 bytes of zeros midway", func(w *world, b []byte) []byte { clear(b[w.sizeOf(1) : w.sizeOf(1)+512]); return b }, 1, false},
	{"stale block of an older file", func(w *world, b []byte) []byte { copy(b[w.sizeOf(1):w.sizeOf(2)-17], b[100:]); return b }, 1, false},
	{"bytes taken out", func(w *world, b []byte) []byte { return slices.Delete(b, w.sizeOf(1)+10, w.sizeOf(1)+90) }, 1, false},
}

// Bytes that changed in the midst of a log are not skipped and not cut off, and nothing behind them is either: the log serves
// what is before and takes nothing more (NATS 7549, KAFKA-3955). Only after a power loss can what was not synced have lost a batch before
// whole ones.
func TestChangedBytesDestroyNothing(t *testing.T) {
	for _, c := range changes {
		for _, outage := range []Outage{Unknown, Killed, Rebooted} {
			for _, synced := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/outage %d/synced %v", c.name, outage, synced), func(t *testing.T) {
					w := written(t, DefaultConfig())
					w.opt.Whole, w.opt.Outage = true, outage
					if synced {
						w.point = 40
						if c.crc {
							return // a start does not read again what was synced; the scrub does
						}
					}
					poke(t, w.fs, firstLog, func(b []byte) []byte { return c.do(w, b) })
					before := w.files()
					if err := w.begin(false); err != nil {
						t.Fatal(err)
					}
					if outage == Rebooted && !synced {
						if r := w.log.Recovery(); w.log.Damage() != nil || !r.Midway || w.log.End() != w.entries[c.left].base() {
							t.Fatalf("recovery %+v, damage %v, end %d", r, w.log.Damage(), w.log.End())
						}
						return
					}
					w.checkDamaged(t, c.left)
					if err := w.log.Close(); !errors.Is(err, ErrDamaged) {
						t.Errorf("Close tells %v", err)
					}
					if !sameFiles(before, w.files()) {
						t.Error("the files have changed")
					}
					if n := w.fs.Opened(); n != 0 {
						t.Errorf("%d files are open", n)
					}
				})
			}
		}
	}
}

// An offset or an epoch that has grown (neither is covered by the CRC) makes those that follow look like a stale block. They are
// kept all the same.
func TestGrownHeaderFieldsHideNothing(t *testing.T) {
	for name, at := range map[string]int{"offset": 4, "epoch": 13} {
		for _, outage := range []Outage{Unknown, Killed} {
			for _, point := range []moldau.Offset{0, 40} {
				w := written(t, DefaultConfig())
				w.opt.Whole, w.opt.Outage, w.point = true, outage, point
				poke(t, w.fs, firstLog, func(b []byte) []byte { b[w.sizeOf(2)+at] = 1; return b })
				before := w.files()
				if err := w.begin(false); err != nil {
					t.Fatal(err)
				}
				if w.log.Damage() == nil || w.log.AssignEpoch(5) != nil {
					t.Errorf("%s, outage %d, synced to %d: the log ends at %d", name, outage, point, w.log.End())
				}
				_ = w.log.Close()
				if !sameFiles(before, w.files()) {
					t.Error("the files have changed")
				}
			}
		}
	}
}

// checkDamaged looks at a log that is damaged behind the first n batches.
func (w *world) checkDamaged(t *testing.T, n int) {
	t.Helper()
	l, end := w.log, w.entries[n-1].last()+1
	d := l.Damage()
	if d == nil || d.Offset != end || l.End() != end || !strings.HasSuffix(d.File, ".log") {
		t.Fatalf("damage %+v, the log ends at %d; want %d", d, l.End(), end)
	}
	for _, part := range []string{fmt.Sprint("offset ", end), d.File, fmt.Sprint("byte ", d.Byte), "moldau log repair /data/pageviews-0"} {
		if !strings.Contains(d.Error(), part) {
			t.Errorf("it tells %q, which lacks %q", d, part)
		}
	}
	_, err := l.Append(batch(t, 1, 1000, 10), 9)
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("an append: %v", err)
	}
	if _, err := l.Retain(w.now, end); !errors.Is(err, ErrDamaged) {
		t.Errorf("retention: %v", err)
	}
	if err := l.AssignEpoch(9); err != nil {
		t.Errorf("a leader of what is left: %v", err)
	}
	if _, err := l.Flush(); err != nil || l.RecoveryPoint() != w.point {
		t.Errorf("flush: %v, recovery point %d, want %d", err, l.RecoveryPoint(), w.point)
	}
	var got []byte
	for at := l.Start(); at < end; {
		r, err := l.Read(at, 1<<20, end, true)
		if err == nil {
			got, err = r.Append(got)
			at = r.Next
		}
		r.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
	var want []byte
	for _, e := range w.entries[:n] {
		want = append(want, e.raw...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes are served, want %d", len(got), len(want))
	}
}

// The damage stays what it is whatever happens to the machine afterwards, and is gone with the damage itself.
func TestDamageIsRemembered(t *testing.T) {
	w := written(t, DefaultConfig())
	w.opt.Whole, w.opt.Outage = true, Killed
	var was []byte
	poke(t, w.fs, firstLog, func(b []byte) []byte { was = slices.Clone(b); return changes[0].do(w, b) })
	for _, outage := range []Outage{Killed, Rebooted, Unknown} {
		w.opt.Outage = outage
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		w.checkDamaged(t, 1)
		_ = w.log.Close()
		w.fs = w.fs.Crash(memfs.None, 0)
	}
	poke(t, w.fs, firstLog, func([]byte) []byte { return was }) // from a copy
	if err := w.begin(false); err != nil || w.log.Damage() != nil {
		t.Fatal(err, w.log.Damage())
	}
	if err := errors.Join(w.check(seeded(1)), w.reopen(nil)); err != nil {
		t.Error(err)
	}
}

// What a kill leaves of the last write is its beginning. A last batch that is all there and wrong has changed since.
func TestLastBatchAfterAKill(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outage  Outage
		change  func(w *world, b []byte) []byte
		damaged bool
	}{
		{"cut short", Killed, func(_ *world, b []byte) []byte { return b[:len(b)-100] }, false},
		{"cut in its header", Killed, func(w *world, b []byte) []byte { return b[:w.sizeOf(3)+20] }, false},
		{"zeros", Killed, func(w *world, b []byte) []byte { clear(b[w.sizeOf(3):]); return b }, false},
		{"flipped", Killed, func(w *world, b []byte) []byte { b[w.sizeOf(3)+200] ^= 1; return b }, true},
		{"flipped, power loss", Rebooted, func(w *world, b []byte) []byte { b[w.sizeOf(3)+200] ^= 1; return b }, false},
		{"flipped, unknown", Unknown, func(w *world, b []byte) []byte { b[w.sizeOf(3)+200] ^= 1; return b }, false},
		{"lost its half", Killed, func(w *world, b []byte) []byte { clear(b[w.sizeOf(3)+100:]); return b }, true},
		{"lost its half, power loss", Rebooted, func(w *world, b []byte) []byte { clear(b[w.sizeOf(3)+100:]); return b }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := written(t, DefaultConfig())
			w.opt.Whole, w.opt.Outage = true, tt.outage
			poke(t, w.fs, firstLog, func(b []byte) []byte { return tt.change(w, b) })
			if err := w.begin(false); err != nil {
				t.Fatal(err)
			}
			if tt.damaged {
				w.checkDamaged(t, 3)
				return
			}
			if w.log.Damage() != nil || w.log.End() != 30 {
				t.Errorf("damage %v, end %d", w.log.Damage(), w.log.End())
			}
		})
	}
}

// Blocks of a batch that a power loss has kept from the disk (512 bytes, 4 KiB, the end of the file in zeros, a block of an older
// file: LazyFS and real disks leave all of these) are never served: cut off where they were not promised, told where they were.
func TestTornBlocks(t *testing.T) {
	bd := record.NewBuilder(0)
	bd.Add(record.Record{Timestamp: 1000, Value: bytes.Repeat([]byte("moldau"), 3000)})
	big, err := bd.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tear := range map[string]func(b []byte){
		"512 bytes of zeros": func(b []byte) { clear(b[1024:1536]) },
		"4 KiB of zeros":     func(b []byte) { clear(b[4096:8192]) },
		"zero tail":          func(b []byte) { clear(b[len(b)-9000:]) },
		"zero tail from 4K":  func(b []byte) { clear(b[4096:]) },
		"stale block":        func(b []byte) { copy(b[4096:8192], bytes.Repeat([]byte("an older file "), 300)) },
		"first block":        func(b []byte) { clear(b[:512]) },
	} {
		w := newWorld(DefaultConfig())
		w.opt.Whole, w.opt.Outage = true, Rebooted
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := w.log.Append(slices.Clone(big), 0); err != nil {
				t.Fatal(err)
			}
		}
		w.fs = w.fs.Crash(memfs.All, 0)
		poke(t, w.fs, firstLog, func(b []byte) []byte { tear(b[len(big):]); return b })
		if err := w.begin(false); err != nil || w.log.End() != 1 || w.log.Damage() != nil {
			t.Errorf("%s in what was not synced: %v, the log ends at %d, damage %v", name, err, w.log.End(), w.log.Damage())
		}
		_ = w.log.Close()
		poke(t, w.fs, firstLog, func(b []byte) []byte { return append(b[:len(big):len(big)], torn(big, tear)...) })
		w.point = 2
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		if d := w.log.Damage(); d == nil && w.log.End() == 2 {
			found := w.verify(t, false).Findings // a start does not read again what was synced
			if len(found) != 1 || found[0].Kind != BadBytes || found[0].Offset != 1 {
				t.Errorf("%s in what was synced: %+v", name, found)
			}
		} else if d == nil || d.Offset != 1 {
			t.Errorf("%s in what was synced: damage %v, the log ends at %d", name, d, w.log.End())
		}
		_ = w.log.Close()
	}
}

// torn is a copy of b, torn.
func torn(b []byte, tear func([]byte)) []byte {
	b = slices.Clone(b)
	record.Batch(b).SetBaseOffset(1)
	record.Batch(b).SetLeaderEpoch(0)
	tear(b)
	return b
}

// Logs that lack records which were durable: what is before is served, nothing is appended, and no file changes. Where nothing
// is left that could be served, the log is not opened.
func TestLostRecordsAreNotCutOff(t *testing.T) {
	const last, third = "00000000000000000030.log", "00000000000000000020.log"
	empty := func([]byte) []byte { return nil }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	for _, tt := range []struct {
		name  string
		clean bool
		lose  func(t *testing.T, w *world)
		left  int // batches that are served
	}{
		{"last segment torn, clean", true, func(t *testing.T, w *world) { poke(t, w.fs, last, half) }, 3},
		{"last segment torn", false, func(t *testing.T, w *world) { poke(t, w.fs, last, half) }, 3},
		{"last segment empty, clean", true, func(t *testing.T, w *world) { poke(t, w.fs, last, empty) }, 3},
		{"last segment empty", false, func(t *testing.T, w *world) { poke(t, w.fs, last, empty) }, 3},
		{"last segment gone, clean", true, func(t *testing.T, w *world) { _ = w.fs.Remove(dir + last) }, 3},
		{"last segment gone", false, func(t *testing.T, w *world) { _ = w.fs.Remove(dir + last) }, 3},
		{"third segment gone, clean", true, func(t *testing.T, w *world) { _ = w.fs.Remove(dir + third) }, 2},
		{"third segment gone", false, func(t *testing.T, w *world) { _ = w.fs.Remove(dir + third) }, 2},
		{"third segment empty", false, func(t *testing.T, w *world) { poke(t, w.fs, third, empty) }, 2},
		{"third segment torn, clean", true, func(t *testing.T, w *world) { poke(t, w.fs, third, half) }, 2},
		{"first segment gone", true, func(t *testing.T, w *world) { _ = w.fs.Remove(dir + firstLog) }, 0},
		{"first segment empty", true, func(t *testing.T, w *world) { poke(t, w.fs, firstLog, empty) }, 0},
		{"first segment torn", true, func(t *testing.T, w *world) { poke(t, w.fs, firstLog, half) }, 0},
		{"all segments gone", false, func(t *testing.T, w *world) {
			for _, base := range []string{"00", "10", "20", "30"} {
				_ = w.fs.Remove(dir + "000000000000000000" + base + ".log")
			}
		}, 0},
		{"start above the end", true, func(_ *testing.T, w *world) { w.start = 1000 }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.SegmentBytes, c.IndexIntervalBytes = 700, 1
			w := written(t, c)
			w.opt.Whole, w.opt.LogStartKnown, w.point = true, true, 40
			tt.lose(t, w)
			before := w.files()
			for i, clean := range []bool{tt.clean, false} { // the second start is after a stop with the log damaged
				if i > 0 && w.start > 40 {
					break // a power loss has taken what was deleted: it begins anew
				}
				err := w.begin(clean)
				switch {
				case tt.left == 0 && !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrDamaged):
					t.Fatalf("it was opened: %v", err)
				case tt.left > 0 && err != nil:
					t.Fatal(err)
				case tt.left > 0:
					w.checkDamaged(t, tt.left)
					_ = w.log.Close()
				}
				if !sameFiles(before, w.files()) {
					t.Fatal("the files have changed")
				}
			}
		})
	}
}

// A batch whose records are batches, as a mirror may store them, is one batch: those inside are not found behind it.
func TestBatchesWithinABatch(t *testing.T) {
	w := newWorld(DefaultConfig())
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	inner := batch(t, 2, 1000, 50) // of offset 0: stale wherever it is found
	bd := record.NewBuilder(0)
	bd.Add(record.Record{Value: slices.Concat(inner, inner)})
	outer, err := bd.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := w.log.Append(slices.Clone(outer), 0); err != nil {
			t.Fatal(err)
		}
	}
	w.opt.Outage = Killed
	w.fs = w.fs.Crash(memfs.All, 0)
	poke(t, w.fs, firstLog, func(b []byte) []byte { return b[:len(b)-5] })
	if err := w.begin(false); err != nil || w.log.Damage() != nil || w.log.End() != 2 {
		t.Errorf("%v, damage %v, end %d", err, w.log.Damage(), w.log.End())
	}
}

// The lives of the operating system tell a kill from a power loss, also where a recovery was interrupted.
func TestBoots(t *testing.T) {
	w := newWorld(DefaultConfig())
	_ = w.fs.MkdirAll("/data")
	d, err := OpenDirectory(w.fs, "/data")
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		boot    string
		trusted bool
		want    Outage
		settle  bool
	}{
		{"a", false, Unknown, false}, // a directory of a version that noted nothing
		{"a", false, Unknown, true},
		{"a", false, Killed, false},
		{"b", false, Rebooted, false},
		{"b", false, Rebooted, true}, // killed while it recovered from the power loss
		{"b", false, Killed, true},
		{"c", true, Killed, false}, // after a clean stop nothing is at risk
		{"c", false, Killed, true},
		{"", false, Unknown, true},
		{"d", false, Unknown, true},
	} {
		got, err := d.BeginBoot(step.boot, step.trusted)
		if err != nil || got != step.want {
			t.Fatalf("step %d: %v %v, want %v", i, got, err, step.want)
		}
		if step.settle {
			if err := d.SettleBoot(step.boot); err != nil {
				t.Fatal(err)
			}
		}
	}
}
