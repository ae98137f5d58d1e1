package partition

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/metric"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// How a flusher syncs; docs/adr/0007-group-commit.md has the figures.
const (
	// syncersMax is how many logs of one directory are synced at a time, each by its own files.
	syncersMax = 8
	// togetherMin is from how many waiting logs on one sync of the volume takes less time than syncs of their files.
	togetherMin = 8
	// togetherUnsyncedMax is how many unsynced bytes a directory may have for that. The sync of a volume waits for those of
	// everybody, also of topics that do not ask for it.
	togetherUnsyncedMax = 16 << 20
	// togetherTookMax is how long it may take, for others write to the volume too; togetherPause is how long the flusher
	// goes without it after one that took longer.
	togetherTookMax = 50 * time.Millisecond
	togetherPause   = time.Second
	// flushRetry is when a log is synced again for which there was no space, or no descriptor.
	flushRetry = time.Second
)

// Flusher syncs the logs of one directory. Those whose appends wait for it are synced at once: one sync answers every append
// that came before it, since appends gather while the one before is under way; and where many logs wait, one sync of the
// volume answers those of all. The others are synced when their time has come (see behind.go).
type Flusher struct {
	env    env.Env
	logger *slog.Logger
	volume env.Volume // nil: there is no call for it
	began  time.Time

	mu struct {
		sync.Mutex
		queue    []*Partition // whose appends wait, first come first served
		due      schedule     // of logs that are synced behind
		syncers  sync.Cond    // those that have nothing to do
		idle     int          // how many
		together bool         // the volume is being synced
		alone    time.Time    // until then each log is synced by its own files
		stopped  bool
	}
	wake        chan struct{} // for what is synced behind
	unsyncedMax int64
	unsynced    atomic.Int64 // bytes of all logs
	settled     atomic.Int64 // bytes that were synced since the recovery points were saved

	// Took is the duration of each sync: of a log, or of the volume for many.
	Took metric.Histogram
}

// NewFlusher returns a flusher of the logs on volume; its owner runs Run, and takes the whole directory offline when the volume
// could not be synced: the failure may be that of any file. A nil volume means that the system cannot sync one as a whole.
func NewFlusher(e env.Env, logger *slog.Logger, volume env.Volume) *Flusher {
	f := &Flusher{env: e, logger: logger, volume: volume, began: e.Clock.Now(), unsyncedMax: unsyncedMax, wake: make(chan struct{}, 1)}
	f.mu.syncers.L = &f.mu
	return f
}

// Unsynced is how many bytes the directory's logs have that are not synced.
func (f *Flusher) Unsynced() int64 { return f.unsynced.Load() }

// berth is what a flusher knows of one partition; it is guarded by the flusher's mutex.
type berth struct {
	queued bool
	busy   bool          // a syncer is at it
	again  bool          // marked meanwhile
	due    time.Duration // since the flusher began: a time by a clock that is never set
	slot   int           // in the schedule, from 1 on; 0: not there
}

// mark has p synced at once. Marks that come while it waits, or during its sync, are one.
func (f *Flusher) mark(p *Partition) {
	f.mu.Lock()
	f.markLocked(p)
	if f.mu.idle > 0 && !f.mu.together {
		f.mu.syncers.Signal()
	}
	f.mu.Unlock()
}

func (f *Flusher) markLocked(p *Partition) {
	switch b := &p.berth; {
	case b.busy:
		b.again = true
	case !b.queued:
		b.queued = true
		f.mu.queue = append(f.mu.queue, p)
	}
}

// Run syncs until stop is closed. Logs that are marked by then stay unsynced: closing them syncs them. save writes the recovery
// points down; it is called when they have moved by so many bytes that a recovery would take long without.
func (f *Flusher) Run(stop <-chan struct{}, save func()) {
	var running sync.WaitGroup
	running.Add(syncersMax + 1)
	for range syncersMax {
		f.env.Go("syncer", func() { // ends with stop
			defer running.Done()
			f.sync()
		})
	}
	f.env.Go("flush behind", func() { // ends with stop
		defer running.Done()
		f.runBehind(stop, save)
	})
	<-stop
	f.mu.Lock()
	f.mu.stopped = true
	f.mu.syncers.Broadcast()
	f.mu.Unlock()
	running.Wait()
}

