// Package quorum replicates the cluster's metadata log: Raft decides the order of its entries, a commit log keeps them,
// and a Machine folds them into state.
//
// One goroutine, Run, owns Raft, the log and the calls to the Machine. A quorum of one takes the same way as a larger one:
// it elects itself, appends, syncs and commits; it only has nobody to send to. The files and the rule from Raft's index to the
// log's offset are drawn in docs/format/quorum.md.
package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// Voter is a replica of the metadata log that takes part in its elections. Raft knows it by the first 8 bytes of its
// directory's id, so that a replaced disk is a new voter, which has not yet voted for anybody.
type Voter struct {
	ID        moldau.BrokerID
	Directory moldau.DirectoryID
}

// Machine is what the log is folded into. The loop makes one call at a time; Open makes the first Restore.
type Machine interface {
	// Restore replaces all state by s, whose data is borrowed until return.
	Restore(s Snapshot) error
	// Apply folds a committed and durable entry, each offset once and in order. The data is borrowed until return and
	// empty for Raft's own entries. An error stops the loop.
	Apply(e Entry) error
	// Snapshot captures the state as of the last Apply. The function that it returns encodes what was captured, on
	// another goroutine and while Apply goes on.
	Snapshot() (encode func() []byte)
	// Lead says that this replica leads in epoch and has applied every entry of the leaders before: the head starts as
	// a copy of the committed state.
	Lead(epoch moldau.LeaderEpoch)
	// Follow says that the leadership is over: the head, with what may never be committed, is to be dropped.
	Follow()
}

// Entry is a committed entry of the log.
type Entry struct {
	Offset moldau.Offset
	Epoch  moldau.LeaderEpoch
	Data   []byte // a list of records, see Records
}

// Snapshot is the state that the entries below End led to.
type Snapshot struct {
	End   moldau.Offset
	Epoch moldau.LeaderEpoch // of the last of those entries
	Data  []byte
}

// Options is all that a Quorum needs. The durations and sizes have Kafka's defaults where they are 0 (C-4, C-10).
type Options struct {
	Env  env.Env
	Dir  string // of quorum-state and the checkpoints; made where it is absent
	Self Voter
	// Voters are those with which a new directory begins; a directory in use knows its own. A replica that waits to be
	// added to a quorum begins without any.
	Voters    []Voter
	Log       Log // open, and closed by whoever opened it, after Run
	Machine   Machine
	Transport Transport // nil: there is nobody to send to
	Logger    *slog.Logger

	ElectionTimeout  time.Duration // controller.quorum.election.timeout.ms, 1 s
	SnapshotBytes    int64         // metadata.log.max.record.bytes.between.snapshots, 20 MiB
	SnapshotInterval time.Duration // metadata.log.max.snapshot.interval.ms, 1 h
}

// Errors of commands. ErrUnknownOutcome is no failure: the entry may have been committed or may yet be.
var (
	ErrNotLeader      = errors.New("this replica does not lead the metadata quorum")
	ErrUnknownOutcome = errors.New("the outcome is unknown: it may or may not be committed")
	ErrBusy           = errors.New("the metadata quorum has too many commands waiting")
	ErrStopped        = errors.New("the metadata quorum has stopped")
	ErrTooLarge       = errors.New("the metadata entry is too large")
	ErrVoterChange    = errors.New("another change of the voters is in flight")
	ErrDuplicateVoter = errors.New("the directory already belongs to a voter")
	ErrVoterNotFound  = errors.New("no voter has that directory")
)

// EntryBytesMax bounds the data of one entry. 10,000 records, the most that one command may make (C-3), fit well.
const EntryBytesMax = 8 << 20

const (
	electionTicks    = 10
	messageBytesMax  = 1 << 20  // of entries in one message to a replica, unless one entry is larger
	applyBytesMax    = 4 << 20  // of entries that one round applies
	inflightMax      = 256      // messages under way to one replica
	pendingBytesMax  = 16 << 20 // of entries appended and not yet committed; more commands wait
	commandsMax      = 4096     // commands waiting; more are refused
	messagesMax      = 4096     // messages waiting; more are lost, as a network may lose them
	electionDefault  = time.Second
	snapshotBytes    = 20 << 20
	snapshotInterval = time.Hour
)

// Quorum is one replica of the metadata log.
type Quorum struct {
	o       Options
	id      uint64
	tick    time.Duration
	node    *raft.RawNode
	storage *storage
	inbox   inbox
	status  atomic.Pointer[Status]

	// The rest belongs to the loop.
	ending  <-chan struct{} // closed when Run is to end
	state   state           // what quorum-state holds, or is to hold
	saved   state           // what it holds
	applied position

	leading      bool
	epoch        uint64 // the term in which this replica leads
	next         uint64 // the index of the leader's next entry
	changeIndex  uint64 // of the leader's latest change of the voters
	pending      []pending
	pendingBytes int

	peers map[uint64]*peerTimes

	snapshotting   bool
	snapshotDone   chan written
	snapshotWanted bool      // by a replica, and the newest does not do for it
	snapshotAt     time.Time // of the latest snapshot, or of Open
	appliedBytes   int64     // since the latest snapshot
	snapshotAfter  time.Time // the next one is not tried before: one found no space
}

