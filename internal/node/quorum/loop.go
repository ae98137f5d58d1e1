package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/must"
)

// Run drives the replica until ctx ends, which is no error, or until its directory fails, which is one: the log must not
// be used any more then. A lack of space is no failure: see patient. It is called once. When it returns, all commands have been answered.
//
// One round: step what others sent, decide the waiting commands, and after each of the two what Raft asks for: write, sync,
// send, apply. All commands that are decided in a round share its sync. With one voter no clock ticks: nothing happens
// until a command comes.
func (q *Quorum) Run(ctx context.Context) (err error) {
	q.ending = ctx.Done()
	defer q.stop()
	defer func() {
		if errors.Is(err, errEnded) {
			err = nil
		}
	}()
	if q.sole() { // there is nobody to wait for
		if err := q.campaign(); err != nil {
			return fmt.Errorf("quorum: %w", err)
		}
	}
	var timer env.Timer
	var tick <-chan time.Time
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		if err := q.round(); err != nil {
			return fmt.Errorf("quorum: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if q.runnable() {
			continue
		}
		switch idle := q.sole() && q.leading; {
		case idle && timer != nil:
			timer.Stop()
			timer, tick = nil, nil
		case !idle && timer == nil:
			timer = q.o.Env.Clock.NewTimer(q.tick)
			tick = timer.C()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-q.inbox.wake:
		case <-tick:
			if err := q.ticked(); err != nil {
				return fmt.Errorf("quorum: %w", err)
			}
			timer.Reset(q.tick)
		case w := <-q.snapshotDone:
			if err := q.finishSnapshot(w); err != nil {
				return fmt.Errorf("quorum: %w", err)
			}
		}
	}
}

// stop answers what is still waiting and waits for the snapshot that is being written.
func (q *Quorum) stop() {
	q.resign()
	if q.snapshotting {
		if err := q.finishSnapshot(<-q.snapshotDone); err != nil {
			q.o.Logger.Error("the last metadata snapshot failed", "error", err)
		}
	}
	for _, p := range q.inbox.close() {
		p.done(0, ErrStopped)
	}
	q.publish()
}

func (q *Quorum) campaign() (err error) {
	defer q.storage.rescue(&err)
	return q.node.Campaign()
}

func (q *Quorum) ticked() (err error) {
	defer q.storage.rescue(&err)
	q.node.Tick()
	return nil
}

// runnable reports whether another round has something to do at once.
func (q *Quorum) runnable() bool {
	return !q.full() && q.inbox.waiting() > 0
}

func (q *Quorum) round() (err error) {
	defer q.storage.rescue(&err)
	for _, l := range q.inbox.takeMessages() {
		q.step(l)
	}
	if err := q.settle(); err != nil {
		return err
	}
	if q.decide(); q.node.HasReady() {
		if err := q.settle(); err != nil {
			return err
		}
	}
	q.maybeSnapshot()
	q.publish()
	return nil
}

// settle does what Raft asks for until it asks for nothing more.
func (q *Quorum) settle() error {
	for q.node.HasReady() {
		rd := q.node.Ready()
		if err := q.handle(rd); err != nil {
			return err
		}
		q.node.Advance(rd)
	}
	q.checkLeadership()
	return nil
}

// handle does what Raft asks for, in the order that makes it safe: on disk before anybody hears of it or acts upon it.
func (q *Quorum) handle(rd raft.Ready) error {
	if err := q.persist(rd); err != nil {
		return err
	}
	q.send(rd.Messages)
	q.checkLeadership()
	for _, e := range rd.CommittedEntries {
		if err := q.apply(e); err != nil {
			return err
		}
	}
	q.release()
	return nil
}

// persist writes the snapshot, the state and the entries, and syncs.
//
// A sole voter skips its state: that it has voted for itself in a term can be told from the first entry of the term, which
// is synced before the leadership has any effect. If a crash takes both, nobody has seen the term. This saves an election
// two of its three syncs. It holds while nobody else votes and nothing is sent.
func (q *Quorum) persist(rd raft.Ready) error {
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := q.install(rd.Snapshot); err != nil {
			return err
		}
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		q.state.term, q.state.vote = rd.GetTerm(), rd.GetVote()
	}
	if !q.sole() || len(rd.Messages) > 0 {
		if err := q.saveState(); err != nil {
			return err
		}
	}
	if err := q.storage.append(rd.Entries); err != nil {
		return err
	}
	if len(rd.Entries) > 0 || len(rd.Messages) > 0 {
		return q.storage.flush()
	}
	return nil
}

