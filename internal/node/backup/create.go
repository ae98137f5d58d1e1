// Package backup takes the data of a broker into a repository, checks what is there, and makes a log directory of it again.
//
// It reads the directories beside the broker, which neither waits nor knows: sealed segments do not change, and of the active
// one all below the high watermark stays as it is. How far each partition reaches the broker is asked once, by the
// protocol that every client speaks; see Live. docs/adr/0008-backup-beside-the-broker.md tells why.
package backup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Live is what a running broker says of itself: first the offsets, then how far its metadata is, so that the metadata of a
// backup is not older than its partitions.
type Live struct {
	ClusterID string
	Starts    map[moldau.TopicPartition]moldau.Offset
	Ends      map[moldau.TopicPartition]moldau.Offset // high watermarks
	Failed    map[moldau.TopicPartition]string        // partitions that have no answer, with why
	// MetadataEnd is behind the last committed entry of the metadata log.
	MetadataEnd moldau.Offset
}

// Options say what is to be backed up, and where to.
type Options struct {
	Env env.Env
	// Repo is the repository; it is made where it is absent.
	Repo string
	// From are the log directories of the broker, that of the metadata among them.
	From []string
	// Ask asks the running broker.
	Ask func(context.Context) (Live, error)
	// BytesPerSecond bounds what is copied; 0: no bound.
	BytesPerSecond int64
	// Progress is told how many partitions of how many are done, and the bytes that were copied.
	Progress func(done, total int, bytes int64)
}

// Created is what Create has done.
type Created struct {
	*Manifest
	Copied int64 // bytes
	Shared int64 // bytes that the backup before has too, as names of the same files
}

// askTries bounds how often the broker is asked: a topic that is made between its two answers asks for another pair.
const askTries = 10

// Create takes a backup. It is complete once Create returns without an error, which tells of partitions that could not be
// taken in Missing; until then, and where it is cut short, it bears a name that says so.
//
// Each partition is taken up to the high watermark that the broker told: all that was acknowledged before is in it, and what
// it holds was there together at that moment. Where From are the directories of a broker that has stopped, all is taken.
func Create(ctx context.Context, o Options) (Created, error) {
	for _, dir := range o.From {
		if env.Within(o.Repo, dir) || env.Within(dir, o.Repo) {
			return Created{}, fmt.Errorf("the repository %s and the log directory %s lie in each other: name a directory elsewhere, best on another disk", o.Repo, dir)
		}
	}
	t := &taking{o: o, fsys: o.Env.FS, reuse: make(map[string]File)}
	if err := t.begin(); err != nil {
		return Created{}, err
	}
	defer t.end()
	if err := t.look(ctx); err != nil {
		return Created{}, err
	}
	if err := t.partitions(ctx); err != nil {
		return Created{}, err
	}
	if err := t.finish(); err != nil {
		return Created{}, err
	}
	return Created{&t.manifest, t.copied, t.shared}, nil
}

// taking is a backup under way.
type taking struct {
	o        Options
	fsys     env.FS
	locks    []interface{ Close() error }
	sources  []*commitlog.Directory
	home     string // the log directory with the metadata
	live     Live
	offline  bool // no broker runs on the sources; they are locked
	image    *metadata.Image
	found    map[moldau.TopicPartition]commitlog.PartitionDir
	manifest Manifest
	dir      string          // of the backup, while it is made
	before   string          // of the backup before
	reuse    map[string]File // the files of the backup before that may be shared, by topic id and name

	started        time.Time
	copied, shared int64
	done, told     int // partitions, and MiB copied when the progress was told
}

// end gives the locks back. A lock that cannot be given back goes with the process.
func (t *taking) end() {
	for _, l := range slices.Backward(t.locks) {
		_ = l.Close()
	}
}

// begin locks the repository, clears away what an earlier try has left, and makes the directory of the new backup.
func (t *taking) begin() error {
	if err := t.fsys.MkdirAll(t.o.Repo); err != nil {
		return err
	}
	lock, err := t.fsys.Lock(filepath.Join(t.o.Repo, lockName))
	if errors.Is(err, env.ErrLocked) {
		return fmt.Errorf("another backup is being taken into %s: %w", t.o.Repo, err)
	}
	if err != nil {
		return err
	}
	t.locks = append(t.locks, lock)
	entries, err := t.fsys.ReadDir(t.o.Repo)
	if err == nil {
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), unfinishedName) {
				err = errors.Join(err, t.fsys.RemoveAll(filepath.Join(t.o.Repo, e.Name())))
			}
		}
	}
	if err == nil {
		err = t.name()
	}
	if err != nil {
		t.end()
	}
	return err
}

