package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/store/filecache"
)

const metadataName = "partition.metadata"

// Open opens the log in o.Dir, or makes an empty one there, and recovers it as far as its last stop demands (L-42).
//
// After a clean stop the files are believed. Else every batch from the recovery point on is checked (CRC, offsets,
// epochs); indexes and the producers' state are built anew. At the first batch that is not what it should be the log is cut
// where that can be a torn write, and else opened damaged: see Outage and Damage. What was repaired stands in Recovery, for the
// caller to tell.
//
// Errors: another topic's directory, files that cannot be read, ErrIncomplete or ErrDamaged where nothing is left to be served.
// Nothing is cut on such an error. After ErrNoSpace it may be tried again, with Clean false: a part of a recovery has happened.
func Open(o Options) (*Log, error) {
	l := newLog(o)
	if err := l.open(o); err != nil {
		return nil, fmt.Errorf("open log %v in %s: %w", o.Partition, o.Dir, undone(err, nothing))
	}
	return l, nil
}

func newLog(o Options) *Log {
	if o.Files == nil {
		o.Files = filecache.New(0)
	}
	if o.Pools == nil {
		o.Pools = new(Pools)
	}
	l := &Log{fsys: o.Files.On(o.FS), pools: o.Pools, now: o.Now, dir: o.Dir, partition: o.Partition}
	l.Reconfigure(o.Config)
	l.epochs.Store(&noEpochs)
	return l
}

// sharePath has the log's directory and the name of its segment be the same bytes: a partition is to be small.
func (l *Log) sharePath() { l.dir = l.view.Load().active().path[:len(l.dir)] }

func (l *Log) open(o Options) error {
	if err := l.makeDir(); err != nil {
		return err
	}
	if err := l.checkTopicID(o.TopicID); err != nil {
		return err
	}
	l.firstDirty.Store(int64(o.FirstDirty))
	files, err := l.takeInventory()
	if err != nil {
		return err
	}
	r := recoverer{
		l: l, clean: o.Clean, whole: o.Whole, point: o.RecoveryPoint, logStart: o.LogStart, startKnown: o.LogStartKnown,
		outage: o.Outage, durableAt: o.DurableAt, progress: o.Progress, epoch: moldau.NoEpoch,
	}
	if r.noted = files.names[damageName]; r.noted {
		r.outage = Killed // what was found then was made durable then
	}
	if err = r.openSegments(files); err == nil {
		err = r.run()
	}
	if err != nil {
		for _, s := range r.segs {
			s.drop()
		}
		return err
	}
	l.sharePath()
	if report := r.report; report.Scanned > 0 || report.Reason != "" || len(report.Notes) > 0 {
		l.recovery = &report // by itself: it stays, and the recoverer with all that it has read goes
	}
	return nil
}

// makeDir creates the directory where it is absent, durably: its loss must not look like an empty partition.
func (l *Log) makeDir() error {
	_, err := l.fsys.Stat(l.dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.fsys.MkdirAll(l.dir); err != nil {
		return err
	}
	return l.fsys.SyncDir(filepath.Dir(l.dir))
}

// checkTopicID compares id with the one in partition.metadata, or writes it there where the file is absent.
func (l *Log) checkTopicID(id moldau.TopicID) error {
	if id.IsZero() {
		return nil
	}
	found, err := readTopicID(l.fsys, l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return WriteTopicID(l.fsys, l.dir, id)
	}
	if err != nil {
		return err
	}
	if found != id {
		return fmt.Errorf("the directory belongs to topic id %v, not %v: a topic of the same name was deleted and created anew, "+
			"or the directory comes from another cluster; move it away", found, id)
	}
	return nil
}

// WriteTopicID writes the partition.metadata of a partition's directory.
func WriteTopicID(fsys env.FS, dir string, id moldau.TopicID) error {
	return env.WriteFile(fsys, dir, metadataName, fmt.Appendf(nil, "version: 0\ntopic_id: %v", id))
}

// readTopicID returns what partition.metadata in dir says. An absent file satisfies errors.Is(err, fs.ErrNotExist).
func readTopicID(fsys env.FS, dir string) (moldau.TopicID, error) {
	path := filepath.Join(dir, metadataName)
	b, err := env.ReadFile(fsys, path, 4096)
	if err != nil {
		return moldau.TopicID{}, err
	}
	id, err := parseTopicID(string(b))
	if err != nil {
		return id, fmt.Errorf("read %s: %w", path, err)
	}
	return id, nil
}

func parseTopicID(text string) (id moldau.TopicID, err error) {
	version, found := "", false
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); key {
		case "version":
			version = value
		case "topic_id":
			if id, err = moldau.ParseUUID(value); err != nil {
				return id, err
			}
			found = true
		}
	}
	if version != "0" || !found {
		return id, fmt.Errorf("version %q with a topic id: %v, want version 0 with one", version, found)
	}
	return id, nil
}

