package coordinator_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/partition"
)

// within gives a command whose records belong to a transaction of by.
func (h *harness) within(by rsm.Producer, guard partition.Guard, decide func(*register, time.Time, rsm.Ticket) rsm.Output[pair]) outcome {
	done := make(chan outcome, 1)
	h.Do(index, coordinator.Command[*register, pair]{Decide: decide, Within: &by, Guard: guard, Done: func(response any, err error) {
		done <- outcome{response, err}
	}})
	return <-done
}

// mark writes a marker.
func (h *harness) mark(by rsm.Producer, coordinatorEpoch int32) error {
	done := make(chan error, 1)
	h.Mark(index, coordinator.Marker{Producer: by, Commit: true, CoordinatorEpoch: coordinatorEpoch, Bumped: true}, func(err error) { done <- err })
	return <-done
}

func wantRefusal(t *testing.T, err error, want moldau.Code) {
	t.Helper()
	var refusal *coordinator.Refusal
	if !errors.As(err, &refusal) || refusal.Code != want {
		t.Errorf("refused with %v, want %v", err, want)
	}
}

// TestTransactions: records within a transaction and its marker reach the machine in the order of the log, live and after a load;
// what the partition refuses does not.
func TestTransactions(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(set("a", "1"), "set")
	by := rsm.Producer{ID: 7, Epoch: 0}
	wantRefusal(t, h.within(by, partition.NoGuard, set("a", "2")).err, moldau.InvalidTxnState)
	h.expect(get("a"), "1")
	guard, _ := h.p.EnterCoordinated(by.ID, by.Epoch)
	wantRefusal(t, h.within(by, guard, set("a", strings.Repeat("x", 2<<20))).err, moldau.MessageTooLarge)
	for _, value := range []string{"2", "3"} {
		if o := h.within(by, guard, set("a", value)); o.err != nil {
			t.Fatal(o.err)
		}
	}
	h.expect(get("a"), "3 of {7 0}")
	h.expect(set("b", "1"), "set") // beside the transaction
	if err := h.mark(rsm.Producer{ID: 7, Epoch: 1}, 4); err != nil {
		t.Fatal(err)
	}
	h.expect(get("ended"), "{7 1} true")
	wantRefusal(t, h.mark(rsm.Producer{ID: 7, Epoch: 2}, 3), moldau.TransactionCoordinatorFenced)
	wantRefusal(t, h.within(by, guard, set("a", "late")).err, moldau.InvalidProducerEpoch)
	for range 2 {
		h.expect(get("a"), "3 of {7 0}")
		h.expect(get("ended"), "{7 1} true")
		h.lives++
		h.again()
		h.Lead(h.p)
	}
}

// TestEffectsWaitForTheCommit: nothing is done that a power loss could take the reason for.
func TestEffectsWaitForTheCommit(t *testing.T) {
	h := newHarness(t)
	h.lead(true)
	h.expect(get("a"), "")
	done, _ := h.start(func(r *register, _ time.Time, to rsm.Ticket) rsm.Output[pair] {
		return rsm.Output[pair]{After: r.at, Records: []pair{{"a", "1"}}, Effects: []any{"ring"}, Replies: []rsm.Reply{{To: to}}}
	})
	unwritten, _ := h.start(func(*register, time.Time, rsm.Ticket) rsm.Output[pair] { // the loop has written the one before
		return rsm.Output[pair]{After: -1, Effects: []any{"at once"}}
	})
	if e := <-h.effects; e != "5 1 at once" {
		t.Errorf("the effect %s comes before the sync", e)
	}
	if err := h.p.Flush(); err != nil {
		t.Fatal(err)
	}
	if o := <-done; o.err != nil {
		t.Fatal(o.err)
	}
	if e := <-h.effects; e != "5 1 ring" {
		t.Errorf("the effect after the sync is %s", e)
	}
	_ = unwritten // it has no answer
}

// TestMarkersNeedAMachine: who marks where nothing is led, or too late, is told so.
func TestMarkersNeedAMachine(t *testing.T) {
	h := newHarness(t)
	if err := h.mark(rsm.Producer{ID: 7}, 0); !errors.Is(err, coordinator.ErrNotCoordinator) {
		t.Error(err)
	}
	h.Stop()
	if err := h.mark(rsm.Producer{ID: 7}, 0); !errors.Is(err, coordinator.ErrNotCoordinator) {
		t.Error(err)
	}
}
