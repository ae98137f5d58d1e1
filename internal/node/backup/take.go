package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// takeTries bounds how often a partition is begun anew whose segments changed meanwhile.
const takeTries = 10

// epochsMax bounds what is read of a leader-epoch-checkpoint, in bytes.
const epochsMax = 64 << 20

var (
	// errChanged is the end of a try during which compaction or retention replaced what was being copied.
	errChanged = errors.New("its segments changed each time that they were copied")
	errEnough  = errors.New("enough")
)

// repoError is a failure of the repository, which ends the backup; one of the source costs a partition.
type repoError struct{ err error }

func (e *repoError) Error() string { return e.err.Error() }
func (e *repoError) Unwrap() error { return e.err }

func inRepo(err error) error {
	if err == nil {
		return nil
	}
	return &repoError{err}
}

// partition takes one log. Segments are copied from the oldest on. What retention deletes meanwhile is left out; where
// anything else has changed, all of it is done again.
func (t *taking) partition(ctx context.Context, tp moldau.TopicPartition, id moldau.TopicID) (p Partition, err error) {
	start, end, err := t.bounds(tp)
	if err != nil {
		return p, err
	}
	to := filepath.Join(t.dir, tp.String())
	for try := range takeTries {
		if try > 0 { // it may have moved to another directory
			if err := t.find(); err != nil {
				return p, err
			}
		}
		if err := inRepo(errors.Join(t.fsys.RemoveAll(to), t.fsys.MkdirAll(to))); err != nil {
			return p, err
		}
		l := logCopy{
			t: t, tp: tp, from: t.found[tp].Dir, to: to,
			p: Partition{Topic: tp.Topic, Partition: tp.Partition, TopicID: id.String(), Start: start, End: end, Files: []File{}},
		}
		if err = l.copy(ctx); !errors.Is(err, errChanged) && !errors.Is(err, fs.ErrNotExist) {
			return l.p, errors.Join(err, inRepo(t.fsys.SyncDir(to)))
		}
	}
	return p, err
}

// logCopy is one try to copy a log.
type logCopy struct {
	t        *taking
	tp       moldau.TopicPartition
	from, to string
	p        Partition
	next     moldau.Offset // behind the last batch copied
}

func (l *logCopy) copy(ctx context.Context) error {
	if l.from == "" {
		return l.absent()
	}
	segments, snapshots, later, err := l.list()
	if err != nil {
		return err
	}
	if len(segments) == 0 {
		if later {
			l.p.Start = l.p.End // retention took all that there was
		}
		return l.absent()
	}
	var taken []commitlog.LogFile
	for i, f := range segments {
		sealed := i+1 < len(segments)
		err := l.segment(ctx, f, sealed && segments[i+1].Base <= l.p.End)
		if errors.Is(err, fs.ErrNotExist) && len(taken) == 0 && sealed {
			continue // retention was faster
		}
		if err != nil {
			return err
		}
		taken = append(taken, f)
	}
	if err := l.unchanged(taken); err != nil {
		return err
	}
	if l.t.offline {
		l.p.End = l.next
	}
	if l.next < l.p.End {
		return fmt.Errorf("%w: it ends at offset %d, below its high watermark %d", errChanged, l.next, l.p.End)
	}
	l.p.Start = min(max(l.p.Start, taken[0].Base), l.p.End)
	return l.small(snapshots)
}

// absent is a log without files: one that was never written.
func (l *logCopy) absent() error {
	if l.t.offline {
		l.p.End = l.p.Start
	}
	if l.p.Start != l.p.End {
		return fmt.Errorf("it has no files, and reaches from offset %d to %d", l.p.Start, l.p.End)
	}
	return nil
}

// list names the segments that begin below the end or at it, and the snapshots of producers at their beginnings. later says
// that there are segments behind those.
func (l *logCopy) list() (segments, snapshots []commitlog.LogFile, later bool, err error) {
	files, err := commitlog.LogFiles(l.t.fsys, l.from)
	if err != nil {
		return nil, nil, false, err
	}
	for _, f := range files {
		switch {
		case f.Base > l.p.End:
			later = later || f.Ext == commitlog.SegmentExt
		case f.Ext == commitlog.SegmentExt:
			segments = append(segments, f)
		case f.Ext == commitlog.SnapshotExt:
			snapshots = append(snapshots, f)
		}
	}
	return segments, snapshots, later, nil
}

// segment takes one segment: whole and shared with the backup before where it can be, or as far as the end.
func (l *logCopy) segment(ctx context.Context, f commitlog.LogFile, whole bool) error {
	name := l.tp.String() + "/" + f.Name
	source := &Source{f.Info.Size(), f.Info.ModTime().UnixNano()}
	if old, ok := l.t.reuse[l.p.TopicID+" "+name]; ok && whole && *old.Source == *source && l.share(f, old) {
		return nil
	}
	in, err := l.t.fsys.OpenRead(filepath.Join(l.from, f.Name))
	if err != nil {
		return err
	}
	defer in.Close() // it was only read
	out, err := l.t.fsys.Create(filepath.Join(l.to, f.Name))
	if err != nil {
		return inRepo(err)
	}
	w := &segmentWriter{out: out, sum: sha256.New()}
	err = l.batches(ctx, in, f, whole, w)
	if err = errors.Join(err, w.close()); err != nil {
		return err
	}
	file := File{Name: name, Bytes: w.at, SHA256: hex.EncodeToString(w.sum.Sum(nil))}
	if whole {
		file.Source = source
	}
	l.p.Files = append(l.p.Files, file)
	return nil
}