// Open reads what the directory holds: the newest checkpoint is handed to Machine.Restore, the entries behind it are applied
// by Run once it is known that they are committed. A file that is damaged or missing is an error that names it.
func Open(o Options) (q *Quorum, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	id := raftID(o.Self.Directory)
	if err := checkIDs(o.Self, o.Voters); err != nil {
		return nil, err
	}
	fsys := o.Env.FS
	if err := makeDir(fsys, o.Dir); err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	snap, err := openCheckpoint(fsys, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	st, err := openState(o, snap)
	if err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	for _, v := range st.voters {
		if v.Directory != o.Self.Directory && o.Transport == nil {
			return nil, fmt.Errorf("quorum: %s names the voter %d (directory %s) beside this one, and there is no way to reach it",
				o.Dir, v.ID, v.Directory)
		}
	}
	q = &Quorum{
		o: o, id: id, tick: o.ElectionTimeout / electionTicks, state: st, saved: st,
		peers:        make(map[uint64]*peerTimes),
		snapshotDone: make(chan written, 1),
		snapshotAt:   o.Env.Clock.Now(),
	}
	q.inbox.wake = make(chan struct{}, 1)
	if q.storage, err = openStorage(o.Log, o.Env.Clock, snap.position); err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	q.storage.snapshot, q.storage.patient = q.loadSnapshot, q.patient
	if err := q.startNode(); err != nil {
		return nil, fmt.Errorf("quorum: %w", err)
	}
	if snap.index > 0 {
		if err := q.restore(snap); err != nil {
			return nil, fmt.Errorf("quorum: %w", err)
		}
		if err := q.dropSuperfluous(); err != nil {
			return nil, fmt.Errorf("quorum: %w", err)
		}
	}
	q.publish()
	return q, nil
}

// makeDir makes the directory durably where it is absent: its loss must not look like a new one.
func makeDir(fsys env.FS, dir string) error {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

// complete fills in the defaults.
func (o *Options) complete() error {
	if o.ElectionTimeout <= 0 {
		o.ElectionTimeout = electionDefault
	}
	if o.SnapshotBytes <= 0 {
		o.SnapshotBytes = snapshotBytes
	}
	if o.SnapshotInterval <= 0 {
		o.SnapshotInterval = snapshotInterval
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Log == nil || o.Machine == nil {
		return errors.New("quorum: a log and a machine are needed")
	}
	return nil
}

// checkIDs refuses directory ids that Raft cannot tell apart from its reserved ids or from each other.
func checkIDs(self Voter, voters []Voter) error {
	seen := make(map[uint64]moldau.DirectoryID)
	for _, v := range append(slices.Clone(voters), self) {
		id := raftID(v.Directory)
		if id == raft.None || raft.IsLocalMsgTarget(id) {
			return fmt.Errorf("quorum: the directory id %s of node %d is a reserved one", v.Directory, v.ID)
		}
		if other, ok := seen[id]; ok && other != v.Directory {
			return fmt.Errorf("quorum: the directory ids %s and %s begin alike; replace one of them", other, v.Directory)
		}
		seen[id] = v.Directory
	}
	return nil
}

// startNode makes Raft's state machine from the storage and the state.
func (q *Quorum) startNode() (err error) {
	defer q.storage.rescue(&err)
	last, err := q.storage.Term(q.storage.last())
	if err != nil {
		return err
	}
	// A sole voter does not write down its vote for itself (see persist): the first entry of a leadership tells its term.
	// Of several voters each has written its vote down before any entry of the term.
	if last > q.state.term {
		q.state.term, q.state.vote = last, 0
		if q.sole() {
			q.state.vote = q.id
		}
	}
	commit := q.storage.snap.index // what is committed beyond is found out by the first election
	term, vote := q.state.term, q.state.vote
	q.storage.hard = &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}
	q.storage.conf = confState(q.state.voters)
	q.node, err = raft.NewRawNode(&raft.Config{
		ID:                       q.id,
		ElectionTick:             electionTicks,
		HeartbeatTick:            1,
		Storage:                  q.storage,
		Applied:                  q.storage.snap.index,
		MaxSizePerMsg:            messageBytesMax,
		MaxCommittedSizePerReady: applyBytesMax,
		MaxInflightMsgs:          inflightMax,
		MaxInflightBytes:         pendingBytesMax,
		CheckQuorum:              true,
		PreVote:                  true,
		// The leader computes what it proposes from its own head; nobody can do that for it.
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    raftLogger{q.o.Logger},
	})
	q.applied = q.storage.snap
	return err
}

// sole reports whether this replica is the only voter: nobody else votes, and nobody else is sent to.
func (q *Quorum) sole() bool {
	return len(q.state.voters) == 1 && q.state.voters[0].Directory == q.o.Self.Directory
}
