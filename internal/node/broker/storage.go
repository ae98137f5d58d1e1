package broker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/api"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// storage is the log directories and the goroutines that open, close and remove logs in them.
type storage struct {
	env    env.Env
	logger *slog.Logger
	dirs   []*logDir

	// checkpoints guards the checkpoints of all directories, in memory and in the files.
	checkpoints sync.Mutex

	stopping atomic.Bool
	running  sync.WaitGroup
}

// logDir is one log directory and its workers. What concerns one partition goes to one worker, so that the log of a
// topic that is made again is opened after that of its namesake was removed.
type logDir struct {
	*commitlog.Directory
	path  string
	id    moldau.DirectoryID
	clean bool
	// saved is what the checkpoint files hold; guarded by storage.checkpoints. Of a partition whose log is not open it is all
	// that is known.
	saved map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset
	// found is the partitions on disk at start that no partition of the metadata has claimed yet; listed is what the
	// manifest says should be there.
	found  map[moldau.TopicPartition]commitlog.PartitionDir
	listed map[moldau.TopicPartition]moldau.TopicID
	count  int // partitions assigned, to spread new ones
	// manifest guards changes of the manifest, which workers make.
	manifest sync.Mutex

	workers []*worker
	failure atomic.Pointer[error]
}

// openDir takes a directory for this broker. What it holds is read only after its clean marker was taken away: a crash
// while loading must not look like a clean stop (KAFKA-10471).
func openDir(e env.Env, path string) (*logDir, error) {
	dir, err := commitlog.OpenDirectory(e.FS, path)
	if err != nil {
		return nil, err
	}
	return &logDir{Directory: dir, path: path, saved: make(map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset)}, nil
}

// load reads the checkpoints and what partitions there are.
func (d *logDir) load() (err error) {
	for _, kind := range checkpointKinds {
		if d.saved[kind], err = d.ReadCheckpoint(kind); err != nil {
			return err
		}
	}
	if err := d.PurgeDeleted(); err != nil {
		return err
	}
	parts, err := d.Partitions()
	if err != nil {
		return err
	}
	d.listed = d.Listed()
	d.found = make(map[moldau.TopicPartition]commitlog.PartitionDir, len(parts))
	for _, p := range parts {
		d.found[p.Partition] = p
	}
	return nil
}

// start runs the workers of every directory until stop.
func (s *storage) start(threads int) {
	for _, d := range s.dirs {
		for range max(threads, 1) {
			w := &worker{wake: make(chan struct{}, 1)}
			d.workers = append(d.workers, w)
			s.running.Add(1)
			s.env.Go("log directory", func() { // ends with stop
				defer s.running.Done()
				w.run()
			})
		}
	}
}

// stop lets the jobs that are queued finish; logs that are not open by now stay closed.
func (s *storage) stop() {
	s.stopping.Store(true)
	for _, d := range s.dirs {
		for _, w := range d.workers {
			w.do(nil)
		}
	}
	s.running.Wait()
}

// do runs a job for a partition after those that were given for it before.
func (d *logDir) do(tp moldau.TopicPartition, job func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(tp.String())) // never fails
	d.workers[int(h.Sum32()%uint32(len(d.workers)))].do(job)
}

// worker runs jobs one after another. Its queue is as long as there are partitions to open; who adds never waits.
type worker struct {
	mu   sync.Mutex
	jobs []func()
	wake chan struct{}
}

