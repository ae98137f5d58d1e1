package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/api"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/store/commitlog"
	"github.com/moldau/moldau/internal/store/filecache"
)

// storage is the log directories and the goroutines that open, close and remove logs in them.
type storage struct {
	env    env.Env
	logger *slog.Logger
	// partitions is all of the broker.
	partitions *partition.Table
	dirs       []*logDir // those that could be opened
	// unopened are the others, with the reasons.
	unopened []api.LogDir

	files *filecache.Cache // of all logs
	pools commitlog.Pools  // likewise
	// alarm has the watch over the directories look at them at once: one has failed, or found no space.
	alarm chan struct{}
	// starved is the jobs that found no space.
	starved struct {
		sync.Mutex
		jobs []func()
	}

	// checkpoints guards the checkpoints of all directories, in memory and in the files.
	checkpoints sync.Mutex

	firstLook sync.Once // at the metadata
	recovery  recovery

	stopping atomic.Bool
	running  sync.WaitGroup
}

// logDir is one log directory and its workers. What concerns one partition goes to one worker, so that the log of a
// topic that is made again is opened after that of its namesake was removed.
type logDir struct {
	*commitlog.Directory
	path  string
	home  *partition.Directory // as its partitions see it
	fs    env.FS               // through which all goes: its failures take home offline
	id    moldau.DirectoryID
	clean bool
	// formatted says that there was a life before.
	formatted bool
	// outage is how the last life ended where that was not clean; unsettled counts the logs that are still to be recovered from it,
	// and the look at the metadata that says which there are; settled, that there are none.
	outage    commitlog.Outage
	unsettled atomic.Int64
	settled   atomic.Bool
	// What the checkpoint files hold stands in the partitions (Partition.Saved), and of those that have not come yet in
	// unclaimed; stale has a bit for each file that may tell of somebody else, such as a partition that was deleted. All guarded
	// by storage.checkpoints.
	unclaimed map[moldau.TopicPartition]partition.Saved
	stale     map[moldau.TopicPartition]uint8
	unwritten [partition.Checkpoints]bool // told
	// found is the partitions on disk at start that no partition of the metadata has claimed yet; listed is what the
	// manifest says should be there.
	found  map[moldau.TopicPartition]commitlog.PartitionDir
	listed map[moldau.TopicPartition]moldau.TopicID
	// moves are the partitions that the directory has given up to another; guarded by manifest. undecided are those of them of which
	// this start cannot tell where they are; futures, the copies that the last life was making here.
	moves     []commitlog.Move
	undecided map[moldau.TopicPartition]commitlog.Move
	futures   []commitlog.PartitionDir
	count     int // partitions assigned, to spread new ones
	// manifest guards changes of the manifest, which workers make.
	manifest sync.Mutex

	volume  env.Volume // nil: the system cannot sync one
	flusher *partition.Flusher
	workers []*worker
	// The watch's own: whether its partitions were told of its failure, and when retention was asked for early.
	told     bool
	retained time.Time
}

// openDir takes a directory for this broker. What it holds is read only after its clean marker was taken away: a crash
// while loading must not look like a clean stop (KAFKA-10471).
func (s *storage) openDir(path string) (*logDir, error) {
	d := &logDir{path: path, home: partition.NewDirectory(path), stale: make(map[moldau.TopicPartition]uint8)}
	d.undecided = make(map[moldau.TopicPartition]commitlog.Move)
	d.home.Create = func(p *partition.Partition) { d.workerOf(p.Name).add(task{create: p}) }
	d.fs = s.files.On(env.Watch(s.env.FS, func(err error) { // one for all its logs
		d.home.Fail(err)
		s.wake()
	}, func(error) { s.wake() }))
	var err error
	if d.Directory, err = commitlog.OpenDirectory(d.fs, path); err != nil {
		return nil, err
	}
	_, d.formatted = d.Identity()
	d.unsettled.Store(1) // until the metadata was looked at
	d.volume, err = d.fs.OpenVolume(path)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		d.release()
		return nil, err
	}
	d.flusher = partition.NewFlusher(s.env, s.logger, d.volume)
	return d, nil
}

