package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLog is a Log in memory. It is used by one loop at a time.
type memLog struct {
	start   moldau.Offset
	batches []record.Batch
	durable moldau.Offset // everything before was flushed
	flushes int
	reads   int
	fail    error // of the next Append or Flush
}

func (l *memLog) Start() moldau.Offset { return l.start }
func (l *memLog) End() moldau.Offset   { return l.start + moldau.Offset(len(l.batches)) }

func (l *memLog) Append(b record.Batch) error {
	if l.fail != nil {
		return l.fail
	}
	if b.BaseOffset() != l.End() || b.LastOffset() != l.End() {
		return fmt.Errorf("a batch at [%d, %d] appended at %d", b.BaseOffset(), b.LastOffset(), l.End())
	}
	l.batches = append(l.batches, slices.Clone(b))
	return nil
}

func (l *memLog) Read(at moldau.Offset, bytesMax int) ([]byte, error) {
	if at < l.start || at >= l.End() {
		return nil, fmt.Errorf("offset %d is not in [%d, %d)", at, l.start, l.End())
	}
	l.reads++
	var out []byte
	for _, b := range l.batches[at-l.start:] {
		if len(out) > 0 && len(out)+len(b) > bytesMax {
			break
		}
		out = append(out, b...)
	}
	return out, nil
}

func (l *memLog) Truncate(to moldau.Offset) error {
	l.batches = l.batches[: to-l.start : to-l.start]
	return nil
}

func (l *memLog) DropPrefix(to moldau.Offset) error {
	l.batches, l.start = slices.Clone(l.batches[to-l.start:]), to
	return nil
}

func (l *memLog) Reset(to moldau.Offset) error {
	l.batches, l.start, l.durable = nil, to, to
	return nil
}

func (l *memLog) Flush() error {
	if l.fail != nil {
		return l.fail
	}
	l.flushes++
	l.durable = l.End()
	return nil
}

// tally is a Machine: the list of all data, and a head beside it.
type tally struct {
	mu struct {
		sync.Mutex
		end     moldau.Offset // behind the last entry applied
		list    []string
		head    []string
		leading bool
		applied int // entries applied, those of a snapshot not included
	}
	led chan moldau.LeaderEpoch // sent to by Lead
}

func newTally() *tally { return &tally{led: make(chan moldau.LeaderEpoch, 16)} }

func (m *tally) Restore(s Snapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.list, m.mu.end = nil, s.End
	for r, err := range Records(s.Data) {
		if err != nil {
			return err
		}
		m.mu.list = append(m.mu.list, string(r))
	}
	return nil
}

func (m *tally) Apply(e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Offset != m.mu.end {
		return fmt.Errorf("offset %d applied at %d", e.Offset, m.mu.end)
	}
	if len(e.Data) > 0 {
		m.mu.list = append(m.mu.list, string(e.Data))
	}
	m.mu.end++
	m.mu.applied++
	return nil
}

func (m *tally) Snapshot() func() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.mu.list)
	return func() (data []byte) {
		for _, s := range list {
			data = AppendRecord(data, []byte(s))
		}
		return data
	}
}

func (m *tally) Lead(epoch moldau.LeaderEpoch) {
	m.mu.Lock()
	m.mu.head, m.mu.leading = slices.Clone(m.mu.list), true
	m.mu.Unlock()
	m.led <- epoch
}

func (m *tally) Follow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.head, m.mu.leading = nil, false
}

func (m *tally) list() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mu.list)
}

// replica is a Quorum that runs.
type replica struct {
	*Quorum
	t       testing.TB
	machine *tally
	cancel  context.CancelFunc
	ended   chan error
}

func voter(n byte) Voter {
	return Voter{ID: moldau.BrokerID(n), Directory: moldau.UUID{n, n, n, n, n, n, 0x40, n, 0x80, n}}
}

// options are those of a sole voter.
func options(dir string, log Log) Options {
	self := voter(1)
	return Options{Env: env.Real(), Dir: dir, Self: self, Voters: []Voter{self}, Log: log}
}

func start(t testing.TB, o Options) *replica {
	t.Helper()
	r, err := tryStart(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryStart(t testing.TB, o Options) (*replica, error) {
	m := newTally()
	o.Machine = m
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	q, err := Open(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{Quorum: q, t: t, machine: m, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- q.Run(ctx) }() // ends by stop or by an error
	return r, nil
}

// stop ends the loop and returns what Run returned.
func (r *replica) stop() error {
	r.cancel()
	return <-r.ended
}

func (r *replica) propose(data string) moldau.Offset {
	r.t.Helper()
	at, err := r.Propose(context.Background(), []byte(data))
	if err != nil {
		r.t.Fatalf("propose %q: %v", data, err)
	}
	return at
}

func (r *replica) wantList(want ...string) {
	r.t.Helper()
	if got := r.machine.list(); !slices.Equal(got, want) {
		r.t.Fatalf("state is %q, want %q", got, want)
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

var errDisk = errors.New("no space on the test's disk")
