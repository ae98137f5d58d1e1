package quorum

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/must"
	"github.com/moldau/moldau/internal/proto/record"
)

// Log is what the quorum needs of a commit log. The batches that it is given bear their offset and leader epoch.
type Log interface {
	// Start is the offset of the first batch that is there, End the one behind the last.
	Start() moldau.Offset
	End() moldau.Offset
	// Append writes b behind the last batch.
	Append(b record.Batch) error
	// Read returns whole batches from the one at an offset below End: at least one, beyond it at most bytesMax.
	// The bytes belong to the caller.
	Read(at moldau.Offset, bytesMax int) ([]byte, error)
	// Truncate drops the batches from an offset on.
	Truncate(to moldau.Offset) error
	// DropPrefix says that nothing below an offset is needed any more.
	DropPrefix(to moldau.Offset) error
	// Reset empties the log; the next batch is at an offset.
	Reset(to moldau.Offset) error
	// Flush makes durable all that is there, including what was found by opening the log.
	Flush() error
}

// errSnapshotLater: Raft is to ask again.
var errSnapshotLater = raft.ErrSnapshotTemporarilyUnavailable

const (
	tailBytesMax   = 1 << 20 // of entries kept in memory beside the log
	readBytesMax   = 1 << 20 // read from the log at once
	entryOverhead  = 24      // counted for an entry beside its data
	firstReadBytes = 512     // enough for the header of a batch
)

// storage shows the log to Raft: the newest snapshot's position, and behind it the entries. It belongs to the loop.
//
// Raft cannot return an error of the disk; it panics with it. The first one is kept in err, and rescue turns the panic
// back into it.
type storage struct {
	log      Log
	clock    env.Clock
	hard     *pb.HardState // as of Open
	conf     *pb.ConfState // as of Open
	snap     position
	snapshot func() (*pb.Snapshot, error)
	patient  func(change func() error) error // runs a change of the disk that may have to wait for space

	tail      []*pb.Entry // the last entries of the log, without a gap
	tailBytes int
	unsynced  bool
	durable   moldau.Offset // all before was synced
	err       error
}

// openStorage checks that the log and the newest snapshot leave no gap. A log that the snapshot overtook is emptied.
func openStorage(log Log, clock env.Clock, snap position) (*storage, error) {
	s := &storage{log: log, clock: clock, snap: snap}
	start, end := log.Start(), log.End()
	if start > snap.end() {
		return nil, fmt.Errorf("the metadata log starts at offset %d and the newest checkpoint ends at %d: the checkpoint %020d-*%s is missing; restore it",
			start, snap.end(), start, checkpointSuffix)
	}
	diverged := end < snap.end()
	if !diverged && start < snap.end() {
		e, err := s.read(snap.index)
		if err != nil {
			return nil, err
		}
		diverged = e.GetTerm() != snap.term
	}
	if diverged {
		return s, s.reset(snap)
	}
	if end > snap.end() {
		e, err := s.read(s.last())
		if err != nil {
			return nil, err
		}
		s.keep(e)
		s.unsynced = true // what opening the log found may be in the page cache only
	}
	return s, nil
}

// rescue is deferred around calls into Raft.
func (s *storage) rescue(err *error) {
	if s.err == nil {
		return
	}
	_ = recover()
	*err = s.err
}

func (s *storage) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	return s.err
}

func (s *storage) last() uint64 { return uint64(s.log.End()) }

// InitialState is for raft.Storage.
func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.hard, s.conf, nil }

// FirstIndex is for raft.Storage.
func (s *storage) FirstIndex() (uint64, error) { return s.snap.index + 1, nil }

// LastIndex is for raft.Storage.
func (s *storage) LastIndex() (uint64, error) { return s.last(), nil }

// Snapshot is for raft.Storage.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	snap, err := s.snapshot()
	if err != nil && !errors.Is(err, errSnapshotLater) {
		return nil, s.fail(err)
	}
	return snap, err
}

// Term is for raft.Storage.
func (s *storage) Term(index uint64) (uint64, error) {
	switch {
	case index == s.snap.index:
		return s.snap.term, nil
	case index < s.snap.index:
		return 0, raft.ErrCompacted
	case index > s.last():
		return 0, raft.ErrUnavailable
	}
	if e := s.cached(index); e != nil {
		return e.GetTerm(), nil
	}
	e, err := s.read(index)
	if err != nil {
		return 0, s.fail(err)
	}
	return e.GetTerm(), nil
}

// cached returns the entry with an index where it is in memory.
func (s *storage) cached(index uint64) *pb.Entry {
	if len(s.tail) == 0 || index < s.tail[0].GetIndex() || index-s.tail[0].GetIndex() >= uint64(len(s.tail)) {
		return nil
	}
	return s.tail[index-s.tail[0].GetIndex()]
}

