package coordinator_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/proto/record"
)

func TestCommandsAreAnswered(t *testing.T) {
	h := newHarness(t)
	if o := h.do(get("a")); !errors.Is(o.err, coordinator.ErrNotCoordinator) {
		t.Errorf("nothing is led, and the outcome is %v", o)
	}
	h.lead(false)
	h.expect(set("a", "1"), "set")
	h.expect(get("a"), "1")
	waiting, _ := h.start(wait)
	h.expect(set("b", "2"), "set")
	if o := <-waiting; o.response != "2" {
		t.Errorf("who waited was told %v", o)
	}
	if err := h.State(index); err != nil {
		t.Error(err)
	}
}

// TestLoad finds the machine as it was (O4), and goes on behind it.
func TestLoad(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	for i := range 100 {
		h.expect(set(fmt.Sprint("k", i%10), fmt.Sprint(i)), "set")
	}
	h.expect(set("strange", "is skipped"), "set")
	h.lives++
	h.again()
	h.Lead(h.p)
	h.expect(get("k7"), "97")
	h.expect(get("strange"), "")
	h.expect(set("k7", "new"), "set")
	h.expect(get("k7"), "new")
}

// TestRecordsShareABatch: what waits in the inbox is one append.
func TestRecordsShareABatch(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(get("a"), "")
	hold := make(chan struct{})
	blocked, _ := h.start(func(r *register, now time.Time, to rsm.Ticket) rsm.Output[pair] {
		<-hold
		return get("a")(r, now, to)
	})
	var results []<-chan outcome
	for i := range 50 {
		result, _ := h.start(set("a", fmt.Sprint(i)))
		results = append(results, result)
	}
	close(hold)
	<-blocked
	for _, r := range results {
		if o := <-r; o.err != nil {
			t.Fatal(o.err)
		}
	}
	batches := 0
	region, err := h.p.Log().Read(0, 1<<20, 50, true)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Release()
	b, err := region.Append(nil)
	for len(b) > 0 && err == nil {
		_, b, err = record.Split(b)
		batches++
	}
	if err != nil || batches > 2 {
		t.Errorf("50 records are %d batches, %v", batches, err)
	}
}

// TestRepliesWaitForTheCommit: nobody hears of a record that a power loss could take back, and neither does a reader of what
// it says (W-5, X-57).
func TestRepliesWaitForTheCommit(t *testing.T) {
	h := newHarness(t)
	h.lead(true)
	h.expect(get("a"), "")
	written, _ := h.start(set("a", "1"))
	read, _ := h.start(get("a"))
	other, _ := h.start(func(r *register, now time.Time, to rsm.Ticket) rsm.Output[pair] {
		return rsm.Output[pair]{After: -1, Replies: []rsm.Reply{{To: to, Response: "builds upon nothing"}}}
	})
	if o := <-other; o.err != nil {
		t.Fatal(o.err)
	}
	select {
	case o := <-written:
		t.Errorf("told before the sync: %v", o)
	case o := <-read:
		t.Errorf("read before the sync: %v", o)
	default:
	}
	if err := h.p.Flush(); err != nil {
		t.Fatal(err)
	}
	if o := <-written; o.err != nil {
		t.Error(o.err)
	}
	if o := <-read; o.response != "1" {
		t.Errorf("read %v", o)
	}
}

// TestFailedAppend: the machine is dropped with what it thought to have decided, and nobody is told of it.
func TestFailedAppend(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(set("a", "1"), "set")
	waiting, _ := h.start(wait)
	h.failOn("write")
	if o := h.do(set("a", "2")); !errors.Is(o.err, coordinator.ErrNotTaken) {
		t.Errorf("the outcome of a command that could not be written is %v", o)
	}
	if o := <-waiting; !errors.Is(o.err, coordinator.ErrNotTaken) {
		t.Errorf("who waited for the lost machine was told %v", o)
	}
	h.failOn("")
	h.lead(false) // as after a restart
	h.expect(get("a"), "1")
}

// TestRefusalTouchesNoMachine: where the partition takes nothing, the machine is not asked.
func TestRefusalTouchesNoMachine(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(set("a", "1"), "set")
	h.p.Fail(errDisk)
	asked := false
	o := h.do(func(*register, time.Time, rsm.Ticket) rsm.Output[pair] {
		asked = true
		return rsm.Output[pair]{}
	})
	if asked || !errors.Is(o.err, coordinator.ErrNotTaken) {
		t.Errorf("asked %v, told %v", asked, o)
	}
}

