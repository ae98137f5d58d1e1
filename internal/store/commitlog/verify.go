package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// Kind is what a Finding is about, which decides what can be done.
type Kind string

// The kinds of findings. The first group is records that are lost or cannot be read.
const (
	BadBytes    Kind = "bad bytes"    // no batch where one should be
	MissingEnd  Kind = "missing end"  // the log ends before its recovery point
	MissingHead Kind = "missing head" // the log begins behind its checkpointed start
	Gap         Kind = "gap"          // a segment ends before the next one begins

	BadIndex    Kind = "index"             // of offsets or of times
	BadAborted  Kind = "transaction index" //
	BadSnapshot Kind = "snapshot"          // of the producers' state
	BadEpochs   Kind = "leader epochs"     //
	BadTopicID  Kind = "topic id"          // partition.metadata

	TornTail Kind = "torn tail" // a write that did not end; the next start cuts it off
	Leftover Kind = "leftover"  // the next start removes it
)

// Lost reports whether findings of this kind mean records that are lost or cannot be read.
func (k Kind) Lost() bool { return k == BadBytes || k == MissingEnd || k == MissingHead || k == Gap }

// Harmless reports whether a start deals with it without a word.
func (k Kind) Harmless() bool { return k == TornTail || k == Leftover }

// Finding is something that is not as it should be.
type Finding struct {
	Kind Kind   `json:"kind"`
	File string `json:"file"`
	// From and To are the bytes in the file, and Offset and Next the first offset that is lost and the first that is there again;
	// -1 where they do not apply.
	From   int64         `json:"from"`
	To     int64         `json:"to"`
	Offset moldau.Offset `json:"offset"`
	Next   moldau.Offset `json:"next"`
	What   string        `json:"what"`

	epoch moldau.LeaderEpoch // of the batch before
}

// LogReport is what Verify saw of one log.
type LogReport struct {
	Dir      string        `json:"dir"`
	Segments int           `json:"segments"`
	Batches  int64         `json:"batches"`
	Records  int64         `json:"records"` // as the batches' headers have them
	Bytes    int64         `json:"bytes"`
	Start    moldau.Offset `json:"start"`
	End      moldau.Offset `json:"end"`
	Findings []Finding     `json:"findings"`
}

// VerifyOptions say which log to look at, and what else is known of it.
type VerifyOptions struct {
	FS  env.FS
	Dir string
	// RecoveryPoint is the offset before which all was synced and nothing may be missing. What lies behind it is not expected to
	// have indexes. Clean extends it to the end.
	RecoveryPoint moldau.Offset
	Clean         bool
	// LogStart is the checkpointed start; LogStartKnown says that there is one.
	LogStart      moldau.Offset
	LogStartKnown bool
	// Compacted says that offsets may be missing between segments.
	Compacted bool
	// Outage says how the last life ended, where it was not clean: what a start makes of a bad end depends on it.
	Outage Outage
	// DurableAt is as in Options.
	DurableAt func(record.Batch) moldau.Offset
	// Read, where not nil, is told of bytes that were read; its error ends the look.
	Read func(n int64) error
}

// Verify reads every batch of a log and whatever stands beside the segments, and changes nothing. An error says that it could not
// go on reading; what is wrong with the files is a finding.
func Verify(o VerifyOptions) (LogReport, error) {
	v := &verifier{o: o, in: Inspector{Read: o.Read}, report: LogReport{Dir: o.Dir}, epoch: moldau.NoEpoch}
	v.aborted.lose()
	segments, others, err := SegmentFiles(o.FS, o.Dir)
	if err != nil {
		return v.report, err
	}
	v.epochs, v.epochsErr = readEpochs(o.FS, o.Dir)
	v.noted = slices.Contains(others, damageName)
	v.report.Segments = len(segments)
	v.report.Start, v.report.End = o.LogStart, o.LogStart
	if len(segments) > 0 {
		v.report.Start = max(o.LogStart, segments[0].Base)
	}
	for i, s := range segments {
		next := moldau.Offset(math.MaxInt64)
		if i+1 < len(segments) {
			next = segments[i+1].Base
		}
		if err := v.segment(s, next); err != nil {
			return v.report, fmt.Errorf("verify %s: %w", s.Path, err)
		}
	}
	v.ends(segments)
	v.beside(others)
	return v.report, nil
}

type verifier struct {
	o         VerifyOptions
	in        Inspector
	report    LogReport
	epoch     moldau.LeaderEpoch
	end       moldau.Offset // of the segments so far
	epochs    epochTable
	epochsErr error
	noted     bool // a start has found the log damaged
	misled    bool // the epochs were found to differ from a batch's
	aborted   abortedCheck
}

func (v *verifier) add(f Finding) { v.report.Findings = append(v.report.Findings, f) }

// about is a finding that concerns a whole file.
func (v *verifier) about(kind Kind, file, format string, args ...any) {
	v.add(Finding{Kind: kind, File: file, From: -1, To: -1, Offset: -1, Next: -1, What: fmt.Sprintf(format, args...)})
}

