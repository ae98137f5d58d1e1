package commitlog

import (
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

const epochsName = "leader-epoch-checkpoint"

// epochStart says at which offset a leader epoch began.
type epochStart struct {
	epoch moldau.LeaderEpoch
	start moldau.Offset
}

// epochTable is the leader epochs of a log, ascending by both fields. It is never modified: a change makes another, so
// that readers need no lock. KIP-101, KIP-279.
type epochTable []epochStart

// noEpochs is that of every log that has none.
var noEpochs = epochTable{}

// latest is the newest epoch, NoEpoch in an empty table.
func (t epochTable) latest() moldau.LeaderEpoch {
	if len(t) == 0 {
		return moldau.NoEpoch
	}
	return t[len(t)-1].epoch
}

// assign notes that epoch began at start. Entries that contradict it, since they are at least as new or begin no
// earlier, are those of a history that was truncated; they go.
func (t epochTable) assign(epoch moldau.LeaderEpoch, start moldau.Offset) epochTable {
	n := len(t)
	if epoch < 0 || n > 0 && t[n-1].epoch == epoch && t[n-1].start <= start {
		return t
	}
	for n > 0 && (t[n-1].epoch >= epoch || t[n-1].start >= start) {
		n--
	}
	return append(slices.Clone(t[:n]), epochStart{epoch, start})
}

// at is the epoch of the record at o; NoEpoch before the first entry.
func (t epochTable) at(o moldau.Offset) moldau.LeaderEpoch {
	i := sort.Search(len(t), func(i int) bool { return t[i].start > o })
	if i == 0 {
		return moldau.NoEpoch
	}
	return t[i-1].epoch
}

// end tells the largest epoch that is not above asked, and where it ends, in a log that ends at logEnd. For an epoch
// older than all it is asked itself and the start of the oldest: its records are gone, and a follower that has some is
// to go on from there. -1 and -1 for an epoch newer than all.
func (t epochTable) end(asked moldau.LeaderEpoch, logEnd moldau.Offset) (moldau.LeaderEpoch, moldau.Offset) {
	i := sort.Search(len(t), func(i int) bool { return t[i].epoch > asked })
	switch {
	case asked < 0 || len(t) == 0:
		return moldau.NoEpoch, -1
	case asked == t.latest():
		return asked, logEnd
	case i == len(t):
		return moldau.NoEpoch, -1
	case i == 0:
		return asked, t[0].start
	}
	return t[i-1].epoch, t[i].start
}

// truncateTo drops what begins at end or later.
func (t epochTable) truncateTo(end moldau.Offset) epochTable {
	i := sort.Search(len(t), func(i int) bool { return t[i].start >= end })
	return t[:i:i]
}

// advanceTo drops the epochs that end at start or before; the one that spans start begins there from now on.
func (t epochTable) advanceTo(start moldau.Offset) epochTable {
	i := sort.Search(len(t), func(i int) bool { return t[i].start > start })
	if i == 0 || i == 1 && t[0].start == start {
		return t
	}
	t = slices.Clone(t[i-1:])
	t[0].start = start
	return t
}

func (t epochTable) write(fsys env.FS, dir string) error {
	return writeCheckpoint(fsys, dir, epochsName, len(t), func(dst []byte, i int) []byte {
		dst = strconv.AppendInt(dst, int64(t[i].epoch), 10)
		dst = append(dst, ' ')
		return strconv.AppendInt(dst, int64(t[i].start), 10)
	})
}

// parseEpochStart reads a row behind those of t.
func (t epochTable) parseEpochStart(f []string) (epochStart, error) {
	epoch, err := strconv.ParseUint(f[0], 10, 31)
	if err != nil {
		return epochStart{}, fmt.Errorf("%q is not a leader epoch", f[0])
	}
	start, err := strconv.ParseUint(f[1], 10, 63)
	if err != nil {
		return epochStart{}, fmt.Errorf("%q is not an offset", f[1])
	}
	e := epochStart{moldau.LeaderEpoch(epoch), moldau.Offset(start)}
	if n := len(t); n > 0 && (t[n-1].epoch >= e.epoch || t[n-1].start >= e.start) {
		return e, fmt.Errorf("epoch %d from offset %d follows epoch %d from %d", e.epoch, e.start, t[n-1].epoch, t[n-1].start)
	}
	return e, nil
}

func readEpochs(fsys env.FS, dir string) (epochTable, error) {
	var t epochTable
	err := readCheckpoint(fsys, dir, epochsName, 2, func(f []string) error {
		e, err := t.parseEpochStart(f)
		t = append(t, e)
		return err
	})
	return t, err
}

// AssignEpoch notes that this broker has become the leader with epoch e, at the end of the log. It needs no write:
// an epoch without records decides nothing that its loss would change, and with records it is in their headers until
// Flush, which writes the checkpoint before it lets the recovery point pass them.
// Errors: ErrClosed, ErrPoisoned, an epoch below the newest.
func (l *Log) AssignEpoch(e moldau.LeaderEpoch) error {
	if err := l.usable(); err != nil && l.damage == nil { // a damaged log has a leader too, who serves what is there
		return err
	}
	t := *l.epochs.Load()
	if e < t.latest() && l.damage == nil {
		return fmt.Errorf("log %v: leader epoch %d is below the newest, %d", l.partition, e, t.latest())
	}
	l.setEpochs(t.assign(e, l.End()))
	return nil
}

func (l *Log) setEpochs(t epochTable) {
	if old := *l.epochs.Load(); len(old) != len(t) || len(t) > 0 && &old[0] != &t[0] {
		l.epochs.Store(&t)
	}
}

// LatestEpoch is the newest leader epoch, NoEpoch where none is known. It may be called from any goroutine.
func (l *Log) LatestEpoch() moldau.LeaderEpoch { return l.epochs.Load().latest() }

// EpochEnd answers OffsetForLeaderEpoch: the largest known epoch that is not above asked and the offset at which it
// ends. -1 and -1 where asked is above all known epochs; asked itself and the start of the oldest epoch where it is below
// all. It may be called from any goroutine. KIP-101, KIP-279.
func (l *Log) EpochEnd(asked moldau.LeaderEpoch) (moldau.LeaderEpoch, moldau.Offset) {
	t := *l.epochs.Load()
	return t.end(asked, l.End())
}

// EpochAt is the leader epoch of the record at o, NoEpoch where it is unknown. It may be called from any goroutine.
func (l *Log) EpochAt(o moldau.Offset) moldau.LeaderEpoch { return l.epochs.Load().at(o) }
