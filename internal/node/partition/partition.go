// Package partition is one replica on this broker: its log, the arithmetic of its replication and those who wait for
// it, under one mutex. Readers do not take the mutex, which is held across the write of an append.
package partition

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/replica"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Errors that say why a partition does not serve.
var (
	// ErrGone: the topic was deleted, or the replica moved away.
	ErrGone = errors.New("the partition is not on this broker any more")
	// ErrOffline: its log directory failed, or its log could not be opened.
	ErrOffline = errors.New("the partition's log is offline")
)

type state int32

const (
	loading state = iota // the log is being opened
	online
	offline
	gone
)

// Partition is one replica. All methods are safe for concurrent use.
type Partition struct {
	Name moldau.TopicPartition
	ID   moldau.TopicID
	Dir  string // the log directory that holds it

	clock env.Clock
	stats *TopicStats

	// Read without the mutex. The log is set before state becomes online. The high watermark and the stable offset are
	// stored after the bytes below them can be read.
	state         atomic.Int32
	log           *commitlog.Log
	epoch         atomic.Int32
	highWatermark atomic.Int64
	stable        atomic.Int64 // last stable offset: below it no transaction is open (L-28)

	mu struct {
		env.Mutex
		leadership Leadership
		leader     *replica.Leader // nil while not leading or loading
		waiting    waitlist
		unflushed  int64 // messages since the last flush was asked for
		failure    error // why the partition is offline
	}
	settled  chan struct{} // closed when loading has ended, one way or the other
	watchers watchers
	flusher  *Flusher
	settings atomic.Pointer[Settings]
}

// Leadership is what the metadata says of this partition.
type Leadership struct {
	Self           moldau.BrokerID
	Epoch          moldau.LeaderEpoch
	PartitionEpoch int32
	Replicas       []moldau.BrokerID
	InSync         []moldau.BrokerID
}

// New returns a partition whose log is still to be opened.
func New(name moldau.TopicPartition, id moldau.TopicID, dir string, clock env.Clock, flusher *Flusher, stats *TopicStats, s *Settings) *Partition {
	p := &Partition{Name: name, ID: id, Dir: dir, clock: clock, flusher: flusher, stats: stats, settled: make(chan struct{})}
	p.settings.Store(s)
	return p
}

// Settings are the topic's settings that an append and a read obey.
func (p *Partition) Settings() *Settings { return p.settings.Load() }

// Stats are the counters of the partition's topic.
func (p *Partition) Stats() *TopicStats { return p.stats }

// Lead makes this replica the leader at a new epoch, or takes new metadata for the epoch that it leads already. While
// the log is being opened it only notes the leadership.
func (p *Partition) Lead(l Leadership) error {
	p.mu.Lock()
	p.mu.leadership = l
	if state(p.state.Load()) != online {
		p.epoch.Store(int32(l.Epoch))
		p.mu.Unlock()
		return nil
	}
	done, err := p.leadLocked()
	p.mu.Unlock()
	p.release(done, -1)
	return err
}

// leadLocked puts the noted leadership into effect. The epoch is in the log's cache before anything is served.
func (p *Partition) leadLocked() ([]waiter, error) {
	l, s := p.mu.leadership, p.settings.Load()
	if p.mu.leader != nil && p.mu.leader.Epoch() == l.Epoch {
		p.mu.leader.Reconfigured(l.InSync, s.MinInSync, s.durable())
		return p.advanceLocked(), nil
	}
	if err := p.log.AssignEpoch(l.Epoch); err != nil {
		p.failLocked(err)
		return p.mu.waiting.all(), err
	}
	p.epoch.Store(int32(l.Epoch))
	end := p.log.End()
	cfg := replica.Config{
		Self: l.Self, Epoch: l.Epoch, Replicas: l.Replicas, InSync: l.InSync,
		MinInSync: s.MinInSync, Durable: s.durable(),
	}
	known := min(moldau.Offset(p.highWatermark.Load()), end)
	p.mu.leader = replica.NewLeader(cfg, end, min(p.log.RecoveryPoint(), end), known)
	if p.mu.leader.Durable() {
		p.flusher.mark(p)
	}
	return p.advanceLocked(), nil
}

// Opened hands the partition its log and ends loading. known is the high watermark that was checkpointed.
func (p *Partition) Opened(log *commitlog.Log, known moldau.Offset) error {
	p.mu.Lock()
	if state(p.state.Load()) != loading {
		p.mu.Unlock()
		return ErrGone
	}
	p.log = log
	known = max(log.Start(), min(known, log.End()))
	p.highWatermark.Store(int64(known))
	p.stable.Store(int64(known))
	p.state.Store(int32(online))
	done, err := p.leadLocked()
	p.mu.Unlock()
	close(p.settled)
	p.release(done, -1)
	return err
}

