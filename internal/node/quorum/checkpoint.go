package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

const (
	checkpointMagic    = "MOLDAUCP"
	checkpointSuffix   = ".checkpoint"
	deletedSuffix      = ".deleted"
	checkpointBytesMax = 2 << 30
)

// position names an entry by Raft's index and term; the zero position stands before the first entry.
type position struct{ index, term uint64 }

// end is the offset behind the entry: its own is one less than its index.
func (p position) end() moldau.Offset { return moldau.Offset(p.index) }

// checkpoint is a snapshot as a file: the state after the entry at its position, and the voters of that time.
type checkpoint struct {
	position
	voters []Voter
	data   []byte
}

// name is that of Kafka's snapshots: <offset>-<epoch>.checkpoint, the offset being that behind the last entry (C-4).
func (p position) name() string {
	return fmt.Sprintf("%020d-%010d%s", p.index, p.term, checkpointSuffix)
}

func parseCheckpointName(name string) (position, bool) {
	stem, ok := strings.CutSuffix(name, checkpointSuffix)
	if !ok || len(stem) != 31 || stem[20] != '-' {
		return position{}, false
	}
	index, err1 := strconv.ParseUint(stem[:20], 10, 63)
	term, err2 := strconv.ParseUint(stem[21:], 10, 31)
	return position{index, term}, err1 == nil && err2 == nil && index > 0
}

func encodeCheckpoint(c checkpoint) []byte {
	b := make([]byte, fileHeaderLen, fileHeaderLen+20+len(c.voters)*voterLen+len(c.data))
	b = binary.BigEndian.AppendUint64(b, c.index)
	b = binary.BigEndian.AppendUint32(b, uint32(c.term))
	b = appendVoters(b, c.voters)
	return sealFile(append(b, c.data...), checkpointMagic)
}

// decodeCheckpoint reads a checkpoint; its data is a part of b.
func decodeCheckpoint(b []byte) (c checkpoint, err error) {
	b, err = openFile(b, checkpointMagic)
	if err != nil {
		return c, err
	}
	if len(b) < 12 {
		return c, fmt.Errorf("%w: its body has %d bytes", errDamaged, len(b))
	}
	c.index = binary.BigEndian.Uint64(b)
	c.term = uint64(binary.BigEndian.Uint32(b[8:]))
	if c.index == 0 || c.index > math.MaxInt64 || c.term > math.MaxInt32 {
		return c, fmt.Errorf("%w: it claims the offset %d and the epoch %d", errDamaged, c.index, c.term)
	}
	c.voters, c.data, err = readVoters(b[12:])
	return c, err
}

// newestCheckpoint finds the newest checkpoint of dir by its name; the zero position where there is none.
func newestCheckpoint(fsys env.FS, dir string) (newest position, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return newest, err
	}
	for _, e := range entries {
		if at, ok := parseCheckpointName(e.Name()); ok && at.index > newest.index {
			newest = at
		}
	}
	return newest, nil
}

// openCheckpoint reads the newest checkpoint of dir, the zero one where there is none, and clears away what a crash left of
// files that were being written or removed.
func openCheckpoint(fsys env.FS, dir string) (checkpoint, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return checkpoint{}, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), checkpointSuffix+".tmp") || strings.HasSuffix(e.Name(), checkpointSuffix+deletedSuffix) {
			if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
				return checkpoint{}, err
			}
		}
	}
	newest, err := newestCheckpoint(fsys, dir)
	if err != nil || newest.index == 0 {
		return checkpoint{}, err
	}
	return readCheckpoint(fsys, dir, newest)
}

// readCheckpoint reads the checkpoint at a position. An unreadable one is an error and never taken for absent: the log
// before it is gone.
func readCheckpoint(fsys env.FS, dir string, at position) (checkpoint, error) {
	path := filepath.Join(dir, at.name())
	b, err := env.ReadFile(fsys, path, checkpointBytesMax)
	if err != nil {
		return checkpoint{}, err
	}
	c, err := decodeCheckpoint(b)
	if err == nil && c.position != at {
		err = fmt.Errorf("%w: its content is that of %s", errDamaged, c.name())
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("%s: %w; the metadata before it is nowhere else in this directory: restore the file from a copy", path, err)
	}
	return c, nil
}

// written is the end of writing a checkpoint.
type written struct {
	position
	bytes int
	err   error
}

// writeCheckpoint makes the checkpoint durable under its name.
func writeCheckpoint(o Options, c checkpoint) (bytes int, err error) {
	b := encodeCheckpoint(c)
	if len(b) > checkpointBytesMax {
		return 0, fmt.Errorf("the snapshot %s would have %d bytes, more than %d", c.name(), len(b), checkpointBytesMax)
	}
	if err := env.WriteFile(o.Env.FS, o.Dir, c.name(), b); err != nil {
		return 0, fmt.Errorf("write %s: %w", c.name(), err)
	}
	return len(b), nil
}

