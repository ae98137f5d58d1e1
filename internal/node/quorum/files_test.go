package quorum

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

func someState() state {
	return state{voter(1).Directory, 7, raftID(voter(2).Directory), 12, []Voter{voter(1), voter(2), {ID: -1, Directory: voter(3).Directory}}}
}

func someCheckpoint() checkpoint {
	return checkpoint{position{12, 7}, []Voter{voter(1)}, AppendRecord(AppendRecord(nil, []byte("a")), nil)}
}

// Each byte of a file matters.
func TestDamagedFilesAreRefused(t *testing.T) {
	files := map[string]struct {
		bytes  []byte
		decode func([]byte) error
	}{
		"state":      {encodeState(someState()), func(b []byte) error { _, err := decodeState(b); return err }},
		"checkpoint": {encodeCheckpoint(someCheckpoint()), func(b []byte) error { _, err := decodeCheckpoint(b); return err }},
	}
	for name, f := range files {
		if err := f.decode(f.bytes); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range f.bytes {
			b := slices.Clone(f.bytes)
			b[i] ^= 0x10
			if f.decode(b) == nil {
				t.Errorf("%s: nobody noticed that byte %d was changed", name, i)
			}
			if f.decode(f.bytes[:i]) == nil {
				t.Errorf("%s: nobody noticed that it ends at byte %d", name, i)
			}
		}
		if f.decode(append(slices.Clone(f.bytes), 0)) == nil {
			t.Errorf("%s: nobody noticed a byte too many", name)
		}
		newer := slices.Clone(f.bytes)
		newer[11] = 2
		if err := f.decode(newer); err == nil || errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s: a file of the next version: %v", name, err)
		}
	}
}

func TestFilesRoundTrip(t *testing.T) {
	s, err := decodeState(encodeState(someState()))
	if err != nil || !s.equal(someState()) {
		t.Errorf("state %+v, %v", s, err)
	}
	c, err := decodeCheckpoint(encodeCheckpoint(someCheckpoint()))
	if want := someCheckpoint(); err != nil || c.position != want.position || !slices.Equal(c.voters, want.voters) || !bytes.Equal(c.data, want.data) {
		t.Errorf("checkpoint %+v, %v", c, err)
	}
	for _, at := range []position{{1, 1}, {12, 7}, {math.MaxInt64, math.MaxInt32}} {
		if got, ok := parseCheckpointName(at.name()); !ok || got != at {
			t.Errorf("%s is read as %v, %v", at.name(), got, ok)
		}
	}
	for _, name := range []string{"", ".checkpoint", "leader-epoch-checkpoint", "00000000000000000012-0000000007.checkpoint.tmp",
		"00000000000000000000-0000000000.checkpoint", "0000000000000000012-00000000007.checkpoint", "-0000000000000000012-0000000007.checkpoint"} {
		if _, ok := parseCheckpointName(name); ok {
			t.Errorf("%q was taken for a checkpoint", name)
		}
	}
}

// used makes a directory with a log of three entries, a checkpoint and a log behind it.
func used(t *testing.T) (Options, *memLog) {
	t.Helper()
	log := &memLog{}
	o := options(t.TempDir(), log)
	o.SnapshotBytes = 1
	o.Env.Go = func(_ string, fn func()) { fn() }
	r := start(t, o)
	r.propose("a")
	r.propose("b")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if log.start == 0 {
		t.Fatal("no checkpoint was made")
	}
	o.SnapshotBytes = 0
	return o, log
}

func newest(t *testing.T, dir string) string {
	t.Helper()
	at, err := newestCheckpoint(env.OS{}, dir)
	if err != nil || at.index == 0 {
		t.Fatalf("newest checkpoint %v, %v", at, err)
	}
	return filepath.Join(dir, at.name())
}

// What is unreadable or missing is never taken for absent, and the error names the file.
func TestUnreadableIsNotAbsent(t *testing.T) {
	cases := map[string]struct {
		spoil func(t *testing.T, o *Options) error
		want  string
	}{
		"checkpoint damaged": {func(t *testing.T, o *Options) error { return flip(newest(t, o.Dir), 30) }, ".checkpoint: the file is damaged"},
		"checkpoint gone":    {func(t *testing.T, o *Options) error { return os.Remove(newest(t, o.Dir)) }, ".checkpoint is missing"},
		"checkpoint renamed": {func(t *testing.T, o *Options) error {
			return os.Rename(newest(t, o.Dir), filepath.Join(o.Dir, position{3, 9}.name()))
		}, "its content is that of"},
		"state damaged":     {func(t *testing.T, o *Options) error { return flip(filepath.Join(o.Dir, stateFile), 30) }, "quorum-state: the file is damaged"},
		"state gone":        {func(t *testing.T, o *Options) error { return os.Remove(filepath.Join(o.Dir, stateFile)) }, "quorum-state is missing"},
		"another directory": {func(t *testing.T, o *Options) error { o.Self = voter(2); return nil }, "quorum-state belongs to the directory"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o, _ := used(t)
			if err := c.spoil(t, &o); err != nil {
				t.Fatal(err)
			}
			if _, err := tryStart(t, o); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), o.Dir) && c.want != ".checkpoint is missing" {
				t.Errorf("got %v, want %q and the path", err, c.want)
			}
		})
	}
}

