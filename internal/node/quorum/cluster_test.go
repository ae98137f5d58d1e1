package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/moldau/moldau"
)

// network carries messages between replicas of one test; it can cut replicas off.
type network struct {
	mu struct {
		sync.Mutex
		replicas map[moldau.DirectoryID]*replica
		cut      map[moldau.DirectoryID]bool
		sent     int
		snaps    int
	}
}

// port is the Transport of one replica. It checks that what a message promises is durable where it leaves.
type port struct {
	t    *testing.T
	n    *network
	from moldau.DirectoryID
	log  *memLog
	dir  string
}

func (p port) check(message []byte) {
	var m pb.Message
	if err := proto.Unmarshal(message, &m); err != nil {
		p.t.Error(err)
		return
	}
	b, err := os.ReadFile(filepath.Join(p.dir, stateFile))
	if err != nil {
		p.t.Error(err)
		return
	}
	st, err := decodeState(b)
	if err != nil {
		p.t.Error(err)
		return
	}
	switch m.GetType() {
	case pb.MsgPreVote, pb.MsgPreVoteResp: // promise nothing
		return
	case pb.MsgVoteResp:
		if !m.GetReject() && st.vote != m.GetTo() {
			p.t.Errorf("%v leaves, and quorum-state has a vote for %x", &m, st.vote)
		}
	case pb.MsgAppResp:
		if !m.GetReject() && m.GetIndex() > uint64(p.log.durable) {
			p.t.Errorf("%v leaves, and the log is durable to %d", &m, p.log.durable)
		}
	}
	if m.GetTerm() > st.term {
		p.t.Errorf("%v leaves, and quorum-state has term %d", &m, st.term)
	}
}

var errCut = errors.New("the test cut the line")

func (p port) Send(to moldau.DirectoryID, message []byte, sent func(error)) {
	p.check(message)
	p.n.mu.Lock()
	r := p.n.mu.replicas[to]
	if p.n.mu.cut[p.from] || p.n.mu.cut[to] {
		r = nil
	}
	p.n.mu.sent++
	p.n.mu.Unlock()
	go func() { // ends at once; messages overtake each other
		if r == nil {
			sent(errCut)
			return
		}
		sent(r.Receive(p.from, message))
	}()
}

// cluster is a few replicas over one network.
type cluster struct {
	t    *testing.T
	n    *network
	logs map[byte]*memLog
	dirs map[byte]string
	runs map[byte]*replica
	tune func(*Options)
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, n: new(network), logs: map[byte]*memLog{}, dirs: map[byte]string{}, runs: map[byte]*replica{},
		tune: func(*Options) {}}
	c.n.mu.replicas, c.n.mu.cut = map[moldau.DirectoryID]*replica{}, map[moldau.DirectoryID]bool{}
	return c
}

// start starts replica n; voters are those of a new directory.
func (c *cluster) start(n byte, voters ...byte) *replica {
	c.t.Helper()
	if c.logs[n] == nil {
		c.logs[n], c.dirs[n] = &memLog{}, c.t.TempDir()
	}
	c.logs[n].durable = c.logs[n].start // what the last life left may be in the page cache only
	o := options(c.dirs[n], c.logs[n])
	o.Self, o.Voters, o.Transport = voter(n), nil, port{c.t, c.n, voter(n).Directory, c.logs[n], c.dirs[n]}
	for _, v := range voters {
		o.Voters = append(o.Voters, voter(v))
	}
	c.tune(&o)
	r := start(c.t, o)
	c.runs[n] = r
	c.n.mu.Lock()
	c.n.mu.replicas[o.Self.Directory] = r
	c.n.mu.Unlock()
	return r
}

func (c *cluster) stop(n byte) {
	c.t.Helper()
	c.n.mu.Lock()
	delete(c.n.mu.replicas, voter(n).Directory)
	c.n.mu.Unlock()
	if err := c.runs[n].stop(); err != nil {
		c.t.Errorf("replica %d: %v", n, err)
	}
	delete(c.runs, n)
}

func (c *cluster) stopAll() {
	for n := range c.logs {
		if c.runs[n] != nil {
			c.stop(n)
		}
	}
	synctest.Wait()
}

func (c *cluster) cut(n byte, cut bool) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.mu.cut[voter(n).Directory] = cut
}

