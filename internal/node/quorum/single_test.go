package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moldau/moldau"
)

func TestSoleVoterCommitsAndReplays(t *testing.T) {
	log := &memLog{}
	o := options(t.TempDir(), log)
	r := start(t, o)
	if at := r.propose("a"); at != 1 { // the leadership began at 0
		t.Errorf("the first command is at offset %d, want 1", at)
	}
	if at := r.propose("b"); at != 2 {
		t.Errorf("the second command is at offset %d, want 2", at)
	}
	r.wantList("a", "b")
	st := r.Status()
	if st.Leader == nil || *st.Leader != o.Self || !st.Leading || st.Epoch != 1 || st.HighWatermark != 3 || st.End != 3 {
		t.Errorf("status %+v", st)
	}
	if len(st.Voters) != 1 || st.Voters[0].End != 3 || st.Voters[0].LastFetch <= 0 {
		t.Errorf("voters %+v", st.Voters)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	r = start(t, o)
	if epoch := <-r.machine.led; epoch != 2 {
		t.Errorf("the second leadership has epoch %d, want 2", epoch)
	}
	r.wantList("a", "b")
	if at := r.propose("c"); at != 4 {
		t.Errorf("offset %d, want 4", at)
	}
	r.wantList("a", "b", "c")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// Start-up is bought with few syncs: a restart needs the one of its first entry.
func TestSoleVoterStartsWithOneSync(t *testing.T) {
	log := &memLog{}
	o := options(t.TempDir(), log)
	r := start(t, o)
	<-r.machine.led
	r.stop()
	before, flushes := stateBytes(t, o.Dir), log.flushes
	if flushes != 1 {
		t.Errorf("the first start took %d syncs of the log, want 1", flushes)
	}
	r = start(t, o)
	<-r.machine.led
	r.stop()
	if log.flushes != flushes+1 {
		t.Errorf("the restart took %d syncs of the log, want 1", log.flushes-flushes)
	}
	if after := stateBytes(t, o.Dir); after != before {
		t.Error("the restart of a sole voter wrote quorum-state")
	}
	if log.reads > 1+1 { // the last term, and the replay of one entry
		t.Errorf("two starts read the log %d times", log.reads)
	}
}

func stateBytes(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestIdleSoleVoterDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, options(t.TempDir(), &memLog{}))
		<-r.machine.led
		synctest.Wait()
		before := r.status.Load()
		time.Sleep(24 * time.Hour) // of the test's clock
		synctest.Wait()
		if r.status.Load() != before {
			t.Error("the loop of a sole voter ran while there was nothing to do")
		}
		r.stop()
	})
}

// Commands see the head that contains all the commands before them, and what waits together is synced together.
func TestCommandsAreDecidedInOrderAndShareASync(t *testing.T) {
	log := &memLog{}
	r := start(t, options(t.TempDir(), log))
	<-r.machine.led
	const n = 500
	gate, done := make(chan struct{}), make(chan error, n+1)
	// The loop stands still in this one until all others wait.
	submit(t, r, Command{Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { <-gate; return nil },
		Done: func(_ moldau.Offset, err error) { done <- err }})
	for i := range n {
		var at moldau.Offset
		submit(t, r, Command{
			Decide: func(reserved moldau.Offset, epoch moldau.LeaderEpoch) []byte {
				if len(r.machine.mu.head) != i || epoch != 1 {
					t.Errorf("command %d was decided on a head of %d in epoch %d", i, len(r.machine.mu.head), epoch)
				}
				at = reserved
				return []byte(fmt.Sprint(i))
			},
			Adopt: func() { r.machine.mu.head = append(r.machine.mu.head, fmt.Sprint(i)) },
			Done: func(committed moldau.Offset, err error) {
				if err == nil && committed != at {
					err = fmt.Errorf("reserved %d, committed %d", at, committed)
				}
				if got := len(r.machine.list()); err == nil && got <= i {
					err = fmt.Errorf("command %d was answered with %d applied", i, got)
				}
				done <- err
			},
		})
	}
	flushes := log.flushes
	close(gate)
	for range n + 1 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	if log.flushes-flushes > 2 {
		t.Errorf("%d commands that waited together took %d syncs", n, log.flushes-flushes)
	}
}

func submit(t *testing.T, r *replica, c Command) {
	t.Helper()
	if err := r.Submit(c); err != nil {
		t.Fatal(err)
	}
}