// share gives a file of the backup before a second name here. It does not where the file is gone there or has another size, or
// where the volume has no links: then it is copied again.
func (l *logCopy) share(f commitlog.LogFile, old File) bool {
	path := filepath.Join(l.t.before, filepath.FromSlash(old.Name))
	info, err := l.t.fsys.Stat(path)
	if err != nil || info.Size() != old.Bytes || l.t.fsys.Link(path, filepath.Join(l.to, f.Name)) != nil {
		return false
	}
	l.t.shared += old.Bytes
	l.p.Files = append(l.p.Files, old)
	l.next = max(l.next, f.Base)
	return true
}

// batches copies the batches of a segment, each checked: all of a sealed one, those below the end of the last.
func (l *logCopy) batches(ctx context.Context, in env.File, f commitlog.LogFile, whole bool, w *segmentWriter) error {
	size, err := in.Size()
	if err != nil {
		return err
	}
	l.next = max(l.next, f.Base)
	if !whole && l.next >= l.p.End {
		return nil
	}
	_, err = commitlog.Walk(in, 0, size, func(_ int64, b record.Batch) error {
		if b.BaseOffset() < l.next {
			return fmt.Errorf("%w: offset %d stands behind %d", errChanged, b.BaseOffset(), l.next)
		}
		if !whole && b.LastOffset() >= l.p.End {
			return errEnough
		}
		if err := w.write(b); err != nil {
			return inRepo(err)
		}
		l.next = b.LastOffset() + 1
		if err := l.t.pace(ctx, int64(len(b))); err != nil {
			return err
		}
		if !whole && l.next >= l.p.End { // what follows may be a write under way
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || l.t.offline && !whole && errors.Is(err, commitlog.ErrTorn) {
		err = nil
	}
	if err != nil && !errors.Is(err, errChanged) {
		err = fmt.Errorf("segment %s: %w", filepath.Join(l.from, f.Name), err)
	}
	return err
}

// unchanged looks at the segments that were copied again: each must be what it was, unless retention took it and all before.
func (l *logCopy) unchanged(taken []commitlog.LogFile) error {
	// A topic of the same name may have taken the place of one that was deleted.
	id, err := commitlog.ReadTopicID(l.t.fsys, l.from)
	if err == nil && id.String() != l.p.TopicID {
		return errChanged
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files, err := commitlog.LogFiles(l.t.fsys, l.from)
	if err != nil {
		return err
	}
	now := make(map[moldau.Offset]commitlog.LogFile)
	first := moldau.Offset(math.MaxInt64)
	for _, f := range files {
		if f.Ext == commitlog.SegmentExt {
			now[f.Base] = f
			first = min(first, f.Base)
		}
	}
	for i, f := range taken {
		n, ok := now[f.Base]
		sealed := i+1 < len(taken)
		switch {
		case !ok && f.Base < first:
		case !ok, sealed && (n.Info.Size() != f.Info.Size() || !n.Info.ModTime().Equal(f.Info.ModTime())):
			return errChanged
		}
	}
	return nil
}

// small copies what is beside the segments: where leader epochs began, and what was known of producers where segments begin.
// A snapshot that retention has taken meanwhile was of a segment that is gone.
func (l *logCopy) small(snapshots []commitlog.LogFile) error {
	names := []string{commitlog.EpochsName}
	for _, f := range snapshots {
		names = append(names, f.Name)
	}
	for _, name := range names {
		b, err := env.ReadFile(l.t.fsys, filepath.Join(l.from, name), epochsMax)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := inRepo(writeNew(l.t.fsys, filepath.Join(l.to, name), b)); err != nil {
			return err
		}
		l.t.copied += int64(len(b))
		l.p.Files = append(l.p.Files, File{Name: l.tp.String() + "/" + name, Bytes: int64(len(b)), SHA256: sum(b)})
	}
	slices.SortFunc(l.p.Files, func(a, b File) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return nil
}

// writeNew writes a file of a backup that is not finished, durably but for its name.
func writeNew(fsys env.FS, path string, b []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// pace counts n bytes, and waits where they came faster than they may.
func (t *taking) pace(ctx context.Context, n int64) error {
	t.copied += n
	if mib := int(t.copied >> 20); mib > t.told {
		t.told = mib
		t.progress()
	}
	if t.o.BytesPerSecond <= 0 {
		return ctx.Err()
	}
	due := t.started.Add(time.Duration(float64(t.copied) / float64(t.o.BytesPerSecond) * float64(time.Second)))
	if ahead := due.Sub(t.o.Env.Clock.Now()); ahead > 10*time.Millisecond {
		return env.Sleep(ctx, t.o.Env.Clock, ahead)
	}
	return ctx.Err()
}

// writeBuffer is how many bytes of batches are written at once.
const writeBuffer = 1 << 20

// segmentWriter writes batches into a file of the backup and sums them up.
type segmentWriter struct {
	out env.File
	sum hash.Hash
	buf []byte
	at  int64 // bytes written or in buf
}

func (w *segmentWriter) write(b []byte) error {
	w.buf = append(w.buf, b...)
	w.at += int64(len(b))
	if len(w.buf) < writeBuffer {
		return nil
	}
	return w.flush()
}

func (w *segmentWriter) flush() error {
	w.sum.Write(w.buf) // a hash returns no error
	_, err := w.out.WriteAt(w.buf, w.at-int64(len(w.buf)))
	w.buf = w.buf[:0]
	return err
}

// close writes what is left, makes it durable and closes the file.
func (w *segmentWriter) close() error {
	err := w.flush()
	if err == nil {
		err = w.out.Sync()
	}
	return inRepo(errors.Join(err, w.out.Close()))
}