// leader waits until one of the replicas leads and returns it.
func (c *cluster) leader(among ...byte) (byte, *replica) {
	c.t.Helper()
	for range 1000 {
		synctest.Wait()
		for _, n := range among {
			if r := c.runs[n]; r != nil && r.Status().Leading {
				return n, r
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("no leader among %v after 10 s", among)
	return 0, nil
}

// agree waits until the replicas have the state.
func (c *cluster) agree(want []string, among ...byte) {
	c.t.Helper()
	time.Sleep(3 * time.Second) // of the test's clock
	synctest.Wait()
	for _, n := range among {
		if got := c.runs[n].machine.list(); !slices.Equal(got, want) {
			c.t.Fatalf("replica %d has %q, want %q", n, got, want)
		}
	}
}

func others(n byte) []byte {
	return slices.DeleteFunc([]byte{1, 2, 3}, func(m byte) bool { return m == n })
}

func TestThreeReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stopAll()
		for n := byte(1); n <= 3; n++ {
			c.start(n, 1, 2, 3)
		}
		first, r := c.leader(1, 2, 3)
		r.propose("a")
		r.propose("b")
		c.agree([]string{"a", "b"}, 1, 2, 3)
		for _, n := range others(first) {
			if _, err := c.runs[n].Propose(context.Background(), []byte("x")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower answered %v", err)
			}
			if st := c.runs[n].Status(); st.Leading || st.Leader == nil || *st.Leader != voter(first) || st.Voters[0].End != -1 {
				t.Errorf("status of a follower: %+v", st)
			}
		}
		for _, v := range r.Status().Voters {
			if v.End != 3 || v.LastFetch <= 0 || v.LastCaughtUp <= 0 {
				t.Errorf("the leader says of a voter: %+v", v)
			}
		}

		// A leader that reaches nobody steps down, and does not say that what it had begun has failed.
		c.cut(first, true)
		if _, err := r.Propose(context.Background(), []byte("lost")); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("the leader that was cut off answered %v", err)
		}
		if r.machine.mu.leading {
			t.Error("the head of the leader that was cut off is still there")
		}
		second, r2 := c.leader(others(first)...)
		r2.propose("c")
		if e1, e2 := r.Status().Epoch, r2.Status().Epoch; e2 <= e1 && first != second {
			t.Errorf("the second leader has epoch %d after %d", e2, e1)
		}
		c.cut(first, false)
		c.agree([]string{"a", "b", "c"}, 1, 2, 3)
		if got, want := c.logs[first].End(), c.logs[second].End(); got != want {
			t.Errorf("the log of the former leader ends at %d and not at %d", got, want)
		}

		// Restart of all.
		c.stopAll()
		for n := byte(1); n <= 3; n++ {
			c.start(n)
		}
		_, r = c.leader(1, 2, 3)
		r.propose("d")
		c.agree([]string{"a", "b", "c", "d"}, 1, 2, 3)
	})
}

// A replica that the log has left behind is sent the newest checkpoint.
func TestSnapshotForAReplicaThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stopAll()
		c.tune = func(o *Options) { o.SnapshotBytes = 400 }
		for n := byte(1); n <= 3; n++ {
			c.start(n, 1, 2, 3)
		}
		first, r := c.leader(1, 2, 3)
		behind := others(first)[0]
		c.cut(behind, true)
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprintf("command %d", i))
			r.propose(want[i])
			synctest.Wait()
		}
		if st := r.Status(); st.Start == 0 {
			t.Fatalf("no snapshot was taken: %+v", st)
		}
		c.cut(behind, false)
		c.agree(want, 1, 2, 3)
		if c.logs[behind].start == 0 {
			t.Error("the replica that was behind got no snapshot")
		}
		c.stop(behind)
		c.start(behind)
		c.agree(want, behind)
	})
}

// A sole voter grows to three and is removed; the second way to a cluster is the first one.
func TestVotersAreAddedAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stopAll()
		c.tune = func(o *Options) { o.SnapshotBytes = 300 }
		r := c.start(1, 1)
		var want []string
		for i := range 30 {
			want = append(want, fmt.Sprintf("command %d", i))
			r.propose(want[i])
			synctest.Wait()
		}
		if c.n.mu.sent != 0 {
			t.Errorf("a sole voter sent %d messages", c.n.mu.sent)
		}
		c.start(2)
		c.start(3)
		ctx := context.Background()
		if err := r.AddVoter(ctx, voter(2)); err != nil {
			t.Fatal(err)
		}
		if err := r.AddVoter(ctx, voter(2)); !errors.Is(err, ErrDuplicateVoter) {
			t.Errorf("added twice: %v", err)
		}
		if err := r.AddVoter(ctx, voter(3)); err != nil {
			t.Fatal(err)
		}
		c.agree(want, 1, 2, 3)
		if err := r.RemoveVoter(ctx, voter(4).Directory); !errors.Is(err, ErrVoterNotFound) {
			t.Errorf("removed without being there: %v", err)
		}

		// A former sole voter must not elect itself: its log may say that it is alone, quorum-state knows better.
		c.stop(1)
		_, r2 := c.leader(2, 3)
		want = append(want, "without 1")
		r2.propose("without 1")
		c.cut(1, true)
		r = c.start(1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if st := r.Status(); st.Leading || len(st.Voters) != 3 {
			t.Errorf("a replica that reaches nobody: %+v", st)
		}
		c.cut(1, false)
		c.agree(want, 1, 2, 3)

		n, leader := c.leader(1, 2, 3)
		if err := leader.RemoveVoter(ctx, voter(n).Directory); err != nil && !errors.Is(err, ErrUnknownOutcome) {
			t.Fatal(err)
		}
		_, leader = c.leader(others(n)...)
		leader.propose("last")
		c.agree(append(want, "last"), others(n)...)
		if st := leader.Status(); len(st.Voters) != 2 {
			t.Errorf("after the removal: %+v", st)
		}
	})
}

