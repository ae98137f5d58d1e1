package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/filecache"
)

// Choice is what to do about records that cannot be read.
type Choice string

// The choices.
const (
	// Cut ends the log before the first damage; everything behind it is taken out.
	Cut Choice = "cut"
	// LeaveOut takes out what is damaged and keeps what is behind it. The offsets that are lost are filled with batches without
	// records: consumers pass over them.
	LeaveOut Choice = "leave-out"
)

// asideExt ends the names of files that hold what a repair took out of a log. Nothing reads or removes them.
const asideExt = ".aside"

// Mending is a plan to mend one log: steps in their order, none of which has been taken yet.
type Mending struct {
	Steps []MendStep
	// RecoveryPoint and LogStart are to stand in the checkpoints afterwards, where not nil.
	RecoveryPoint, LogStart *moldau.Offset
	// Lost is how many offsets are given up.
	Lost int64
	// Undecided says that records cannot be read and no choice was made about them.
	Undecided bool
}

// MendStep is a step of a plan.
type MendStep struct {
	What string // in words
	do   func() error
}

// Add adds a step.
func (m *Mending) Add(what string, do func() error) { m.Steps = append(m.Steps, MendStep{what, do}) }

// Do takes the steps, each of which is durable when the next one begins, and strikes the note of the damage where all that was
// found is dealt with. A crash in between leaves a log that can be verified and mended again.
func (m *Mending) Do() error {
	for _, s := range m.Steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.What, err)
		}
	}
	return nil
}

// PlanMending plans to mend what Verify has reported of the log. choice may be empty: then what loses no records is planned.
func PlanMending(fsys env.FS, report LogReport, choice Choice) *Mending {
	m := &mender{fsys: filecache.New(0).On(fsys), dir: report.Dir, plan: new(Mending)}
	m.epochs, _ = readEpochs(fsys, report.Dir) // one that cannot be read is as good as none
	var lost, other []Finding
	for _, f := range report.Findings {
		if f.Kind == BadEpochs {
			m.epochs = nil
		}
		if f.Kind.Lost() {
			lost = append(lost, f)
		} else if !f.Kind.Harmless() {
			other = append(other, f)
		}
	}
	slices.SortStableFunc(lost, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.From, b.From))
	})
	switch {
	case len(lost) == 0:
	case choice == Cut:
		m.cut(lost, report)
	case choice == LeaveOut:
		m.leaveOut(lost)
	default:
		m.plan.Undecided = true
	}
	m.rebuild(other)
	if !m.plan.Undecided {
		m.forgetNote()
	}
	return m.plan
}

type mender struct {
	fsys   *filecache.FS
	dir    string
	plan   *Mending
	epochs epochTable // empty where the checkpoint cannot be trusted
}

func (m *mender) step(do func() error, format string, args ...any) {
	m.plan.Steps = append(m.plan.Steps, MendStep{fmt.Sprintf(format, args...), do})
}

// cut plans to end the log before the first damage.
func (m *mender) cut(lost []Finding, report LogReport) {
	first := lost[0]
	for _, f := range lost {
		if f.Kind == MissingHead {
			m.acceptStart(f)
			continue
		}
		if first.Kind == MissingHead || f.Offset < first.Offset {
			first = f
		}
	}
	if first.Kind == MissingHead {
		return
	}
	m.plan.RecoveryPoint = &first.Offset
	m.plan.Lost += int64(max(report.End, first.Next) - first.Offset)
	if first.Kind == MissingEnd {
		m.step(func() error { return nil }, "accept offset %d as the end of the log; the offsets up to %d are given out again", first.Offset, first.Next)
		return
	}
	segments, others, err := SegmentFiles(m.fsys, m.dir)
	if err != nil {
		m.step(func() error { return err }, "list %s", m.dir)
		return
	}
	for _, s := range slices.Backward(segments) {
		if s.Path > first.File {
			m.step(func() error { return m.setAside(s.Base) }, "take out segment %s, %d bytes", filepath.Base(s.Path), s.Size)
		}
	}
	for _, name := range others {
		if at, ext, ok := parseName(name); ok && ext == snapshotExt && at > first.Offset {
			m.step(func() error { return m.rename(name) }, "take out %s, of producers behind the cut", name)
		}
	}
	m.rewrite(first.File, []edit{{first.From, math.MaxInt64, nil}}, "cut %s at byte %d, offset %d", filepath.Base(first.File), first.From, first.Offset)
}

