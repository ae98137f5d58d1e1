package commitlog_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// neighbours are logs on one volume.
type neighbours struct {
	t      *testing.T
	fs     *memfs.FS
	volume env.Volume
	logs   []*Log
}

func newNeighbours(t *testing.T, n int) *neighbours {
	t.Helper()
	s := &neighbours{t: t, fs: memfs.New()}
	if err := errors.Join(s.fs.MkdirAll("/data"), s.fs.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	s.open(n)
	return s
}

func (s *neighbours) open(n int) {
	s.t.Helper()
	var err error
	if s.volume, err = s.fs.OpenVolume("/data"); err != nil {
		s.t.Fatal(err)
	}
	s.logs = nil
	for i := range n {
		l, err := Open(Options{
			FS: s.fs, Now: time.Now, Dir: fmt.Sprintf("/data/t-%d", i), Partition: moldau.TopicPartition{Topic: "t", Partition: int32(i)},
			Config: Config{SegmentBytes: 1000, SegmentMs: 1 << 40, IndexBytesMax: 1 << 20},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = l.Close() }) // of one that has failed
		s.logs = append(s.logs, l)
	}
}

func (s *neighbours) append(i, n int) {
	s.t.Helper()
	for range n {
		if _, err := s.logs[i].Append(batch(s.t, 1, 1000, 300), moldau.LeaderEpoch(i)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// count makes fs count calls of one kind.
func (s *neighbours) count(kind string) *int {
	n := new(int)
	s.fs.Hook = func(op memfs.Op) error {
		if op.Kind == kind {
			*n++
		}
		return nil
	}
	return n
}

// TestFlushTogether: one sync of the volume makes all that was appended to its logs durable, with names, indexes and epochs,
// and what is flushed already costs nothing any more.
func TestFlushTogether(t *testing.T) {
	s := newNeighbours(t, 20)
	for i := range s.logs {
		s.append(i, 1+i%7) // some of them roll
	}
	volumes := s.count("syncvolume")
	for i, err := range FlushTogether(s.volume, s.logs) {
		l := s.logs[i]
		if err != nil || l.RecoveryPoint() != l.End() || l.Unsynced() != 0 {
			t.Errorf("log %d: %v, recovery point %d of %d, %d bytes unsynced", i, err, l.RecoveryPoint(), l.End(), l.Unsynced())
		}
	}
	if *volumes != 1 {
		t.Errorf("%d syncs of the volume", *volumes)
	}
	syncs := s.count("sync")
	for _, l := range s.logs {
		if _, err := l.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if *syncs != 0 {
		t.Errorf("%d files were synced again", *syncs)
	}
	s.append(3, 2) // not flushed
	s.fs = s.fs.Crash(memfs.None, 0)
	s.open(len(s.logs))
	for i, l := range s.logs {
		if want := moldau.Offset(1 + i%7); l.End() != want || l.LatestEpoch() != moldau.LeaderEpoch(i) {
			t.Errorf("after the loss of power log %d ends at %d, epoch %d; want %d", i, l.End(), l.LatestEpoch(), want)
		}
	}
}

// TestFlushTogetherThatFails: a failed sync of the volume is the failure of every log in it, for good. A log that found no
// room for its epochs, or was closed, keeps the others from nothing.
func TestFlushTogetherThatFails(t *testing.T) {
	s := newNeighbours(t, 4)
	for i := range s.logs {
		s.append(i, 1)
	}
	if err := s.logs[3].Close(); err != nil {
		t.Fatal(err)
	}
	s.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "create" && op.Name == "/data/t-0/leader-epoch-checkpoint.tmp" {
			return syscall.ENOSPC
		}
		return nil
	}
	errs := FlushTogether(s.volume, s.logs)
	if !errors.Is(errs[0], ErrNoSpace) || errs[1] != nil || errs[2] != nil || !errors.Is(errs[3], ErrClosed) {
		t.Fatal(errs)
	}
	if s.logs[0].RecoveryPoint() != 0 || s.logs[0].Poisoned() != nil || s.logs[1].RecoveryPoint() != 1 {
		t.Errorf("recovery points %d, %d; %v", s.logs[0].RecoveryPoint(), s.logs[1].RecoveryPoint(), s.logs[0].Poisoned())
	}
	s.append(2, 1)
	errDisk := errors.New("the disk has failed")
	s.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "syncvolume" {
			return errDisk
		}
		return nil
	}
	for i, err := range FlushTogether(s.volume, s.logs[:3]) {
		if l := s.logs[i]; !errors.Is(err, errDisk) || l.Poisoned() == nil || l.RecoveryPoint() == l.End() && i != 1 {
			t.Errorf("log %d: %v, poisoned: %v, recovery point %d of %d", i, err, l.Poisoned(), l.RecoveryPoint(), l.End())
		}
	}
	s.fs.Hook = nil
	if _, err := s.logs[2].Flush(); !errors.Is(err, ErrPoisoned) {
		t.Errorf("the next flush: %v", err)
	}
}

// TestAppendDuringSync: what is appended while a sync is under way may have missed it, and is left to the next one. L1.
func TestAppendDuringSync(t *testing.T) {
	for kind, flush := range map[string]func(*neighbours) error{
		"sync":       func(s *neighbours) error { _, err := s.logs[0].Flush(); return err },
		"syncvolume": func(s *neighbours) error { return FlushTogether(s.volume, s.logs)[0] },
	} {
		t.Run(kind, func(t *testing.T) {
			s := newNeighbours(t, 1)
			s.append(0, 2)
			s.fs.Hook = func(op memfs.Op) error {
				if op.Kind == kind {
					s.fs.Hook = nil
					s.append(0, 1)
				}
				return nil
			}
			for _, durable := range []moldau.Offset{2, 3} {
				if err := flush(s); err != nil {
					t.Fatal(err)
				}
				if l := s.logs[0]; l.RecoveryPoint() != durable || l.Unsynced() > 0 != (durable < 3) {
					t.Errorf("recovery point %d, want %d of %d; %d bytes unsynced", l.RecoveryPoint(), durable, l.End(), l.Unsynced())
				}
			}
		})
	}
}
