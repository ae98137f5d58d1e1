package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/store/commitlog"
)

func sequence(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("%d:%d", i, i))
	}
	return list
}

// A backup of a running broker holds what was acknowledged before, and what is written after it began is not in it. What was
// restored goes on where it ended; the leader epoch is above all that clients can have seen.
func TestBackupAndRestore(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2, "segment.bytes", "1048576", "retention.ms", "123456789")
	w.create("empty", 3)
	w.write("orders", 0, 0, 35) // four segments
	w.write("orders", 1, 0, 3)
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "orders", Partition: 0, At: 5, LeaderEpoch: -1})
	if _, err := kadm.NewClient(w.cl).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	o := w.options()
	asked := false
	o.Ask = func(ctx context.Context) (Live, error) {
		live, err := w.ask(ctx)
		if !asked {
			asked = true
			w.write("orders", 0, 35, 12) // rolls the segment that was the active one
			w.write("orders", 1, 3, 1)
		}
		return live, err
	}
	made := w.backup(o)
	if got := made.Partitions[len(made.Partitions)-2]; got.Start != 5 || got.End != 35 {
		t.Errorf("orders-0 is in it from %d to %d", got.Start, got.End)
	}
	if problems, err := Verify(t.Context(), w.fs, "/repo", made.Manifest, nil); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	topic := w.topic("orders")
	b := w.restored(made.Manifest, "/restored")
	if info := b.Info(); info.ClusterID != made.ClusterID || info.Recovered {
		t.Errorf("restored as %+v", info)
	}
	if got := w.numbers(b, "orders", 0); !slices.Equal(got, sequence(5, 35)) {
		t.Errorf("orders-0 has %v", got)
	}
	if got := w.numbers(b, "orders", 1); !slices.Equal(got, sequence(0, 3)) {
		t.Errorf("orders-1 has %v", got)
	}
	w.cl = w.client(b)
	if got := w.topic("orders"); got.ID != topic.ID || got.Partitions[0].LeaderEpoch < topic.Partitions[0].LeaderEpoch+leaderEpochsSkipped {
		t.Errorf("the topic was %+v and is %+v", topic, got)
	}
	configs, err := kadm.NewClient(w.cl).DescribeTopicConfigs(t.Context(), "orders")
	if err != nil || !slices.ContainsFunc(configs[0].Configs, func(c kadm.Config) bool { return c.Key == "retention.ms" && c.MaybeValue() == "123456789" }) {
		t.Errorf("configs %+v, %v", configs, err)
	}
	w.write("orders", 1, 3, 2)
	if got := w.numbers(b, "orders", 1); !slices.Equal(got, sequence(0, 5)) {
		t.Errorf("after more was written orders-1 has %v", got)
	}
}

func (w *world) topic(name string) kadm.TopicDetail {
	w.Helper()
	topics, err := kadm.NewClient(w.cl).ListTopics(w.Context(), name)
	if err != nil {
		w.Fatal(err)
	}
	return topics[name]
}

// The second backup copies what is new, shares the rest, and needs the first one no more.
func TestIncremental(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "segment.bytes", "1048576")
	w.write("orders", 0, 0, 35)
	first := w.backup(w.options())
	w.write("orders", 0, 35, 10)
	second := w.backup(w.options())
	if second.Shared < 3_000_000 || second.Copied > 2_000_000 || first.Shared != 0 {
		t.Errorf("first %d copied, %d shared; second %d copied, %d shared", first.Copied, first.Shared, second.Copied, second.Shared)
	}
	if ids, err := List(w.fs, "/repo"); err != nil || !slices.Equal(ids, []string{first.ID, second.ID}) {
		t.Errorf("backups %v, %v", ids, err)
	}
	if err := w.fs.RemoveAll("/repo/" + first.ID); err != nil {
		t.Fatal(err)
	}
	m, err := Newest(w.fs, "/repo", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := w.numbers(w.restored(m, "/restored"), "orders", 0); !slices.Equal(got, sequence(0, 45)) {
		t.Errorf("restored %v", got)
	}
}

