package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// What clients have seen of the life that went on after the backup, they must not see again with another meaning: leader
// epochs go on from further up than any life gets to, one for each start, and so do the ids of producers.
const (
	leaderEpochsSkipped = 10_000
	producerIDsSkipped  = 1_000_000_000
)

// RestoreOptions say what is restored, and where to.
type RestoreOptions struct {
	Env    env.Env
	Logger *slog.Logger
	Repo   string
	// To is the log directory to be made; it must be empty or absent.
	To string
	// Command is what a person typed, told to whoever meets an unfinished target.
	Command string
	// Incomplete allows a backup that lacks partitions: they are offline.
	Incomplete bool
	// Progress is told how many bytes of how many are in place, by one caller at a time.
	Progress func(done, total int64)
}

// ErrIncomplete is the error of a backup that lacks partitions.
var ErrIncomplete = errors.New("the backup is not complete")

// Check returns why Restore would refuse, or nil; it changes nothing.
func (m *Manifest) Check(o RestoreOptions) error {
	if n := len(m.Missing); n > 0 && !o.Incomplete {
		return fmt.Errorf("%w: it lacks %d partitions, such as %s-%d: %s", ErrIncomplete, n, m.Missing[0].Topic, m.Missing[0].Partition, m.Missing[0].Why)
	}
	return commitlog.CheckFill(o.Env.FS, o.To)
}

// Restore makes a log directory of the backup, on which a broker starts as after a clean stop. Every file is compared with its
// checksum, and every log is recovered from its beginning and must reach the end that it had. A restore that was cut short
// leaves a directory that no broker takes, and is run again.
func (m *Manifest) Restore(ctx context.Context, o RestoreOptions) error {
	if err := m.Check(o); err != nil {
		return err
	}
	dir, err := commitlog.FillDirectory(o.Env.FS, o.To, o.Command)
	if err != nil {
		return err
	}
	r := restoring{m: m, o: o, dir: dir, total: m.Bytes()}
	r.mu.logs = make(map[moldau.TopicPartition]broker.FoundLog)
	return errors.Join(r.all(ctx), dir.Close())
}

// restoring is a restore under way.
type restoring struct {
	m     *Manifest
	o     RestoreOptions
	dir   *commitlog.Directory
	total int64

	mu struct {
		sync.Mutex
		done int64
		logs map[moldau.TopicPartition]broker.FoundLog
	}
}

// restoredAtOnce is how many partitions are put in place at a time. Each waits for its syncs, and the file system makes one
// journal commit of those that wait together.
const restoredAtOnce = 16

func (r *restoring) all(ctx context.Context) error {
	recs, err := r.records()
	if err != nil {
		return err
	}
	err = r.dir.Claim(commitlog.Identity{
		ClusterID: r.m.ClusterID, NodeID: moldau.BrokerID(r.m.NodeID), DirectoryID: moldau.NewUUID(r.o.Env.Rand),
	})
	if err != nil {
		return err
	}
	err = r.o.Env.Parallel("restore", len(r.m.Partitions), restoredAtOnce, func(i int) error {
		p := r.m.Partitions[i]
		if err := r.partition(ctx, p); err != nil {
			return fmt.Errorf("restore partition %v: %w", p.name(), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	lost := make(map[moldau.TopicPartition]moldau.TopicID)
	for _, l := range r.m.Missing {
		id, err := moldau.ParseUUID(l.TopicID)
		if err != nil {
			return err
		}
		lost[moldau.TopicPartition{Topic: l.Topic, Partition: l.Partition}] = id
	}
	return broker.Found(r.o.Env, r.o.Logger, r.dir, broker.Founding{Records: recs, Logs: r.mu.logs, Lost: lost, Clean: true})
}

// records are the metadata of the backup, without what the life that it is of had to itself.
func (r *restoring) records() ([]schema.Record, error) {
	dir := filepath.Join(r.o.Repo, r.m.ID)
	var data []byte
	err := r.m.Metadata.read(r.o.Env.FS, dir, func(p []byte) error {
		data = append(data, p...)
		return nil
	})
	var recs, kept []schema.Record
	if err == nil {
		recs, err = broker.DecodeRecords(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, r.m.Metadata.Name), err)
	}
	node := []moldau.BrokerID{moldau.BrokerID(r.m.NodeID)}
	ids := &schema.ProducerIDs{Broker: moldau.NoBroker, Epoch: -1, Next: producerIDsSkipped}
	for _, rec := range recs {
		switch rec := rec.(type) {
		case *schema.RegisterBroker:
			continue // the first start registers the broker
		case *schema.Partition:
			rec.Replicas, rec.ISR, rec.Leader, rec.Directories = node, node, node[0], nil
			rec.Removing, rec.Adding, rec.ELR, rec.LastKnownELR = nil, nil, nil, nil
			rec.LeaderEpoch += leaderEpochsSkipped
		case *schema.ProducerIDs:
			ids.Next += rec.Next
			continue
		}
		kept = append(kept, rec)
	}
	return append(kept, ids), nil
}

// partition puts one log in place, and recovers it.
func (r *restoring) partition(ctx context.Context, p Partition) error {
	fsys, tp := r.o.Env.FS, p.name()
	to := r.dir.PartitionDir(tp)
	if err := fsys.MkdirAll(to); err != nil {
		return err
	}
	for _, f := range p.Files {
		if err := r.file(ctx, f, filepath.Join(to, path.Base(f.Name))); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(to); err != nil {
		return err
	}
	id, err := moldau.ParseUUID(p.TopicID)
	if err != nil {
		return err
	}
	// There are no indexes, and so every segment is read. What a checkpoint would call synced is: offsets may be missing where
	// the log was compacted.
	log, err := commitlog.Open(commitlog.Options{
		FS: fsys, Now: r.o.Env.Clock.Now, Dir: to, Partition: tp, TopicID: id, Config: commitlog.DefaultConfig(),
		RecoveryPoint: p.End, LogStart: p.Start,
	})
	if err != nil {
		return err
	}
	start, end, damage := log.Start(), log.End(), log.Damage()
	err = log.Close()
	switch {
	case damage != nil:
		return damage
	case err != nil:
		return err
	case end != p.End || start != p.Start:
		return fmt.Errorf("its log reaches from offset %d to %d, and the backup has %d to %d", start, end, p.Start, p.End)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.logs[tp] = broker.FoundLog{TopicID: id, RecoveryPoint: end, HighWatermark: end, Start: start}
	return nil
}

func (r *restoring) progress(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.done += n
	if r.o.Progress != nil {
		r.o.Progress(r.mu.done, r.total)
	}
}

// file copies a file of the backup, compared with its checksum on the way.
func (r *restoring) file(ctx context.Context, f File, to string) error {
	fsys := r.o.Env.FS
	out, err := fsys.Create(to)
	if err != nil {
		return err
	}
	at := int64(0)
	err = f.read(fsys, filepath.Join(r.o.Repo, r.m.ID), func(b []byte) error {
		_, err := out.WriteAt(b, at)
		at += int64(len(b))
		r.progress(int64(len(b)))
		return errors.Join(err, ctx.Err())
	})
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("%s: %w", strings.Join([]string{r.o.Repo, r.m.ID, f.Name}, "/"), err)
	}
	return nil
}
