package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/store/commitlog"
)

var errPower = errors.New("the power is gone")

// failing makes the power fail at the given change; a write is torn then. It counts the changes.
func failing(f *memfs.FS, failAt int) (changes *atomic.Int64) {
	changes = new(atomic.Int64)
	f.Hook = func(op memfs.Op) error {
		switch n := int(changes.Load()) + 1; {
		case !op.Changes():
			return nil
		case n == failAt && op.Kind == "write":
			changes.Add(1)
			return memfs.ShortWrite{N: op.Len / 2, Err: errPower}
		case n >= failAt:
			changes.Add(1)
			return errPower
		}
		changes.Add(1)
		return nil
	}
	return changes
}

// survivors are the file systems that a machine might find when it starts again.
func survivors(f *memfs.FS, seed int) map[string]*memfs.FS {
	f.Hook = nil
	after := map[string]*memfs.FS{}
	for _, keep := range memfs.Keeps {
		after[keep.String()] = f.Crash(keep, uint64(4*seed))
	}
	for i := range 3 {
		after[fmt.Sprint("some ", i)] = f.Crash(memfs.Some, uint64(4*seed+i+1))
	}
	return after
}

func newDisk() *memfs.FS {
	f := memfs.New()
	f.MkdirAll("/data")
	f.SyncDir("/")
	return f
}

// life is one life of a sole voter on a disk that may fail: what was proposed and what was acknowledged before the power failed.
type life struct {
	list  []string // the state at the beginning
	acked []string // what was acknowledged, in order
	sent  []string // and what was proposed, the last of it perhaps not acknowledged
	epoch moldau.LeaderEpoch
	err   error
}

// live opens the directory, proposes n commands and stops.
func live(t *testing.T, f *memfs.FS, name string, n int) (l life) {
	t.Helper()
	e := env.Real()
	e.FS = f
	e.Go = func(_ string, fn func()) { fn() } // the same changes in the same order in each run
	log, err := OpenLog(e, "/data/meta", commitlog.Rebooted)
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
	prepared := newDisk()
	first := live(t, prepared, "first", 12)
	if first.err != nil || len(first.acked) != 12 {
		t.Fatalf("without a crash: %+v", first)
	}
	for failAt := 1; ; failAt++ {
		f := prepared.Crash(memfs.All, 0)
		changes := failing(f, failAt)
		second := live(t, f, "second", 25)
		for name, after := range survivors(f, failAt) {
			checkAfterCrash(t, after, first, second, fmt.Sprintf("change %d, survival %s", failAt, name))
		}
		if t.Failed() {
			return
		}
		if second.err == nil {
			t.Log(changes.Load(), "changes")
			if changes.Load() < 50 {
				t.Errorf("only %d changes were tried", changes.Load())
			}
			return
		}
	}
}

func checkAfterCrash(t *testing.T, f *memfs.FS, first, second life, when string) {
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
		f := newDisk()
		failing(f, failAt)
		first := live(t, f, "first", 2)
		for name, after := range survivors(f, failAt) {
			second := live(t, after, "second", 1)
			n := len(second.list)
			if second.err != nil || n < len(first.acked) || n > len(first.sent) || !slices.Equal(second.list, first.sent[:n]) {
				t.Fatalf("change %d, survival %s: %v, found %q, acknowledged %q", failAt, name, second.err, second.list, first.acked)
			}
		}
		if first.err == nil {
			return
		}
	}
}