// A byte that changed, in any file, is found and named; a restore does not take it either.
func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1, "segment.bytes", "1048576")
	w.write("orders", 0, 0, 15)
	made := w.backup(w.options())
	for i, f := range made.files() {
		name := filepath.Join("/repo", made.ID, f.Name)
		if f.Bytes == 0 {
			continue
		}
		flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
		w.rewrite(name, flip)
		problems, err := Verify(t.Context(), w.fs, "/repo", made.Manifest, nil)
		if err != nil || len(problems) != 1 || problems[0].File != name {
			t.Errorf("%s: %v, %v", f.Name, problems, err)
		}
		o := RestoreOptions{Env: w.env, Repo: "/repo", To: fmt.Sprintf("/restored%d", i), Command: "it"}
		if err := made.Restore(t.Context(), o); err == nil || !strings.Contains(err.Error(), filepath.Base(f.Name)) {
			t.Errorf("%s: restored, %v", f.Name, err)
		}
		w.rewrite(name, flip)
	}
	w.rewrite(filepath.Join("/repo", made.ID, manifestName), func(b []byte) []byte { return slices.Replace(b, 40, 41, 'x') })
	if _, err := ReadManifest(w.fs, "/repo", made.ID); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("a manifest that changed: %v", err)
	}
}

// A crash at any change of a backup leaves those that were complete as they were, and none that looks complete and is not.
func TestCrashAnywhere(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2, "segment.bytes", "1048576")
	w.write("orders", 0, 0, 15)
	w.backup(w.options())
	w.write("orders", 0, 15, 10)
	w.write("orders", 1, 0, 1)
	if err := w.node.Stop(); err != nil {
		t.Fatal(err)
	}
	crashed, step := errors.New("crash"), 2
	if testing.Short() {
		step = 31
	}
	before := w.fs
	for at := 0; ; at += step {
		w.fs = before.Crash(memfs.All, 0)
		w.env.FS = w.fs
		n := 0
		w.fs.Hook = func(op memfs.Op) error {
			if op.Changes() {
				if n++; n > at {
					return crashed
				}
			}
			return nil
		}
		_, err := Create(t.Context(), w.options())
		w.fs.Hook = nil
		if err == nil {
			if at < 30 {
				t.Fatalf("a backup makes %d changes only: the hook does not see them", n)
			}
			return
		}
		for _, keep := range memfs.Keeps {
			after := w.fs.Crash(keep, uint64(at))
			ids, err := List(after, "/repo")
			if err != nil || len(ids) == 0 {
				t.Fatalf("change %d, %v: %v, %v", at, keep, ids, err)
			}
			for _, id := range ids {
				m, err := ReadManifest(after, "/repo", id)
				if err != nil {
					t.Fatalf("change %d, %v: %v", at, keep, err)
				}
				if problems, err := Verify(t.Context(), after, "/repo", m, nil); err != nil || len(problems) > 0 {
					t.Fatalf("change %d, %v: %v, %v", at, keep, problems, err)
				}
			}
			w.env.FS = after
			if made := w.backup(w.options()); made.Partitions[0].End != 25 {
				t.Fatalf("change %d, %v: the next backup reaches %d", at, keep, made.Partitions[0].End)
			}
		}
	}
}

// A crash at any change of a restore leaves a directory that no broker takes for whole; the same restore then succeeds.
func TestRestoreCrashAnywhere(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	w.write("orders", 0, 0, 2)
	made := w.backup(w.options())
	if err := w.node.Stop(); err != nil {
		t.Fatal(err)
	}
	crashed, step := errors.New("crash"), 1
	if testing.Short() {
		step = 17
	}
	before := w.fs
	for at := 0; ; at += step {
		fsys := before.Crash(memfs.All, 0)
		var n atomic.Int64
		fsys.Hook = func(op memfs.Op) error {
			if op.Changes() && n.Add(1) > int64(at) {
				return crashed
			}
			return nil
		}
		o := RestoreOptions{Env: w.env, Logger: slog.New(slog.DiscardHandler), Repo: "/repo", To: "/restored", Command: "restore it"}
		o.Env.FS = fsys
		err := made.Restore(t.Context(), o)
		fsys.Hook = nil
		if err == nil {
			if at < 50 {
				t.Fatalf("a restore makes %d changes only: the hook does not see them", n.Load())
			}
			return
		}
		for _, keep := range memfs.Keeps {
			o.Env.FS = fsys.Crash(keep, uint64(at))
			d, err := commitlog.OpenDirectory(o.Env.FS, "/restored")
			if err == nil {
				_, formatted := d.Identity()
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				if clean, err := d.Stopped(); formatted && clean && err == nil {
					continue // the mark was the last that had to go, and went
				}
				if formatted {
					t.Fatalf("change %d, %v: a broker takes the directory for whole", at, keep)
				}
			}
			if err := made.Restore(t.Context(), o); err != nil {
				t.Fatalf("change %d, %v: the second try: %v", at, keep, err)
			}
		}
	}
}

