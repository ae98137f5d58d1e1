package coordinator

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
)

// loop is the goroutine of several machines.
type loop[M rsm.Machine[R], R any] struct {
	c       *Coordinator[M, R]
	inbox   *inbox[M, R]
	tickets tickets
	shards  map[int32]*shard[M, R] // touched by the loop only
	touched []*shard[M, R]         // in this round

	states sync.Map // partition → error or nil, for those who ask from outside
}

func newLoop[M rsm.Machine[R], R any](c *Coordinator[M, R]) *loop[M, R] {
	return &loop[M, R]{
		c: c, inbox: newInbox[M, R](), shards: map[int32]*shard[M, R]{},
		tickets: tickets{holders: map[rsm.Ticket]holder{}},
	}
}

func (l *loop[M, R]) now() time.Time { return l.c.opt.Env.Clock.Now() }

// run takes what waits, lets the machines do what is due, and appends what came of it, until the inbox is closed.
func (l *loop[M, R]) run() {
	timer := l.c.opt.Env.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		jobs, closed := l.inbox.take()
		if closed {
			clear(l.shards)
			l.tickets.voidAll(ErrNotCoordinator)
			for _, job := range jobs {
				job(l) // there is no shard any more: who asks is told so
			}
			return
		}
		for _, job := range jobs {
			job(l)
		}
		l.tick()
		l.flush()
		if l.inbox.waiting() > 0 {
			continue
		}
		rearm(timer, l.untilDue())
		select {
		case <-l.inbox.wake:
		case <-timer.C():
		}
	}
}

// rearm sets a timer that may have fired.
func rearm(t env.Timer, d time.Duration) {
	if !t.Stop() {
		select {
		case <-t.C():
		default:
		}
	}
	t.Reset(d)
}

// untilDue is how long the loop may sleep.
func (l *loop[M, R]) untilDue() time.Duration {
	wait := time.Hour
	now := l.now()
	for _, s := range l.shards {
		if !s.active {
			continue
		}
		at, ok := s.machine.Deadline()
		switch {
		case !ok:
		case !s.p.Takes():
			wait = min(wait, refusedPause)
		default:
			wait = min(wait, max(at.Sub(now), 0))
		}
	}
	return wait
}

// refusedPause is how long what is due waits where the partition takes nothing, before it is looked at again.
const refusedPause = time.Second

// ticksMax is how much that is due one machine does before others have their turn.
const ticksMax = 1000

func (l *loop[M, R]) tick() {
	now := l.now()
	for _, s := range l.sorted() {
		for range ticksMax {
			at, ok := time.Time{}, false
			if s.active {
				at, ok = s.machine.Deadline()
			}
			if !ok || now.Before(at) || !s.p.Takes() {
				break
			}
			l.take(s, rsm.NoTicket, s.machine.Tick(now))
		}
	}
}

// sorted lists the shards by partition.
func (l *loop[M, R]) sorted() []*shard[M, R] {
	list := make([]*shard[M, R], 0, len(l.shards))
	for _, s := range l.shards {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *shard[M, R]) int { return int(a.p.Name.Partition) - int(b.p.Name.Partition) })
	return list
}

// decide runs a command.
func (l *loop[M, R]) decide(partition int32, w *waiter, cmd *Command[M, R]) {
	s, err := l.ready(partition)
	if err != nil {
		w.tell(nil, err)
		return
	}
	to := l.tickets.issue(partition, w)
	out := cmd.Decide(s.machine, l.now(), to)
	if cmd.Within == nil || len(out.Records) == 0 {
		l.take(s, to, out)
		return
	}
	l.apart(s, to, func() (own[R], error) { return s.within(*cmd.Within, cmd.Guard, out, l.now()) })
}

// ready returns the shard of a partition whose machine can decide, or why there is none.
func (l *loop[M, R]) ready(partition int32) (*shard[M, R], error) {
	s := l.shards[partition]
	switch {
	case s == nil:
		return nil, ErrNotCoordinator
	case !s.active:
		return nil, ErrLoading
	case !s.p.Takes():
		// A refusal that touches no machine: what it would decide could not be written down.
		return nil, ErrNotTaken
	}
	return s, nil
}

// mark writes a marker.
func (l *loop[M, R]) mark(partition int32, w *waiter, m Marker) {
	s, err := l.ready(partition)
	if err != nil {
		w.tell(nil, err)
		return
	}
	to := l.tickets.issue(partition, w)
	l.apart(s, to, func() (own[R], error) { return s.marker(m, to, l.now()), nil })
}

// apart appends a batch of its own behind what was gathered, unless the partition refuses it.
func (l *loop[M, R]) apart(s *shard[M, R], to rsm.Ticket, build func() (own[R], error)) {
	if l.append(s); !s.active {
		return // and who waits was told
	}
	o, err := build()
	if err != nil {
		l.tickets.end(to, nil, err)
		return
	}
	if limit := s.limit(); len(o.batch) > limit {
		l.refuse(to, o.held.replies, &Refusal{moldau.MessageTooLarge, fmt.Errorf("a batch of %d bytes, and max.message.bytes is %d", len(o.batch), limit)})
		return
	}
	if code, err := s.p.Check(o.leave, o.batch); code != moldau.None {
		l.refuse(to, o.held.replies, &Refusal{code, err})
		return
	}
	if err := s.appendApart(l, o); err != nil {
		l.drop(s, err)
		return
	}
	l.release(s)
}

