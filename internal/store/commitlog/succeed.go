package commitlog

import (
	"errors"

	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// Follow appends to l, a copy of old in the making, batches that old has behind l's end, about bytesMax bytes of them, and returns
// how many bytes. 0: it has all that was there. Where old has deleted what comes next, the copy begins anew at old's start. Old may
// be appended to and cut at its beginning meanwhile, by others.
// Errors: those of Read on old, ErrDamaged for a batch whose checksum is wrong, and those of AppendAs on l.
func (l *Log) Follow(old *Log, bytesMax int) (n int, err error) {
	at, end := max(l.End(), old.Start()), old.End()
	if at >= end {
		return 0, l.beginAt(old, at)
	}
	r, err := old.Read(at, bytesMax, end, true)
	if err != nil {
		return 0, err
	}
	b, err := r.Append(nil)
	r.Release()
	for len(b) > 0 && err == nil {
		var batch record.Batch
		if batch, b, err = record.Split(b); err != nil {
			break
		}
		if !batch.CRCValid() {
			return n, fmt.Errorf("copy log %v at offset %d: the checksum of the batch is wrong: %w", l.partition, batch.BaseOffset(), ErrDamaged)
		}
		if err = l.beginAt(old, batch.BaseOffset()); err == nil {
			_, err = l.AppendAs(batch)
		}
		n += batch.Size()
	}
	return n, err
}

// beginAt empties l where it ends below the start of old, to go on with a batch at an offset: at old's start, or where the batch that
// contains that begins.
func (l *Log) beginAt(old *Log, at moldau.Offset) error {
	if at = min(at, old.Start()); l.End() >= at {
		return nil
	}
	return l.TruncateFullyAndStartAt(at)
}

// Succeed makes l, which has followed old to its end, all that old is: its start, its epochs, and its producers, which it may
// remember longer than their batches. Old is not appended to any more. What l has is durable when it returns.
// Errors: ErrOutOfOrder where l does not end where old does; those of Append and Flush.
func (l *Log) Succeed(old *Log) error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.End() != old.End() {
		return fmt.Errorf("log %v ends at %d, and its copy at %d: %w", l.partition, old.End(), l.End(), ErrOutOfOrder)
	}
	l.producers = old.producers.clone()
	l.noteOpen()
	l.snapshotAt = noOffset
	end := l.view.Load().tail.end()
	var err error
	if end.pos > 0 {
		err = l.roll(end.next, l.now()) // a recovery takes the producers from where the last segment begins
	} else {
		err = l.writeSnapshot(end.next)
	}
	if err != nil {
		return l.refuse(fmt.Errorf("finish the copy of log %v: %w", l.partition, err))
	}
	if err := l.keepProducers(end.next); err != nil {
		return l.poison(fmt.Errorf("finish the copy of log %v: %w", l.partition, err))
	}
	l.setEpochs(slices.Clone(*old.epochs.Load()))
	if err := l.AdvanceStart(old.Start()); err != nil {
		return err
	}
	_, err = l.Flush()
	return err
}

// keepProducers makes the snapshot at the end durable: others can be told again from the batches, this one cannot. A recovery may
// read the segment before it once more, and begins with the snapshot of its base; those producers that have no batches since are put
// there too.
func (l *Log) keepProducers(end moldau.Offset) error {
	if err := l.syncSnapshot(end); err != nil {
		return err
	}
	segs := l.view.Load().segs
	if len(segs) < 2 {
		return nil
	}
	base := segs[len(segs)-2].base
	t, err := l.readSnapshot(base)
	if errors.Is(err, fs.ErrNotExist) {
		t.reset(base)
	} else if err != nil {
		return err
	}
	for id, p := range l.producers.byID {
		if p.n > 0 && p.window[p.n-1].last >= base {
			continue // its batches tell
		}
		then := *p
		if before := t.byID[id]; before != nil {
			then.txnStart = before.txnStart
		} else if then.txnStart >= base {
			then.txnStart = noOffset
		}
		t.put(&then)
	}
	if !slices.Contains(l.snapshots, base) {
		l.snapshots = append(l.snapshots, base)
		slices.Sort(l.snapshots)
	}
	return env.WriteFile(l.fsys, l.dir, stem(base)+snapshotExt, t.encode())
}

// clone is a table of its own.
func (t *producerTable) clone() producerTable {
	c := producerTable{byID: maps.Clone(t.byID), open: slices.Clone(t.open), done: slices.Clone(t.done), end: t.end}
	for id, p := range c.byID {
		own := *p
		c.byID[id] = &own
	}
	return c
}

// movesName is the file of a log directory that lists the partitions which are given up to another directory of this broker.
const movesName = "moldau.moves"

// Move says that the log of a partition has been copied to the log directory To, another one of this broker, and is that one's as
// soon as the partition's directory is there. The row is in the directory that it leaves, durably, before that directory is there,
// and goes when the metadata knows where the partition is: at any moment in between, a start can tell whose it is, or that it
// cannot tell.
type Move struct {
	Partition moldau.TopicPartition
	TopicID   moldau.TopicID
	To        moldau.DirectoryID
}

// ReadMoves reads the list of moves; an absent file is empty.
func (d *Directory) ReadMoves() ([]Move, error) {
	var moves []Move
	err := readCheckpoint(d.fsys, d.path, movesName, 4, func(f []string) error {
		tp, _, err := parseOffsetRow([]string{f[0], f[1], "0"})
		if err != nil {
			return err
		}
		m := Move{Partition: tp}
		if m.TopicID, err = moldau.ParseUUID(f[2]); err != nil {
			return err
		}
		m.To, err = moldau.ParseUUID(f[3])
		moves = append(moves, m)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return moves, nil
}

// WriteMoves replaces the list of moves; after a crash the old or the new one is there whole.
func (d *Directory) WriteMoves(moves []Move) error {
	return writeCheckpoint(d.fsys, d.path, movesName, len(moves), func(b []byte, i int) []byte {
		m := moves[i]
		return fmt.Appendf(b, "%s %d %v %v", m.Partition.Topic, m.Partition.Partition, m.TopicID, m.To)
	})
}

const futureSuffix = "-future" // of a partition's directory that is a copy in the making

// FutureName is the name of the directory of a copy in the making, Kafka's. It is used once.
func FutureName(tp moldau.TopicPartition, unique moldau.UUID) string {
	return fmt.Sprintf("%v.%x%s", tp, unique[:], futureSuffix)
}

// TakeFutures removes the copies that earlier lives have not finished, and returns of which partitions they were.
func (d *Directory) TakeFutures() ([]PartitionDir, error) {
	entries, err := d.fsys.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list log directory %s: %w", d.path, err)
	}
	var list []PartitionDir
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), futureSuffix)
		dot := strings.LastIndexByte(name, '.')
		if !ok || !e.IsDir() || dot < 0 || len(name)-dot-1 != 2*len(moldau.UUID{}) {
			continue
		}
		tp, err := moldau.ParseTopicPartition(name[:dot])
		if err != nil {
			continue
		}
		f := PartitionDir{Partition: tp, Dir: filepath.Join(d.path, e.Name())}
		f.TopicID, f.Err = readTopicID(d.fsys, f.Dir)
		list = append(list, f)
		if err := d.fsys.RemoveAll(f.Dir); err != nil {
			return list, fmt.Errorf("remove an unfinished copy: %w", err)
		}
	}
	return list, nil
}