// sync is the life of one syncer.
func (f *Flusher) sync() {
	var ps []*Partition
	for f.take(&ps) {
		if len(ps) == 1 {
			f.flush(ps[0])
		} else {
			f.flushTogether(ps)
		}
		f.done(ps)
		clear(ps)
	}
}

// take waits until logs wait and takes the first of them, or all where that is better. What comes while the volume is synced is
// for the next round: syncs of single files beside it commit the same journal, and take logs out of a round that costs no more with
// them. It returns false when the flusher stops.
func (f *Flusher) take(ps *[]*Partition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.mu.queue) == 0 || f.mu.together {
		if f.mu.stopped {
			return false
		}
		f.mu.idle++
		f.mu.syncers.Wait()
		f.mu.idle--
	}
	if f.mu.stopped {
		return false
	}
	n := 1
	if len(f.mu.queue) >= togetherMin && f.unsynced.Load() <= togetherUnsyncedMax && f.beginTogetherLocked() {
		n = len(f.mu.queue)
	}
	*ps = append((*ps)[:0], f.mu.queue[:n]...)
	left := copy(f.mu.queue, f.mu.queue[n:])
	clear(f.mu.queue[left:])
	f.mu.queue = f.mu.queue[:left]
	for _, p := range *ps {
		p.berth.queued, p.berth.busy = false, true
	}
	return true
}

// done gives back what take took, and queues what was marked meanwhile.
func (f *Flusher) done(ps []*Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range ps {
		again := p.berth.again
		p.berth.busy, p.berth.again = false, false
		if again {
			f.markLocked(p)
		}
	}
	for range min(len(f.mu.queue)-1, f.mu.idle) { // who calls us looks at the queue next
		f.mu.syncers.Signal()
	}
}

// flush syncs one log by its files.
func (f *Flusher) flush(p *Partition) {
	begun := f.env.Clock.Now()
	err := p.Flush()
	f.Took.Observe(f.env.Clock.Now().Sub(begun))
	f.tell(p, err)
}

// tell logs why a log could not be synced.
func (f *Flusher) tell(p *Partition, err error) {
	if err == nil || commitlog.Transient(err) { // who waits for it goes on waiting, and is told of the full volume elsewhere
		return
	}
	f.logger.Error("sync failed: the partition is offline, what was not acknowledged may be lost",
		"partition", p.Name.String(), "error", err)
}

// beginTogetherLocked reports whether the volume may be synced now, and notes that it is. Not twice at a time: the logs of
// two rounds are held in any order.
func (f *Flusher) beginTogetherLocked() bool {
	if f.volume == nil || f.mu.together || !f.mu.alone.IsZero() && f.env.Clock.Now().Before(f.mu.alone) {
		return false
	}
	f.mu.together = true
	return true
}

// flushTogether syncs logs by a sync of the volume, which beginTogetherLocked has allowed. Those that have moved to another
// directory are synced alone.
func (f *Flusher) flushTogether(ps []*Partition) {
	online, logs := make([]*Partition, 0, len(ps)), make([]*commitlog.Log, 0, len(ps))
	for _, p := range ps {
		switch log := p.Log(); {
		case log == nil:
		case p.Home() != p.origin: // looked at behind the log, and set before it
			f.flush(p)
		default:
			online, logs = append(online, p), append(logs, log)
		}
	}
	begun := f.env.Clock.Now()
	errs := commitlog.FlushTogether(f.volume, logs)
	ended := f.env.Clock.Now()
	f.Took.Observe(ended.Sub(begun))

	f.mu.Lock()
	f.mu.together = false
	if ended.Sub(begun) > togetherTookMax {
		f.mu.alone = ended.Add(togetherPause)
	}
	f.mu.Unlock()
	for i, p := range online {
		f.tell(p, p.flushed(logs[i], errs[i]))
	}
}
