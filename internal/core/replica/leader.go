// Package replica is the arithmetic of one partition's replication: in-sync set, high watermark, epochs. It decides;
// who calls it reads, writes and sends. Nothing in it does I/O, reads a clock or locks.
package replica

import (
	"cmp"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/must"
)

// Config is what the cluster's metadata says of one leadership.
type Config struct {
	Self     moldau.BrokerID
	Epoch    moldau.LeaderEpoch
	Began    time.Time // the leadership; in-sync followers count as caught up then
	Replicas []moldau.BrokerID
	InSync   []moldau.BrokerID
	// MinInSync is min.insync.replicas of the topic; the effective value is at most the number of replicas (L-12).
	MinInSync int
	// Durable makes the high watermark follow the ends that replicas have synced, so that nobody reads or is told of
	// what a power loss could take back (flush.messages=1).
	Durable bool
}

// Leader is the state of one leadership of one partition, from the moment the epoch began to the next one.
type Leader struct {
	cfg           Config
	end           moldau.Offset // of the own log
	durable       moldau.Offset // what of the own log is synced
	highWatermark moldau.Offset
	followers     []follower // by id
}

type follower struct {
	id         moldau.BrokerID
	end        moldau.Offset // where its last fetch began: all below is in its log (synced, in durable mode)
	fetchedAt  time.Time
	caughtUpAt time.Time // when it last had all that the leader had at that time
	endAtFetch moldau.Offset
}

// Output says what a step changed.
type Output struct {
	// Advanced is set when the high watermark rose.
	Advanced bool
}

// NewLeader begins a leadership over a log that ends at end, of which all below durable is synced and all below
// highWatermark was known to be committed.
func NewLeader(cfg Config, end, durable, highWatermark moldau.Offset) *Leader {
	must.True(highWatermark <= end, "the high watermark %d is beyond the end %d of the log", highWatermark, end)
	must.True(durable <= end, "synced %d beyond the end %d of the log", durable, end)
	l := &Leader{cfg: cfg, end: end, durable: durable, highWatermark: highWatermark}
	l.follow(cfg.Replicas)
	l.advance()
	return l
}

// follow makes the replicas but the own one the followers; of those who stay what is known stays.
func (l *Leader) follow(replicas []moldau.BrokerID) {
	known := l.followers
	l.followers = nil
	for _, id := range replicas {
		if id == l.cfg.Self {
			continue
		}
		f := follower{id: id, end: -1}
		if i, ok := find(known, id); ok {
			f = known[i]
		} else if slices.Contains(l.cfg.InSync, id) {
			f.caughtUpAt = l.cfg.Began
		}
		l.followers = append(l.followers, f)
	}
	slices.SortFunc(l.followers, func(a, b follower) int { return cmp.Compare(a.id, b.id) })
}

func find(followers []follower, id moldau.BrokerID) (int, bool) {
	return slices.BinarySearchFunc(followers, id, func(f follower, id moldau.BrokerID) int { return cmp.Compare(f.id, id) })
}

// Config is what the leadership goes by. The caller does not change the sets.
func (l *Leader) Config() Config { return l.cfg }

// Epoch is the leader epoch.
func (l *Leader) Epoch() moldau.LeaderEpoch { return l.cfg.Epoch }

// HighWatermark is the offset below which all is committed: on every in-sync replica.
func (l *Leader) HighWatermark() moldau.Offset { return l.highWatermark }

// InSync is the in-sync set. The caller does not change it.
func (l *Leader) InSync() []moldau.BrokerID { return l.cfg.InSync }

// EnoughInSync reports whether an acks=all append may be taken (L-12).
func (l *Leader) EnoughInSync() bool { return len(l.cfg.InSync) >= l.minInSync() }

// minInSync is the effective minimum: a topic with fewer replicas than the minimum still works (L-12).
func (l *Leader) minInSync() int { return min(l.cfg.MinInSync, len(l.cfg.Replicas)) }

// Durable reports whether acknowledged means synced.
func (l *Leader) Durable() bool { return l.cfg.Durable }

// Appended tells that the own log now ends at end.
func (l *Leader) Appended(end moldau.Offset) Output {
	must.True(end >= l.end, "the log's end went back from %d to %d during a leadership", l.end, end)
	l.end = end
	return l.advance()
}

// Flushed tells that the own log is synced below end.
func (l *Leader) Flushed(end moldau.Offset) Output {
	must.True(end <= l.end, "synced %d beyond the end %d of the log", end, l.end)
	l.durable = max(l.durable, end)
	return l.advance()
}

// Fetched tells that follower by asked for records from at on, which says that its log has all below. A follower
// in durable mode asks on only after its own sync. An offset beyond the own end says nothing: that log is not a copy of
// this one.
func (l *Leader) Fetched(by moldau.BrokerID, at moldau.Offset, now time.Time) Output {
	i, ok := find(l.followers, by)
	if !ok || at > l.end {
		return Output{}
	}
	f := &l.followers[i]
	switch {
	case at == l.end:
		f.caughtUpAt = now
	case !f.fetchedAt.IsZero() && at >= f.endAtFetch:
		f.caughtUpAt = f.fetchedAt // it now has what was the end at its fetch before
	}
	f.end, f.fetchedAt, f.endAtFetch = at, now, l.end
	return l.advance()
}

// Reconfigured takes new metadata of the same epoch: replicas, in-sync set, minimum, durability.
func (l *Leader) Reconfigured(cfg Config) Output {
	must.True(cfg.Self == l.cfg.Self && cfg.Epoch == l.cfg.Epoch,
		"broker %d, epoch %d: reconfigured as broker %d, epoch %d", l.cfg.Self, l.cfg.Epoch, cfg.Self, cfg.Epoch)
	cfg.Began = l.cfg.Began
	l.cfg = cfg
	l.follow(cfg.Replicas)
	return l.advance()
}

// Lagging returns the in-sync followers that were not caught up at any time since the deadline, by id.
func (l *Leader) Lagging(deadline time.Time) []moldau.BrokerID {
	var ids []moldau.BrokerID
	for _, f := range l.followers {
		if slices.Contains(l.cfg.InSync, f.id) && f.end < l.end && f.caughtUpAt.Before(deadline) {
			ids = append(ids, f.id)
		}
	}
	return ids
}

// advance recomputes the high watermark: the lowest end in the in-sync set. It stands still while the set is too small
// and it never goes back during a leadership.
func (l *Leader) advance() Output {
	if !l.EnoughInSync() {
		return Output{}
	}
	low := l.end
	if l.cfg.Durable {
		low = l.durable
	}
	for _, f := range l.followers {
		if f.end < low && slices.Contains(l.cfg.InSync, f.id) {
			low = f.end
		}
	}
	if low <= l.highWatermark {
		return Output{}
	}
	l.highWatermark = low
	return Output{Advanced: true}
}