// name gives the backup its id, the time, later than that of every other.
func (t *taking) name() error {
	now := t.o.Env.Clock.Now().UTC()
	t.started = now
	ids, err := List(t.fsys, t.o.Repo)
	if err != nil {
		return err
	}
	id := now.Format("20060102T150405Z")
	if n := len(ids); n > 0 && ids[n-1] >= id {
		id = next(ids[n-1])
	}
	t.manifest = Manifest{
		Magic: manifestMagic, Version: manifestVersion, ID: id, CreatedMs: now.UnixMilli(), Partitions: []Partition{}, Missing: []Missing{},
	}
	t.dir = filepath.Join(t.o.Repo, id+unfinishedName)
	return t.fsys.MkdirAll(t.dir)
}

// next is an id that is sorted behind id: 20261127T110000Z, 20261127T110000Z-002, -003.
func next(id string) string {
	stem, n, found := strings.Cut(id, "-")
	count := 2
	if found {
		_, _ = fmt.Sscanf(n, "%d", &count) // another form counts from 2 on
		count++
	}
	return fmt.Sprintf("%s-%03d", stem, count)
}

// look opens the sources, asks the broker, and reads the metadata and the backup before.
func (t *taking) look(ctx context.Context) error {
	for _, path := range t.o.From {
		d, err := commitlog.Inspect(t.fsys, path)
		if err != nil && broker.HasMetadata(t.fsys, path) { // metadata.log.dir, where it is none of log.dirs
			t.home = path
			continue
		}
		if err != nil {
			return err
		}
		id, _ := d.Identity()
		if len(t.sources) == 0 {
			t.manifest.ClusterID, t.manifest.NodeID = id.ClusterID, int32(id.NodeID)
		}
		switch {
		case id.Apache:
			return fmt.Errorf("%s: %w", path, commitlog.ErrApache)
		case id.ClusterID != t.manifest.ClusterID || int32(id.NodeID) != t.manifest.NodeID:
			return fmt.Errorf("%s is of node %d of cluster %s, and %s is not: a backup takes the directories of one broker",
				t.o.From[0], t.manifest.NodeID, t.manifest.ClusterID, path)
		}
		t.sources = append(t.sources, d)
		if broker.HasMetadata(t.fsys, path) {
			t.home = path
		}
	}
	if t.home == "" || len(t.sources) == 0 {
		return fmt.Errorf("none of %s holds the metadata log: name the directory of metadata.log.dir too", strings.Join(t.o.From, ", "))
	}
	if err := t.hold(); err != nil {
		return err
	}
	if err := t.agree(ctx); err != nil {
		return err
	}
	if err := t.find(); err != nil {
		return err
	}
	return t.readBefore()
}

// hold locks the sources where no broker does.
func (t *taking) hold() error {
	for i, d := range t.sources {
		err := d.Hold()
		if errors.Is(err, env.ErrLocked) && i == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		t.locks = append(t.locks, d)
	}
	t.offline = true
	return nil
}

// agree asks the broker and reads the metadata until the two know the same partitions.
func (t *taking) agree(ctx context.Context) (err error) {
	if t.offline {
		t.image, err = broker.Peek(t.fsys, t.home, 0)
		return err
	}
	if t.o.Ask == nil {
		return fmt.Errorf("a broker runs on %s, and nobody can ask it", t.home)
	}
	for range askTries {
		if t.live, err = t.o.Ask(ctx); err != nil {
			return fmt.Errorf("ask the broker that runs on %s: %w", t.home, err)
		}
		if t.live.ClusterID != t.manifest.ClusterID {
			return fmt.Errorf("the broker that was asked is of cluster %s, and %s is of %s", t.live.ClusterID, t.home, t.manifest.ClusterID)
		}
		if t.image, err = broker.Peek(t.fsys, t.home, t.live.MetadataEnd); err != nil {
			return err
		}
		if t.known() {
			return nil
		}
	}
	return fmt.Errorf("topics were made each time that the broker was asked, %d times", askTries)
}

// known reports whether the broker told of every partition of the image.
func (t *taking) known() bool {
	for topic := range t.image.Topics() {
		for i := range topic.Partitions {
			tp := moldau.TopicPartition{Topic: topic.Name, Partition: int32(i)}
			if _, failed := t.live.Failed[tp]; failed {
				continue
			}
			if _, ok := t.live.Ends[tp]; !ok {
				return false
			}
		}
	}
	return true
}

