package partition

import (
	"errors"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

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
// at once, parks w, which is told the outcome with index. An I/O error takes the partition offline, a full volume does not; a
// damaged log refuses every append with an error that is for the client too (commitlog.ErrDamaged).
//
// A batch of a transaction that is not open here yet needs leave to begin it, see AppendWith.
func (p *Partition) Append(b record.Batch, all bool, w Waiter, index int) (Appended, moldau.Code, error) {
	return p.AppendWith(Leave{}, b, all, w, index)
}

// AppendWith is Append with leave for what not everybody may do.
func (p *Partition) AppendWith(leave Leave, b record.Batch, all bool, w Waiter, index int) (Appended, moldau.Code, error) {
	p.mu.Lock()
	res, n, code, err := p.appendLocked(leave, b, all)
	if res.Parked {
		p.mu.waiting.add(waiter{res.Last + 1, w, index})
	}
	p.mu.Unlock()
	if err != nil && code == moldau.KafkaStorageError && n.readable != 0 { // this very append has taken it offline
		p.flusher.logger.Error("append failed: the partition is offline", "partition", p.Name.String(), "error", err)
	}
	p.tell(n)
	return res, code, err
}

// Takes reports whether an append with acks=all would be taken now, as far as the partition itself is concerned.
func (p *Partition) Takes() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusal() == moldau.None && p.mu.leader != nil && p.mu.leader.EnoughInSync()
}

func (p *Partition) appendLocked(leave Leave, b record.Batch, all bool) (Appended, news, moldau.Code, error) {
	if code := p.refusal(); code != moldau.None {
		return Appended{}, news{}, code, p.failureLocked()
	}
	leader, s := p.mu.leader, p.settings.Load()
	switch damage := p.log.Load().Damage(); {
	case leader == nil:
		return Appended{}, news{}, moldau.NotLeaderOrFollower, nil
	case damage != nil:
		return Appended{}, news{}, moldau.KafkaStorageError, damage
	case all && !leader.EnoughInSync():
		return Appended{}, news{}, moldau.NotEnoughReplicas, nil
	}
	res, fresh, err := p.writeLocked(leave, b, s)
	if err != nil {
		code := codeOf(err)
		var n news
		if code == moldau.KafkaStorageError {
			n = p.failLocked(err)
		}
		return Appended{}, n, code, err
	}
	var n news
	if fresh {
		before := p.HighWatermark()
		leader.Appended(res.Last + 1)
		if n = p.advanceLocked(); n.readable != 0 && before == res.Base {
			n.readable = len(b)
		}
		p.askFlushLocked(b, s)
	}
	if !p.Online() { // its directory has failed meanwhile, in another log: what was written here is not acknowledged either
		return Appended{}, n, moldau.KafkaStorageError, p.failureLocked()
	}
	res.Parked = all && p.HighWatermark() <= res.Last
	return res, n, moldau.None, nil
}

// writeLocked appends b unless it is a retry of a batch that is in the log already (L-20); fresh tells which.
func (p *Partition) writeLocked(leave Leave, b record.Batch, s *Settings) (res Appended, fresh bool, err error) {
	res.Timestamp = moldau.NoTimestamp
	dup, err := p.checkLocked(leave, b)
	if err != nil {
		return Appended{}, false, err
	}
	res.LogStart = p.log.Load().Start()
	if dup != nil {
		res.Base, res.Last = dup.Base, dup.Last
		if s.LogAppendTime {
			res.Timestamp = dup.Timestamp
		}
		return res, false, nil
	}
	if s.LogAppendTime {
		res.Timestamp = moldau.Timestamp(p.flusher.env.Clock.Now().UnixMilli())
		b.SetLogAppendTime(res.Timestamp)
	}
	at, err := p.log.Load().Append(b, p.mu.leader.Epoch())
	if err != nil {
		return Appended{}, false, err
	}
	if at.Rolled {
		p.mu.rolled = true
	}
	p.forgetLeaveLocked(leave, b)
	res.Base, res.Last = at.Base, at.Last
	return res, true, nil
}

