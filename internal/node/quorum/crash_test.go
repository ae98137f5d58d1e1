package quorum

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// life is one life of a sole voter on a crashFS: what was proposed and what was acknowledged before the power failed.
type life struct {
	list  []string // the state at the beginning
	acked []string // what was acknowledged, in order
	sent  []string // and what was proposed, the last of it perhaps not acknowledged
	epoch moldau.LeaderEpoch
	err   error
}

// live opens the directory, proposes n commands and stops.
func live(t *testing.T, f *crashFS, name string, n int) (l life) {
	t.Helper()
	e := env.Real()
	e.FS = f
	e.Go = func(_ string, fn func()) { fn() } // the same changes in the same order in each run
	log, err := OpenLog(e, "/data/meta")
	if err != nil {
		return life{err: err}
	}
	o := options("/data/meta", log)
	o.Env, o.SnapshotBytes = e, 200
	r, err := tryStart(t, o)
	if err != nil {
		log.Close()
		return life{err: err}
	}
	select {
	case l.epoch = <-r.machine.led:
		l.list = r.machine.list()
	case l.err = <-r.ended:
		r.ended <- l.err
	}
	for i := range n {
		if l.err != nil {
			break
		}
		l.sent = append(l.sent, fmt.Sprintf("%s %d", name, i))
		if _, l.err = r.Propose(context.Background(), []byte(l.sent[i])); l.err == nil {
			l.acked = l.sent
		}
	}
	if err := r.stop(); l.err == nil {
		l.err = err
	}
	if err := log.Close(); l.err == nil {
		l.err = err
	}
	return l
}

// Whatever the change at which the power fails and whatever is left of the unsynced: what was acknowledged is there, in
// order, nothing is invented, and no epoch comes twice.
func TestCrashAtEveryChange(t *testing.T) {
	f := newCrashFS()
	if err := f.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	f.SyncDir("/")
	first := live(t, f, "first", 12)
	if first.err != nil || len(first.acked) != 12 {
		t.Fatalf("without a crash: %+v", first)
	}
	prepared := f.afterCrash(all)

	lastChange := 0
	for failAt := 1; lastChange == 0; failAt++ {
		f := prepared.afterCrash(all)
		f.failAt = failAt
		second := live(t, f, "second", 25)
		if second.err == nil {
			lastChange = failAt
		}
		for s := range survivals {
			checkAfterCrash(t, f.afterCrash(s), first, second, fmt.Sprintf("change %d, survival %d", failAt, s))
			if t.Failed() {
				return
			}
		}
	}
	if lastChange < 50 {
		t.Errorf("only %d changes were tried", lastChange)
	}
	t.Logf("%d changes", lastChange)
}

func checkAfterCrash(t *testing.T, f *crashFS, first, second life, when string) {
	t.Helper()
	third := live(t, f, "third", 3)
	if third.err != nil {
		t.Errorf("%s: the directory cannot be used: %v", when, third.err)
		return
	}
	must := append(slices.Clone(first.acked), second.acked...)
	may := append(slices.Clone(first.acked), second.sent...)
	if n := len(third.list); n < len(must) || n > len(may) || !slices.Equal(third.list, may[:n]) {
		t.Errorf("%s: found %d entries, want between %d and %d:\n%q\nof\n%q", when, n, len(must), len(may), third.list, may)
	}
	if third.epoch <= first.epoch || len(second.acked) > 0 && third.epoch <= second.epoch {
		t.Errorf("%s: epoch %d after %d and %d", when, third.epoch, first.epoch, second.epoch)
	}
	fourth := live(t, f, "fourth", 0)
	if want := append(third.list, third.acked...); fourth.err != nil || !slices.Equal(fourth.list, want) {
		t.Errorf("%s: after one more start: %v, %q, want %q", when, fourth.err, fourth.list, want)
	}
}

// The first start of all may be interrupted too.
func TestCrashAtEveryChangeOfTheFirstStart(t *testing.T) {
	for failAt := 1; ; failAt++ {
		f := newCrashFS()
		f.MkdirAll("/data")
		f.SyncDir("/")
		f.changes, f.failAt = 0, failAt
		first := live(t, f, "first", 2)
		for s := range survivals {
			second := live(t, f.afterCrash(s), "second", 1)
			n := len(second.list)
			if second.err != nil || n < len(first.acked) || n > len(first.sent) || !slices.Equal(second.list, first.sent[:n]) {
				t.Fatalf("change %d, survival %d: %v, found %q, acknowledged %q", failAt, s, second.err, second.list, first.acked)
			}
		}
		if first.err == nil {
			return
		}
	}
}
