package commitlog_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moldau/moldau"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// keyPlaces is the size of a map with places for n keys: some slots stand behind the places.
func keyPlaces(n int64) int64 { return (512 + n) * 24 }

// compact runs a pass, with other changes between its steps.
func (w *world) compact(pick chooser) error {
	w.now = w.now.Add(time.Duration(pick("wait", 200)) * time.Millisecond)
	for _, id := range producers[4:] { // or else little is below the last stable offset
		if w.open[id] && pick("end", 3) > 0 {
			if err := w.endTransaction(id, pick("commit", 2) == 0); err != nil {
				return err
			}
		}
	}
	if pick("flush first", 4) > 0 {
		if err := w.flush(nil); err != nil {
			return err
		}
		w.point = w.log.RecoveryPoint()
	}
	limit := w.point
	if first, open := w.log.FirstUnstable(w.end()); open {
		limit = min(limit, first)
	}
	places := []int64{2, 5, 1000}[pick("places", 3)]
	return w.pass(limit, places, func() error {
		switch pick("meanwhile", 8) {
		case 0:
			return w.append(pick)
		case 1:
			return w.retain(pick)
		case 2:
			if w.uncut {
				return nil
			}
			return w.truncate(pick)
		case 3:
			return w.advanceStart(pick)
		case 4:
			return w.flush(nil)
		}
		return nil
	})
}

// pass runs a whole pass up to limit with a map for places keys, and meanwhile before each step.
func (w *world) pass(limit moldau.Offset, places int64, meanwhile func() error) error {
	c, err := w.log.BeginCompaction(CompactionOptions{Limit: limit, Now: w.now, MapBytes: keyPlaces(places), MapLoad: 0.9, Secret: [16]byte{7}})
	if err != nil || c == nil {
		return err
	}
	defer c.Abandon()
	w.limit = limit
	w.compacted = true
	w.before = slices.Clone(w.entries)
	if err := w.stepAll(c, limit, meanwhile); err != nil {
		return err
	}
	w.before = nil
	return nil
}

func (w *world) stepAll(c *Compaction, limit moldau.Offset, meanwhile func() error) error {
	first := w.log.FirstDirty()
	for {
		if err := meanwhile(); err != nil {
			return err
		}
		_, stage, err := c.Step()
		if errors.Is(err, ErrTruncated) {
			return nil
		}
		if err != nil {
			return err
		}
		switch stage {
		case Ready:
			if err := meanwhile(); err != nil {
				return err
			}
			err := c.Commit()
			if errors.Is(err, ErrTruncated) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := w.adopt(limit); err != nil {
				return fmt.Errorf("compacted below %d: %w", limit, err)
			}
		case Done:
			done := c.Done()
			w.done.RecordsDropped += done.RecordsDropped
			w.done.SegmentsBefore += done.SegmentsBefore
			w.done.After += done.After
			w.firstDirty = w.log.FirstDirty()
			if w.firstDirty <= first || done.GivenUp > 0 {
				return nil // retention has taken a part away, or the log was truncated
			}
			return w.checkClean(w.firstDirty)
		}
	}
}

// adopt compares the batches on disk with those that the model has, which they may have been made of below limit, and takes them
// over. C1, C2 and C3 hold between the two.
func (w *world) adopt(limit moldau.Offset) error {
	batches, err := w.log.Batches()
	if err != nil {
		return err
	}
	first := w.log.Segments()[0].Base
	i, _ := slices.BinarySearchFunc(w.entries, first, func(e entry, at moldau.Offset) int { return cmp.Compare(e.last(), at-1) })
	for i < len(w.entries) && w.entries[i].base() < first {
		i++
	}
	before := w.entries[i:]
	after := make([]entry, 0, len(before))
	for _, b := range batches {
		e := entry{raw: b}
		if e.records, err = facts(w.codecs, b); err != nil {
			return err
		}
		j := slices.IndexFunc(before, func(o entry) bool { return o.base() == e.base() })
		if j < 0 {
			return fmt.Errorf("%v was never appended", b)
		}
		if err := w.derives(before[j], e, limit); err != nil {
			return fmt.Errorf("%v became %v: %w", before[j].raw, b, err)
		}
		after = append(after, e)
	}
	if err := errors.Join(w.checkFold(before, after), w.checkNeeded(before, after, limit)); err != nil {
		return err
	}
	w.entries = append(w.entries[:i:i], after...)
	return nil
}