// find notes where the logs are.
func (t *taking) find() error {
	t.found = make(map[moldau.TopicPartition]commitlog.PartitionDir)
	for _, d := range t.sources {
		parts, err := d.Partitions()
		if err != nil {
			return err
		}
		for _, p := range parts {
			topic := t.image.Topic(p.Partition.Topic)
			if topic != nil && (p.TopicID == topic.ID || p.TopicID.IsZero() && t.found[p.Partition].Dir == "") {
				t.found[p.Partition] = p
			}
		}
		if !t.offline {
			continue
		}
		starts, err := d.ReadCheckpoint(commitlog.LogStarts)
		if err != nil {
			return err
		}
		if t.live.Starts == nil {
			t.live.Starts = make(map[moldau.TopicPartition]moldau.Offset)
		}
		for tp, o := range starts {
			t.live.Starts[tp] = max(t.live.Starts[tp], o)
		}
	}
	return nil
}

// readBefore finds the newest backup of the same broker, whose sealed segments need not be copied again.
func (t *taking) readBefore() error {
	ids, err := List(t.fsys, t.o.Repo)
	if err != nil {
		return err
	}
	for _, id := range slices.Backward(ids) {
		m, err := ReadManifest(t.fsys, t.o.Repo, id)
		if err != nil || m.ClusterID != t.manifest.ClusterID || m.NodeID != t.manifest.NodeID {
			continue // verify tells of a damaged one; here it is only of no use
		}
		t.before = filepath.Join(t.o.Repo, id)
		for _, p := range m.Partitions {
			for _, f := range p.Files {
				if f.Source != nil {
					t.reuse[p.TopicID+" "+f.Name] = f
				}
			}
		}
		return nil
	}
	return nil
}

// partitions takes every partition of the image.
func (t *taking) partitions(ctx context.Context) error {
	for topic := range t.image.Topics() {
		for i := range topic.Partitions {
			tp := moldau.TopicPartition{Topic: topic.Name, Partition: int32(i)}
			p, err := t.partition(ctx, tp, topic.ID)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var own *repoError
			if errors.As(err, &own) {
				return err
			}
			if err != nil {
				t.manifest.Missing = append(t.manifest.Missing, Missing{tp.Topic, tp.Partition, topic.ID.String(), err.Error()})
			} else {
				t.manifest.Partitions = append(t.manifest.Partitions, p)
			}
			t.done++
			t.progress()
		}
	}
	return t.forgetDeleted()
}

func (t *taking) progress() {
	if t.o.Progress != nil {
		t.o.Progress(t.done, t.image.PartitionCount(), t.copied)
	}
}

// forgetDeleted drops the topics that were deleted while their partitions were copied: they are none that is missing.
func (t *taking) forgetDeleted() error {
	if t.offline || len(t.manifest.Missing) == 0 {
		return nil
	}
	now, err := broker.Peek(t.fsys, t.home, 0)
	if err != nil {
		return err
	}
	gone := make(map[string]bool)
	for topic := range t.image.Topics() {
		if now.TopicByID(topic.ID) == nil {
			gone[topic.ID.String()] = true
			t.image, _ = t.image.Apply(t.image.Offset(), t.image.Epoch(), []schema.Record{&schema.RemoveTopic{TopicID: topic.ID}})
		}
	}
	t.manifest.Missing = slices.DeleteFunc(t.manifest.Missing, func(m Missing) bool { return gone[m.TopicID] })
	t.manifest.Partitions = slices.DeleteFunc(t.manifest.Partitions, func(p Partition) bool { return gone[p.TopicID] })
	return nil
}

// finish writes the metadata and the manifest, and gives the backup its name.
func (t *taking) finish() error {
	b := broker.EncodeRecords(t.image.Records())
	if err := env.WriteFile(t.fsys, t.dir, recordsName, b); err != nil {
		return err
	}
	t.manifest.Metadata = File{Name: recordsName, Bytes: int64(len(b)), SHA256: sum(b)}
	t.manifest.MetadataEnd = t.image.Offset() + 1
	if err := t.manifest.write(t.fsys, t.dir); err != nil {
		return err
	}
	if err := t.fsys.Rename(t.dir, strings.TrimSuffix(t.dir, unfinishedName)); err != nil {
		return err
	}
	return t.fsys.SyncDir(t.o.Repo)
}

// bounds are the offsets between which a partition is taken. Of a broker that has stopped all is taken that is whole.
func (t *taking) bounds(tp moldau.TopicPartition) (start, end moldau.Offset, err error) {
	if t.offline {
		return t.live.Starts[tp], math.MaxInt64, nil
	}
	if why, failed := t.live.Failed[tp]; failed {
		return 0, 0, errors.New(why)
	}
	return t.live.Starts[tp], t.live.Ends[tp], nil
}