// take replays what a machine has decided and gathers it for the next append. to is who asked for it, if anybody did.
func (l *loop[M, R]) take(s *shard[M, R], to rsm.Ticket, out rsm.Output[R]) {
	size, limit := s.encode(out, l.now()), s.limit()
	if to != rsm.NoTicket && record.HeaderLen+size > limit {
		l.refuse(to, out.Replies, &Refusal{moldau.MessageTooLarge, fmt.Errorf("records of %d bytes, and max.message.bytes is %d", size, limit)})
		return
	}
	if s.batch.Count() > 0 && s.batch.Size()+size > limit {
		if l.append(s); !s.active {
			return // and who waits was told
		}
	}
	if !s.gather(out) {
		return
	}
	if !slices.Contains(l.touched, s) {
		l.touched = append(l.touched, s)
	}
	if s.batch.Size() >= batchFull {
		l.append(s)
	}
}

// refuse tells who asked why it does not happen, and those who were to hear of it too.
func (l *loop[M, R]) refuse(to rsm.Ticket, replies []rsm.Reply, why error) {
	l.tickets.end(to, nil, why)
	for _, r := range replies {
		l.tickets.end(r.To, nil, why)
	}
}

// flush appends what was gathered in this round, and releases what is committed.
func (l *loop[M, R]) flush() {
	for _, s := range l.touched {
		l.append(s)
	}
	clear(l.touched)
	l.touched = l.touched[:0]
}

// append writes the gathered records of a shard as one batch.
func (l *loop[M, R]) append(s *shard[M, R]) {
	if !s.active {
		return // given up in this round
	}
	if err := s.append(l); err != nil {
		l.drop(s, err)
		return
	}
	l.release(s)
}

// release tells replies, and does effects, whose records are committed.
func (l *loop[M, R]) release(s *shard[M, R]) {
	for _, h := range s.released() {
		for _, r := range h.replies {
			l.tickets.answer(r.To, r.Response)
		}
		for _, e := range h.effects {
			l.c.kind.Effect(s.p.Name.Partition, s.epoch, e)
		}
	}
}

// drop gives up a machine whose log did not take what it decided, and loads it anew.
func (l *loop[M, R]) drop(s *shard[M, R], why error) {
	if l.shards[s.p.Name.Partition] != s {
		return
	}
	s.active = false
	delete(l.shards, s.p.Name.Partition)
	l.c.opt.Logger.Warn("a coordinator is loaded again: its log did not take a record", "partition", s.p.Name.String(), "error", why)
	l.tickets.void(s.p.Name.Partition, ErrNotTaken)
	l.lead(s.p)
}

// lead begins to load the machine of a partition.
func (l *loop[M, R]) lead(p *partition.Partition) {
	index := p.Name.Partition
	if old := l.shards[index]; old != nil {
		if old.p == p && old.epoch == p.Epoch() {
			return // news of the partition that do not concern its machine
		}
		old.active = false
		l.tickets.void(index, ErrNotCoordinator)
	}
	s := newShard[M, R](l.c.kind, p)
	l.shards[index] = s
	l.states.Store(index, ErrLoading)
	l.c.ended.Add(1)
	l.c.opt.Env.Go("load "+l.c.kind.Name, func() { // ends when the log was read, or with Stop
		defer l.c.ended.Done()
		m, end, err := s.load(l.c.loads, l.c.stopping)
		l.inbox.putAlways(func(l *loop[M, R]) { l.loaded(s, m, end, err) })
	})
}

// loaded puts a machine to work.
func (l *loop[M, R]) loaded(s *shard[M, R], m M, end moldau.Offset, err error) {
	index := s.p.Name.Partition
	if l.shards[index] != s {
		return // led anew meanwhile, or not any more
	}
	if err != nil {
		l.c.opt.Logger.Error("a coordinator could not be loaded; its groups are not served", "partition", s.p.Name.String(), "error", err)
		l.resign(index)
		return
	}
	s.begin(m, end, l.now())
	l.states.Store(index, nil)
}

func (l *loop[M, R]) resign(partition int32) {
	s := l.shards[partition]
	if s == nil {
		return
	}
	s.active = false
	delete(l.shards, partition)
	l.states.Delete(partition)
	l.tickets.void(partition, ErrNotCoordinator)
}

func (l *loop[M, R]) each(fn func(int32, M)) (loading int) {
	for _, s := range l.sorted() {
		if s.active {
			fn(s.p.Name.Partition, s.machine)
		} else {
			loading++
		}
	}
	return loading
}

func (l *loop[M, R]) stateOf(partition int32) error {
	state, ok := l.states.Load(partition)
	if !ok {
		return ErrNotCoordinator
	}
	if state == nil {
		return nil
	}
	return state.(error)
}