// derives reports whether compaction may have made got of was.
func (w *world) derives(was, got entry, limit moldau.Offset) error {
	a, b := was.raw, got.raw
	if bytes.Equal(a, b) {
		return nil
	}
	same := a.LastOffset() == b.LastOffset() && a.LeaderEpoch() == b.LeaderEpoch() && a.ProducerID() == b.ProducerID() &&
		a.ProducerEpoch() == b.ProducerEpoch() && a.BaseSequence() == b.BaseSequence() && a.IsTransactional() == b.IsTransactional() &&
		a.IsControl() == b.IsControl() && a.IsLogAppendTime() == b.IsLogAppendTime()
	switch {
	case !same:
		return errors.New("its header has changed")
	case a.LastOffset() >= limit:
		return fmt.Errorf("it may not be compacted before %d", limit)
	case !b.CRCValid() || int(b.Count()) != len(got.records):
		return errors.New("its CRC or its count is wrong")
	case a.HasDeleteHorizon() && b.Count() > 0 && (!b.HasDeleteHorizon() || a.BaseTimestamp() != b.BaseTimestamp()):
		return errors.New("its delete horizon has changed")
	case b.Count() > 0 && a.Codec() != b.Codec():
		return errors.New("its codec has changed")
	}
	highest := moldau.NoTimestamp
	for _, f := range got.records {
		if !slices.Contains(was.records, f) {
			return fmt.Errorf("record %+v was not there", f)
		}
		highest = max(highest, f.time)
	}
	if b.Count() > 0 && b.MaxTimestamp() != highest {
		return fmt.Errorf("its highest timestamp is %d, and the header says %d", highest, b.MaxTimestamp())
	}
	return nil
}

// ending is what became of a transaction.
type ending int

const (
	stillOpen ending = iota
	committed
	abortedToo
)

// endings tells of each batch of data what became of its transaction; a batch outside of one is committed.
func endings(list []entry) []ending {
	ends := make([]ending, len(list))
	open := map[moldau.ProducerID][]int{}
	for i, e := range list {
		id := e.raw.ProducerID()
		switch {
		case !e.raw.IsTransactional():
			ends[i] = committed
		case !e.raw.IsControl():
			open[id] = append(open[id], i)
		case e.raw.Count() > 0:
			end := abortedToo
			if m, _ := e.raw.Marker(); m.Commit {
				end = committed
			}
			for _, j := range open[id] {
				ends[j] = end
			}
			delete(open, id)
		}
	}
	return ends
}

// latest is the last committed record of each key from the log's start on, and its batch.
func (w *world) latest(list []entry) (map[string]fact, map[string]entry) {
	facts, in := map[string]fact{}, map[string]entry{}
	ends := endings(list)
	for i, e := range list {
		if e.raw.IsControl() || ends[i] != committed {
			continue
		}
		for _, f := range e.records {
			if f.keyless || e.base()+f.delta < w.start {
				continue
			}
			facts[f.key], in[f.key] = f, e
		}
	}
	return facts, in
}

// checkFold is C1: each key has the same last value. A tombstone may be gone once its horizon has passed (C3).
func (w *world) checkFold(before, after []entry) error {
	want, in := w.latest(before)
	got, _ := w.latest(after)
	for key, f := range want {
		g, ok := got[key]
		switch {
		case ok && g == f:
		case !f.tombstone:
			return fmt.Errorf("C1: the last value of %q was %d bytes at %d, it is %d bytes", key, len(f.value), in[key].base()+f.delta, len(g.value))
		case ok:
			return fmt.Errorf("C1: key %q was deleted at %d, and has a value of %d bytes", key, in[key].base()+f.delta, len(g.value))
		case !in[key].raw.HasDeleteHorizon() || int64(in[key].raw.BaseTimestamp()) > w.now.UnixMilli():
			return fmt.Errorf("C3: the tombstone of %q at %d is gone too early, %v", key, in[key].base()+f.delta, in[key].raw)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			return fmt.Errorf("C1: key %q has come to be", key)
		}
	}
	return nil
}

