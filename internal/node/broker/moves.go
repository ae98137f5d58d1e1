package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/api"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// moves is the replicas that are on their way to another log directory. They are copied one after another, by one task.
type moves struct {
	mu struct {
		sync.Mutex
		all map[*partition.Partition]*move // at most one a partition
	}
	wake chan struct{}
}

// move is one of them.
type move struct {
	p         *partition.Partition
	to        *logDir
	cancelled atomic.Bool
	future    atomic.Pointer[commitlog.Log] // the copy, once it is begun
	asked     time.Time
}

func newMoves() *moves {
	m := &moves{wake: make(chan struct{}, 1)}
	m.mu.all = make(map[*partition.Partition]*move)
	return m
}

// moveReplica has the log of p moved to the directory at path, and answers before that is done. The directory where it is already
// ends a move that is under way.
func (b *Broker) moveReplica(p *partition.Partition, path string) moldau.Code {
	i := slices.IndexFunc(b.storage.dirs, func(d *logDir) bool { return d.path == path })
	switch {
	case i < 0 && slices.ContainsFunc(b.storage.unopened, func(d api.LogDir) bool { return d.Path == path }):
		return moldau.KafkaStorageError
	case i < 0:
		return moldau.LogDirNotFound
	case p == nil:
		return moldau.UnknownTopicOrPartition
	case p.Loading() || p.IsGone():
		return moldau.ReplicaNotAvailable
	case !p.Online() || p.Damage() != nil || b.storage.dirs[i].home.Failure() != nil:
		return moldau.KafkaStorageError
	case len(commitlog.FutureName(p.Name, moldau.UUID{})) > commitlog.FileNameMax:
		return moldau.InvalidTopicException
	}
	b.moves.ask(p, b.storage.dirs[i], b.env.Clock.Now())
	return moldau.None
}

func (m *moves) ask(p *partition.Partition, to *logDir, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if under := m.mu.all[p]; under != nil {
		if under.to == to && !under.cancelled.Load() {
			return
		}
		under.cancelled.Store(true)
		delete(m.mu.all, p)
	}
	if p.Home() == to.home {
		return
	}
	m.mu.all[p] = &move{p: p, to: to, asked: now}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// oldest is the move that was asked for first, or nil.
func (m *moves) oldest() (first *move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.mu.all {
		if first == nil || one.asked.Before(first.asked) {
			first = one
		}
	}
	return first
}

// end takes a move off the list, unless another has taken its place.
func (m *moves) end(done *move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.all[done.p] == done {
		delete(m.mu.all, done.p)
	}
}

// into lists the replicas that are on their way into a directory, as DescribeLogDirs shows them.
func (m *moves) into(d *logDir) (list []api.FutureReplica) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.mu.all {
		log := one.p.Log()
		if one.to != d || log == nil {
			continue
		}
		f := api.FutureReplica{Partition: one.p.Name, Lag: int64(log.End() - log.Start())}
		if future := one.future.Load(); future != nil {
			f.Size, f.Lag = future.Size(), int64(max(log.End()-future.End(), 0))
		}
		list = append(list, f)
	}
	return list
}

// moveReplicas carries out moves until ctx is done.
func (b *Broker) moveReplicas(ctx context.Context) {
	b.resumeMoves(ctx)
	for {
		m := b.moves.oldest()
		if m == nil {
			select {
			case <-ctx.Done():
				return
			case <-b.moves.wake:
			}
			continue
		}
		err := b.carryOut(ctx, m)
		if ctx.Err() != nil {
			return // the next start takes it up again
		}
		b.moves.end(m)
		switch {
		case errors.Is(err, errCancelled):
			b.logger.Info("the move of a replica was cancelled", "partition", m.p.Name.String(), "to", m.to.path)
		case err != nil:
			b.logger.Error("a replica could not be moved; it stays where it is", "partition", m.p.Name.String(), "to", m.to.path, "error", err)
		default:
			b.logger.Info("a replica was moved", "partition", m.p.Name.String(), "to", m.to.path)
		}
	}
}

