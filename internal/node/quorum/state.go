package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

const (
	stateFile     = "quorum-state"
	stateMagic    = "MOLDAUQS"
	stateBytesMax = 1 << 20
)

// state is what a replica must not forget: whose directory this is, the latest term that it knows, whom it voted for in that
// term, and the voters with the index of the entry that made them the voters.
//
// The voters are kept here and not only in the log since a replica learns of commits late: with the voters of an old
// checkpoint, a former sole voter would elect itself again beside those who were added since.
type state struct {
	self   moldau.DirectoryID
	term   uint64
	vote   uint64 // Raft's id of a replica, or 0
	index  uint64
	voters []Voter // replaced, never modified
}

func (s state) equal(t state) bool {
	return s.self == t.self && s.term == t.term && s.vote == t.vote && s.index == t.index && slices.Equal(s.voters, t.voters)
}

func encodeState(s state) []byte {
	b := make([]byte, fileHeaderLen, fileHeaderLen+44+len(s.voters)*voterLen)
	b = append(b, s.self[:]...)
	b = binary.BigEndian.AppendUint64(b, s.term)
	b = binary.BigEndian.AppendUint64(b, s.vote)
	b = binary.BigEndian.AppendUint64(b, s.index)
	return sealFile(appendVoters(b, s.voters), stateMagic)
}

func decodeState(b []byte) (s state, err error) {
	b, err = openFile(b, stateMagic)
	if err != nil {
		return s, err
	}
	if len(b) < 40 {
		return s, fmt.Errorf("%w: its body has %d bytes", errDamaged, len(b))
	}
	s.self = moldau.DirectoryID(b[:16])
	s.term = binary.BigEndian.Uint64(b[16:])
	s.vote = binary.BigEndian.Uint64(b[24:])
	s.index = binary.BigEndian.Uint64(b[32:])
	s.voters, b, err = readVoters(b[40:])
	if err == nil && len(b) > 0 {
		err = fmt.Errorf("%w: %d bytes stand behind the voters", errDamaged, len(b))
	}
	return s, err
}

// openState reads quorum-state, or writes the first one where the directory is new.
func openState(o Options, snap checkpoint) (state, error) {
	path := filepath.Join(o.Dir, stateFile)
	b, err := env.ReadFile(o.Env.FS, path, stateBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		if snap.index > 0 || o.Log.End() > 0 {
			return state{}, fmt.Errorf("%s is missing, and the directory is not new: without it this replica could vote twice; "+
				"restore the file, or add the replica anew with an empty directory and another directory.id", path)
		}
		s := state{self: o.Self.Directory, voters: slices.Clone(o.Voters)}
		return s, writeState(o, s)
	}
	if err != nil {
		return state{}, err
	}
	s, err := decodeState(b)
	if err != nil {
		return state{}, fmt.Errorf("%s: %w", path, err)
	}
	if s.self != o.Self.Directory {
		return state{}, fmt.Errorf("%s belongs to the directory %s and not to %s: files of two replicas were mixed, or directory.id was changed",
			path, s.self, o.Self.Directory)
	}
	// A checkpoint from the leader is written before the state that goes with it.
	if snap.index > s.index {
		s.index, s.voters = snap.index, snap.voters
	}
	return s, nil
}

func writeState(o Options, s state) error {
	if err := env.WriteFile(o.Env.FS, o.Dir, stateFile, encodeState(s)); err != nil {
		return fmt.Errorf("write %s: %w", stateFile, err)
	}
	return nil
}

// raftID is the id by which Raft knows the replica in a directory.
func raftID(d moldau.DirectoryID) uint64 { return binary.BigEndian.Uint64(d[:]) }

func confState(voters []Voter) *pb.ConfState {
	cs := &pb.ConfState{AutoLeave: new(bool)}
	for _, v := range voters {
		cs.Voters = append(cs.Voters, raftID(v.Directory))
	}
	return cs
}