// release gives the directory back. Its lock would go with the end of the process too.
func (d *logDir) release() {
	if d.volume != nil {
		_ = d.volume.Close() // nothing was written through it
	}
	_ = d.Close()
}

// load reads the checkpoints and what partitions there are.
func (d *logDir) load() (err error) {
	if err := d.loadCheckpoints(); err != nil {
		return err
	}
	if err := d.PurgeDeleted(); err != nil {
		return err
	}
	if d.futures, err = d.TakeFutures(); err != nil {
		return err
	}
	if d.moves, err = d.ReadMoves(); err != nil {
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

// checkUnused returns an error where a directory holds logs. It is for a start without metadata: a cluster that begins has
// none, so the metadata log was lost.
func (s *storage) checkUnused() error {
	for _, d := range s.dirs {
		held := maps.Clone(d.listed)
		for tp, found := range d.found {
			held[tp] = found.TopicID
		}
		for tp := range held {
			return fmt.Errorf("the metadata log is empty, but log directory %s holds the logs of %d partitions, such as %v: "+
				"the metadata was lost; restore %s, or set log.dirs to an empty directory", d.path, len(held), tp, metadataDir)
		}
	}
	return nil
}

// start runs the workers of every directory until stop.
func (s *storage) start(threads int) {
	for _, d := range s.dirs {
		for range max(threads, 1) {
			w := &worker{wake: make(chan struct{}, 1), create: func(fresh []*partition.Partition) { s.create(d, fresh) }}
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
			w.add(task{})
		}
	}
	s.running.Wait()
}

// place finds the directory of a partition: where its log is, which held tells, else the one that the metadata has assigned,
// and where that leaves it open, the one with the fewest. A log that the manifest lists and that is not there, whose identity is
// damaged, or that is or may be in a directory that is not online, is an error: it is offline, never empty. Such an error comes
// with the directory, whose checkpoints go on telling of the log, if that is known.
func (s *storage) place(tp moldau.TopicPartition, id moldau.TopicID, assigned moldau.DirectoryID) (d *logDir, held bool, err error) {
	var least *logDir
	for _, d := range s.dirs {
		found, ok := d.found[tp]
		delete(d.found, tp)
		if m, moving := d.undecided[tp]; moving && m.TopicID == id {
			return d, true, fmt.Errorf("the partition was being moved from log directory %s to the one with directory.id=%v, which is not here: "+
				"without it nobody can tell where its newest records are; bring it back", d.path, m.To)
		}
		if listed := d.listed[tp] == id; listed || ok && (found.Err != nil || found.TopicID == id) {
			d.count++
			return d, true, d.checkFound(found, ok, id)
		}
		if !ok && d.ManifestLost() && s.toldOf(d, tp) {
			d.count++
			return d, true, d.enlistLost(tp, id)
		}
		if ok && !d.removeUnused(found) {
			if err := s.setAside(d, found); err != nil {
				return nil, false, err
			}
		}
		if d.home.Failure() == nil && (least == nil || d.count < least.count) {
			least = d
		}
	}
	if assigned.IsZero() && len(s.unopened) == 0 && least != nil {
		least.count++
		return least, false, nil
	}
	return s.placeAssigned(assigned)
}

// placeAssigned finds the directory of a partition that has no files in any that is online.
func (s *storage) placeAssigned(assigned moldau.DirectoryID) (d *logDir, held bool, err error) {
	for _, d := range s.dirs {
		if d.id == assigned {
			d.count++
			return d, false, d.home.Failure()
		}
	}
	switch {
	case len(s.unopened) > 0:
		return nil, false, fmt.Errorf("the partition's files are in log directory %s, as far as can be told, and that is offline: %w",
			s.unopened[0].Path, s.unopened[0].Failure)
	case assigned.IsZero():
		return nil, false, errors.New("no log directory is online")
	}
	return nil, false, fmt.Errorf("the partition's files are in the log directory with directory.id=%v, and log.dirs has none with that id: "+
		"bring it back (its volume may not be mounted), or delete the topic", assigned)
}

// toldOf reports whether a checkpoint tells of records of tp. Rows of a deleted namesake may too; they go before its name is used
// again, so that they count only where the manifest is lost.
func (s *storage) toldOf(d *logDir, tp moldau.TopicPartition) bool {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	for _, o := range d.unclaimed[tp] {
		if o > 0 {
			return true
		}
	}
	return false
}

// enlistLost lists a partition that was lost together with the manifest, so that the next start misses it too, and returns why it
// is offline.
func (d *logDir) enlistLost(tp moldau.TopicPartition, id moldau.TopicID) error {
	d.manifest.Lock()
	defer d.manifest.Unlock()
	err := fmt.Errorf("the checkpoints of log directory %s tell of records of the partition, and its files are gone, as is the manifest; "+
		"bring them back, or delete the topic", d.path)
	return errors.Join(err, d.Enlist(map[moldau.TopicPartition]moldau.TopicID{tp: id}))
}

// checkFound compares what is on disk of a partition, if anything is, with the topic id that the metadata has. A directory
// without partition.metadata is believed: a crash came before the file, or the file was lost, and the manifest lists it.
func (d *logDir) checkFound(found commitlog.PartitionDir, ok bool, id moldau.TopicID) error {
	switch {
	case !ok:
		return fmt.Errorf("log directory %s had the partition's files and they are gone; bring them back, or delete the topic", d.path)
	case found.Err != nil:
		return found.Err
	case found.TopicID != id && !found.TopicID.IsZero():
		return fmt.Errorf("partition.metadata in %s names topic id %v, but the manifest of %s lists the files with topic id %v: "+
			"restore the file that is damaged, or delete the topic", found.Dir, found.TopicID, d.path, id)
	}
	return nil
}

// removeUnused removes a directory that a crash has left without files before it was listed.
func (d *logDir) removeUnused(found commitlog.PartitionDir) bool {
	return found.Err == nil && found.TopicID.IsZero() && d.fs.Remove(found.Dir) == nil // which fails where there are files
}

// setAside renames the log of a namesake that the metadata does not know any more. It is not ours to delete.
func (s *storage) setAside(d *logDir, found commitlog.PartitionDir) error {
	aside := fmt.Sprintf("%s.%s-stray", found.Dir, moldau.NewUUID(s.env.Rand))
	s.logger.Warn("a directory holds the log of another topic of the same name; it is set aside",
		"directory", found.Dir, "topic id", found.TopicID.String(), "now", aside)
	if err := d.fs.Rename(found.Dir, aside); err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}

// tellUnclaimed logs what is on disk at the start and unknown to the metadata. It is left alone: of a topic whose deletion a
// crash has cut short it is rubbish, but where metadata was lost it is all that is left.
func (s *storage) tellUnclaimed() {
	for _, d := range s.dirs {
		for tp := range d.found {
			s.logger.Warn("a log directory holds partitions that the metadata does not know; they are left alone, to be removed by hand",
				"directory", d.path, "partitions", len(d.found), "such as", tp.String())
			break
		}
	}
}

// forgetClaimed gives back the memory of what the start found of partitions that are here by now.
func (s *storage) forgetClaimed(d *logDir) {
	found, listed := d.found, d.listed
	d.found, d.listed = make(map[moldau.TopicPartition]commitlog.PartitionDir), make(map[moldau.TopicPartition]moldau.TopicID)
	maps.Copy(d.found, found) // the others were taken out one by one, and a map does not shrink
	for tp, id := range listed {
		if s.partitions.Get(id, tp.Partition) == nil {
			d.listed[tp] = id
		}
	}
}

// arrival is the partitions with files that one change brings to one directory. Those that it does not list yet are enlisted
// together before the first of them is opened.
type arrival struct {
	partitions []*partition.Partition
	unlisted   map[moldau.TopicPartition]moldau.TopicID
	enlisting  sync.Mutex
	enlisted   bool
	err        error // once it is enlisted
}

func (a *arrival) add(d *logDir, p *partition.Partition) {
	a.partitions = append(a.partitions, p)
	if d.listed[p.Name] != p.ID {
		a.unlisted[p.Name] = p.ID
	}
}

// enlist notes those that came with files and are not listed: one that loses its files must not look like one that never
// had any.
func (d *logDir) enlist(a *arrival) error {
	a.enlisting.Lock()
	defer a.enlisting.Unlock()
	if a.enlisted {
		return a.err
	}
	d.manifest.Lock()
	defer d.manifest.Unlock()
	for _, p := range a.partitions {
		if p.IsGone() { // deleted meanwhile; its removal may have come
			delete(a.unlisted, p.Name)
		}
	}
	err := d.Enlist(a.unlisted)
	if env.NoSpace(err) {
		return err // it is tried again
	}
	a.enlisted, a.err = true, err
	return a.err
}

// open opens logs in the background.
func (s *storage) open(d *logDir, a *arrival) {
	d.unsettled.Add(int64(len(a.partitions)))
	for _, p := range a.partitions {
		d.do(p.Name, func() { s.openOne(d, a, p, d.clean) })
	}
}

// openOne opens the log of p, and tries again later where there is no space for what that needs.
func (s *storage) openOne(d *logDir, a *arrival, p *partition.Partition, clean bool) {
	if p.IsGone() || s.stopping.Load() {
		s.settle(d)
		return
	}
	err := d.enlist(a)
	if err == nil {
		err = s.openLog(d, p, clean)
	}
	if env.NoSpace(err) && d.home.Failure() == nil {
		s.starve(d, p.Name, err, func() { s.openOne(d, a, p, false) })
		return
	}
	if err != nil && !errors.Is(err, partition.ErrGone) {
		s.logger.Error("a partition's log cannot be opened; the partition is offline", "partition", p.Name.String(),
			"directory", d.path, "error", err)
		p.Fail(err)
	}
	s.settle(d)
}

// settle counts a log that was opened. With the last of them the lives before this one have nothing left to say.
func (s *storage) settle(d *logDir) {
	if d.unsettled.Add(-1) > 0 || s.stopping.Load() || d.settled.Swap(true) {
		return
	}
	if err := d.SettleBoot(s.env.BootID()); err != nil {
		s.logger.Error("the end of a recovery could not be noted", "directory", d.path, "error", err)
	}
}

// logOptions say which log is that of p, which is placed in d.
func (s *storage) logOptions(d *logDir, p *partition.Partition) commitlog.Options {
	return commitlog.Options{
		FS: d.fs, Files: s.files, Pools: &s.pools, Now: s.env.Clock.Now, Dir: d.PartitionDir(p.Name), Partition: p.Name, TopicID: p.ID,
		Config: p.Settings().Log,
	}
}

// openLog opens one log and hands it to its partition.
func (s *storage) openLog(d *logDir, p *partition.Partition, clean bool) error {
	s.checkpoints.Lock()
	saved := p.Saved
	s.checkpoints.Unlock()
	progress, ended := s.recovery.begin(p.Name)
	defer ended()
	o := s.logOptions(d, p)
	o.Clean, o.RecoveryPoint, o.Whole, o.Outage = clean, max(saved[recoveryPoints], 0), true, d.outage
	o.LogStart, o.LogStartKnown, o.FirstDirty, o.Progress = max(saved[logStarts], 0), saved[logStarts] >= 0, max(saved[firstDirty], 0), progress
	log, err := commitlog.Open(o)
	if err != nil {
		return err
	}
	if damage := log.Damage(); damage != nil {
		s.reportDamage(p.Name.String(), damage)
	} else {
		s.report(p.Name.String(), d.path, log.Recovery())
	}
	if err := p.Opened(log, max(saved[highWatermarks], 0)); err != nil {
		s.close(p.Name, log)
		return err
	}
	return nil
}

// openAt opens a log of p in a directory of d that is not its own yet, or has just become so: a copy.
func (s *storage) openAt(d *logDir, p *partition.Partition, dir string, clean bool) (*commitlog.Log, error) {
	o := s.logOptions(d, p)
	o.Dir, o.Clean = dir, clean
	if clean {
		s.checkpoints.Lock()
		saved := d.unclaimed[p.Name]
		o.LogStart, o.LogStartKnown, o.RecoveryPoint = saved[logStarts], true, saved[recoveryPoints]
		s.checkpoints.Unlock()
	}
	return commitlog.Open(o)
}

// report tells what a recovery had to build anew or to cut.
func (s *storage) report(partition, directory string, r commitlog.Recovery) {
	for _, note := range r.Notes {
		s.logger.Info("a file of a log was built anew", "partition", partition, "directory", directory, "note", note)
	}
	if r.Reason == "" {
		return
	}
	message := "a log was cut where a write was torn"
	if r.Midway {
		message = "a log was cut where a power loss took a write that was not synced; those behind it, as little promised, went with it"
	}
	s.logger.Warn(message, "partition", partition, "directory", directory,
		"end", int64(r.TruncatedAt), "bytes", r.TruncatedBytes, "segments", r.SegmentsRemoved, "reason", r.Reason)
}

// reportDamage tells what a recovery must not cut.
func (s *storage) reportDamage(partition string, d *commitlog.Damage) {
	s.logger.Error("a log is damaged: what is before the damage is served, and appends are refused", "partition", partition,
		"offset", int64(d.Offset), "file", d.File, "byte", d.Byte, "reason", d.Reason, "batches behind", d.Behind,
		"next", "stop the broker and run: moldau log repair "+filepath.Dir(d.File))
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
	d := s.dirOf(p.Home())
	if d == nil {
		return // it never had a place
	}
	d.count--
	if d.home.Failure() != nil {
		return // its files are not touched any more; they are unknown to the metadata at the next start
	}
	d.do(p.Name, func() {
		if log != nil {
			log.Discard()
		}
		s.disown(d, p.Name)
		s.removeFiles(d, p)
	})
}

// removeFiles renames the directory of a partition that is gone, and removes it after file.delete.delay.ms, or at once where its
// space is needed: readers under way hold its files open.
func (s *storage) removeFiles(d *logDir, p *partition.Partition) {
	d.manifest.Lock()
	renamed, err := d.DeletePartition(p.Name, moldau.NewUUID(s.env.Rand))
	d.manifest.Unlock()
	if renamed != "" {
		delay := time.Duration(p.Settings().Log.FileDeleteDelayMs) * time.Millisecond
		if d.home.Space().Level >= partition.Throttled {
			delay = 0
		}
		s.env.Clock.AfterFunc(delay, func() { // what a stop leaves behind goes at the next start
			d.do(p.Name, func() { // on the worker: thousands at once would take a thread each
				if err := d.fs.RemoveAll(renamed); err != nil {
					s.logger.Error("a deleted partition's directory could not be removed", "directory", renamed, "error", err)
				}
			})
		})
	}
	switch {
	case env.NoSpace(err) && !s.stopping.Load():
		s.starve(d, p.Name, err, func() { s.removeFiles(d, p) })
	case err != nil:
		s.logger.Error("a deleted partition's directory could not be renamed", "partition", p.Name.String(), "error", err)
	}
}

// dirOf finds the directory that partitions know as home, nil for one that is not here.
func (s *storage) dirOf(home *partition.Directory) *logDir {
	for _, d := range s.dirs {
		if d.home == home {
			return d
		}
	}
	return nil
}

// describeDirs is what DescribeLogDirs tells.
func (b *Broker) describeDirs() []api.LogDir {
	all := make([]api.LogDir, len(b.storage.dirs))
	for i, d := range b.storage.dirs {
		all[i] = api.LogDir{Path: d.path, Total: -1, Free: -1, Failure: d.home.Failure(), Futures: b.moves.into(d)}
		if total, free, err := d.fs.Space(d.path); err == nil {
			all[i].Total, all[i].Free = total, free
		}
	}
	return append(all, b.storage.unopened...)
}