// askFlushLocked counts b, which was appended, and has the flusher sync it when the topic says so. Nobody waits for it but in durable mode.
func (p *Partition) askFlushLocked(b record.Batch, s *Settings) {
	p.home.Load().written.Add(int64(len(b)))
	if p.flusher.unsynced.Add(int64(len(b))) > p.flusher.unsyncedMax {
		p.flusher.lookBehind()
	}
	p.mu.unsynced += int64(len(b))
	if s.durable() {
		p.flusher.mark(p)
		return
	}
	p.mu.unflushed += int64(b.Count())
	switch {
	case p.mu.rolled || p.mu.unflushed >= s.FlushMessages:
		p.mu.rolled, p.mu.unflushed = false, 0
		p.expectFlushLocked(0)
	case !p.mu.expected:
		p.expectFlushLocked(s.unsyncedAgeMax())
	}
}

// expectFlushLocked has the log synced after d.
func (p *Partition) expectFlushLocked(d time.Duration) {
	p.mu.expected = true
	p.flusher.expect(p, p.flusher.env.Clock.Now().Add(d))
}

// Flush syncs the log and lets the high watermark follow where it waits for that. Appends go on meanwhile. An error takes the
// partition offline, unless it is commitlog.Transient: then a later Flush does what this one could not.
func (p *Partition) Flush() error {
	log := p.Log()
	if log == nil {
		return nil
	}
	_, err := log.Flush()
	return p.flushed(log, err)
}

// flushed tells the partition how a flush of its log has ended.
func (p *Partition) flushed(log *commitlog.Log, err error) error {
	switch {
	case err == nil || commitlog.Transient(err):
	case p.IsGone() || p.log.Load() != log:
		return nil // and its log closed meanwhile
	default:
		p.Fail(err)
		return err
	}
	p.mu.Lock()
	var n news
	if p.Online() && p.log.Load() == log { // else it has moved meanwhile, and its copy is durable

		if p.mu.leader != nil {
			p.mu.leader.Flushed(min(log.RecoveryPoint(), log.End()))
			n = p.advanceLocked()
		}
		left := log.Unsynced()
		if p.flusher.settled.Add(max(p.mu.unsynced-left, 0)) >= p.flusher.unsyncedMax {
			p.flusher.lookBehind()
		}
		p.countUnsyncedLocked(left)
		switch {
		case err != nil:
			p.expectFlushLocked(flushRetry)
		case p.mu.unsynced > 0 && !p.settings.Load().durable():
			p.expectFlushLocked(p.settings.Load().unsyncedAgeMax())
		case p.mu.expected:
			p.mu.expected = false
			p.flusher.forget(p)
		}
	}
	p.mu.Unlock()
	p.tell(n)
	return err
}

// countUnsyncedLocked corrects what the flusher counts for this log.
func (p *Partition) countUnsyncedLocked(n int64) {
	p.flusher.unsynced.Add(n - p.mu.unsynced)
	p.mu.unsynced = n
}

// codeOf is the wire's word for an error of the log. A full volume has no word of its own; that there are not enough replicas
// is what every client takes for a reason to send the batch again later, and to do nothing else.
func codeOf(err error) moldau.Code {
	switch {
	case commitlog.Transient(err), errors.Is(err, commitlog.ErrUnwritten):
		return moldau.NotEnoughReplicas
	case errors.Is(err, commitlog.ErrOutOfOrderSequence):
		return moldau.OutOfOrderSequenceNumber
	case errors.Is(err, commitlog.ErrStaleProducerEpoch):
		return moldau.InvalidProducerEpoch
	case errors.Is(err, commitlog.ErrInvalidTxnState):
		return moldau.InvalidTxnState
	case errors.Is(err, commitlog.ErrCoordinatorFenced):
		return moldau.TransactionCoordinatorFenced
	default:
		return moldau.KafkaStorageError
	}
}
