package commitlog_test

import (
	"bytes"
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

// verify is Verify of the world's log as a start would find it.
func (w *world) verify(t *testing.T, clean bool) LogReport {
	t.Helper()
	report, err := Verify(VerifyOptions{
		FS: w.fs, Dir: strings.TrimSuffix(dir, "/"), RecoveryPoint: w.point, Clean: clean, LogStart: w.start, LogStartKnown: w.opt.LogStartKnown,
		Outage: w.opt.Outage,
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// mend plans and takes the steps, and believes what they say about checkpoints.
func (w *world) mend(t *testing.T, report LogReport, choice Choice) *Mending {
	t.Helper()
	plan := PlanMending(w.fs, report, choice)
	if err := plan.Do(); err != nil {
		t.Fatalf("%v; found was %+v", err, report.Findings)
	}
	if plan.RecoveryPoint != nil {
		w.point = *plan.RecoveryPoint
	}
	if plan.LogStart != nil {
		w.start = *plan.LogStart
	}
	return plan
}

// batches are the batches with records that the log serves.
func (w *world) batches(t *testing.T) (list []record.Batch) {
	t.Helper()
	for at := w.log.Start(); at < w.log.End(); {
		r, err := w.log.Read(at, 1<<20, w.log.End(), true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Append(nil)
		if err != nil || len(b) == 0 {
			t.Fatal(at, r, err)
		}
		at = r.Next
		r.Release()
		for len(b) > 0 {
			var one record.Batch
			if one, b, err = record.Split(b); err != nil || !one.CRCValid() {
				t.Fatal(err)
			}
			if one.Count() > 0 {
				list = append(list, one)
			}
		}
	}
	return list
}

// A sound log has no findings, after a clean stop and after a kill.
func TestVerifyFindsNothingInSoundLogs(t *testing.T) {
	for seed := range uint64(20) {
		pick := seeded(seed)
		c := pickConfig(pick)
		w := newWorld(c)
		if err := w.begin(false); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			if name, err := w.step(pick); err != nil {
				t.Fatal(name, err)
			}
		}
		alive := w.fs
		w.fs = w.fs.Crash(memfs.All, 0)
		found := w.verify(t, false).Findings
		w.fs = alive
		if err := w.reopen(nil); err != nil {
			t.Fatal(err)
		}
		for _, f := range append(found, w.verify(t, true).Findings...) {
			if !f.Kind.Harmless() && f.Kind != Gap { // followers leave gaps
				t.Errorf("seed %d: %+v", seed, f)
			}
		}
	}
}

// Whatever was planted is found, by either choice nothing is left of it, what was taken out is kept aside, and what could be
// kept is served.
func TestVerifyAndMend(t *testing.T) {
	small := DefaultConfig()
	small.SegmentBytes, small.IndexIntervalBytes = 700, 1
	type planted struct {
		name   string
		config Config
		do     func(t *testing.T, w *world)
		kind   Kind
		gone   []int // batches that are lost whatever is chosen
		cutAt  int   // batches that a cut leaves
	}
	var all []planted
	for _, c := range changes {
		p := planted{c.name, DefaultConfig(), func(t *testing.T, w *world) {
			poke(t, w.fs, firstLog, func(b []byte) []byte { return c.do(w, b) })
		}, BadBytes, []int{c.left}, c.left}
		all = append(all, p)
	}
	all = append(all,
		planted{"offset grown", DefaultConfig(), func(t *testing.T, w *world) {
			poke(t, w.fs, firstLog, func(b []byte) []byte { b[w.sizeOf(2)+4] = 1; return b })
		}, BadBytes, []int{2}, 2},
		planted{"epoch grown", DefaultConfig(), func(t *testing.T, w *world) {
			poke(t, w.fs, firstLog, func(b []byte) []byte { b[w.sizeOf(1)+13] = 1; return b })
		}, BadBytes, []int{1}, 1},
		planted{"third segment gone", small, func(_ *testing.T, w *world) { _ = w.fs.Remove(dir + "00000000000000000020.log") }, Gap, []int{2}, 2},
		planted{"third segment torn", small, func(t *testing.T, w *world) {
			poke(t, w.fs, "00000000000000000020.log", func(b []byte) []byte { return b[:len(b)-9] })
		}, BadBytes, []int{2}, 2},
		planted{"third segment empty", small, func(t *testing.T, w *world) {
			poke(t, w.fs, "00000000000000000020.log", func([]byte) []byte { return nil })
		}, Gap, []int{2}, 2},
		planted{"last segment gone", small, func(_ *testing.T, w *world) { _ = w.fs.Remove(dir + "00000000000000000030.log") }, MissingEnd, []int{3}, 3},
		planted{"last segment torn", small, func(t *testing.T, w *world) {
			poke(t, w.fs, "00000000000000000030.log", func(b []byte) []byte { return b[:100] })
		}, BadBytes, []int{3}, 3},
		planted{"first segment gone", small, func(_ *testing.T, w *world) { _ = w.fs.Remove(dir + firstLog) }, MissingHead, []int{0}, 4},
	)
	for _, p := range all {
		for _, choice := range []Choice{Cut, LeaveOut} {
			t.Run(fmt.Sprint(p.name, "/", choice), func(t *testing.T) {
				w := written(t, p.config)
				w.opt.Whole, w.opt.Outage, w.opt.LogStartKnown, w.point = true, Killed, true, 40
				p.do(t, w)
				before := allBytes(w.fs)
				report := w.verify(t, false)
				if !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Kind == p.kind }) {
					t.Fatalf("found %+v, want %q", report.Findings, p.kind)
				}
				if plan := PlanMending(w.fs, report, ""); !plan.Undecided {
					t.Errorf("without a choice it would %+v", plan.Steps)
				}
				if after := allBytes(w.fs); after != before {
					t.Error("a plan has changed something")
				}
				_ = w.begin(false) // it is noted, and the note goes with the repair
				if w.log != nil {
					_ = w.log.Close()
				}
				w.mend(t, report, choice)
				if found := w.verify(t, false).Findings; len(found) > 0 {
					t.Fatalf("after the repair: %+v", found)
				}
				if err := w.begin(false); err != nil || w.log.Damage() != nil {
					t.Fatal(err, w.log.Damage())
				}
				var want []moldau.Offset
				for i, e := range w.entries {
					if !slices.Contains(p.gone, i) && (choice == LeaveOut || i < p.cutAt) {
						want = append(want, e.base())
					}
				}
				var got []moldau.Offset
				for _, b := range w.batches(t) {
					got = append(got, b.BaseOffset())
				}
				if !slices.Equal(got, want) {
					t.Errorf("it serves the batches at %v, want %v", got, want)
				}
				if choice == LeaveOut && w.log.End() != 40 {
					t.Errorf("it ends at %d: offsets are given out again", w.log.End())
				}
				if _, err := w.log.Append(batch(t, 1, 1000, 10), 9); err != nil {
					t.Error(err)
				}
				if err := w.log.Close(); err != nil {
					t.Error(err)
				}
				if err := w.begin(true); err != nil || len(w.log.Recovery().Notes) > 0 {
					t.Errorf("a clean start after the repair: %v %+v", err, w.log.Recovery())
				}
			})
		}
	}
}

// What a start takes for damage the tools find, what it cuts off they call harmless, and after a repair by either choice a start
// has nothing to say: for every change, outage and recovery point, at once and when a start has met it before.
func TestToolsAndStartsAgree(t *testing.T) {
	more := append(slices.Clone(changes),
		change{"last batch flipped", func(w *world, b []byte) []byte { b[w.sizeOf(3)+200] ^= 1; return b }, 3, true},
		change{"tail torn", func(w *world, b []byte) []byte { return b[:len(b)-9] }, 3, false},
		change{"tail torn in a header", func(w *world, b []byte) []byte { return b[:w.sizeOf(3)+30] }, 3, false},
		change{"tail of zeros", func(w *world, b []byte) []byte { return append(b, make([]byte, 5000)...) }, 4, false},
		change{"garbage behind the end", func(w *world, b []byte) []byte { return append(b, bytes.Repeat([]byte("moldau"), 50)...) }, 4, false},
		change{"stale block behind the end", func(w *world, b []byte) []byte { return append(b, b[:w.sizeOf(1)]...) }, 4, false},
		change{"all gone", func(*world, []byte) []byte { return nil }, 0, false},
	)
	for _, c := range more {
		for _, outage := range []Outage{Unknown, Killed, Rebooted} {
			for _, point := range []moldau.Offset{0, 20, 40} {
				for _, met := range []bool{false, true} {
					name := fmt.Sprintf("%s, outage %d, synced to %d, met before %v", c.name, outage, point, met)
					w := written(t, DefaultConfig())
					w.opt.Whole, w.opt.Outage, w.point = true, outage, point
					poke(t, w.fs, firstLog, func(b []byte) []byte { return c.do(w, b) })
					before := w.fs.Crash(memfs.All, 0)
					startErr := w.begin(false)
					damaged := startErr != nil || w.log.Damage() != nil
					if startErr == nil {
						_ = w.log.Close()
					}
					if !met {
						w.fs = before
					}
					if met && !damaged {
						continue // it was cut off
					}
					lost := slices.ContainsFunc(w.verify(t, false).Findings, func(f Finding) bool { return f.Kind.Lost() })
					onlyByCRC := c.crc && point > w.entries[c.left].base() // a start does not read that again
					if lost != damaged && !onlyByCRC {
						t.Errorf("%s: a start finds damage %v (%v), the tools %v: %+v", name, damaged, startErr, lost, w.verify(t, false).Findings)
						continue
					}
					for _, choice := range []Choice{Cut, LeaveOut} {
						w.mendCopy(t, name, choice)
					}
				}
			}
		}
	}
}

// mendCopy mends a copy of the log and starts on it.
func (w *world) mendCopy(t *testing.T, name string, choice Choice) {
	t.Helper()
	was, point := w.fs, w.point
	defer func() { w.fs, w.point = was, point }()
	w.fs = w.fs.Crash(memfs.All, 0)
	w.mend(t, w.verify(t, false), choice)
	if err := w.begin(false); err != nil || w.log.Damage() != nil {
		t.Errorf("%s: after %s a start says %v, %v", name, choice, err, w.log.Damage())
		return
	}
	if _, err := w.log.Append(batch(t, 1, 1000, 10), 9); err != nil {
		t.Errorf("%s: after %s: %v", name, choice, err)
	}
	_ = w.log.Close()
}

// allBytes is every name and byte below the directory, to be compared.
func allBytes(fsys env.FS) string {
	var all bytes.Buffer
	entries, _ := fsys.ReadDir(dir)
	for _, e := range entries {
		b, _ := env.ReadFile(fsys, dir+e.Name(), 1<<24)
		fmt.Fprintf(&all, "%s %d %x\n", e.Name(), len(b), b)
	}
	return all.String()
}

// Of a segment in which something was taken out, the bytes are in a file aside; of segments behind a cut, the files are.
func TestMendKeepsWhatItTakesOut(t *testing.T) {
	for _, choice := range []Choice{Cut, LeaveOut} {
		c := DefaultConfig()
		c.SegmentBytes = 1400
		w := written(t, c)
		w.point = 40
		poke(t, w.fs, firstLog, func(b []byte) []byte { b[w.sizeOf(1)+100] ^= 1; return b })
		was := w.files()
		report := w.verify(t, false)
		w.mend(t, report, choice)
		var kept string
		entries, _ := w.fs.ReadDir(dir)
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".aside") && strings.Contains(e.Name(), ".log") {
				b, _ := env.ReadFile(w.fs, dir+e.Name(), 1<<20)
				kept += string(b)
			}
		}
		want := was[firstLog][w.sizeOf(1):w.sizeOf(2)]
		if choice == Cut {
			want += was["00000000000000000020.log"]
		}
		if kept != want {
			t.Errorf("%s keeps %d bytes, want %d", choice, len(kept), len(want))
		}
	}
}