// TestTooLarge: what does not fit into a batch is refused, and what does not fit into one together becomes several; no machine is
// lost over it.
func TestTooLarge(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(get("a"), "")
	told, _ := h.start(wait)
	if o := h.do(set("a", strings.Repeat("x", 2<<20))); o.err == nil {
		t.Error("a record larger than a batch was taken")
	} else {
		wantRefusal(t, o.err, moldau.MessageTooLarge)
	}
	wantRefusal(t, (<-told).err, moldau.MessageTooLarge) // and who was to hear of it
	hold := make(chan struct{})
	blocked, _ := h.start(func(r *register, now time.Time, to rsm.Ticket) rsm.Output[pair] {
		<-hold
		return get("a")(r, now, to)
	})
	var results []<-chan outcome
	for i := range 2 {
		result, _ := h.start(set(fmt.Sprint("k", i), strings.Repeat("x", 200<<10+i*700<<10)))
		results = append(results, result)
	}
	close(hold)
	<-blocked
	for i, r := range results {
		if o := <-r; o.err != nil {
			t.Errorf("record %d: %v", i, o.err)
		}
	}
	h.expect(get("k0"), strings.Repeat("x", 200<<10)) // of the machine that was there before, else it is loading
	if o, _ := h.start(get("k1")); (<-o).err != nil {
		t.Error("the machine was loaded again")
	}
}

// TestDamagedLog: a machine that cannot be loaded serves nobody, and says so.
func TestDamagedLog(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(set("damaged", "x"), "set")
	h.lives++
	h.again()
	h.Lead(h.p)
	if o := h.do(get("a")); !errors.Is(o.err, coordinator.ErrNotCoordinator) {
		t.Errorf("told %v", o)
	}
}

func TestDeadlinesAreKept(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(ring(time.Millisecond), "rang")
	h.expect(get("alarm"), "rang")
}

func TestResignAndStop(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(get("a"), "")
	waiting, _ := h.start(wait)
	h.Resign(index)
	if o := <-waiting; !errors.Is(o.err, coordinator.ErrNotCoordinator) {
		t.Errorf("who waited was told %v", o)
	}
	h.Lead(h.p)
	h.expect(get("a"), "")
	waiting, _ = h.start(wait)
	h.Stop()
	if o := <-waiting; !errors.Is(o.err, coordinator.ErrNotCoordinator) {
		t.Errorf("who waited at the end was told %v", o)
	}
	if o := h.do(get("a")); !errors.Is(o.err, coordinator.ErrNotCoordinator) {
		t.Errorf("told %v after the end", o)
	}
}

// TestCancel forgets who waits; the machine may answer the ticket all the same.
func TestCancel(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	h.expect(get("a"), "")
	waiting, cancel := h.start(wait)
	h.expect(get("a"), "") // so that the machine has the ticket
	cancel()
	h.expect(set("a", "1"), "set")
	select {
	case o := <-waiting:
		t.Errorf("told %v", o)
	default:
	}
}

// TestManyClients reads its own writes from many goroutines, beside reloads.
func TestManyClients(t *testing.T) {
	h := newHarness(t)
	h.lead(false)
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Add(1)
		go func() { // ends after its commands
			defer clients.Done()
			name := fmt.Sprint("client", c)
			last := ""
			for i := range 100 {
				value := fmt.Sprint(i)
				switch o := h.do(set(name, value)); {
				case o.err == nil:
					last = value
				case !errors.Is(o.err, coordinator.ErrNotCoordinator):
					t.Error(o.err)
					return
				default:
					last = "" // written or not
				}
				if o := h.do(get(name)); o.err == nil && last != "" && o.response != last {
					t.Errorf("%s wrote %s and reads %v", name, last, o.response)
				}
			}
		}()
	}
	for range 5 {
		h.lives++
		h.again()
		h.Lead(h.p)
		h.do(get("a"))
	}
	clients.Wait()
	seen := 0
	if loading := h.Each(func(int32, *register) { seen++ }); loading+seen != 1 {
		t.Errorf("%d machines, %d loading", seen, loading)
	}
}
