// Package partition is one replica on this broker: its log, the arithmetic of its replication and those who wait for
// it, under one mutex. Readers do not take the mutex, which is held across the write of an append.
package partition

import (
	"errors"
	"sync/atomic"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/replica"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/must"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Errors that say why a partition does not serve.
var (
	// ErrGone: the topic was deleted, or the replica moved away.
	ErrGone = errors.New("the partition is not on this broker any more")
	// ErrOffline: its log cannot be used. It could not be opened, or has failed, or is not open yet, or no longer.
	ErrOffline = errors.New("the partition's log is offline")
)

type state int32

const (
	loading state = iota // the log is being opened
	online
	offline
	gone
)

// Checkpoints is how many checkpoints a directory has.
const Checkpoints = 4

// Saved is what each checkpoint of its directory says of a partition, -1 where it has no row.
type Saved [Checkpoints]moldau.Offset

// Unsaved is that of a partition without rows.
var Unsaved = Saved{-1, -1, -1, -1}

// Partition is one replica. All methods are safe for concurrent use.
type Partition struct {
	Name moldau.TopicPartition
	ID   moldau.TopicID

	home   atomic.Pointer[Directory]
	origin *Directory // home as of New: the directory of the flusher
	stats  *TopicStats

	// Saved is for whoever writes the checkpoints, and guarded by him.
	Saved Saved

	// Read without the mutex. The log is set before state becomes online. The high watermark and the stable offset are
	// stored after the bytes below them can be read.
	state         atomic.Int32
	epoch         atomic.Int32
	log           atomic.Pointer[commitlog.Log]
	highWatermark atomic.Int64
	stable        atomic.Int64 // last stable offset: below it no transaction is open (L-28)
	began         atomic.Int64 // end of the log when the leadership began

	mu struct {
		env.Mutex
		leadership *Leadership     // noted while loading; nil before and after
		leader     *replica.Leader // nil while not leading or loading
		waiting    waitlist
		unflushed  int64                         // messages since the last flush was asked for
		unsynced   int64                         // bytes that the flusher counts for this log
		rolled     bool                          // a sealed segment is to be synced
		expected   bool                          // the flusher has the log on its schedule
		failure    error                         // why the partition is offline
		creating   chan struct{}                 // closed when its files were made; nil while nobody makes them
		entries    map[moldau.ProducerID][]entry // into transactions, see Enter
		guards     Guard                         // the newest that was given out
		settled    chan struct{}                 // closed when loading has ended; nil while nobody waits for that
	}
	watchers watchers
	flusher  *Flusher
	berth    berth // guarded by flusher.mu
	settings atomic.Pointer[Settings]
	met      atomic.Pointer[error] // damaged bytes that a read has met last
}

// Leadership is what the metadata says of this partition.
type Leadership struct {
	Self           moldau.BrokerID
	Epoch          moldau.LeaderEpoch
	PartitionEpoch int32
	Replicas       []moldau.BrokerID
	InSync         []moldau.BrokerID
}

// New returns a partition whose log is still to be opened, in the directory home.
func New(name moldau.TopicPartition, id moldau.TopicID, home *Directory, flusher *Flusher, stats *TopicStats, s *Settings) *Partition {
	p := &Partition{
		Name: name, ID: id, origin: home, flusher: flusher, stats: stats, Saved: Unsaved,
	}
	p.home.Store(home)
	p.settings.Store(s)
	return p
}

// Settings are the topic's settings that an append and a read obey.
func (p *Partition) Settings() *Settings { return p.settings.Load() }

// Home is the log directory that holds the partition.
func (p *Partition) Home() *Directory { return p.home.Load() }

// Stats are the counters of the partition's topic.
func (p *Partition) Stats() *TopicStats { return p.stats }

// Lead makes this replica the leader at a new epoch, or takes new metadata for the epoch that it leads already. While
// the log is being opened it only notes the leadership.
func (p *Partition) Lead(l Leadership) error {
	p.mu.Lock()
	var n news
	var err error
	switch state(p.state.Load()) {
	case online:
		n, err = p.leadLocked(l)
	case loading:
		p.mu.leadership = &l
		p.epoch.Store(int32(l.Epoch))
	}
	p.mu.Unlock()
	p.tell(n)
	return err
}

// leadLocked puts a leadership into effect. The epoch is in the log's cache before anything is served.
func (p *Partition) leadLocked(l Leadership) (news, error) {
	cfg := replica.Config{Self: l.Self, Epoch: l.Epoch, Began: p.flusher.env.Clock.Now(), Replicas: l.Replicas, InSync: l.InSync}
	if p.mu.leader != nil && p.mu.leader.Epoch() == l.Epoch {
		return p.reconfigureLocked(cfg), nil
	}
	p.obeyLocked(&cfg)
	if err := p.log.Load().AssignEpoch(l.Epoch); err != nil {
		return p.failLocked(err), err
	}
	p.epoch.Store(int32(l.Epoch))
	end := p.log.Load().End()
	p.began.Store(int64(end))
	p.mu.entries = nil // who had leave to begin a transaction asks again
	p.mu.leader = replica.NewLeader(cfg, end, min(p.log.Load().RecoveryPoint(), end), min(p.HighWatermark(), end))
	n := p.advanceLocked()
	n.readable = -1 // a fetch with the epoch before is told so (W-45)
	return n, nil
}

// reconfigureLocked goes on with the leadership that cfg describes, as the settings of now say.
func (p *Partition) reconfigureLocked(cfg replica.Config) news {
	p.obeyLocked(&cfg)
	p.mu.leader.Reconfigured(cfg)
	return p.advanceLocked()
}

// obeyLocked puts into cfg what the settings say of a leadership.
func (p *Partition) obeyLocked(cfg *replica.Config) {
	s := p.settings.Load()
	cfg.MinInSync, cfg.Durable = s.MinInSync, s.durable() && !plant.Has(plant.AckBeforeSync)
	if cfg.Durable {
		p.flusher.mark(p) // what was appended before is not synced, perhaps
	}
}

// Opened hands the partition its log and ends loading. known is the high watermark that was checkpointed. After an error
// the log stays the caller's.
func (p *Partition) Opened(log *commitlog.Log, known moldau.Offset) error {
	p.mu.Lock()
	switch state(p.state.Load()) {
	case gone:
		p.mu.Unlock()
		return ErrGone
	case loading:
	default:
		p.mu.Unlock()
		return ErrOffline
	}
	if why := p.home.Load().Failure(); why != nil {
		n := p.failLocked(why)
		p.mu.Unlock()
		p.tell(n)
		return why
	}
	p.log.Store(log)
	known = max(log.Start(), min(known, log.End()))
	p.highWatermark.Store(int64(known))
	p.stable.Store(int64(known))
	var n news
	var err error
	if l := p.mu.leadership; l != nil {
		n, err = p.leadLocked(*l)
	}
	if err == nil && state(p.state.Load()) != loading {
		err = ErrOffline // the directory has failed meanwhile
	}
	if err != nil {
		p.log.Store(nil) // nobody has seen it
	} else {
		p.state.Store(int32(online))
		if log.RecoveryPoint() < log.End() {
			p.expectFlushLocked(p.settings.Load().unsyncedAgeMax()) // what a recovery has found
		}
		p.settleLocked()
		n.readable = -1
	}
	p.mu.Unlock()
	p.tell(n)
	return err
}

// Fail takes the partition offline: its log could not be opened, or its directory failed.
func (p *Partition) Fail(why error) {
	p.mu.Lock()
	n := p.failLocked(why)
	p.mu.Unlock()
	p.tell(n)
}

// failLocked takes the partition offline. Nothing is acknowledged any more, also what was written before the failure:
// what a failed write or sync has left is known only after a recovery (KAFKA-10778).
func (p *Partition) failLocked(why error) news {
	switch state(p.state.Load()) {
	case gone, offline:
		return news{}
	case loading:
		p.settleLocked()
	}
	p.state.Store(int32(offline))
	p.mu.failure = why
	p.unberthLocked()
	return news{done: p.mu.waiting.all(), code: moldau.KafkaStorageError, readable: -1}
}

// Gone ends the partition's service. It returns the log, if one was opened, for the caller to close and remove; nobody
// appends to it any more, and reads under way hold their files. A second call returns nil.
func (p *Partition) Gone() *commitlog.Log {
	p.mu.Lock()
	before := state(p.state.Swap(int32(gone)))
	if before == loading {
		p.settleLocked()
	}
	p.mu.leader = nil
	n := news{done: p.mu.waiting.all(), code: moldau.NotLeaderOrFollower, readable: -1}
	log := p.log.Load()
	p.unberthLocked()
	p.mu.Unlock()
	p.tell(n)
	if before == gone {
		return nil
	}
	return log
}

// unberthLocked ends what the flusher does for this log.
func (p *Partition) unberthLocked() {
	p.countUnsyncedLocked(0)
	p.mu.expected = false
	p.flusher.forget(p)
}

// done is closed, for those who need not wait.
var done = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Settled is closed once the log was opened or that failed.
func (p *Partition) Settled() <-chan struct{} {
	if !p.Loading() {
		return done
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Loading() {
		return done
	}
	if p.mu.settled == nil {
		p.mu.settled = make(chan struct{})
	}
	return p.mu.settled
}

// settleLocked ends loading for those who wait for that. The next state is set under the same hold of the mutex.
func (p *Partition) settleLocked() {
	if p.mu.settled != nil {
		close(p.mu.settled)
	}
	p.mu.settled, p.mu.leadership = nil, nil
}

// Loading reports whether the log is still being opened.
func (p *Partition) Loading() bool { return state(p.state.Load()) == loading }

// Online reports whether the partition serves. One whose directory has failed does not, from that moment on.
func (p *Partition) Online() bool {
	return state(p.state.Load()) == online && p.home.Load().Failure() == nil
}

// IsGone reports whether the partition was taken off this broker.
func (p *Partition) IsGone() bool { return state(p.state.Load()) == gone }

// Failure is why the partition is offline, or nil.
func (p *Partition) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failureLocked()
}

func (p *Partition) failureLocked() error {
	if p.mu.failure == nil {
		return p.home.Load().Failure()
	}
	return p.mu.failure
}

// Damage is why not all of the log can be read, or nil: it was found damaged when it was opened (commitlog.Damage), or a read has
// met damaged bytes since. The partition is online all the same.
func (p *Partition) Damage() error {
	if log := p.Log(); log != nil && log.Damage() != nil {
		return log.Damage()
	}
	if met := p.met.Load(); met != nil && p.Online() {
		return *met
	}
	return nil
}

// Epoch is the leader epoch that this replica serves.
func (p *Partition) Epoch() moldau.LeaderEpoch { return moldau.LeaderEpoch(p.epoch.Load()) }

// HighWatermark is the offset below which all is committed.
func (p *Partition) HighWatermark() moldau.Offset { return moldau.Offset(p.highWatermark.Load()) }

// Stable is the last stable offset: what read_committed reads up to (L-28).
func (p *Partition) Stable() moldau.Offset {
	return min(moldau.Offset(p.stable.Load()), p.HighWatermark())
}

// Log is the partition's log while it is online, else nil.
func (p *Partition) Log() *commitlog.Log {
	if !p.Online() {
		return nil
	}
	return p.log.Load()
}

// Watch registers w to be marked when there is something new; Unwatch ends that.
func (p *Partition) Watch(w *Watch) { p.watchers.add(w) }

// Unwatch ends a registration; one that does not exist is none.
func (p *Partition) Unwatch(w *Watch) { p.watchers.remove(w) }

// refusal is the code of a partition that does not serve, or None.
func (p *Partition) refusal() moldau.Code {
	switch state(p.state.Load()) {
	case online:
		if p.home.Load().Failure() != nil {
			return moldau.KafkaStorageError
		}
		return moldau.None
	case offline:
		return moldau.KafkaStorageError
	default:
		return moldau.NotLeaderOrFollower
	}
}

// Caught reports whether the high watermark has come to where the log ended when this leadership began. Before that, what was
// acknowledged by the leader before, or by ourselves before a restart, may lie above it: it is not the latest offset.
func (p *Partition) Caught() bool { return p.highWatermark.Load() >= p.began.Load() }

// CheckEpoch compares the leader epoch that a client knows with the partition's (W-46). NoEpoch passes.
func (p *Partition) CheckEpoch(known moldau.LeaderEpoch) moldau.Code {
	switch current := p.Epoch(); {
	case known == moldau.NoEpoch || known == current:
		return moldau.None
	case known < current:
		return moldau.FencedLeaderEpoch
	default:
		return moldau.UnknownLeaderEpoch
	}
}

// news is what a change under the mutex has to tell outside of it.
type news struct {
	done     []waiter // who need not wait any more
	code     moldau.Code
	readable int // how many bytes became readable; negative wakes every fetcher
}

// tell answers waiters and wakes fetchers. It is called without the mutex.
func (p *Partition) tell(n news) {
	for _, w := range n.done {
		w.Committed(w.index, n.code)
	}
	if n.readable != 0 {
		p.watchers.mark(n.readable)
	}
}

// advanceLocked publishes the leader's high watermark and takes off those who waited for it. In a directory that has failed
// it takes the partition offline instead: a sync that went well before may have covered what is lost now.
func (p *Partition) advanceLocked() news {
	if why := p.home.Load().Failure(); why != nil {
		return p.failLocked(why)
	}
	hw := p.mu.leader.HighWatermark()
	stable := hw
	if first, open := p.log.Load().FirstUnstable(hw); open && first < hw {
		stable = first
	}
	if start, end := p.log.Load().Start(), p.log.Load().End(); stable < start || hw > end {
		must.True(false, "partition %v: log start %d ≤ last stable offset %d ≤ high watermark %d ≤ log end %d (R8)", p.Name, start, stable, hw, end)
	}
	moved := p.highWatermark.Swap(int64(hw)) != int64(hw)
	moved = p.stable.Swap(int64(stable)) != int64(stable) || moved
	n := news{done: p.mu.waiting.passed(hw)}
	if moved {
		n.readable = -1
	}
	return n
}