// Fail takes the partition offline: its log could not be opened, or its directory failed.
func (p *Partition) Fail(why error) {
	p.mu.Lock()
	wasLoading := state(p.state.Load()) == loading
	p.failLocked(why)
	done := p.mu.waiting.all()
	p.mu.Unlock()
	if wasLoading {
		close(p.settled)
	}
	for _, w := range done {
		w.Committed(w.index, moldau.KafkaStorageError)
	}
	p.watchers.mark(-1)
}

func (p *Partition) failLocked(why error) {
	if state(p.state.Load()) != gone {
		p.state.Store(int32(offline))
		p.mu.failure = why
	}
}

// Gone ends the partition's service. It returns the log, if one was opened, for the caller to close and remove; nobody
// appends to it any more, and reads under way hold their files.
func (p *Partition) Gone() *commitlog.Log {
	p.mu.Lock()
	wasLoading := state(p.state.Load()) == loading
	p.state.Store(int32(gone))
	p.mu.leader = nil
	done := p.mu.waiting.all()
	log := p.log
	p.mu.Unlock()
	if wasLoading {
		close(p.settled)
	}
	for _, w := range done {
		w.Committed(w.index, moldau.NotLeaderOrFollower)
	}
	p.watchers.mark(-1)
	return log
}

// Settled is closed once the log was opened or that failed.
func (p *Partition) Settled() <-chan struct{} { return p.settled }

// Loading reports whether the log is still being opened.
func (p *Partition) Loading() bool { return state(p.state.Load()) == loading }

// Online reports whether the partition serves.
func (p *Partition) Online() bool { return state(p.state.Load()) == online }

// IsGone reports whether the partition was taken off this broker.
func (p *Partition) IsGone() bool { return state(p.state.Load()) == gone }

// Failure is why the partition is offline, or nil.
func (p *Partition) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.failure
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
	return p.log
}

// Watch registers w to be marked when there is something new; Unwatch ends that.
func (p *Partition) Watch(w *Watch) { p.watchers.add(w) }

// Unwatch ends a registration; one that does not exist is none.
func (p *Partition) Unwatch(w *Watch) { p.watchers.remove(w) }

// refusal is the code of a partition that does not serve, or None.
func (p *Partition) refusal() moldau.Code {
	switch state(p.state.Load()) {
	case online:
		return moldau.None
	case offline:
		return moldau.KafkaStorageError
	default:
		return moldau.NotLeaderOrFollower
	}
}

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

// advanceLocked publishes the leader's high watermark and takes off those who waited for it.
func (p *Partition) advanceLocked() []waiter {
	hw := p.mu.leader.HighWatermark()
	stable := hw
	if first, open := p.log.FirstUnstable(hw); open && first < hw {
		stable = first
	}
	p.highWatermark.Store(int64(hw))
	p.stable.Store(int64(stable))
	return p.mu.waiting.passed(hw)
}

// release answers waiters and wakes fetchers, outside the mutex. n is how many bytes became readable.
func (p *Partition) release(done []waiter, n int) {
	for _, w := range done {
		w.Committed(w.index, moldau.None)
	}
	if n != 0 {
		p.watchers.mark(n)
	}
}

// Appended is where a batch went.
type Appended struct {
	Base     moldau.Offset
	Last     moldau.Offset
	LogStart moldau.Offset
	// Timestamp is the broker's where the topic has LogAppendTime, else NoTimestamp.
	Timestamp moldau.Timestamp
	// Parked is set where the answer must wait: the Waiter that was given to Append is told the outcome.
	Parked bool
}

// Waiter is told the outcome of an append that was parked: None once the high watermark has passed it, else why it never
// will. index is what the waiter gave to tell its appends apart. The call is made outside of any lock, and is not to block.
type Waiter interface {
	Committed(index int, code moldau.Code)
}

// Append takes one batch that was checked against the topic's settings, stamps it in place and appends it. With all set
// (acks=all) it refuses while too few replicas are in sync (L-12) and, where the high watermark does not pass the batch
// at once, parks w, which is told the outcome with index.
func (p *Partition) Append(b record.Batch, all bool, w Waiter, index int) (Appended, moldau.Code, error) {
	s := p.settings.Load()
	p.mu.Lock()
	if code := p.refusal(); code != moldau.None {
		p.mu.Unlock()
		return Appended{}, code, p.Failure()
	}
	if p.mu.leader == nil {
		p.mu.Unlock()
		return Appended{}, moldau.NotLeaderOrFollower, nil
	}
	if all && !p.mu.leader.EnoughInSync() {
		p.mu.Unlock()
		return Appended{}, moldau.NotEnoughReplicas, nil
	}
	res, fresh, err := p.writeLocked(b, s)
	if err != nil {
		code := codeOf(err)
		var failed []waiter
		if code == moldau.KafkaStorageError {
			p.failLocked(err)
			failed = p.mu.waiting.all()
		}
		p.mu.Unlock()
		for _, w := range failed {
			w.Committed(w.index, moldau.KafkaStorageError)
		}
		if code == moldau.KafkaStorageError {
			p.watchers.mark(-1)
		}
		return Appended{}, code, err
	}
	var passed []waiter
	before := p.highWatermark.Load()
	if fresh {
		p.mu.leader.Appended(res.Last + 1)
		passed = p.advanceLocked()
		p.askFlushLocked(int64(b.Count()), s)
	}
	hw := p.highWatermark.Load()
	if all && moldau.Offset(hw) <= res.Last {
		p.mu.waiting.add(waiter{res.Last + 1, w, index})
		res.Parked = true
	}
	p.mu.Unlock()
	readable := 0
	if hw != before {
		readable = len(b)
	}
	p.release(passed, readable)
	return res, moldau.None, nil
}