// A repair that a crash interrupts at any change can be done again: no batch that was to be kept is lost, and what was taken out is
// beside the log.
func TestMendSurvivesACrash(t *testing.T) {
	for _, choice := range []Choice{Cut, LeaveOut} {
		for _, s := range survivals() {
			for n := 0; ; n++ {
				c := DefaultConfig()
				c.SegmentBytes, c.IndexIntervalBytes = 1400, 1
				w := written(t, c)
				w.opt.Whole, w.opt.Outage, w.point = true, Killed, 40
				poke(t, w.fs, firstLog, func(b []byte) []byte { b[w.sizeOf(1)+100] ^= 1; return b })
				w.fs = w.fs.Crash(memfs.All, 0) // all that is there is durable
				plan := PlanMending(w.fs, w.verify(t, false), choice)
				hook, changes := powerLoss(n)
				w.fs.Hook = hook
				err := plan.Do()
				w.fs.Hook = nil
				if err == nil && *changes <= n {
					if n < 8 {
						t.Errorf("%s made %d changes only", choice, n)
					}
					break
				}
				w.fs = w.fs.Crash(s.keep, s.seed)
				again := w.mend(t, w.verify(t, false), choice)
				if err := w.begin(false); err != nil || w.log.Damage() != nil {
					t.Fatalf("%s, change %d, %+v: a start says %v, %v after %v", choice, n, s, err, w.log.Damage(), again.Steps)
				}
				want := map[Choice][]moldau.Offset{Cut: {0}, LeaveOut: {0, 20, 30}}[choice]
				var got []moldau.Offset
				for _, b := range w.batches(t) {
					got = append(got, b.BaseOffset())
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s, change %d, %+v: it serves the batches at %v, want %v", choice, n, s, got, want)
				}
				if kept := allBytes(w.fs); !strings.Contains(kept, ".aside") {
					t.Errorf("%s, change %d, %+v: nothing is kept aside", choice, n, s)
				}
				_ = w.log.Close()
			}
		}
	}
}