// checkNeeded is C2: what nobody may remove is there. Of a transaction all data that is left has its marker.
func (w *world) checkNeeded(before, after []entry, limit moldau.Offset) error {
	if len(before) == 0 {
		return nil
	}
	has := map[moldau.Offset]bool{}
	for _, e := range after {
		has[e.base()] = true
	}
	ends, now := endings(before), endings(after)
	last := map[moldau.ProducerID]entry{}
	decided := map[moldau.Offset]ending{}
	for i, e := range before {
		decided[e.base()] = ends[i]
		if e.raw.HasProducer() && !e.raw.IsControl() {
			last[e.raw.ProducerID()] = e
		}
		if e.last() >= limit && !has[e.base()] {
			return fmt.Errorf("C2: %v is gone, and only what is below %d may go", e.raw, limit)
		}
	}
	for id, e := range last {
		if !has[e.base()] && !w.loose {
			return fmt.Errorf("C2: the last batch of producer %d is gone, %v", id, e.raw)
		}
	}
	if e := before[len(before)-1]; !has[e.base()] {
		return fmt.Errorf("C2: the last batch of the log is gone, %v", e.raw)
	}
	for i, e := range after {
		if len(e.records) > 0 && !e.raw.IsControl() && now[i] != decided[e.base()] {
			return fmt.Errorf("C2: %v has lost its marker", e.raw)
		}
	}
	for _, s := range w.log.Segments()[:len(w.log.Segments())-1] {
		if i := slices.IndexFunc(after, func(e entry) bool { return e.last() == s.Next-1 }); i < 0 && slices.ContainsFunc(before, func(e entry) bool { return e.last() == s.Next-1 }) {
			return fmt.Errorf("no batch is at the end of segment %d, before %d", s.Base, s.Next)
		}
	}
	return nil
}

// checkClean is that a pass which has ended at end has left nothing that it should have removed.
func (w *world) checkClean(end moldau.Offset) error {
	newest := map[string]moldau.Offset{}
	ends := endings(w.entries)
	first := w.log.Start()
	for i, e := range w.entries {
		for _, f := range e.records {
			if o := e.base() + f.delta; o < end && o >= first && !e.raw.IsControl() && ends[i] == committed {
				newest[f.key] = o
			}
		}
	}
	for i, e := range w.entries {
		for _, f := range e.records {
			o := e.base() + f.delta
			if o >= end || o < first || e.raw.IsControl() || ends[i] == stillOpen {
				continue
			}
			if f.keyless || ends[i] == abortedToo || newest[f.key] != o {
				return fmt.Errorf("record %d of %v is superseded, aborted or without a key, and still there below %d", o, e.raw, end)
			}
		}
	}
	return nil
}

// checkAbortedData is what has to hold of the aborted transactions of a compacted log: of each whose data is left the list tells.
func (w *world) checkAbortedData(got []Aborted) error {
	first := w.log.Segments()[0].Base
	for i, end := range endings(w.entries) {
		e := w.entries[i]
		if end != abortedToo || e.base() < first || e.last() < w.start || len(e.records) == 0 {
			continue
		}
		if !slices.ContainsFunc(got, func(a Aborted) bool {
			return a.Producer == e.raw.ProducerID() && a.First <= e.base() && a.Last > e.last()
		}) {
			return fmt.Errorf("%v was aborted, and none of %+v tells of it", e.raw, got)
		}
	}
	for _, a := range got {
		for i, end := range endings(w.entries) {
			e := w.entries[i]
			if end == committed && e.raw.IsTransactional() && !e.raw.IsControl() && e.raw.ProducerID() == a.Producer &&
				e.base() >= a.First && e.last() < a.Last {
				return fmt.Errorf("%v was committed, and %+v says that it was not", e.raw, a)
			}
		}
	}
	return nil
}