// writeLocked appends b unless it is a retry of a batch that is in the log already (L-20); fresh tells which.
func (p *Partition) writeLocked(b record.Batch, s *Settings) (res Appended, fresh bool, err error) {
	res.Timestamp = moldau.NoTimestamp
	dup, err := p.log.CheckProducer(b)
	if err != nil {
		return Appended{}, false, err
	}
	res.LogStart = p.log.Start()
	if dup != nil {
		res.Base, res.Last = dup.Base, dup.Last
		if s.LogAppendTime {
			res.Timestamp = dup.Timestamp
		}
		return res, false, nil
	}
	if s.LogAppendTime {
		res.Timestamp = moldau.Timestamp(p.clock.Now().UnixMilli())
		b.SetLogAppendTime(res.Timestamp)
	}
	at, err := p.log.Append(b, p.mu.leader.Epoch())
	if err != nil {
		return Appended{}, false, err
	}
	if at.Rolled {
		p.flusher.mark(p) // the sealed segment is made durable behind the append's back
	}
	res.Base, res.Last = at.Base, at.Last
	return res, true, nil
}

// askFlushLocked has the flusher sync the log where the topic's flush.messages says so.
func (p *Partition) askFlushLocked(messages int64, s *Settings) {
	p.mu.unflushed += messages
	if p.mu.unflushed >= s.FlushMessages {
		p.mu.unflushed = 0
		p.flusher.mark(p)
	}
}

// Flush syncs the log and lets the high watermark follow where it waits for that. Appends go on meanwhile.
func (p *Partition) Flush() error {
	log := p.Log()
	if log == nil {
		return nil
	}
	durable, err := log.Flush()
	if err != nil {
		p.Fail(err)
		return err
	}
	p.mu.Lock()
	if p.mu.leader == nil {
		p.mu.Unlock()
		return nil
	}
	before := p.highWatermark.Load()
	p.mu.leader.Flushed(min(durable, log.End()))
	passed := p.advanceLocked()
	hw := p.highWatermark.Load()
	p.mu.Unlock()
	n := 0
	if hw != before {
		n = -1
	}
	p.release(passed, n)
	return nil
}

// ErrAboveHighWatermark: DeleteRecords would delete what is not committed.
var ErrAboveHighWatermark = errors.New("the offset is above the high watermark")

// DeleteRecords moves the log's start to before, or to the high watermark for -1, and returns the new start (L-54).
func (p *Partition) DeleteRecords(before moldau.Offset) (moldau.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return 0, ErrOffline
	}
	hw := p.HighWatermark()
	if before == -1 {
		before = hw
	}
	if before < 0 || before > hw {
		return 0, ErrAboveHighWatermark
	}
	if err := p.log.AdvanceStart(before); err != nil {
		return 0, err
	}
	return p.log.Start(), nil
}

// Retain deletes segments that retention.ms and retention.bytes give up, and returns how many.
func (p *Partition) Retain(now time.Time) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return 0, nil
	}
	gone, err := p.log.Retain(now, p.HighWatermark())
	if err != nil {
		p.failLocked(err)
	}
	return gone.Segments, err
}

// Reconfigure takes new settings of the topic.
func (p *Partition) Reconfigure(s *Settings) {
	p.settings.Store(s)
	p.mu.Lock()
	var done []waiter
	if p.Online() {
		p.log.Reconfigure(s.Log)
		if p.mu.leader != nil {
			done, _ = p.leadLocked() // the epoch is the one that it leads: nothing that can fail
		}
	}
	p.mu.Unlock()
	p.release(done, 0)
}

// Locked runs fn on the log with appends held off.
func (p *Partition) Locked(fn func(*commitlog.Log) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return ErrOffline
	}
	return fn(p.log)
}

// codeOf is the wire's word for an error of the log.
func codeOf(err error) moldau.Code {
	switch {
	case errors.Is(err, commitlog.ErrOutOfOrderSequence):
		return moldau.OutOfOrderSequenceNumber
	case errors.Is(err, commitlog.ErrStaleProducerEpoch):
		return moldau.InvalidProducerEpoch
	case errors.Is(err, commitlog.ErrInvalidTxnState):
		return moldau.InvalidTxnState
	default:
		return moldau.KafkaStorageError
	}
}
