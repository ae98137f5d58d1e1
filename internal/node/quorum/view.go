package quorum

import (
	"path/filepath"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// StateView is quorum-state as the tools show it.
type StateView struct {
	Directory moldau.DirectoryID
	Term      uint64
	Vote      uint64 // Raft's id of a replica, or 0
	VotersAt  uint64 // index of the entry from which the voters are
	Voters    []Voter
}

// ViewState reads the file quorum-state.
func ViewState(fsys env.FS, path string) (StateView, error) {
	b, err := env.ReadFile(fsys, path, stateBytesMax)
	if err != nil {
		return StateView{}, err
	}
	s, err := decodeState(b)
	return StateView{s.self, s.term, s.vote, s.index, s.voters}, err
}

// CheckpointView is a checkpoint of the metadata as the tools show it.
type CheckpointView struct {
	End    moldau.Offset
	Epoch  moldau.LeaderEpoch
	Voters []Voter
	Data   []byte // a list of records; Records reads it
}

// ViewCheckpoint reads a checkpoint.
func ViewCheckpoint(fsys env.FS, path string) (CheckpointView, error) {
	b, err := env.ReadFile(fsys, path, checkpointBytesMax)
	if err != nil {
		return CheckpointView{}, err
	}
	c, err := decodeCheckpoint(b)
	return CheckpointView{c.end(), moldau.LeaderEpoch(c.term), c.voters, c.data}, err
}

// IsStateFile reports whether a file bears the name of quorum-state.
func IsStateFile(path string) bool { return filepath.Base(path) == stateFile }

// IsCheckpointFile reports whether a file bears the name of a checkpoint.
func IsCheckpointFile(path string) bool {
	_, ok := parseCheckpointName(filepath.Base(path))
	return ok && strings.HasSuffix(path, checkpointSuffix)
}