func flip(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o600)
}

// A crash while a snapshot from the leader is installed leaves the checkpoint, with the log and the state of before.
func TestCheckpointThatIsAheadOfTheLog(t *testing.T) {
	for name, batches := range map[string]int{"the log is shorter": 2, "the log disagrees": 9} {
		t.Run(name, func(t *testing.T) {
			log := &memLog{}
			o := options(t.TempDir(), log)
			r := start(t, o)
			for range batches {
				r.propose("mine")
			}
			r.stop()
			sent := checkpoint{position{6, 4}, []Voter{voter(1), voter(2)}, AppendRecord(nil, []byte("theirs"))}
			if _, err := writeCheckpoint(o, sent); err != nil {
				t.Fatal(err)
			}
			if _, err := tryStart(t, o); err == nil || !strings.Contains(err.Error(), "no way to reach it") {
				t.Errorf("opened although the checkpoint names two voters: %v", err)
			}
			o.Transport = silence{}
			r = start(t, o)
			defer r.stop()
			r.wantList("theirs")
			st := r.Status()
			if log.start != 6 || log.End() != 6 || st.Start != 6 || st.HighWatermark != 6 || len(st.Voters) != 2 || st.Leading || st.Epoch != 4 {
				t.Errorf("the log is [%d, %d), status %+v", log.start, log.End(), st)
			}
		})
	}
}

// silence is a Transport to nowhere.
type silence struct{}

func (silence) Send(moldau.DirectoryID, []byte, func(error)) {}

func TestOpenRefuses(t *testing.T) {
	log := &memLog{}
	m := newTally()
	reserved := options(t.TempDir(), log)
	reserved.Self = Voter{ID: 1}
	alike := options(t.TempDir(), log)
	alike.Voters = append(alike.Voters, voter(1))
	alike.Voters[1].Directory[15] = 9
	apart := options(t.TempDir(), log)
	apart.Voters = append(apart.Voters, voter(2))
	noLog := options(t.TempDir(), nil)
	for want, o := range map[string]Options{"reserved": reserved, "begin alike": alike, "no way to reach": apart, "are needed": noLog} {
		o.Machine = m
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	for _, kind := range []pb.EntryType{pb.EntryNormal, pb.EntryConfChange} {
		for _, data := range [][]byte{nil, []byte("x")} {
			term, index := uint64(3), uint64(8)
			b, err := encodeEntry(&pb.Entry{Type: &kind, Term: &term, Index: &index, Data: data}, 99, 0)
			if err != nil {
				t.Fatal(err)
			}
			if b.BaseOffset() != 7 || b.LastOffset() != 7 || b.LeaderEpoch() != 3 || b.MaxTimestamp() != 99 || b.IsControl() {
				t.Errorf("batch %v", b)
			}
			e, err := decodeEntry(b, 7)
			if err != nil || e.GetType() != kind || e.GetTerm() != 3 || e.GetIndex() != 8 || string(e.GetData()) != string(data) || (e.GetData() == nil) != (data == nil) {
				t.Errorf("entry %v, %v", e, err)
			}
			if _, err := decodeEntry(b, 8); err == nil {
				t.Error("a batch at the wrong offset was taken")
			}
		}
	}
	kind, term := pb.EntryConfChangeV2, uint64(1)<<31
	if _, err := encodeEntry(&pb.Entry{Type: &kind}, 0, 0); err == nil {
		t.Error("an entry of an unknown kind was encoded")
	}
	if _, err := encodeEntry(&pb.Entry{Term: &term}, 0, 0); err == nil {
		t.Error("a term beyond the last leader epoch was encoded")
	}
	two := record.NewBuilder(7)
	two.LeaderEpoch = 1
	two.Add(record.Record{Key: []byte{0}})
	two.Add(record.Record{Key: []byte{0}})
	strange := record.NewBuilder(7)
	strange.LeaderEpoch = 1
	strange.Add(record.Record{Key: []byte{2}})
	for _, builder := range []*record.Builder{two, strange} {
		b, err := builder.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeEntry(b, 7); err == nil {
			t.Errorf("taken for an entry: %v", b)
		}
	}
}

func FuzzFiles(f *testing.F) {
	f.Add(encodeState(someState()))
	f.Add(encodeCheckpoint(someCheckpoint()))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A right checksum lets the fuzzer come past it.
		if len(b) >= fileHeaderLen {
			magic := string(b[:8])
			b = sealFile(slices.Clone(b), magic)
		}
		if s, err := decodeState(b); err == nil && !bytes.Equal(encodeState(s), b) {
			t.Errorf("%x is read as %+v, which is written otherwise", b, s)
		}
		if c, err := decodeCheckpoint(b); err == nil && !bytes.Equal(encodeCheckpoint(c), b) {
			t.Errorf("%x is read as %+v, which is written otherwise", b, c)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(AppendRecord(AppendRecord(nil, []byte("a")), make([]byte, 300)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for r, err := range Records(b) {
			if err != nil {
				return
			}
			n += 1 + len(r)
		}
		if n > len(b) {
			t.Errorf("%d bytes hold records of %d", len(b), n)
		}
	})
}