// A read or a refusal that has seen uncommitted state is not answered before that is committed.
func TestAnswersWaitForTheHeadTheySaw(t *testing.T) {
	r := start(t, options(t.TempDir(), &memLog{}))
	<-r.machine.led
	var order []string
	gate, done := make(chan struct{}), make(chan struct{})
	standing := make(chan struct{})
	submit(t, r, Command{Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { close(standing); <-gate; return nil }})
	<-standing
	submit(t, r, Command{
		Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { return []byte("x") },
		Done:   func(at moldau.Offset, err error) { order = append(order, fmt.Sprint("write ", at, " ", err)) },
	})
	submit(t, r, Command{
		Decide: func(at moldau.Offset, _ moldau.LeaderEpoch) []byte {
			order = append(order, fmt.Sprint("read decided ", at))
			return nil
		},
		Adopt: func() { t.Error("Adopt was called for empty data") },
		Done: func(at moldau.Offset, err error) {
			order = append(order, fmt.Sprint("read ", at, " ", err))
			close(done)
		},
	})
	close(gate)
	<-done
	r.stop()
	if got, want := strings.Join(order, ", "), "read decided 2, write 1 <nil>, read 1 <nil>"; got != want {
		t.Errorf("order: %s, want %s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	r := start(t, options(t.TempDir(), &memLog{}))
	<-r.machine.led
	adopted := false
	_, err := r.Do(context.Background(),
		func(moldau.Offset, moldau.LeaderEpoch) []byte { return make([]byte, EntryBytesMax+1) }, func() { adopted = true })
	if !errors.Is(err, ErrTooLarge) || adopted {
		t.Errorf("too large: %v, adopted %v", err, adopted)
	}
	if _, err := r.Propose(context.Background(), make([]byte, EntryBytesMax)); err != nil {
		t.Errorf("as large as can be: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Propose(ctx, []byte("x")); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("never submitted: %v", err)
	}
	gate := make(chan struct{})
	submit(t, r, Command{Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { <-gate; return nil }})
	ctx, cancel = context.WithCancel(context.Background())
	go cancel() // ends at once
	if _, err := r.Propose(ctx, []byte("x")); !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it waits: %v", err)
	}
	for err = nil; err == nil; {
		err = r.Submit(Command{Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { return nil }})
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("full: %v", err)
	}
	close(gate)
	r.stop()
	if _, err := r.Propose(context.Background(), []byte("x")); !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}

// Every command is answered, also where the disk fails under it: then nobody can say whether it is there.
func TestDiskFailureStopsTheLoop(t *testing.T) {
	log := &memLog{}
	r := start(t, options(t.TempDir(), log))
	r.propose("a")
	log.fail = errDisk
	if _, err := r.Propose(context.Background(), []byte("b")); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("the command under which the disk failed: %v", err)
	}
	if err := <-r.ended; !errors.Is(err, errDisk) {
		t.Errorf("Run returned %v", err)
	}
	if _, err := r.Propose(context.Background(), []byte("c")); !errors.Is(err, ErrStopped) {
		t.Errorf("afterwards: %v", err)
	}
	r.cancel()
}

func TestUnreadableLogIsAnError(t *testing.T) {
	log := &memLog{}
	o := options(t.TempDir(), log)
	r := start(t, o)
	r.propose("a")
	r.propose("b")
	r.stop()
	log.batches[1][len(log.batches[1])-1] ^= 1
	r = start(t, o)
	if err := <-r.ended; err == nil || !strings.Contains(err.Error(), "offset 1 has a wrong checksum") {
		t.Errorf("Run returned %v", err)
	}
	r.cancel()
}

func TestSnapshotDropsTheLogAndRestarts(t *testing.T) {
	log := &memLog{}
	o := options(t.TempDir(), log)
	o.SnapshotBytes = 400
	o.Env.Go = func(_ string, fn func()) { fn() } // the loop waits for the snapshot: the same in every run
	r := start(t, o)
	<-r.machine.led
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprintf("command %d", i))
		r.propose(want[i])
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if log.start < 80 {
		t.Errorf("the log still starts at %d", log.start)
	}
	checkpoints, _ := filepath.Glob(filepath.Join(o.Dir, "*.checkpoint"))
	if len(checkpoints) == 0 || len(checkpoints) > 2 { // the last one may have been written while Run ended
		t.Errorf("checkpoints %v", checkpoints)
	}
	r = start(t, o)
	<-r.machine.led
	r.wantList(want...)
	if r.machine.mu.applied > 20 {
		t.Errorf("%d entries were applied anew", r.machine.mu.applied)
	}
	if st := r.Status(); st.Start < 80 || st.HighWatermark != 102 {
		t.Errorf("status %+v", st)
	}
	r.propose("last")
	r.wantList(append(want, "last")...)
	r.stop()
}

func TestSnapshotByInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t.TempDir(), &memLog{})
		r := start(t, o)
		r.propose("a")
		time.Sleep(61 * time.Minute)
		r.propose("b")
		synctest.Wait()
		r.stop()
		if _, err := os.Stat(filepath.Join(o.Dir, "00000000000000000003-0000000001.checkpoint")); err != nil {
			t.Error(err)
		}
	})
}

// Only so much may be uncommitted at a time; the rest waits, in its order.
func TestLargeCommandsTakeTurns(t *testing.T) {
	r := start(t, options(t.TempDir(), &memLog{}))
	defer r.stop()
	<-r.machine.led
	const n = 7
	gate, standing, done := make(chan struct{}), make(chan struct{}), make(chan error, n)
	submit(t, r, Command{Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { close(standing); <-gate; return nil }})
	<-standing
	for i := range n {
		submit(t, r, Command{
			Decide: func(at moldau.Offset, _ moldau.LeaderEpoch) []byte {
				if want := moldau.Offset(i + 1); at != want || r.pendingBytes >= pendingBytesMax {
					t.Errorf("command %d is decided at %d with %d bytes uncommitted", i, at, r.pendingBytes)
				}
				return make([]byte, EntryBytesMax)
			},
			Done: func(_ moldau.Offset, err error) { done <- err },
		})
	}
	close(gate)
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
