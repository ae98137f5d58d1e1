package quorum

import (
	"context"
	"fmt"
	"slices"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
)

// Command is one decision of the leader. The loop takes commands one after another: each is decided against a head that
// contains all the earlier ones, committed or not. All three functions run on the loop and must not block.
type Command struct {
	// Decide returns the data of the entry to append at an offset, at most EntryBytesMax. It runs only while this replica
	// leads and changes nothing: what it returns may still be refused.
	// Empty data means that there is nothing to append, for a read or a refusal; Done is held back all the same until
	// everything that the head contained is committed, since a head that is lost must not have been seen.
	Decide func(at moldau.Offset, epoch moldau.LeaderEpoch) (data []byte)
	// Adopt replays into the head what Decide returned; the entry has been accepted. It may be nil, and is not called
	// for empty data.
	Adopt func()
	// Done is called exactly once: without an error when the entry at an offset has been committed and applied, with the last
	// offset of the head for empty data, or else with ErrNotLeader, ErrTooLarge, ErrNoSpace, ErrStopped (it is not in the log) or
	// ErrUnknownOutcome. It may be nil.
	Done func(at moldau.Offset, err error)
}

// proposal is a command, or a change of the voters in place of one.
type proposal struct {
	Command
	change *voterChange
}

// voterChange adds a voter or removes the one with its directory.
type voterChange struct {
	how   pb.ConfChangeType
	voter Voter
}

func (p proposal) done(at moldau.Offset, err error) {
	if p.Done != nil {
		p.Done(at, err)
	}
}

// pending is a proposal that waits for the entry with an index to be applied.
type pending struct {
	proposal
	index uint64
	bytes int
}

// letter is a message for Raft and the replica that it is from; a report of ours on a replica is from none.
type letter struct {
	from moldau.DirectoryID
	m    *pb.Message
}

// inbox is what the loop has not yet looked at.
type inbox struct {
	wake chan struct{} // one slot
	mu   struct {
		sync.Mutex
		proposals []proposal
		messages  []letter
		closed    bool
	}
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) put(p proposal) error {
	in.mu.Lock()
	switch {
	case in.mu.closed:
		in.mu.Unlock()
		return ErrStopped
	case len(in.mu.proposals) >= commandsMax:
		in.mu.Unlock()
		return fmt.Errorf("%w: %d, try again", ErrBusy, commandsMax)
	}
	in.mu.proposals = append(in.mu.proposals, p)
	in.mu.Unlock()
	in.signal()
	return nil
}

// putMessage loses the message where there are too many.
func (in *inbox) putMessage(l letter) {
	in.mu.Lock()
	if !in.mu.closed && len(in.mu.messages) < messagesMax {
		in.mu.messages = append(in.mu.messages, l)
	}
	in.mu.Unlock()
	in.signal()
}

func (in *inbox) takeMessages() []letter {
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := in.mu.messages
	in.mu.messages = nil
	return taken
}

func (in *inbox) takeProposals() []proposal {
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := in.mu.proposals
	in.mu.proposals = nil
	return taken
}

// giveBack puts proposals before those that came meanwhile.
func (in *inbox) giveBack(rest []proposal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.mu.proposals = append(rest, in.mu.proposals...)
}

func (in *inbox) waiting() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mu.proposals)
}

// close refuses all that comes from now on and returns what was waiting.
func (in *inbox) close() []proposal {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.mu.closed = true
	taken := in.mu.proposals
	in.mu.proposals, in.mu.messages = nil, nil
	return taken
}

// Submit hands a command to the loop and does not wait. The commands of one goroutine are decided in its order.
// Errors: ErrBusy, ErrStopped; none of the command's functions is called then.
func (q *Quorum) Submit(c Command) error { return q.inbox.put(proposal{Command: c}) }

// Do submits a command and waits for its outcome: the errors are those of Command.Done and of Submit, and where ctx ends
// first, ErrUnknownOutcome with the error of ctx.
func (q *Quorum) Do(ctx context.Context, decide func(moldau.Offset, moldau.LeaderEpoch) []byte, adopt func()) (moldau.Offset, error) {
	return q.wait(ctx, proposal{Command: Command{Decide: decide, Adopt: adopt}})
}

// Propose appends one entry and waits until it is committed and applied; it returns the entry's offset. Errors: as of Do.
// data is retained and must not be modified.
func (q *Quorum) Propose(ctx context.Context, data []byte) (moldau.Offset, error) {
	return q.Do(ctx, func(moldau.Offset, moldau.LeaderEpoch) []byte { return data }, nil)
}

// AddVoter makes the replica a voter and waits until it is one. It should have started with an empty directory and no voters.
// Errors: ErrDuplicateVoter, ErrVoterChange, and those of Do. KIP-853.
func (q *Quorum) AddVoter(ctx context.Context, v Voter) error {
	if err := checkIDs(q.o.Self, []Voter{v}); err != nil {
		return err
	}
	if q.o.Transport == nil {
		return fmt.Errorf("quorum: there is no way to reach the voter %d", v.ID)
	}
	return q.changeVoters(ctx, pb.ConfChangeAddNode, v)
}