// What quorum-state says of the voters is later than what the log says.
func TestReplayDoesNotBringBackARemovedVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stopAll()
		r := c.start(1, 1)
		c.start(2)
		c.leader(1)
		ctx := context.Background()
		if err := r.AddVoter(ctx, voter(2)); err != nil {
			t.Fatal(err)
		}
		r.propose("a")
		if err := r.RemoveVoter(ctx, voter(2).Directory); err != nil {
			t.Fatal(err)
		}
		c.stopAll()
		c.n.mu.sent = 0
		before := stateBytes(t, c.dirs[1])
		r = c.start(1)
		c.leader(1)
		c.agree([]string{"a"}, 1)
		if stateBytes(t, c.dirs[1]) != before {
			t.Error("the replay changed quorum-state")
		}
		if st := r.Status(); len(st.Voters) != 1 || c.n.mu.sent > 0 {
			t.Errorf("after %d messages: %+v", c.n.mu.sent, st)
		}
		if err := r.RemoveVoter(ctx, voter(1).Directory); !errors.Is(err, ErrVoterNotFound) {
			t.Errorf("the last voter was removed: %v", err)
		}
	})
}

func TestOneVoterChangeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stopAll()
		r := c.start(1, 1)
		c.leader(1)
		gate, errs := make(chan struct{}), make(chan error, 2)
		submit(t, r, Command{Decide: func(moldau.Offset, moldau.LeaderEpoch) []byte { <-gate; return nil }})
		synctest.Wait() // the loop stands in it
		for n := byte(2); n <= 3; n++ {
			go func() { errs <- r.AddVoter(context.Background(), voter(n)) }() // ends when the gate opens
		}
		synctest.Wait() // both are waiting in the inbox
		close(gate)
		err1, err2 := <-errs, <-errs
		if err1 == nil {
			err1, err2 = err2, err1
		}
		if !errors.Is(err1, ErrVoterChange) || err2 != nil {
			t.Errorf("two changes at a time: %v and %v", err1, err2)
		}
	})
}

// What a follower finds in its log when it starts may be in the page cache only; it must not acknowledge that as it is.
func TestFollowerSyncsWhatItFoundBeforeItAcknowledges(t *testing.T) {
	log := &memLog{}
	o := options(t.TempDir(), log)
	r := start(t, o)
	r.propose("a")
	r.propose("b")
	r.stop()
	log.durable = 0
	st := state{self: o.Self.Directory, term: 1, index: 1, voters: []Voter{voter(1), voter(2), voter(3)}}
	if err := writeState(o, st); err != nil {
		t.Fatal(err)
	}
	answers := make(witness, 10)
	o.Transport = answers
	r = start(t, o)
	defer r.stop()
	term, last, from, to := uint64(9), uint64(3), raftID(voter(2).Directory), r.id
	logTerm := uint64(1)
	b, err := proto.Marshal(&pb.Message{Type: pb.MsgApp.Enum(), From: &from, To: &to, Term: &term, Index: &last, LogTerm: &logTerm})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Receive(voter(2).Directory, b); err != nil {
		t.Fatal(err)
	}
	var m pb.Message
	if err := proto.Unmarshal(<-answers, &m); err != nil || m.GetType() != pb.MsgAppResp || m.GetReject() || m.GetIndex() != last {
		t.Fatalf("answer %v, %v", &m, err)
	}
	if log.durable != 3 {
		t.Errorf("three entries were acknowledged and %d are durable", log.durable)
	}
}

// witness is a Transport that keeps the messages.
type witness chan []byte

func (w witness) Send(_ moldau.DirectoryID, message []byte, _ func(error)) { w <- message }

func TestForeignMessagesAreRefused(t *testing.T) {
	r := start(t, options(t.TempDir(), &memLog{}))
	defer r.stop()
	<-r.machine.led
	if err := r.Receive(voter(2).Directory, []byte("garbage")); err == nil {
		t.Error("garbage was taken")
	}
	if err := r.Receive(voter(2).Directory, nil); err == nil {
		t.Error("an empty message was taken")
	}
	if _, err := os.Stat(filepath.Join(r.o.Dir, stateFile)); err != nil {
		t.Error(err)
	}
}