// leaveOut plans to take out what is damaged.
func (m *mender) leaveOut(lost []Finding) {
	edits := map[string][]edit{}
	for _, f := range lost {
		if f.Kind == MissingHead {
			m.acceptStart(f)
			continue
		}
		m.plan.Lost += max(int64(f.Next-f.Offset), 0)
		file := f.File
		if !strings.HasSuffix(file, logExt) { // nothing is left
			file = filepath.Join(m.dir, logName(f.Offset))
			f.From, f.To = 0, 0
		}
		edits[file] = append(edits[file], edit{f.From, f.To, m.filler(f)})
	}
	for _, file := range slices.Sorted(maps.Keys(edits)) {
		var out int64
		for _, e := range edits[file] {
			out += e.to - e.from
		}
		m.rewrite(file, edits[file], "take %d bytes out of %s and fill the offsets that are lost", out, filepath.Base(file))
	}
}

// filler is the batches that take the offsets which f says are lost, of the epochs that those had.
func (m *mender) filler(f Finding) (b []byte) {
	for base := f.Offset; base < f.Next; {
		last, epoch := min(f.Next-1, base+maxRelative), f.epoch
		for _, e := range m.epochs {
			if e.start <= base {
				epoch = max(epoch, e.epoch)
			} else {
				last = min(last, e.start-1)
			}
		}
		b = append(b, record.BuildHollow(base, last, epoch)...)
		base = last + 1
	}
	return b
}

func (m *mender) acceptStart(f Finding) {
	m.plan.LogStart = &f.Next
	m.plan.Lost += int64(f.Next - f.Offset)
	m.step(func() error { return nil }, "accept offset %d as the start of the log; it was %d", f.Next, f.Offset)
}

// edit puts bytes in the place of those from from to to.
type edit struct {
	from, to int64
	put      []byte
}

// rewrite plans to replace a segment's file by an edited copy with indexes of its own. What is taken out goes to a file aside,
// durably, before.
func (m *mender) rewrite(file string, edits []edit, format string, args ...any) {
	m.step(func() error {
		if err := m.editFile(file, edits); err != nil {
			return err
		}
		return rebuildIndexes(m.fsys, file)
	}, format, args...)
}

func (m *mender) editFile(file string, edits []edit) error {
	old, err := m.fsys.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = m.fsys.Create(file)
	}
	if err != nil {
		return err
	}
	defer old.Close()
	size, err := old.Size()
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	w := newCopier(m.fsys, m.dir, name)
	at := int64(0)
	for _, e := range edits {
		e.from, e.to = min(e.from, size), min(e.to, size)
		if e.to > e.from {
			err = errors.Join(err, m.saveAside(old, fmt.Sprintf("%s.%d-%d", name, e.from, e.to), e.from, e.to))
		}
		w.copy(old, at, e.from)
		w.write(e.put)
		at = e.to
	}
	w.copy(old, at, size)
	return errors.Join(err, w.finish(err == nil))
}

// saveAside writes a part of a file to a file of its own.
func (m *mender) saveAside(f io.ReaderAt, name string, from, to int64) error {
	name, err := m.free(name)
	if err != nil {
		return err
	}
	w := newCopier(m.fsys, m.dir, name)
	w.copy(f, from, to)
	return w.finish(true)
}