// resumeMoves begins those moves anew that the last life has left half done.
func (b *Broker) resumeMoves(ctx context.Context) {
	for _, d := range b.storage.dirs {
		for _, f := range d.futures {
			if p := b.partitions.Get(f.TopicID, f.Partition.Partition); p != nil {
				select {
				case <-p.Settled():
					b.moveReplica(p, d.path) // one that is offline stays
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

var errCancelled = errors.New("the move was cancelled")

const (
	copyBytes  = 1 << 20  // copied at once
	flushBytes = 64 << 20 // of a copy are synced at once
	nearBytes  = 64 << 10 // that are left to copy are copied with appends held off
)

// carryOut copies the log beside appends, and then, with appends held off, what is left, and puts the copy in its place.
func (b *Broker) carryOut(ctx context.Context, m *move) (err error) {
	if err := b.materialise(ctx, m); err != nil {
		return err
	}
	from := b.storage.dirOf(m.p.Home())
	dir := filepath.Join(m.to.path, commitlog.FutureName(m.p.Name, moldau.NewUUID(b.env.Rand)))
	future, err := b.storage.openAt(m.to, m.p, dir, false)
	if err != nil {
		return fmt.Errorf("begin the copy: %w", errors.Join(err, m.to.fs.RemoveAll(dir)))
	}
	m.future.Store(future)
	if err = b.copyBeside(ctx, m, future); err == nil {
		err = b.swap(m, from, future, dir)
	}
	if err != nil {
		err = errors.Join(err, future.Close())
		if _, moved := m.to.fs.Stat(dir); moved == nil && ctx.Err() == nil {
			err = errors.Join(err, m.to.fs.RemoveAll(dir))
		}
	}
	return err
}

// materialise has a replica that was never written get its files: what has none is nowhere, and cannot be moved.
func (b *Broker) materialise(ctx context.Context, m *move) error {
	for log := m.p.Log(); log != nil && log.Unwritten(); log = m.p.Log() {
		select {
		case <-m.p.Writable():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := env.Sleep(ctx, b.env.Clock, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// copyBeside has the copy follow the log until it is near its end, at the rate that is allowed.
func (b *Broker) copyBeside(ctx context.Context, m *move, future *commitlog.Log) error {
	unsynced := 0
	for {
		log := m.p.Log()
		switch {
		case m.cancelled.Load() || m.p.IsGone():
			return errCancelled
		case log == nil:
			return partition.ErrOffline
		}
		n, err := future.Follow(log, copyBytes)
		if err != nil && !commitlog.Transient(err) {
			return err
		}
		if unsynced += n; unsynced >= flushBytes || n < nearBytes && err == nil {
			unsynced = 0
			if _, err := future.Flush(); err != nil && !commitlog.Transient(err) {
				return err
			}
		}
		if err == nil && n < nearBytes {
			return nil
		}
		pause := time.Second // for space
		if err == nil {
			pause = time.Duration(float64(n) / float64(b.moveRate()) * float64(time.Second))
		}
		if err := env.Sleep(ctx, b.env.Clock, min(pause, time.Minute)); err != nil {
			return err
		}
	}
}

// moveRate is how many bytes a second moves may copy.
func (b *Broker) moveRate() int64 {
	c, err := config.ResolveBrokerLayers(controller.BrokerConfig(b.cluster.Image(), controller.Env{Config: &b.config, Static: b.static}))
	if err != nil {
		return b.config.MoveBytesPerSecond
	}
	return max(c.MoveBytesPerSecond, 1)
}

// swap puts the copy in the place of the log. Once its directory has its name, the partition is there, whatever happens; what
// comes before leaves it where it was (see commitlog.Move). KAFKA-16297: a directory that fails meanwhile ends it on one side.
func (b *Broker) swap(m *move, from *logDir, future *commitlog.Log, dir string) error {
	s, p := b.storage, m.p
	row := commitlog.Move{Partition: p.Name, TopicID: p.ID, To: m.to.id}
	err := p.Move(m.to.home, func(old *commitlog.Log) error {
		if m.cancelled.Load() {
			return errCancelled
		}
		for n := 1; n > 0; {
			var err error
			if n, err = future.Follow(old, copyBytes); err != nil {
				return err
			}
		}
		if err := future.Succeed(old); err != nil {
			return err
		}
		if err := future.Close(); err != nil {
			return err
		}
		err := s.giveUp(from, row) // before the other directory lists it: one that lists what it does not have has lost it
		if err == nil {
			err = s.expect(m.to, p, old)
		}
		if err == nil {
			err = from.home.Failure()
		}
		return err
	}, func(old *commitlog.Log) (*commitlog.Log, error) {
		err := m.to.fs.Rename(dir, m.to.PartitionDir(p.Name))
		if err == nil {
			err = m.to.fs.SyncDir(m.to.path)
		}
		if err != nil {
			return nil, err
		}
		// In line before whatever a namesake may bring to this directory.
		from.do(p.Name, func() {
			old.Discard()
			s.removeFiles(from, p)
		})
		return s.openAt(m.to, p, m.to.PartitionDir(p.Name), true)
	})
	s.claim(m.to, p, err == nil)
	if err != nil {
		return fmt.Errorf("put the copy in place: %w", errors.Join(err, s.keep(from, row, m.to)))
	}
	s.disown(from, p.Name)
	b.assign(p, m.to)
	return nil
}

// assign tells the metadata where the partition is, and then strikes the rows that said so meanwhile.
func (b *Broker) assign(p *partition.Partition, to *logDir) {
	b.cluster.Change(func(head *metadata.Image) []schema.Record {
		return controller.AssignDirectory(head, b.config.NodeID, p.ID, p.Name.Partition, to.id)
	}, func(err error) {
		if err != nil {
			b.logger.Error("the metadata does not know where a replica was moved; the next start tells it", "partition", p.Name.String(),
				"to", to.path, "error", err)
			return
		}
		for _, from := range b.storage.dirs {
			if !from.moved(p) {
				continue
			}
			from.do(p.Name, func() {
				if err := b.storage.struck(from, commitlog.Move{Partition: p.Name, TopicID: p.ID, To: to.id}); err != nil {
					b.logger.Error("a move could not be struck off the list; the next start does it", "directory", from.path, "error", err)
				}
			})
		}
	})
}

// moved reports whether the directory's list says that it was given up to another.
func (d *logDir) moved(p *partition.Partition) bool {
	d.manifest.Lock()
	defer d.manifest.Unlock()
	return slices.ContainsFunc(d.moves, func(m commitlog.Move) bool { return m.Partition == p.Name && m.TopicID == p.ID })
}

// assignHeld tells the metadata where the files of a partition were found, where it thinks otherwise.
func (b *Broker) assignHeld(p *partition.Partition, in *logDir, assigned moldau.DirectoryID) {
	if len(b.config.LogDirs) > 1 && (assigned != in.id || slices.ContainsFunc(b.storage.dirs, func(d *logDir) bool { return d.moved(p) })) {
		b.assign(p, in)
	}
}

// expect prepares a directory for a partition that is about to be in it: what its checkpoints and its manifest have to say.
func (s *storage) expect(d *logDir, p *partition.Partition, log *commitlog.Log) error {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	rows := partition.Unsaved
	rows[logStarts], rows[highWatermarks], rows[recoveryPoints] = log.Start(), p.HighWatermark(), log.End()
	d.unclaimed[p.Name] = rows // others that write a checkpoint meanwhile keep them
	for c, o := range rows {
		if o < 0 {
			continue
		}
		if err := d.save(column(c), s.partitions.All(), column.saved); err != nil {
			return err
		}
	}
	d.manifest.Lock()
	defer d.manifest.Unlock()
	return d.Enlist(map[moldau.TopicPartition]moldau.TopicID{p.Name: p.ID})
}

// giveUp notes in the directory from that a partition is about to be in another.
func (s *storage) giveUp(from *logDir, row commitlog.Move) error {
	from.manifest.Lock()
	defer from.manifest.Unlock()
	moves := append(slices.Clone(from.moves), row)
	if err := from.WriteMoves(moves); err != nil {
		return err
	}
	from.moves = moves
	return nil
}

// struck takes a move off the list of the directory that the partition has left, or stays in after all.
func (s *storage) struck(from *logDir, row commitlog.Move) error {
	from.manifest.Lock()
	defer from.manifest.Unlock()
	moves := slices.DeleteFunc(slices.Clone(from.moves), func(m commitlog.Move) bool { return m == row })
	if len(moves) == len(from.moves) {
		return nil
	}
	if err := from.WriteMoves(moves); err != nil {
		return err
	}
	from.moves = moves
	return nil
}

// keep takes back what was noted of a move that has failed, unless its copy is in place already: a start has to find that out.
func (s *storage) keep(from *logDir, row commitlog.Move, to *logDir) error {
	if _, err := to.fs.Stat(to.PartitionDir(row.Partition)); err == nil {
		return nil
	}
	err := s.struck(from, row)
	to.manifest.Lock()
	defer to.manifest.Unlock()
	return errors.Join(err, to.Strike(row.Partition))
}

// settleMoves finds out where the partitions are that the last life was moving. Whose name is in the directory that it was moved
// to is there, else it never left. Where that directory is not here, nobody can tell, and the partition is offline.
func (s *storage) settleMoves() error {
	for _, from := range s.dirs {
		for _, m := range slices.Clone(from.moves) {
			i := slices.IndexFunc(s.dirs, func(d *logDir) bool { return d.id == m.To })
			if i < 0 {
				from.undecided[m.Partition] = m
				continue
			}
			to := s.dirs[i]
			found, there := to.found[m.Partition]
			left, had := from.found[m.Partition]
			var err error
			switch {
			case there && found.TopicID == m.TopicID: // the row stays until the metadata knows
				err = s.leave(from, m)
			case had && left.TopicID == m.TopicID:
				if to.listed[m.Partition] == m.TopicID {
					delete(to.listed, m.Partition)
					err = to.Strike(m.Partition)
				}
				if err == nil {
					err = s.struck(from, m)
				}
			}
			if err != nil {
				return fmt.Errorf("finish the move of %v from %s to %s: %w", m.Partition, from.path, to.path, err)
			}
		}
	}
	return nil
}

// leave removes the files of a partition that has moved away.
func (s *storage) leave(from *logDir, m commitlog.Move) error {
	found, there := from.found[m.Partition]
	if from.listed[m.Partition] != m.TopicID && (!there || found.TopicID != m.TopicID) {
		return nil
	}
	delete(from.found, m.Partition)
	delete(from.listed, m.Partition)
	renamed, err := from.DeletePartition(m.Partition, moldau.NewUUID(s.env.Rand))
	if renamed != "" {
		err = errors.Join(err, from.fs.RemoveAll(renamed))
	}
	return err
}
