// Package importer makes a log directory of ours from those of Apache Kafka (4.3, KRaft), whose node has stopped.
//
// Apache's directories are read and never changed: partitions are copied, or sealed segments are given a second name.
// The target is marked as unfinished until all is there and every log has been opened once; an import that was cut short is
// run again.
package importer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Options say where an import goes, and how.
type Options struct {
	Env    env.Env
	Logger *slog.Logger
	// To is the log directory to be made.
	To string
	// Command is what a person typed, told to whoever meets an unfinished target.
	Command string
	// Link gives sealed segments a second name in place of a copy. The target has to be on the same volume.
	Link bool
	// Recover allows a source that was not stopped cleanly.
	Recover bool
	// Partial allows topics to be left out that are not whole in the sources.
	Partial bool
	// Progress is told how many bytes of how many are in place, by one caller at a time.
	Progress func(done, total int64)
}

// Errors that a person answers with an option.
var (
	ErrUnclean = errors.New("the source was not stopped cleanly")
	ErrPartial = errors.New("topics would be left out")
)

// Report is what an import has done.
type Report struct {
	To         string `json:"to"`
	Partitions int    `json:"partitions"`
	Bytes      int64  `json:"bytes"`
	// Recovered are the logs that had to be cut or repaired, with what was done.
	Recovered []string `json:"recovered"`
	// Damaged are the logs that are served up to a place that cannot be read, and take nothing more, here as in the source.
	Damaged []string `json:"damaged"`
	// Open are the partitions with an open transaction: read_committed stops at it until its coordinator ends it.
	Open []string `json:"open_transactions"`
}

// Run does what the plan says.
func (p *Plan) Run(ctx context.Context, o Options) (Report, error) {
	if err := p.Check(o); err != nil {
		return Report{}, err
	}
	dir, err := commitlog.FillDirectory(o.Env.FS, o.To, o.Command)
	if err != nil {
		return Report{}, err
	}
	r := run{plan: p, o: o, dir: dir}
	r.mu.report = Report{To: o.To, Recovered: []string{}, Damaged: []string{}, Open: []string{}}
	r.mu.logs = make(map[moldau.TopicPartition]broker.FoundLog)
	err = r.all(ctx)
	return r.mu.report, errors.Join(err, dir.Close())
}

// Check returns why Run would refuse, or nil; it changes nothing.
func (p *Plan) Check(o Options) error {
	switch {
	case !p.Clean && !o.Recover:
		return ErrUnclean
	case !p.Clean && o.Link:
		return fmt.Errorf("%w: a recovery may cut segments, so they have to be copied and not linked", ErrUnclean)
	}
	var missing []string
	for _, t := range p.Topics {
		if t.LeftOut != "" {
			missing = append(missing, t.Name)
		}
	}
	if len(missing) > 0 && !o.Partial {
		return fmt.Errorf("%w: %d of %d, such as %s", ErrPartial, len(missing), len(p.Topics), missing[0])
	}
	for _, s := range p.Sources {
		if env.Within(o.To, s.Path) {
			return fmt.Errorf("%s lies in the source %s, which is not to be changed: name a directory elsewhere", o.To, s.Path)
		}
	}
	if err := commitlog.CheckFill(o.Env.FS, o.To); err != nil {
		return err
	}
	_, free, err := o.Env.FS.Space(existing(o.Env.FS, o.To))
	if err == nil && !o.Link && free < p.Bytes {
		return fmt.Errorf("the volume of %s has %d bytes free, and the import needs %d", o.To, free, p.Bytes)
	}
	return nil
}