func (q *Quorum) saveState() error {
	if q.state.equal(q.saved) {
		return nil
	}
	if err := q.patient(func() error { return writeState(q.o, q.state) }); err != nil {
		return err
	}
	q.saved = q.state
	return nil
}

// apply folds one committed entry.
func (q *Quorum) apply(e *pb.Entry) error {
	at := entryOffset(e.GetIndex())
	must.True(e.GetIndex() == q.applied.index+1, "entry %d applied after %d", e.GetIndex(), q.applied.index)
	entry := Entry{Offset: at, Epoch: moldau.LeaderEpoch(e.GetTerm())}
	if e.GetType() == pb.EntryNormal {
		entry.Data = e.GetData()
	}
	if err := q.o.Machine.Apply(entry); err != nil {
		return fmt.Errorf("apply the metadata at offset %d: %w", at, err)
	}
	q.applied = position{e.GetIndex(), e.GetTerm()}
	q.appliedBytes += int64(len(e.GetData())) + entryOverhead
	if e.GetType() == pb.EntryConfChange {
		if err := q.applyVoters(e); err != nil {
			return err
		}
	}
	if !q.leading && e.GetType() == pb.EntryNormal && len(e.GetData()) == 0 {
		q.lead(e.GetTerm())
	}
	return nil
}

// lead begins the leadership if the entry that was applied is the one with which the present term began here.
func (q *Quorum) lead(term uint64) {
	st := q.node.BasicStatus()
	if st.RaftState != raft.StateLeader || st.GetTerm() != term {
		return
	}
	q.leading, q.epoch, q.next = true, term, q.storage.last()+1
	q.o.Logger.Debug("this replica leads the metadata quorum", "epoch", term, "end", q.storage.last())
	q.publish()
	q.o.Machine.Lead(moldau.LeaderEpoch(term))
}

// checkLeadership ends a leadership that Raft has ended.
func (q *Quorum) checkLeadership() {
	if !q.leading {
		return
	}
	if st := q.node.BasicStatus(); st.RaftState != raft.StateLeader || st.GetTerm() != q.epoch {
		q.o.Logger.Info("this replica no longer leads the metadata quorum", "epoch", q.epoch)
		q.resign()
	}
}

// resign drops the leadership. What was appended and is not known to be committed may still be, by the next leader.
func (q *Quorum) resign() {
	if !q.leading {
		return
	}
	q.leading = false
	q.o.Machine.Follow()
	q.dropPending(fmt.Errorf("%w: the leadership of epoch %d ended before it was committed", ErrUnknownOutcome, q.epoch))
}

// applyVoters makes the voters of a committed change effective and durable. A change that quorum-state already contains
// comes again when the log is replayed.
func (q *Quorum) applyVoters(e *pb.Entry) error {
	at := entryOffset(e.GetIndex())
	var change pb.ConfChange
	if err := proto.Unmarshal(e.GetData(), &change); err != nil {
		return fmt.Errorf("read the change of voters at offset %d: %w", at, err)
	}
	voters, rest, err := readVoters(change.GetContext())
	if err != nil || len(rest) > 0 || len(voters) == 0 {
		return errors.Join(fmt.Errorf("the change at offset %d does not tell the voters", at), err)
	}
	if e.GetIndex() <= q.state.index {
		return nil
	}
	before := q.state.voters
	q.state.index, q.state.voters = e.GetIndex(), voters
	if err := q.saveState(); err != nil {
		return err
	}
	// For a replica that knows all the voters so far it is one step. A new one knows none and takes several; additions come
	// first, since Raft cannot be without voters.
	q.stepVoters(pb.ConfChangeAddNode, voters, before)
	q.stepVoters(pb.ConfChangeRemoveNode, before, voters)
	q.o.Logger.Info("the voters of the metadata quorum changed", "offset", at, "voters", len(voters), "before", len(before))
	return nil
}

// stepVoters tells Raft of each voter that is among these and not among those.
func (q *Quorum) stepVoters(how pb.ConfChangeType, these, those []Voter) {
	for _, v := range these {
		if !slices.ContainsFunc(those, func(w Voter) bool { return w.Directory == v.Directory }) {
			id := raftID(v.Directory)
			q.node.ApplyConfChange(&pb.ConfChange{Type: &how, NodeId: &id})
		}
	}
}
