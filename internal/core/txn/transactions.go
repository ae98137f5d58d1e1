package txn

import (
	"cmp"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Config is what the broker's settings say of transactions.
type Config struct {
	TimeoutMax time.Duration // of a transaction
	Expiration time.Duration // of a transactional id that is not used
	// Hold is how long a request waits at most for the markers of the transaction before it (T-9).
	Hold time.Duration
}

// Output is what a step of Transactions leads to. Its effects are Markers.
type Output = rsm.Output[Record]

// Transactions is the transactional ids of one partition of __transaction_state. It is an rsm.Machine.
type Transactions struct {
	cfg     Config
	byID    map[string]*txn
	wakeups rsm.Wakeups[sleeper]
}

var _ rsm.Machine[Record] = (*Transactions)(nil)

// New returns the machine before anything was replayed.
func New(cfg Config) *Transactions { return &Transactions{cfg: cfg, byID: map[string]*txn{}} }

// noOffset is before the first offset of a log.
const noOffset moldau.Offset = -1

// Replay implements rsm.Machine.
func (s *Transactions) Replay(at moldau.Offset, r Record) {
	x := s.find(r.ID)
	if r.Value == nil {
		delete(s.byID, r.ID)
		s.wakeups.Cancel(s.sleeper(x))
		return
	}
	s.byID[r.ID] = x
	x.replay(r.Value)
	x.last = at
	s.wakeups.Schedule(s.sleeper(x))
}

// Loaded implements rsm.Machine. Every transaction whose markers may not be written is due.
func (s *Transactions) Loaded(time.Time) {}

// Deadline implements rsm.Machine.
func (s *Transactions) Deadline() (time.Time, bool) { return s.wakeups.Next() }

// Tick implements rsm.Machine. It deals with one transactional id.
func (s *Transactions) Tick(now time.Time) Output {
	if x, ok := s.wakeups.Take(now); ok {
		return s.step(x.txn, now, (*turn).expire)
	}
	return Output{After: noOffset}
}

// step runs fn on a transactional id.
func (s *Transactions) step(x *txn, now time.Time, fn func(*turn)) Output {
	t := &turn{txn: x, cfg: &s.cfg, now: now, out: Output{After: x.last}}
	fn(t)
	if x.stored {
		s.wakeups.Schedule(s.sleeper(x))
	}
	return t.out
}

func (s *Transactions) sleeper(x *txn) sleeper { return sleeper{x, &s.cfg} }

// find returns a transactional id, or one that is not there yet.
func (s *Transactions) find(id string) *txn {
	if x := s.byID[id]; x != nil {
		return x
	}
	return newTxn(id)
}

// sorted lists the transactional ids.
func (s *Transactions) sorted() []*txn {
	list := make([]*txn, 0, len(s.byID))
	for _, x := range s.byID { // order does not matter: they are sorted below
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *txn) int { return cmp.Compare(a.id, b.id) })
	return list
}

// turn is one step of one transactional id, and what it leads to.
type turn struct {
	*txn
	cfg *Config
	now time.Time
	out Output
}

func (t *turn) reply(to rsm.Ticket, response any) {
	if to != rsm.NoTicket {
		t.out.Replies = append(t.out.Replies, rsm.Reply{To: to, Response: response})
	}
}

// store records what change makes of the transactional id; it takes effect when it is replayed.
func (t *turn) store(change func(*txn)) {
	after := *t.txn
	change(&after)
	if after.previous = t.producer.ID; !t.stored {
		after.previous = after.producer.ID // as Kafka has it
	}
	t.out.Records = append(t.out.Records, Record{t.id, after.value(t.now)})
}

// heldMax bounds the requests of one transactional id that wait: its client has one under way at a time, and a few more may
// come from those who want its place.
const heldMax = 16

// hold keeps a request until the markers are written, or answers late where that takes too long (T-9).
func (t *turn) hold(to rsm.Ticket, late any, again func(*turn)) {
	if len(t.held) >= heldMax {
		t.reply(to, late)
		return
	}
	t.held = append(t.held, held{to: to, since: t.now, until: t.now.Add(t.cfg.Hold), again: again, late: late})
}

// expire does what is due.
func (t *turn) expire() {
	for len(t.held) > 0 && !t.now.Before(t.held[0].until) {
		t.reply(t.held[0].to, t.held[0].late)
		t.held = t.held[1:]
	}
	switch {
	case t.preparing():
		if !t.sending && !t.now.Before(t.markAt) {
			t.mark()
		}
	case len(t.held) > 0:
		// One at a time: the next is to see what this one has led to.
		h := t.held[0]
		t.held = t.held[1:]
		h.again(t)
	case t.state == Ongoing:
		if !t.now.Before(t.started.Add(t.timeout)) {
			t.fence()
		}
	case !t.now.Before(t.updated.Add(t.cfg.Expiration)):
		t.out.Records = append(t.out.Records, Record{ID: t.id})
	}
}