// trusted reports whether a start believes what is before an offset without reading it.
func (v *verifier) trusted(o moldau.Offset) bool { return v.o.Clean || o <= v.o.RecoveryPoint }

func (v *verifier) segment(s SegmentFile, next moldau.Offset) error {
	f, err := v.o.FS.Open(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	last := next == math.MaxInt64
	var bad []Stretch
	check := newIndexCheck(v.o.FS, s)
	v.aborted.markers = nil
	end, epoch, err := v.in.Segment(f, s.Size, s.Base, v.epoch, func(pos int64, b record.Batch) error {
		v.report.Batches++
		v.report.Records += int64(b.Count())
		v.report.Bytes += int64(b.Size())
		check.batch(pos, b)
		v.aborted.batch(b)
		v.checkEpoch(b)
		return nil
	}, func(st Stretch) error { bad = append(bad, st); v.aborted.lose(); return nil })
	if err != nil {
		return err
	}
	v.epoch, v.end = epoch, end
	v.report.End = max(v.report.End, end)
	for i, st := range bad {
		kind, err := v.kindOf(st, f, s, last, i == len(bad)-1)
		if err != nil {
			return err
		}
		switch {
		case st.Next >= 0:
		case !last:
			st.Next = next
		case v.o.RecoveryPoint > st.Offset:
			st.Next = v.o.RecoveryPoint
		}
		v.add(Finding{kind, s.Path, st.From, st.To, st.Offset, st.Next, st.Reason, st.Epoch})
	}
	switch {
	case last:
	case end > next:
		v.add(Finding{BadBytes, s.Path, s.Size, s.Size, next, next, fmt.Sprintf("it ends at offset %d, above the base of the next segment, %d", end, next), v.epoch})
	case end < next && (len(bad) == 0 || bad[len(bad)-1].To < s.Size) && !v.o.Compacted && next-end <= maxRelative:
		v.add(Finding{Gap, s.Path, s.Size, s.Size, end, next, fmt.Sprintf("it ends at offset %d, and the next segment begins at %d", end, next), v.epoch})
	}
	if len(bad) == 0 && v.trusted(min(next, end+1)) && (!last || v.o.Clean) {
		v.indexes(s, check)
	}
	return nil
}

// kindOf tells a write that the outage has torn, which the next start cuts off, from damage.
func (v *verifier) kindOf(st Stretch, f env.File, s SegmentFile, lastSegment, lastStretch bool) (Kind, error) {
	outage := v.o.Outage
	if v.noted {
		outage = Killed
	}
	behind := !lastStretch || !lastSegment
	if !behind {
		place := chain{base: s.Base, next: st.Offset, epoch: st.Epoch}
		err := wholeBehind(&v.in.sc, f, st.From, s.Size, place, func(record.Batch) bool { behind = true; return false })
		if err != nil {
			return BadBytes, err
		}
	}
	if !mayBeTorn(outage, v.trusted(st.Offset+1), behind) {
		return BadBytes, nil
	}
	if v.o.DurableAt != nil && behind {
		durable := !lastSegment
		place := chain{base: s.Base, next: st.Offset, epoch: st.Epoch}
		err := wholeBehind(&v.in.sc, f, st.From, s.Size, place, func(b record.Batch) bool {
			durable = durable || v.o.DurableAt(b) > st.Offset
			return !durable
		})
		if err != nil || durable {
			return BadBytes, err
		}
	}
	if outage == Killed {
		torn, err := beginsABatch(&v.in.sc, f, st.From, s.Size, chain{base: s.Base, next: st.Offset})
		if err != nil || !torn {
			return BadBytes, err
		}
	}
	return TornTail, nil
}

// indexes tells what is wrong with the indexes of a segment whose batches are whole.
func (v *verifier) indexes(s SegmentFile, check *indexCheck) {
	stem := strings.TrimSuffix(s.Path, logExt)
	if s.Size > 0 {
		for ext, problem := range map[string]string{indexExt: check.offsetProblem(), timeExt: check.timeProblem()} {
			if problem != "" {
				v.about(BadIndex, stem+ext, "%s", problem)
			}
		}
	}
	list, err := ReadAborted(v.o.FS, stem+txnExt)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.about(BadAborted, stem+txnExt, "%v", err)
	} else if problem := v.aborted.problem(list); problem != "" {
		v.about(BadAborted, stem+txnExt, "%s", problem)
	}
}

// checkEpoch compares a batch with the epoch checkpoint, once.
func (v *verifier) checkEpoch(b record.Batch) {
	if v.misled || v.epochsErr != nil || b.LeaderEpoch() < 0 || b.LastOffset() < v.o.LogStart || !v.trusted(b.LastOffset()+1) {
		return
	}
	if at := max(v.o.LogStart, b.BaseOffset()); v.epochs.at(at) != b.LeaderEpoch() {
		v.misled = true
		v.about(BadEpochs, filepath.Join(v.o.Dir, epochsName), "it tells of offset %d epoch %d, the batch is of epoch %d", at, v.epochs.at(at), b.LeaderEpoch())
	}
}