// Compaction replaces a segment, and retention takes the first ones, while they are copied: what is taken is of one time.
func TestSegmentsThatChangeMeanwhile(t *testing.T) {
	const first, second = "/data/orders-0/00000000000000000000.log", "/data/orders-0/00000000000000000010.log"
	for name, c := range map[string]struct {
		change func(w *world)
		want   moldau.Offset // where the partition begins
	}{
		"retention": {func(w *world) {
			if err := w.fs.Rename(first, first+".1.deleted"); err != nil {
				t.Error(err)
			}
		}, 10},
		"compaction": {func(w *world) { w.rewrite(first, func(b []byte) []byte { return b[:len(b)/10] }) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create("orders", 1, "segment.bytes", "1048576")
			w.write("orders", 0, 0, 25)
			if err := w.node.Stop(); err != nil {
				t.Fatal(err)
			}
			opened := 0
			w.fs.Hook = func(op memfs.Op) error {
				if op.Kind == "open" && op.Name == second {
					if opened++; opened == 1 {
						w.fs.Hook = nil
						c.change(w)
					}
				}
				return nil
			}
			made := w.backup(w.options())
			if p := made.Partitions[0]; opened != 1 || p.Start > c.want || p.End != 25 {
				t.Errorf("after %d looks it is from %d to %d", opened, p.Start, p.End)
			}
			size := int64(0)
			for _, f := range made.Partitions[0].Files {
				if strings.HasSuffix(f.Name, "00000000000000000000.log") {
					size = f.Bytes
				}
			}
			if name == "compaction" && size > 200_000 {
				t.Errorf("the segment that was replaced has %d bytes in the backup", size)
			}
			w.restored(made.Manifest, "/restored")
		})
	}
}

// A topic that is deleted and made again while it is copied: nothing of the second is taken for the first's.
func TestTopicMadeAgainMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 1)
	w.write("orders", 0, 0, 3)
	opened := 0
	w.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "create" && strings.HasPrefix(op.Name, "/repo") && strings.HasSuffix(op.Name, ".log") {
			w.fs.Hook = nil
			opened++
			if _, err := kadm.NewClient(w.cl).DeleteTopic(t.Context(), "orders"); err != nil {
				t.Error(err)
			}
			w.cl = w.client(w.node) // the other one knows the topic that is gone
			w.create("orders", 1)
			w.write("orders", 0, 100, 3)
		}
		return nil
	}
	made := w.backup(w.options())
	if opened != 1 || len(made.Partitions) != 0 {
		t.Errorf("after %d changes taken %+v", opened, made.Partitions)
	}
}

// A topic that is made between the two answers of the broker is asked for again; one that is deleted while it is copied
// is in the backup neither as data nor as missing.
func TestTopicsThatComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.create("kept", 1)
	w.create("dropped", 1)
	w.write("kept", 0, 0, 3)
	w.write("dropped", 0, 0, 3)
	o := w.options()
	asked := 0
	o.Ask = func(ctx context.Context) (Live, error) {
		live, err := w.ask(ctx)
		if asked++; asked == 1 {
			w.create("late", 1)
			w.write("late", 0, 0, 2)
		}
		return live, err
	}
	w.fs.Hook = func(op memfs.Op) error {
		if op.Kind == "mkdir" && strings.HasSuffix(op.Name, "/dropped-0") && strings.HasPrefix(op.Name, "/repo") {
			w.fs.Hook = nil
			if _, err := kadm.NewClient(w.cl).DeleteTopic(t.Context(), "dropped"); err != nil {
				t.Error(err)
			}
			for begun := time.Now(); time.Since(begun) < 10*time.Second; { // the directory is renamed in the background
				if _, err := w.fs.Stat("/data/dropped-0"); err != nil {
					break
				}
			}
		}
		return nil
	}
	made := w.backup(o)
	if asked != 2 || len(made.Partitions) != 2 || made.Partitions[1].Topic != "late" || made.Partitions[1].End != 2 {
		t.Errorf("asked %d times, taken %+v", asked, made.Partitions)
	}
	b := w.restored(made.Manifest, "/restored")
	if topics, err := kadm.NewClient(w.client(b)).ListTopics(t.Context()); err != nil || len(topics) != 2 {
		t.Errorf("restored %v, %v", topics.Names(), err)
	}
}