// RemoveVoter takes the vote from the replica with a directory and waits until that is so. A leader that removes itself
// gets ErrUnknownOutcome if its leadership ends first.
// Errors: ErrVoterNotFound (or it is the last voter), ErrVoterChange, and those of Do. KIP-853.
func (q *Quorum) RemoveVoter(ctx context.Context, directory moldau.DirectoryID) error {
	return q.changeVoters(ctx, pb.ConfChangeRemoveNode, Voter{Directory: directory})
}

func (q *Quorum) changeVoters(ctx context.Context, how pb.ConfChangeType, v Voter) error {
	_, err := q.wait(ctx, proposal{change: &voterChange{how, v}})
	return err
}

// wait submits p and waits for its outcome.
func (q *Quorum) wait(ctx context.Context, p proposal) (moldau.Offset, error) {
	type outcome struct {
		at  moldau.Offset
		err error
	}
	done := make(chan outcome, 1)
	p.Done = func(at moldau.Offset, err error) { done <- outcome{at, err} }
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := q.inbox.put(p); err != nil {
		return 0, err
	}
	select {
	case o := <-done:
		return o.at, o.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// full reports whether as much is uncommitted as may be; commands wait then.
func (q *Quorum) full() bool {
	return q.pendingBytes >= pendingBytesMax || len(q.pending) >= commandsMax
}

// decide takes the waiting commands, as many as may be uncommitted at a time.
func (q *Quorum) decide() {
	if q.full() {
		return
	}
	waiting := q.inbox.takeProposals()
	for i, p := range waiting {
		if q.full() {
			q.inbox.giveBack(waiting[i:])
			return
		}
		switch {
		case !q.leading:
			p.done(0, ErrNotLeader)
		case p.change != nil:
			q.decideVoters(p)
		default:
			q.decideCommand(p)
		}
	}
}

func (q *Quorum) decideCommand(p proposal) {
	data := p.Decide(entryOffset(q.next), moldau.LeaderEpoch(q.epoch))
	if len(data) == 0 {
		if q.next-1 <= q.applied.index {
			p.done(entryOffset(q.applied.index), nil)
			return
		}
		q.pending = append(q.pending, pending{proposal: p, index: q.next - 1})
		return
	}
	if len(data) > EntryBytesMax {
		p.done(0, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(data), EntryBytesMax))
		return
	}
	if err := q.node.Propose(data); err != nil {
		p.done(0, fmt.Errorf("%w: %w", ErrNotLeader, err))
		return
	}
	q.await(p, len(data))
	if p.Adopt != nil {
		p.Adopt()
	}
}

// await parks a proposal whose entry has been accepted.
func (q *Quorum) await(p proposal, bytes int) {
	q.pending = append(q.pending, pending{p, q.next, bytes + entryOverhead})
	q.pendingBytes += bytes + entryOverhead
	q.next++
}

// decideVoters proposes a change. The entry tells all the voters that there are to be, so that a replica that begins with
// the log alone does not have to know those at its beginning.
func (q *Quorum) decideVoters(p proposal) {
	v, id := p.change.voter, raftID(p.change.voter.Directory)
	voters := slices.DeleteFunc(slices.Clone(q.state.voters), func(w Voter) bool { return raftID(w.Directory) == id })
	known := len(voters) < len(q.state.voters)
	adding := p.change.how == pb.ConfChangeAddNode
	if adding {
		voters = append(voters, v)
	}
	var err error
	switch {
	case q.changeIndex > q.applied.index:
		err = ErrVoterChange
	case adding && known:
		err = fmt.Errorf("%w: %s", ErrDuplicateVoter, v.Directory)
	case !adding && !known:
		err = fmt.Errorf("%w: %s", ErrVoterNotFound, v.Directory)
	case len(voters) == 0:
		err = fmt.Errorf("%w that could be removed: %s is the last", ErrVoterNotFound, v.Directory)
	default:
		err = q.node.ProposeConfChange(&pb.ConfChange{Type: &p.change.how, NodeId: &id, Context: appendVoters(nil, voters)})
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
	}
	if err != nil {
		p.done(0, err)
		return
	}
	q.changeIndex = q.next
	q.await(p, voterLen)
}

// release answers the proposals that waited for what has been applied.
func (q *Quorum) release() {
	if len(q.pending) == 0 || q.pending[0].index > q.applied.index {
		return
	}
	q.publish() // whoever is answered finds its entry in the status
	for len(q.pending) > 0 && q.pending[0].index <= q.applied.index {
		p := q.pending[0]
		q.pending[0] = pending{}
		q.pending = q.pending[1:]
		q.pendingBytes -= p.bytes
		p.done(entryOffset(p.index), nil)
	}
	if len(q.pending) == 0 {
		q.pending = nil
	}
}