// removeCheckpoints removes the checkpoints before keep. One that a crash brings back is removed the next time.
func removeCheckpoints(o Options, keep position) error {
	entries, err := o.Env.FS.ReadDir(o.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if at, ok := parseCheckpointName(e.Name()); ok && at.index < keep.index {
			path := filepath.Join(o.Dir, e.Name())
			if err := o.Env.FS.Rename(path, path+deletedSuffix); env.NoSpace(err) {
				continue // it goes with the next
			} else if err != nil {
				return err
			}
			if err := o.Env.FS.Remove(path + deletedSuffix); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore hands a checkpoint to the machine.
func (q *Quorum) restore(c checkpoint) error {
	err := q.o.Machine.Restore(Snapshot{End: c.end(), Epoch: moldau.LeaderEpoch(c.term), Data: c.data})
	if err != nil {
		return fmt.Errorf("restore %s: %w", filepath.Join(q.o.Dir, c.name()), err)
	}
	q.applied, q.appliedBytes, q.snapshotAt = c.position, 0, q.o.Env.Clock.Now()
	return nil
}

// snapshotRetry is how long a snapshot that found no space waits.
const snapshotRetry = time.Minute

// maybeSnapshot starts to write a snapshot where one is due. Idle time alone makes none: the one there is says it all.
func (q *Quorum) maybeSnapshot() {
	due := q.appliedBytes >= q.o.SnapshotBytes || q.snapshotWanted ||
		q.o.Env.Clock.Now().Sub(q.snapshotAt) >= q.o.SnapshotInterval
	if !due || q.snapshotting || q.applied.index == q.storage.snap.index || q.o.Env.Clock.Now().Before(q.snapshotAfter) {
		return
	}
	encode := q.o.Machine.Snapshot()
	c := checkpoint{position: q.applied, voters: q.state.voters}
	q.snapshotting, q.snapshotWanted = true, false
	q.appliedBytes, q.snapshotAt = 0, q.o.Env.Clock.Now()
	// It ends with the write; Run waits for snapshotDone before it returns.
	q.o.Env.Go("quorum-snapshot", func() {
		c.data = encode()
		n, err := writeCheckpoint(q.o, c)
		q.snapshotDone <- written{c.position, n, err}
	})
}

// finishSnapshot drops what the new checkpoint has made superfluous.
func (q *Quorum) finishSnapshot(w written) error {
	q.snapshotting = false
	if env.NoSpace(w.err) { // the log before it stays, and says the same
		q.o.Logger.Warn("no space for a snapshot of the metadata; it is tried again", "error", w.err)
		q.snapshotWanted, q.snapshotAfter = true, q.o.Env.Clock.Now().Add(snapshotRetry)
		return nil
	}
	if w.err != nil {
		return w.err
	}
	if w.index > q.storage.snap.index { // or else the leader has sent a newer one meanwhile
		q.storage.snap = w.position
		q.o.Logger.Debug("metadata snapshot taken", "end", w.end(), "epoch", w.term, "bytes", w.bytes)
	}
	return q.dropSuperfluous()
}

// dropSuperfluous removes what the newest checkpoint stands for: the log's prefix and the older checkpoints.
func (q *Quorum) dropSuperfluous() error {
	to := q.storage.snap
	if err := q.o.Log.DropPrefix(to.end()); err != nil {
		return fmt.Errorf("drop the metadata log before offset %d: %w", to.end(), err)
	}
	return removeCheckpoints(q.o, to)
}

// loadSnapshot is what Raft sends to a replica that is behind the start of the log: the newest checkpoint, unless it is of
// other voters; Raft refuses one that does not name the receiver.
func (q *Quorum) loadSnapshot() (*pb.Snapshot, error) {
	c, err := readCheckpoint(q.o.Env.FS, q.o.Dir, q.storage.snap)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(c.voters, q.state.voters) {
		q.snapshotWanted = true
		return nil, errSnapshotLater
	}
	return &pb.Snapshot{
		Data:     encodeCheckpoint(c),
		Metadata: &pb.SnapshotMetadata{Index: &c.index, Term: &c.term, ConfState: confState(c.voters)},
	}, nil
}

// install replaces everything by a snapshot from the leader. A crash after the checkpoint is written finds a log that
// does not reach it or disagrees with it, and empties the log then.
func (q *Quorum) install(snap *pb.Snapshot) error {
	at := position{snap.GetMetadata().GetIndex(), snap.GetMetadata().GetTerm()}
	c, err := decodeCheckpoint(snap.GetData())
	if err == nil && c.position != at {
		err = errors.New("its content is that of another")
	}
	if err != nil {
		return fmt.Errorf("the snapshot %s that the leader sent: %w", at.name(), err)
	}
	if q.snapshotting { // of an older state; two writers would meet in one directory
		if err := q.finishSnapshot(<-q.snapshotDone); err != nil {
			return err
		}
	}
	if _, err := writeCheckpoint(q.o, c); err != nil {
		return err
	}
	if err := q.storage.reset(c.position); err != nil {
		return err
	}
	q.state.index, q.state.voters = c.index, c.voters
	if err := removeCheckpoints(q.o, c.position); err != nil {
		return err
	}
	q.o.Logger.Info("metadata snapshot received from the leader", "end", c.index, "epoch", c.term, "bytes", len(c.data))
	return q.restore(c)
}