// A partition whose files cannot be read costs the backup that partition, is told, and comes back offline, never empty.
func TestMissingPartitions(t *testing.T) {
	w := newWorld(t)
	w.create("orders", 2)
	w.write("orders", 0, 0, 3)
	w.write("orders", 1, 0, 3)
	o := w.options()
	o.Ask = func(ctx context.Context) (Live, error) {
		live, err := w.ask(ctx)
		tp := moldau.TopicPartition{Topic: "orders", Partition: 1}
		delete(live.Ends, tp)
		live.Failed[tp] = "its disk failed"
		return live, err
	}
	made, err := Create(t.Context(), o)
	if err != nil || len(made.Partitions) != 1 || len(made.Missing) != 1 || made.Missing[0].Why != "its disk failed" {
		t.Fatalf("%+v, %v", made.Manifest, err)
	}
	r := RestoreOptions{Env: w.env, Repo: "/repo", To: "/restored", Command: "it"}
	if err := made.Restore(t.Context(), r); !errors.Is(err, ErrIncomplete) {
		t.Errorf("restored in silence: %v", err)
	}
	r.Incomplete = true
	if err := made.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	b := w.start("/restored")
	if got := w.numbers(b, "orders", 0); !slices.Equal(got, sequence(0, 3)) {
		t.Errorf("orders-0 has %v", got)
	}
	w.cl = w.client(b)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if ends, err := kadm.NewClient(w.cl).ListEndOffsets(ctx, "orders"); err == nil && ends["orders"][1].Err == nil {
		t.Errorf("orders-1 ends at %d, and its files are not there", ends["orders"][1].Offset)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Ask = func(context.Context) (Live, error) { return Live{ClusterID: "another"}, nil }
	if _, err := Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is of cluster another") {
		t.Errorf("a broker of another cluster: %v", err)
	}
	for _, repo := range []string{"/data/backups", "/data", "/"} {
		inside := w.options()
		inside.Repo = repo
		if _, err := Create(t.Context(), inside); err == nil || !strings.Contains(err.Error(), "lie in each other") {
			t.Errorf("into %s: %v", repo, err)
		}
	}
	o.From = []string{"/nothing"}
	if _, err := Create(t.Context(), o); err == nil || !strings.Contains(err.Error(), "/nothing") {
		t.Errorf("no directory: %v", err)
	}
	lock, err := w.fs.Lock("/repo/.lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(t.Context(), w.options()); err == nil || !strings.Contains(err.Error(), "another backup") {
		t.Errorf("beside another one: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	made := w.backup(w.options())
	r := RestoreOptions{Env: w.env, Repo: "/repo", To: "/data", Command: "it"}
	if err := made.Restore(t.Context(), r); !errors.Is(err, commitlog.ErrNotEmpty) {
		t.Errorf("into the directory of a broker: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, w.options()); err == nil {
		t.Error("a backup was taken that was cancelled")
	}
	if ids, err := List(w.fs, "/repo"); err != nil || len(ids) != 1 {
		t.Errorf("backups %v, %v", ids, err)
	}
}

func TestIDsAscend(t *testing.T) {
	id := "20261127T110000Z"
	for range 12 {
		after := next(id)
		if after <= id {
			t.Errorf("%s comes behind %s", after, id)
		}
		id = after
	}
	if id != "20261127T110000Z-013" {
		t.Error(id)
	}
}