// read returns the one entry with an index from the log.
func (s *storage) read(index uint64) (*pb.Entry, error) {
	entries, err := s.readFrom(index, firstReadBytes)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// readFrom returns entries from the log: at least the one with the index, beyond it as bytesMax bytes hold.
func (s *storage) readFrom(index uint64, bytesMax int) ([]*pb.Entry, error) {
	at := entryOffset(index)
	b, err := s.log.Read(at, bytesMax)
	if err != nil {
		return nil, fmt.Errorf("read the metadata log at offset %d: %w", at, err)
	}
	var entries []*pb.Entry
	for len(b) > 0 {
		var batch record.Batch
		if batch, b, err = record.Split(b); err != nil {
			return nil, fmt.Errorf("read the metadata log at offset %d: %w", at, err)
		}
		e, err := decodeEntry(batch, at)
		if err != nil {
			return nil, fmt.Errorf("read the metadata log: %w", err)
		}
		entries = append(entries, e)
		at++
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("read the metadata log at offset %d: nothing is there, and the log ends at %d", at, s.log.End())
	}
	return entries, nil
}

// Entries is for raft.Storage.
func (s *storage) Entries(lo, hi, bytesMax uint64) ([]*pb.Entry, error) {
	if lo <= s.snap.index {
		return nil, raft.ErrCompacted
	}
	if hi > s.last()+1 {
		return nil, raft.ErrUnavailable
	}
	var out []*pb.Entry
	var bytes uint64
	take := func(e *pb.Entry) bool {
		bytes += uint64(len(e.GetData())) + entryOverhead
		if len(out) > 0 && bytes > bytesMax {
			return false
		}
		out = append(out, e)
		return true
	}
	for lo < hi {
		if e := s.cached(lo); e != nil {
			if !take(e) {
				return out, nil
			}
			lo++
			continue
		}
		entries, err := s.readFrom(lo, int(min(bytesMax, readBytesMax)))
		if err != nil {
			return nil, s.fail(err)
		}
		for _, e := range entries[:min(uint64(len(entries)), hi-lo)] {
			if !take(e) {
				return out, nil
			}
			lo++
		}
	}
	return out, nil
}

// append writes entries, first dropping those that they replace.
func (s *storage) append(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].GetIndex()
	must.True(first > s.snap.index && first <= s.last()+1, "entry %d appended to a log of (%d, %d]", first, s.snap.index, s.last())
	if first <= s.last() {
		if err := s.log.Truncate(entryOffset(first)); err != nil {
			return fmt.Errorf("truncate the metadata log to offset %d: %w", entryOffset(first), err)
		}
		s.durable = min(s.durable, entryOffset(first))
		for len(s.tail) > 0 && s.tail[len(s.tail)-1].GetIndex() >= first {
			s.tailBytes -= len(s.tail[len(s.tail)-1].GetData()) + entryOverhead
			s.tail = s.tail[:len(s.tail)-1]
		}
	}
	now := moldau.Timestamp(s.clock.Now().UnixMilli())
	for _, e := range entries {
		b, err := encodeEntry(e, now, s.durable)
		if err == nil {
			err = s.patient(func() error { return s.log.Append(b) })
		}
		if err != nil {
			return fmt.Errorf("append to the metadata log at offset %d: %w", entryOffset(e.GetIndex()), err)
		}
		s.unsynced = true
		s.keep(e)
	}
	s.trim()
	return nil
}

// keep adds the last entry of the log to those in memory.
func (s *storage) keep(e *pb.Entry) {
	s.tail = append(s.tail, e)
	s.tailBytes += len(e.GetData()) + entryOverhead
}

// trim keeps the newer half of a tail that has become too large.
func (s *storage) trim() {
	if s.tailBytes <= tailBytesMax {
		return
	}
	drop := 0
	for s.tailBytes > tailBytesMax/2 && drop < len(s.tail) {
		s.tailBytes -= len(s.tail[drop].GetData()) + entryOverhead
		drop++
	}
	s.tail = append([]*pb.Entry(nil), s.tail[drop:]...)
}

// flush makes the entries durable.
func (s *storage) flush() error {
	if !s.unsynced {
		return nil
	}
	if err := s.patient(s.log.Flush); err != nil {
		return fmt.Errorf("sync the metadata log: %w", err)
	}
	s.unsynced, s.durable = false, s.log.End()
	return nil
}

// reset empties the log behind a snapshot that is durable and takes its place.
func (s *storage) reset(to position) error {
	if err := s.log.Reset(to.end()); err != nil {
		return fmt.Errorf("restart the metadata log at offset %d: %w", to.end(), err)
	}
	s.snap, s.tail, s.tailBytes, s.unsynced, s.durable = to, nil, 0, false, to.end()
	return nil
}