// files is what a partition's directory holds.
type files struct {
	names map[string]bool
	bases []moldau.Offset // of .log files, ascending
}

// takeInventory lists the directory and clears away what earlier lives have left behind: deletions that were not
// finished, replacements that were not renamed, compactions. Unknown files stay.
func (l *Log) takeInventory() (files, error) {
	f := files{names: make(map[string]bool)}
	entries, err := l.fsys.ReadDir(l.dir)
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			f.names[e.Name()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		switch filepath.Ext(name) {
		case deletedExt, cleanedExt, tmpExt:
			if err := l.discard(f, name); err != nil {
				return f, err
			}
		}
	}
	if err := l.finishSwaps(f); err != nil {
		return f, err
	}
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		base, ext, ok := parseName(name)
		if !ok {
			continue
		}
		switch ext {
		case logExt:
			f.bases = append(f.bases, base)
		case snapshotExt:
			l.snapshots = append(l.snapshots, base)
		default: // an index
			if !f.names[logName(base)] {
				if err := l.discard(f, name); err != nil {
					return f, err
				}
			}
		}
	}
	return f, nil
}

func (l *Log) discard(f files, name string) error {
	if err := l.fsys.Remove(filepath.Join(l.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(f.names, name)
	l.namesDirty.Store(true)
	return nil
}

// parseName reads the name of a segment's file.
func parseName(name string) (base moldau.Offset, ext string, ok bool) {
	ext = filepath.Ext(name)
	digits := strings.TrimSuffix(name, ext)
	switch ext {
	case logExt, indexExt, timeExt, txnExt, snapshotExt:
	default:
		return 0, "", false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || len(digits) != 20 {
		return 0, "", false
	}
	return moldau.Offset(n), ext, true
}

// finishSwaps puts compacted segments in place. A .log.swap is a whole and durable replacement of the segments whose
// base lies between its own base and the offset behind its last batch; of a compaction that left none, what is left
// under .swap is of no use.
func (l *Log) finishSwaps(f files) error {
	var sc scanner
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		target, isSwap := strings.CutSuffix(name, swapExt)
		base, ext, ok := parseName(target)
		if !isSwap || !ok {
			continue
		}
		if ext != logExt {
			if err := l.discard(f, name); err != nil { // indexes are built anew
				return err
			}
			continue
		}
		end, err := l.swapEnd(&sc, name, base)
		if err != nil {
			return err
		}
		for _, old := range slices.Sorted(maps.Keys(f.names)) {
			if o, _, ok := parseName(old); ok && o >= base && o < end && !strings.HasSuffix(old, snapshotExt) {
				if err := l.discard(f, old); err != nil {
					return err
				}
			}
		}
		// Two segments with the same offsets must never stand side by side: the old ones are gone before the new one appears.
		if err := l.fsys.SyncDir(l.dir); err != nil {
			return err
		}
		if err := l.fsys.Rename(filepath.Join(l.dir, name), filepath.Join(l.dir, target)); err != nil {
			return err
		}
		delete(f.names, name)
		f.names[target] = true
	}
	return nil
}

// swapEnd is the offset behind the last batch of the file name.
func (l *Log) swapEnd(sc *scanner, name string, base moldau.Offset) (moldau.Offset, error) {
	f, err := l.fsys.Open(filepath.Join(l.dir, name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	end := base + 1
	for sc.reset(f, 0, size); sc.pos < size; {
		h, err := sc.header()
		if err != nil {
			return 0, fmt.Errorf("%s, a finished compaction, is damaged at byte %d: %w", name, sc.pos, err)
		}
		end = h.LastOffset() + 1
		sc.skip(h.Size())
	}
	return end, nil
}