// do adds a job; nil ends the worker.
func (w *worker) do(job func()) {
	w.mu.Lock()
	w.jobs = append(w.jobs, job)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run() {
	for range w.wake {
		w.mu.Lock()
		jobs := w.jobs
		w.jobs = nil
		w.mu.Unlock()
		for _, job := range jobs {
			if job == nil {
				return
			}
			job()
		}
	}
}

// place finds the directory of a partition: where its log is, else where the fewest are. A log that the manifest lists and
// that is not there, or whose identity cannot be read, is an error: it is offline, never empty.
func (s *storage) place(tp moldau.TopicPartition, id moldau.TopicID) (*logDir, error) {
	var least *logDir
	for _, d := range s.dirs {
		found, ok := d.found[tp]
		delete(d.found, tp)
		switch {
		case ok && found.Err != nil:
			return nil, found.Err
		case ok && found.TopicID == id:
			d.count++
			return d, nil
		case ok:
			if err := s.setAside(d, found); err != nil {
				return nil, err
			}
		case d.listed[tp] == id && !id.IsZero():
			return nil, fmt.Errorf("log directory %s had the partition's files and they are gone; bring them back, or delete the topic", d.path)
		}
		if d.failure.Load() == nil && (least == nil || d.count < least.count) {
			least = d
		}
	}
	if least == nil {
		return nil, errors.New("no log directory is online")
	}
	least.count++
	return least, nil
}

// setAside renames the log of a namesake that the metadata does not know any more. It is not ours to delete.
func (s *storage) setAside(d *logDir, found commitlog.PartitionDir) error {
	aside := fmt.Sprintf("%s.%s-stray", found.Dir, moldau.NewUUID(s.env.Rand))
	s.logger.Warn("a directory holds the log of another topic of the same name; it is set aside",
		"directory", found.Dir, "topic id", found.TopicID.String(), "now", aside)
	if err := s.env.FS.Rename(found.Dir, aside); err != nil {
		return err
	}
	return s.env.FS.SyncDir(d.path)
}

// arrival is the partitions that one change brings to one directory. Those without files are welcomed together before the
// first of them is opened.
type arrival struct {
	partitions []*partition.Partition
	ids        map[moldau.TopicPartition]moldau.TopicID // of those without files
	welcoming  sync.Once
	err        error
}

func (a *arrival) add(d *logDir, p *partition.Partition) {
	a.partitions = append(a.partitions, p)
	if d.listed[p.Name] != p.ID {
		a.ids[p.Name] = p.ID
	}
}

// welcome makes the directory ready for the partitions without files. What its checkpoints say of others of the same names,
// whose topics were deleted, is forgotten: it would be taken for theirs. Then the manifest notes that files are about to be
// there: a directory that loses them must not look like one that never had any.
func (s *storage) welcome(d *logDir, a *arrival) error {
	a.welcoming.Do(func() {
		if len(a.ids) == 0 {
			return
		}
		if a.err = s.forget(d, a.ids); a.err != nil {
			return
		}
		d.manifest.Lock()
		defer d.manifest.Unlock()
		a.err = d.Enlist(a.ids)
	})
	return a.err
}

// forget takes partitions out of the checkpoints, durably.
func (s *storage) forget(d *logDir, partitions map[moldau.TopicPartition]moldau.TopicID) error {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	for _, kind := range checkpointKinds {
		kept := maps.Clone(d.saved[kind])
		for tp := range partitions {
			delete(kept, tp)
		}
		if len(kept) == len(d.saved[kind]) {
			continue
		}
		if err := d.WriteCheckpoint(kind, kept); err != nil {
			return err
		}
		d.saved[kind] = kept
	}
	return nil
}

// open opens logs in the background.
func (s *storage) open(d *logDir, a *arrival) {
	for _, p := range a.partitions {
		d.do(p.Name, func() {
			if p.IsGone() || s.stopping.Load() {
				return
			}
			err := s.welcome(d, a)
			if err == nil {
				err = s.openLog(d, p)
			}
			if err != nil && !errors.Is(err, partition.ErrGone) {
				s.logger.Error("a partition's log cannot be opened; the partition is offline", "partition", p.Name.String(),
					"directory", d.path, "error", err)
				p.Fail(err)
			}
		})
	}
}

// openLog opens one log and hands it to its partition.
func (s *storage) openLog(d *logDir, p *partition.Partition) error {
	s.checkpoints.Lock()
	recovered, committed, start := d.saved[commitlog.RecoveryPoints][p.Name], d.saved[commitlog.HighWatermarks][p.Name], d.saved[commitlog.LogStarts][p.Name]
	s.checkpoints.Unlock()
	log, err := commitlog.Open(commitlog.Options{
		FS: s.env.FS, Now: s.env.Clock.Now, Dir: d.PartitionDir(p.Name), Partition: p.Name, TopicID: p.ID,
		Config: p.Settings().Log, Clean: d.clean,
		RecoveryPoint: recovered, LogStart: start,
	})
	if err != nil {
		return err
	}
	s.report(p.Name.String(), d.path, log.Recovery())
	if err := p.Opened(log, committed); err != nil {
		s.close(p.Name, log)
		return err
	}
	return nil
}

// report tells what a recovery had to cut. A torn last write is what a crash leaves; damage with whole batches behind it is
// not, and those batches are lost here.
func (s *storage) report(partition, directory string, r commitlog.Recovery) {
	for _, note := range r.Notes {
		s.logger.Info("a file of a log was built anew", "partition", partition, "directory", directory, "note", note)
	}
	if r.Reason == "" {
		return
	}
	level, message := slog.LevelWarn, "a log was cut where a write was torn"
	if r.Midway {
		level, message = slog.LevelError, "a log was cut at a damaged batch, and batches behind it are lost"
	}
	s.logger.Log(context.Background(), level, message, "partition", partition, "directory", directory,
		"end", int64(r.TruncatedAt), "bytes", r.TruncatedBytes, "segments", r.SegmentsRemoved, "reason", r.Reason)
}

func (s *storage) close(tp moldau.TopicPartition, log *commitlog.Log) {
	if err := log.Close(); err != nil {
		s.logger.Error("a log could not be closed", "partition", tp.String(), "error", err)
	}
}

// remove takes a partition's log away in the background: renamed at once, deleted after a delay, so that readers under
// way finish (L-52).
func (s *storage) remove(p *partition.Partition) {
	log := p.Gone()
	d := s.dirOf(p.Dir)
	if d == nil {
		return // it never had a place
	}
	d.count--
	delay := time.Duration(p.Settings().Log.FileDeleteDelayMs) * time.Millisecond
	d.do(p.Name, func() {
		if log != nil {
			s.close(p.Name, log)
		}
		d.manifest.Lock()
		renamed, err := d.DeletePartition(p.Name, moldau.NewUUID(s.env.Rand))
		d.manifest.Unlock()
		if err != nil {
			s.logger.Error("a deleted partition's directory could not be renamed", "partition", p.Name.String(), "error", err)
			return
		}
		if renamed == "" {
			return
		}
		s.env.Clock.AfterFunc(delay, func() { // what a stop leaves behind goes at the next start
			if err := s.env.FS.RemoveAll(renamed); err != nil {
				s.logger.Error("a deleted partition's directory could not be removed", "directory", renamed, "error", err)
			}
		})
	})
}

// dirOf finds the directory of a path.
func (s *storage) dirOf(path string) *logDir {
	for _, d := range s.dirs {
		if d.path == path {
			return d
		}
	}
	return nil
}

// describe is what DescribeLogDirs tells.
func (s *storage) describe() []api.LogDir {
	all := make([]api.LogDir, len(s.dirs))
	for i, d := range s.dirs {
		all[i] = api.LogDir{Path: d.path, Total: -1, Free: -1}
		if total, free, err := s.env.FS.Space(d.path); err == nil {
			all[i].Total, all[i].Free = total, free
		}
		if failure := d.failure.Load(); failure != nil {
			all[i].Failure = *failure
		}
	}
	return all
}