// ends looks whether either end of the log is missing.
func (v *verifier) ends(segments []SegmentFile) {
	end, file, size := moldau.Offset(0), v.o.Dir, int64(-1)
	if n := len(segments); n > 0 {
		end, file, size = v.end, segments[n-1].Path, segments[n-1].Size
		if v.o.LogStartKnown && segments[0].Base > v.o.LogStart {
			v.add(Finding{MissingHead, v.o.Dir, -1, -1, v.o.LogStart, segments[0].Base,
				fmt.Sprintf("the log begins at offset %d, and its start is %d (%s)", segments[0].Base, v.o.LogStart, LogStarts), v.epoch})
		}
	}
	covered := false // the end that is missing is that of bytes that are bad
	for _, f := range v.report.Findings {
		covered = covered || f.Kind == BadBytes && f.Next >= v.o.RecoveryPoint
	}
	switch {
	case covered:
	case end < v.o.RecoveryPoint:
		v.add(Finding{MissingEnd, file, size, size, end, v.o.RecoveryPoint,
			fmt.Sprintf("the log ends at offset %d, and all before %d was synced", end, v.o.RecoveryPoint), v.epoch})
	case v.o.Clean && end < v.o.LogStart:
		v.add(Finding{MissingEnd, file, size, size, end, v.o.LogStart,
			fmt.Sprintf("the log ends at offset %d, below its start %d (%s)", end, v.o.LogStart, LogStarts), v.epoch})
	}
}

// beside looks at the files that are no segments.
func (v *verifier) beside(names []string) {
	if v.epochsErr != nil && !errors.Is(v.epochsErr, fs.ErrNotExist) {
		v.about(BadEpochs, filepath.Join(v.o.Dir, epochsName), "%v", v.epochsErr)
	}
	if _, err := readTopicID(v.o.FS, v.o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.about(BadTopicID, filepath.Join(v.o.Dir, metadataName), "%v", err)
	}
	for _, name := range names {
		if _, ext, ok := parseName(name); ok && ext == snapshotExt {
			path := filepath.Join(v.o.Dir, name)
			if _, err := ReadProducers(v.o.FS, path); err != nil {
				v.about(BadSnapshot, path, "%v", err)
			}
		}
	}
	for _, name := range leftovers(names) {
		v.about(Leftover, filepath.Join(v.o.Dir, name), "a deletion, a replacement or a compaction that did not end; the next start deals with it")
	}
}

// indexCheck compares the indexes of a segment with its batches as they come.
type indexCheck struct {
	offsets []IndexEntry
	times   []TimeEntry
	noIndex string // why an index cannot be read
	noTimes string
	wrong   string
	late    string
	nextOff int
	nextTim int
	highest moldau.Timestamp // of records
	emptied moldau.Timestamp // of batches that a compaction has emptied, whose times Apache Kafka counts
}

func newIndexCheck(fsys env.FS, s SegmentFile) *indexCheck {
	stem := strings.TrimSuffix(s.Path, logExt)
	c := &indexCheck{highest: moldau.NoTimestamp, emptied: moldau.NoTimestamp}
	var err error
	if c.offsets, err = ReadIndex(fsys, stem+indexExt); err != nil {
		c.noIndex = err.Error()
	}
	if c.times, err = ReadTimeIndex(fsys, stem+timeExt); err != nil {
		c.noTimes = err.Error()
	}
	return c
}

func (c *indexCheck) batch(pos int64, b record.Batch) {
	for ; c.nextOff < len(c.offsets) && c.offsets[c.nextOff].Position <= pos; c.nextOff++ {
		if e := c.offsets[c.nextOff]; c.wrong == "" && (e.Position < pos || e.Offset != b.LastOffset()) {
			c.wrong = fmt.Sprintf("entry %d points to offset %d at byte %d, where no batch ends with that", c.nextOff, e.Offset, e.Position)
		}
	}
	if b.Count() > 0 {
		c.highest = max(c.highest, b.MaxTimestamp())
	} else {
		c.emptied = max(c.emptied, b.MaxTimestamp())
	}
	for ; c.nextTim < len(c.times) && c.times[c.nextTim].Offset <= b.LastOffset(); c.nextTim++ {
		if e := c.times[c.nextTim]; c.late == "" && e.Timestamp != c.highest && e.Timestamp != max(c.highest, c.emptied) {
			c.late = fmt.Sprintf("entry %d says that the highest timestamp up to offset %d is %d, it is %d", c.nextTim, e.Offset, e.Timestamp, c.highest)
		}
	}
}

func (c *indexCheck) offsetProblem() string {
	switch {
	case c.noIndex != "":
		return c.noIndex
	case c.wrong == "" && c.nextOff < len(c.offsets):
		return fmt.Sprintf("entry %d points behind the end of the segment", c.nextOff)
	}
	return c.wrong
}

func (c *indexCheck) timeProblem() string {
	switch {
	case c.noTimes != "":
		return c.noTimes
	case c.late == "" && c.nextTim < len(c.times):
		return fmt.Sprintf("entry %d tells of an offset behind the end of the segment", c.nextTim)
	}
	return c.late
}