// existing is the directory at path, or the nearest one above it that is there.
func existing(fsys env.FS, path string) string {
	for {
		if _, err := fsys.Stat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

// run is an import under way.
type run struct {
	plan *Plan
	o    Options
	dir  *commitlog.Directory

	mu struct {
		sync.Mutex
		report Report
		logs   map[moldau.TopicPartition]broker.FoundLog
	}
}

// takenAtOnce is how many partitions are put in place at a time. Each waits for its syncs, and the file system makes one
// journal commit of those that wait together.
const takenAtOnce = 16

func (r *run) all(ctx context.Context) error {
	e := r.o.Env
	id := commitlog.Identity{
		ClusterID: r.plan.ClusterID, NodeID: moldau.BrokerID(r.plan.NodeID), DirectoryID: moldau.NewUUID(e.Rand),
	}
	if err := r.dir.Claim(id); err != nil {
		return err
	}
	type task struct {
		topic Topic
		part  Partition
	}
	var tasks []task
	for _, t := range r.plan.Topics {
		for _, part := range t.Partitions {
			if t.LeftOut == "" {
				tasks = append(tasks, task{t, part})
			}
		}
	}
	err := e.Parallel("import", len(tasks), takenAtOnce, func(i int) error {
		t := tasks[i]
		tp := moldau.TopicPartition{Topic: t.topic.Name, Partition: t.part.Partition}
		err := r.take(ctx, tp, t.part)
		if err == nil {
			err = r.open(tp, t.topic, t.part)
		}
		if err != nil {
			return fmt.Errorf("import partition %v: %w", tp, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.mu.report.sort()
	return broker.Found(e, r.o.Logger, r.dir, broker.Founding{
		Records: r.plan.records(), Logs: r.mu.logs, Clean: len(r.mu.report.Damaged) == 0, // each start has to look at damage again
	})
}

// sort puts the lines in an order that does not depend on which partition was ready first.
func (r *Report) sort() {
	for _, lines := range [][]string{r.Recovered, r.Damaged, r.Open} {
		slices.Sort(lines)
	}
}

// take puts the files of a partition in place, durably.
func (r *run) take(ctx context.Context, tp moldau.TopicPartition, part Partition) error {
	fsys, to := r.o.Env.FS, r.dir.PartitionDir(tp)
	if err := fsys.MkdirAll(to); err != nil {
		return err
	}
	told := func(p []byte) error {
		r.progress(int64(len(p)))
		return ctx.Err()
	}
	for _, name := range part.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		from := filepath.Join(part.Directory, name)
		info, err := fsys.Stat(from)
		if err != nil {
			return err
		}
		if r.o.Link && part.links[name] {
			if err := fsys.Link(from, filepath.Join(to, name)); err != nil {
				return fmt.Errorf("%w; without --link it is copied", err)
			}
			r.progress(info.Size())
			continue
		}
		if err := env.CopyFile(fsys, from, filepath.Join(to, name), info.Size(), told); err != nil {
			return err
		}
	}
	return fsys.SyncDir(to)
}

func (r *run) progress(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.report.Bytes += n
	if r.o.Progress != nil {
		r.o.Progress(min(r.mu.report.Bytes, r.plan.Bytes), r.plan.Bytes)
	}
}

// open opens the log that was put in place once, with what a start would demand of it, and notes where it begins and ends.
func (r *run) open(tp moldau.TopicPartition, t Topic, part Partition) error {
	log, err := commitlog.Open(commitlog.Options{
		FS: r.o.Env.FS, Now: r.o.Env.Clock.Now, Dir: r.dir.PartitionDir(tp), Partition: tp, TopicID: t.id,
		Config: commitlog.DefaultConfig(), Clean: r.plan.Clean, RecoveryPoint: moldau.Offset(part.RecoveryPoint),
		Whole:    !strings.Contains(t.Configs["cleanup.policy"], "compact"), // or else offsets are missing by right
		LogStart: moldau.Offset(part.LogStart),
	})
	if err != nil {
		return err
	}
	recovery, damage, producers, start, end := log.Recovery(), log.Damage(), log.Producers(), log.Start(), log.End()
	if err := log.Close(); err != nil && !errors.Is(err, commitlog.ErrDamaged) {
		return err
	}
	found := broker.FoundLog{
		TopicID: t.id, RecoveryPoint: end, HighWatermark: min(moldau.Offset(part.HighWatermark), end), Start: start,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	report := &r.mu.report
	report.Partitions++
	for _, note := range recovery.Notes {
		report.Recovered = append(report.Recovered, fmt.Sprintf("%v: %s", tp, note))
	}
	if recovery.Reason != "" {
		report.Recovered = append(report.Recovered, fmt.Sprintf("%v: it was cut at offset %d, %d bytes: %s", tp, recovery.TruncatedAt, recovery.TruncatedBytes, recovery.Reason))
	}
	if damage != nil {
		report.Damaged = append(report.Damaged, fmt.Sprintf("%v: %v", tp, damage))
		found.RecoveryPoint = moldau.Offset(part.RecoveryPoint) // what it ends with is not all that was synced
	}
	for _, producer := range producers {
		if producer.TxnStart >= 0 {
			report.Open = append(report.Open, fmt.Sprintf("%v: producer %d, from offset %d", tp, producer.ID, producer.TxnStart))
		}
	}
	r.mu.logs[tp] = found
	return nil
}

// records are the metadata of the target: its topics, each partition with this node as its only replica, and what is
// configured. Leader epochs go on from where they were.
func (p *Plan) records() (recs []schema.Record) {
	node := []moldau.BrokerID{moldau.BrokerID(p.NodeID)}
	for _, t := range p.Topics {
		if t.LeftOut != "" {
			continue
		}
		recs = append(recs, &schema.Topic{Name: t.Name, ID: t.id})
		for _, part := range t.Partitions {
			recs = append(recs, &schema.Partition{
				Partition: part.Partition, TopicID: t.id, Replicas: node, ISR: node, Leader: node[0],
				LeaderEpoch: moldau.LeaderEpoch(part.LeaderEpoch), PartitionEpoch: part.partitionEpoch,
			})
		}
		recs = append(recs, settings(metadata.Resource{Type: schema.TopicResource, Name: t.Name}, t.Configs)...)
	}
	for _, r := range p.Configs {
		recs = append(recs, settings(r.resource, r.Set)...)
	}
	if p.NextProducerID > 0 {
		recs = append(recs, &schema.ProducerIDs{Broker: moldau.NoBroker, Epoch: -1, Next: moldau.ProducerID(p.NextProducerID)})
	}
	return recs
}

func settings(r metadata.Resource, set map[string]string) (recs []schema.Record) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value := set[name]
		recs = append(recs, &schema.Config{ResourceType: r.Type, ResourceName: r.Name, Name: name, Value: &value})
	}
	return recs
}
