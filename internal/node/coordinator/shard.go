package coordinator

import (
	"fmt"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/kit/must"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
)

// batchFull is the size from which a batch is appended before the round ends.
const batchFull = 256 << 10

// shard is a partition of the internal topic with its machine.
type shard[M rsm.Machine[R], R any] struct {
	kind    Kind[M, R]
	p       *partition.Partition
	epoch   moldau.LeaderEpoch // at which the partition is led
	machine M
	active  bool // loaded, and not given up

	// Records that are replayed and not appended yet; the first gets offset next.
	encoded []record.Record // of the step that is being taken
	batch   *record.Builder
	next    moldau.Offset
	held    []held // replies of these records
	waiting []held // replies whose records are appended and not yet known to be committed
}

// held is replies and effects that wait until all below end is committed.
type held struct {
	end     moldau.Offset
	replies []rsm.Reply
	effects []any
}

func newShard[M rsm.Machine[R], R any](kind Kind[M, R], p *partition.Partition) *shard[M, R] {
	return &shard[M, R]{kind: kind, p: p, epoch: p.Epoch()}
}

// begin puts the loaded machine to work on a log that ends at end.
func (s *shard[M, R]) begin(m M, end moldau.Offset, now time.Time) {
	s.machine, s.active, s.next = m, true, end
	s.batch = record.NewBuilder(end)
	m.Loaded(now)
}

// limit is the size that a batch may have.
func (s *shard[M, R]) limit() int { return s.p.Settings().Checks.MessageBytesMax }

// encode encodes the records of a step into s.encoded, and returns how much they take in a batch at most.
func (s *shard[M, R]) encode(out rsm.Output[R], now time.Time) (size int) {
	s.encoded = s.encoded[:0]
	for _, r := range out.Records {
		key, value := s.kind.Encode(r)
		size += recordOverhead + len(key) + len(value)
		s.encoded = append(s.encoded, record.Record{Timestamp: moldau.Timestamp(now.UnixMilli()), Key: key, Value: value})
	}
	return size
}

// recordOverhead is what a record without headers takes at most beside key and value.
const recordOverhead = 40

// gather replays the records of a step, which were encoded, at the offsets that they are going to have. It reports whether there
// is anything to append or to release.
func (s *shard[M, R]) gather(out rsm.Output[R]) bool {
	end := out.After + 1
	for i, r := range out.Records {
		at := s.next + moldau.Offset(s.batch.Count())
		s.batch.Add(s.encoded[i])
		s.machine.Replay(at, r)
		end = at + 1
	}
	clear(s.encoded)
	tells := len(out.Replies) > 0 || len(out.Effects) > 0
	if tells {
		s.held = append(s.held, held{end, out.Replies, out.Effects})
	}
	return len(out.Records) > 0 || tells
}

// append writes what was gathered.
func (s *shard[M, R]) append(l *loop[M, R]) error {
	s.waiting = append(s.waiting, s.held...)
	clear(s.held)
	s.held = s.held[:0]
	count := s.batch.Count()
	if count == 0 {
		return nil
	}
	b, err := s.batch.Build(nil)
	if err != nil {
		return err
	}
	return s.write(l, b, partition.Leave{})
}

// write appends a batch at the end of the log. What it waits for is told to the loop.
func (s *shard[M, R]) write(l *loop[M, R], b record.Batch, leave partition.Leave) error {
	if limit := s.limit(); len(b) > limit {
		return fmt.Errorf("a batch of %d bytes, and max.message.bytes of %s is %d", len(b), s.p.Name.Topic, limit)
	}
	at, code, err := s.p.AppendWith(leave, b, true, committed[M, R]{l, s}, 0)
	if code != moldau.None {
		return fmt.Errorf("append to %v: %v: %w", s.p.Name, code, err)
	}
	must.True(at.Base == s.next, "the coordinator of %v wrote at offset %d, and had reckoned with %d", s.p.Name, at.Base, s.next)
	s.next = at.Last + 1
	s.batch.Reset(s.next)
	return nil
}

// committed is a partition.Waiter that has the loop look again.
type committed[M rsm.Machine[R], R any] struct {
	l *loop[M, R]
	s *shard[M, R]
}

// Committed implements partition.Waiter.
func (c committed[M, R]) Committed(_ int, code moldau.Code) {
	c.l.inbox.putAlways(func(l *loop[M, R]) {
		if l.shards[c.s.p.Name.Partition] != c.s {
			return
		}
		if code != moldau.None {
			l.drop(c.s, fmt.Errorf("commit: %v", code))
			return
		}
		l.release(c.s)
	})
}

// released takes out the replies that may be told, and the effects that may be done.
func (s *shard[M, R]) released() (list []held) {
	hw := s.p.HighWatermark()
	kept := s.waiting[:0]
	for _, h := range s.waiting {
		if h.end <= hw {
			list = append(list, h)
		} else {
			kept = append(kept, h)
		}
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
	return list
}

// load reads the log into a new machine and returns it with the offset at which the log ends.
//
// places bounds how many are read at a time. Errors: ErrNotCoordinator once stopping is closed.
func (s *shard[M, R]) load(places chan struct{}, stopping <-chan struct{}) (m M, end moldau.Offset, err error) {
	select {
	case <-s.p.Settled():
	case <-stopping:
		return m, 0, ErrNotCoordinator
	}
	select {
	case <-s.p.Writable(): // the loop that is going to append does not wait
	case <-stopping:
		return m, 0, ErrNotCoordinator
	}
	select {
	case places <- struct{}{}:
	case <-stopping:
		return m, 0, ErrNotCoordinator
	}
	defer func() { <-places }()
	m = s.kind.New()
	log := s.p.Log()
	if log == nil {
		return m, 0, fmt.Errorf("partition %v: %w", s.p.Name, partition.ErrOffline)
	}
	var codecs record.Codecs
	var buf []byte
	at, end := log.Start(), log.End()
	for at < end {
		region, err := log.Read(at, loadBytes, end, true)
		if err != nil {
			return m, 0, err
		}
		if region.Len == 0 {
			break // compaction has emptied the end
		}
		buf, err = region.Append(buf[:0])
		at = region.Next
		region.Release()
		if err == nil {
			err = s.replay(m, &codecs, buf)
		}
		if err != nil {
			return m, 0, err
		}
	}
	return m, end, nil
}

// loadBytes is how much of a log is read at a time.
const loadBytes = 1 << 20

// replay takes in the records of whole batches.
func (s *shard[M, R]) replay(m M, codecs *record.Codecs, batches []byte) error {
	for len(batches) > 0 {
		b, rest, err := record.Split(batches)
		if err != nil {
			return err
		}
		batches = rest
		by := rsm.Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch()}
		if b.IsControl() {
			if marker, err := b.Marker(); err == nil && s.kind.Marker != nil { // other control records end no transaction
				m.Replay(b.LastOffset(), s.kind.Marker(by, marker.Commit))
			}
			continue
		}
		for r, err := range b.Records(codecs, record.OpenLimit(len(b), len(b))) {
			if err != nil {
				return fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
			}
			rec, known, err := s.kind.Decode(r.Key, r.Value)
			if err != nil {
				return fmt.Errorf("record at offset %d: %w", r.Offset, err)
			}
			if known && b.IsTransactional() && s.kind.Within != nil {
				rec = s.kind.Within(rec, by)
			}
			if known {
				m.Replay(r.Offset, rec)
			}
		}
	}
	return nil
}