// Files that can be built anew are found and built anew, without a choice and without a record lost.
func TestMendBuildsAnew(t *testing.T) {
	for name, kind := range map[string]Kind{
		"00000000000000000000.index": BadIndex, "00000000000000000020.timeindex": BadIndex, "00000000000000000040.snapshot": BadSnapshot,
		"leader-epoch-checkpoint": BadEpochs, "00000000000000000010.txnindex": BadAborted,
	} {
		for how, change := range map[string]func([]byte) []byte{
			"flip":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"short": func(b []byte) []byte { return b[:len(b)-1] },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				c := DefaultConfig()
				c.SegmentBytes, c.IndexIntervalBytes = 1400, 1
				w := written(t, c)
				if kind == BadAborted {
					w.abort(t)
				}
				if _, err := w.fs.Stat(dir + name); err != nil {
					name = w.firstWith(strings.TrimLeft(name, "0123456789"))
				}
				poke(t, w.fs, name, change)
				report := w.verify(t, true)
				if len(report.Findings) != 1 || report.Findings[0].Kind != kind || !strings.HasSuffix(report.Findings[0].File, name) {
					t.Fatalf("found %+v", report.Findings)
				}
				plan := w.mend(t, report, "")
				if plan.Undecided || plan.Lost > 0 {
					t.Errorf("the plan %+v", plan)
				}
				if found := w.verify(t, true).Findings; len(found) > 0 {
					t.Errorf("after the repair: %+v", found)
				}
				if err := w.begin(true); err != nil {
					t.Fatal(err)
				}
				if err := w.check(seeded(1)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Every bit of what a transaction index tells is compared with the batches, but for the last stable offset, which they do not have.
func TestVerifyComparesTransactionsWithMarkers(t *testing.T) {
	w := written(t, DefaultConfig())
	w.abort(t)
	w.abort(t)
	name := w.firstWith(".txnindex")
	whole, err := env.ReadFile(w.fs, dir+name, 1<<10)
	if err != nil || len(whole) != 2*34 {
		t.Fatalf("%d bytes, %v: two transactions were to be aborted", len(whole), err)
	}
	tried := func(what string, b []byte) {
		poke(t, w.fs, name, func([]byte) []byte { return b })
		if found := w.verify(t, true).Findings; len(found) != 1 || found[0].Kind != BadAborted {
			t.Errorf("%s: %+v", what, found)
		}
	}
	for at := range whole {
		if field := at % 34; field >= 26 { // the last stable offset
			continue
		}
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[at] ^= 1 << bit
			tried(fmt.Sprintf("bit %d of byte %d", bit, at), b)
		}
	}
	tried("without the first", whole[34:])
	tried("without the second", whole[:34])
	poke(t, w.fs, name, func([]byte) []byte { return whole })
	if found := w.verify(t, true).Findings; len(found) > 0 {
		t.Errorf("as it was: %+v", found)
	}
	if err := w.fs.Remove(dir + name); err != nil {
		t.Fatal(err)
	}
	if found := w.verify(t, true).Findings; len(found) != 1 || found[0].Kind != BadAborted {
		t.Errorf("without the file: %+v", found)
	}
}

// abort appends a transaction that is aborted.
func (w *world) abort(t *testing.T) {
	t.Helper()
	if err := w.begin(true); err != nil {
		t.Fatal(err)
	}
	zero := func(string, int) int { return 0 }
	e := w.build(zero, 100)
	a, err := w.log.Append(e.raw, w.epoch)
	if err == nil {
		err = w.appended(e, a, 100)
	}
	if err == nil {
		err = w.marker(func(label string, _ int) int { return map[string]int{"commit": 1}[label] })
	}
	if err == nil {
		err = w.log.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// firstWith is the first file with an ending.
func (w *world) firstWith(ext string) string {
	entries, _ := w.fs.ReadDir(dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ext) {
			return e.Name()
		}
	}
	return ""
}