// setAside takes the segment at base out of the log.
func (m *mender) setAside(base moldau.Offset) error {
	for _, ext := range [...]string{logExt, indexExt, timeExt, txnExt} {
		if err := m.rename(stem(base) + ext); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (m *mender) rename(name string) error {
	path := filepath.Join(m.dir, name)
	if _, err := m.fsys.Stat(path); err != nil {
		return err
	}
	to, err := m.free(name)
	if err == nil {
		err = m.fsys.Rename(path, filepath.Join(m.dir, to))
	}
	return errors.Join(err, m.fsys.SyncDir(m.dir))
}

// free is a name for what is taken out that no earlier repair has used.
func (m *mender) free(name string) (string, error) {
	for n := 1; ; n++ {
		aside := name + asideExt
		if n > 1 {
			aside = fmt.Sprintf("%s.%d%s", name, n, asideExt)
		}
		if _, err := m.fsys.Stat(filepath.Join(m.dir, aside)); errors.Is(err, fs.ErrNotExist) {
			return aside, nil
		} else if err != nil {
			return "", err
		}
	}
}

// rebuild plans to build anew what can be.
func (m *mender) rebuild(findings []Finding) {
	var segments []string
	aborted := false
	for _, f := range findings {
		name := filepath.Base(f.File)
		switch f.Kind {
		case BadIndex:
			base, _, _ := parseName(name)
			if file := filepath.Join(m.dir, logName(base)); !slices.Contains(segments, file) {
				segments = append(segments, file)
				m.step(func() error { return rebuildIndexes(m.fsys, file) }, "build the indexes of segment %s anew", filepath.Base(file))
			}
		case BadAborted:
			if !aborted {
				aborted = true
				m.step(m.rebuildAborted, "build the transaction indexes anew from the batches")
			}
		case BadSnapshot, BadEpochs:
			m.step(func() error { return m.rename(name) }, "take out %s; the next start builds it anew from the batches", name)
		}
	}
}

// rebuildAborted writes the transaction indexes of all segments anew.
func (m *mender) rebuildAborted() error {
	l := &Log{fsys: m.fsys, pools: new(Pools), now: func() time.Time { return time.Time{} }, dir: m.dir}
	l.Reconfigure(DefaultConfig())
	files, _, err := SegmentFiles(m.fsys, m.dir)
	if err != nil || len(files) == 0 {
		return err
	}
	var segs []*segment
	defer func() {
		for _, s := range segs {
			s.drop()
		}
	}()
	for _, f := range files {
		s, err := openSegment(m.fsys, m.dir, f.Base)
		if err != nil {
			return err
		}
		segs = append(segs, s)
	}
	if err := l.loadProducers(new(scanner), segs, 0, math.MaxInt64, func(string, ...any) {}); err != nil {
		return err
	}
	for _, s := range segs {
		if err := s.syncAborted(); err != nil {
			return err
		}
	}
	return m.fsys.SyncDir(m.dir)
}

// rebuildIndexes writes the indexes of a segment's file anew, durably.
func rebuildIndexes(fsys *filecache.FS, file string) error {
	base, _, _ := parseName(filepath.Base(file))
	s, err := openSegment(fsys, filepath.Dir(file), base)
	if err != nil {
		return err
	}
	defer s.drop()
	s.clearIndexes()
	in := Inspector{}
	_, _, err = in.Segment(s.file, s.size, base, moldau.NoEpoch, func(pos int64, b record.Batch) error {
		s.indexed(b, pos, DefaultConfig().IndexIntervalBytes)
		return nil
	}, func(st Stretch) error {
		return fmt.Errorf("at byte %d: %s", st.From, st.Reason)
	})
	if err != nil {
		return err
	}
	s.addTime()
	return errors.Join(s.offsets.replace(fsys), s.times.replace(fsys))
}

// forgetNote plans to strike the note of the damage.
func (m *mender) forgetNote() {
	path := filepath.Join(m.dir, damageName)
	if _, err := m.fsys.Stat(path); err != nil {
		return
	}
	m.step(func() error { return errors.Join(m.fsys.Remove(path), m.fsys.SyncDir(m.dir)) }, "strike %s, the note of the damage", damageName)
}

// copier writes a file of pieces of others, which takes its name when it is whole and durable.
type copier struct {
	fsys      env.FS
	dir, name string
	file      env.File
	at        int64
	buf       []byte
	err       error
}

func newCopier(fsys env.FS, dir, name string) *copier {
	c := &copier{fsys: fsys, dir: dir, name: name, buf: make([]byte, copyBuffer)}
	tmp := filepath.Join(dir, name+tmpExt)
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.err = err
		return c
	}
	c.file, c.err = fsys.Create(tmp)
	return c
}

func (c *copier) write(b []byte) {
	if c.err == nil && len(b) > 0 {
		_, c.err = c.file.WriteAt(b, c.at)
		c.at += int64(len(b))
	}
}

func (c *copier) copy(f io.ReaderAt, from, to int64) {
	for from < to && c.err == nil {
		b, err := readSome(f, c.buf[:min(to-from, int64(len(c.buf)))], from)
		if err == nil && len(b) == 0 {
			err = io.ErrUnexpectedEOF
		}
		if c.err = err; err == nil {
			c.write(b)
			from += int64(len(b))
		}
	}
}

// finish puts the file in its place, where all went well so far and good is set.
func (c *copier) finish(good bool) error {
	if c.file == nil {
		return c.err
	}
	if c.err == nil {
		c.err = c.file.Sync()
	}
	c.err = errors.Join(c.err, c.file.Close())
	tmp := filepath.Join(c.dir, c.name+tmpExt)
	if c.err != nil || !good {
		return errors.Join(c.err, c.fsys.Remove(tmp))
	}
	return errors.Join(c.fsys.Rename(tmp, filepath.Join(c.dir, c.name)), c.fsys.SyncDir(c.dir))
}
