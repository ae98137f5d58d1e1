package commitlog_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// variant is a way to store a log that nobody who reads it can tell from another.
type variant struct {
	config Config
	codec  int    // of the producers, by number
	upkeep uint64 // seed of the flushes, checkpoints, starts and kills between the appends; 0: none
}

func pickVariant(seed uint64) variant {
	pick := seeded(seed)
	v := variant{DefaultConfig(), pick("codec", codecCount), seed}
	v.config.SegmentBytes = []int64{600, 5000, 1 << 20}[pick("segment.bytes", 3)]
	v.config.IndexIntervalBytes = []int64{1, 300, 4096}[pick("index.interval.bytes", 3)]
	v.config.IndexBytesMax = []int64{100, 10 << 20}[pick("index bytes", 2)]
	v.config.SegmentMs = []int64{200, 1 << 40}[pick("segment.ms", 2)]
	return v
}

// TestMetamorphic stores the same batches in different ways: segments and indexes of other sizes, another codec, other moments at which
// the log is flushed, closed or killed. What it answers is the same.
func TestMetamorphic(t *testing.T) {
	histories, variants := uint64(40), uint64(20)
	if testing.Short() {
		histories, variants = 4, 8
	}
	for history := range histories {
		want := answersOf(t, history, variant{config: DefaultConfig()})
		if len(want) < 100 {
			t.Errorf("history %d has %d answers, too few to prove anything", history, len(want))
		}
		for seed := uint64(1); seed <= variants; seed++ {
			v := pickVariant(seed*1000 + history)
			got := answersOf(t, history, v)
			for i, answer := range want {
				if i >= len(got) || got[i] != answer {
					t.Fatalf("history %d, variant %d (%+v):\n%s, want\n%s", history, seed, v, append(got, "nothing")[i], answer)
				}
			}
		}
	}
}

// answersOf runs a history in the way of v and returns all that can be asked of the log then.
func answersOf(t *testing.T, history uint64, v variant) []string {
	t.Helper()
	w := newWorld(v.config)
	if err := w.begin(false); err != nil {
		t.Fatal(err)
	}
	chance, upkeep := seeded(history), seeded(v.upkeep)
	pick := func(label string, n int) int {
		if at := chance(label, n); label != "codec" {
			return at
		}
		return v.codec
	}
	for range 80 {
		name, err := w.change(pick)
		if err == nil && v.upkeep > 0 {
			err = w.keepUp(upkeep)
		}
		if err != nil {
			t.Fatalf("history %d, %+v, %s: %v", history, v, name, err)
		}
	}
	return w.answers(t)
}

// change makes one that readers see.
func (w *world) change(pick chooser) (string, error) {
	switch pick("change", 20) {
	case 0, 1:
		return "marker", w.marker(pick)
	case 2:
		w.epoch++ // of which a record tells at once: one without any is forgotten by a kill, and a leader assigns another then
		return "epoch", errors.Join(w.log.AssignEpoch(w.epoch), w.append(pick))
	case 3:
		return "appendAs", w.appendAs(pick)
	case 4:
		return "truncate", w.truncate(func(label string, n int) int { return pick(label, min(n, 12)) })
	case 5:
		return "advanceStart", w.advanceStart(func(label string, n int) int { return pick(label, min(n, 4)) })
	}
	return "append", w.append(pick)
}

// keepUp does now and then what no reader sees.
func (w *world) keepUp(pick chooser) error {
	switch pick("upkeep", 12) {
	case 0:
		return w.flush(pick)
	case 1:
		w.point = w.log.RecoveryPoint()
	case 2:
		return w.reopen(pick)
	case 3:
		return w.crash(memfs.All, 0)
	}
	return nil
}

// answers is all that the log can be asked, in words.
func (w *world) answers(t *testing.T) (list []string) {
	l := w.log
	say := func(err error, format string, args ...any) {
		if err != nil {
			t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
		}
		list = append(list, fmt.Sprintf(format, args...))
	}
	say(nil, "the log is [%d, %d)", l.Start(), l.End())
	for at := l.Start(); at < l.End(); at++ {
		read, err := w.batchAt(at)
		say(err, "offset %d is in %s, of epoch %d", at, read, l.EpochAt(at))
	}
	for ts := int64(999_990); ts <= w.now.UnixMilli()+60; ts += 7 {
		st, ok, err := l.OffsetForTimestamp(moldau.Timestamp(ts), l.End())
		say(err, "the first record since %d is %+v %v", ts, st, ok)
	}
	if l.Start() == 0 { // otherwise that of a record below the start may count
		st, ok, err := l.MaxTimestamp()
		say(err, "the highest timestamp is %+v %v", st, ok)
	}
	for epoch := range w.epoch + 2 {
		e, end := l.EpochEnd(epoch)
		say(nil, "epoch %d: %d ends at %d", epoch, e, end)
	}
	for _, p := range l.Producers() {
		say(nil, "producer %+v", p)
	}
	aborted, err := l.AbortedIn(l.Start(), l.End())
	say(err, "aborted: %+v", aborted)
	first, open := l.FirstUnstable(l.End())
	say(nil, "the first unstable offset is %d %v", first, open)
	return list
}

// batchAt reads the batch with offset at: where it lies and what is in it, in words.
func (w *world) batchAt(at moldau.Offset) (string, error) {
	r, err := w.log.Read(at, 1, w.log.End(), true)
	if err != nil {
		return "", err
	}
	defer r.Release()
	b, err := r.Append(nil)
	if err != nil || len(b) == 0 {
		return "no batch", err
	}
	i := slices.IndexFunc(w.entries, func(e entry) bool { return e.last() >= at })
	if i < 0 || string(w.entries[i].raw) != string(b) {
		return "", fmt.Errorf("it is not the batch that was appended")
	}
	e := w.entries[i]
	return fmt.Sprintf("[%d, %d] of producer %d: %v", e.base(), e.last(), e.raw.ProducerID(), e.records), nil
}
