package coordinator_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// register is a machine that remembers a value by name, and tells it. One that is told to wait keeps the ticket until the
// next value comes.
type register struct {
	values  map[string]string
	at      moldau.Offset
	waiting []rsm.Ticket
	alarm   time.Time
}

type pair struct{ name, value string }

func newRegister() *register { return &register{values: map[string]string{}, at: -1} }

func (r *register) Replay(at moldau.Offset, p pair) { r.values[p.name], r.at = p.value, at }

func (r *register) Loaded(time.Time) {}

func (r *register) Deadline() (time.Time, bool) { return r.alarm, !r.alarm.IsZero() }

func (r *register) Tick(time.Time) rsm.Output[pair] {
	r.alarm = time.Time{}
	return rsm.Output[pair]{After: r.at, Records: []pair{{"alarm", "rang"}}, Replies: r.woken("rang")}
}

// woken answers those who wait.
func (r *register) woken(with string) (replies []rsm.Reply) {
	for _, to := range r.waiting {
		replies = append(replies, rsm.Reply{To: to, Response: with})
	}
	r.waiting = nil
	return replies
}

func set(name, value string) func(*register, time.Time, rsm.Ticket) rsm.Output[pair] {
	return func(r *register, _ time.Time, to rsm.Ticket) rsm.Output[pair] {
		out := rsm.Output[pair]{After: r.at, Records: []pair{{name, value}}, Replies: r.woken(value)}
		out.Replies = append(out.Replies, rsm.Reply{To: to, Response: "set"})
		return out
	}
}

func get(name string) func(*register, time.Time, rsm.Ticket) rsm.Output[pair] {
	return func(r *register, _ time.Time, to rsm.Ticket) rsm.Output[pair] {
		return rsm.Output[pair]{After: r.at, Replies: []rsm.Reply{{To: to, Response: r.values[name]}}}
	}
}

func wait(r *register, _ time.Time, to rsm.Ticket) rsm.Output[pair] {
	r.waiting = append(r.waiting, to)
	return rsm.Output[pair]{After: -1}
}

func ring(after time.Duration) func(*register, time.Time, rsm.Ticket) rsm.Output[pair] {
	return func(r *register, now time.Time, to rsm.Ticket) rsm.Output[pair] {
		r.alarm = now.Add(after)
		r.waiting = append(r.waiting, to)
		return rsm.Output[pair]{After: -1}
	}
}

var errDisk = errors.New("the disk has failed")

// harness is a coordinator of registers over one partition in memory.
type harness struct {
	*coordinator.Coordinator[*register, pair]
	t       *testing.T
	fs      *memfs.FS
	flusher *partition.Flusher
	p       *partition.Partition
	lives   int
	effects chan string

	mu   sync.Mutex
	fail string // kind of calls that fail
}

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, fs: memfs.New(), effects: make(chan string, 10), flusher: partition.NewFlusher(env.Real(), slog.New(slog.DiscardHandler), nil)}
	h.fs.Hook = func(op memfs.Op) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if op.Kind == h.fail {
			return errDisk
		}
		return nil
	}
	if err := h.fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	h.Coordinator = coordinator.New(coordinator.Kind[*register, pair]{
		Name: "register", New: newRegister,
		Encode: func(p pair) (key, value []byte) { return []byte(p.name), []byte(p.value) },
		Decode: func(key, value []byte) (pair, bool, error) {
			if string(key) == "damaged" {
				return pair{}, false, errors.New("it cannot be read")
			}
			return pair{string(key), string(value)}, string(key) != "strange", nil
		},
		Within: func(p pair, by rsm.Producer) pair { return pair{p.name, fmt.Sprint(p.value, " of ", by)} },
		Marker: func(by rsm.Producer, commit bool) pair { return pair{"ended", fmt.Sprint(by, " ", commit)} },
		Effect: func(partition int32, epoch moldau.LeaderEpoch, effect any) {
			h.effects <- fmt.Sprint(partition, " ", epoch, " ", effect)
		},
	}, coordinator.Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Loops: 2})
	t.Cleanup(h.Stop)
	return h
}

func (h *harness) failOn(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = kind
}

const index = 5

// lead opens the log and begins to coordinate; durable makes commits wait for a sync, which is flush's.
func (h *harness) lead(durable bool) {
	h.t.Helper()
	h.lives++
	name := moldau.TopicPartition{Topic: "__registers", Partition: index}
	s := &partition.Settings{Log: commitlog.DefaultConfig(), MinInSync: 1, FlushMessages: math.MaxInt64, Checks: record.Policy{MessageBytesMax: 1 << 20}}
	if durable {
		s.FlushMessages = 1
	}
	h.p = partition.New(name, moldau.TopicID{1}, partition.NewDirectory("/data"), h.flusher, new(partition.TopicStats), s)
	h.again()
	log, err := commitlog.Open(commitlog.Options{
		FS: h.fs, Now: time.Now, Dir: "/data/__registers-5", Partition: name, TopicID: moldau.TopicID{1}, Config: s.Log,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.p.Opened(log, log.End()); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = log.Close() }) // of one that was closed or has failed
	h.Lead(h.p)
}

// again leads the partition at the next epoch.
func (h *harness) again() {
	h.t.Helper()
	err := h.p.Lead(partition.Leadership{Self: 1, Epoch: moldau.LeaderEpoch(h.lives), Replicas: []moldau.BrokerID{1}, InSync: []moldau.BrokerID{1}})
	if err != nil {
		h.t.Fatal(err)
	}
}

// outcome is what a command came to.
type outcome struct {
	response any
	err      error
}

// start gives a command.
func (h *harness) start(decide func(*register, time.Time, rsm.Ticket) rsm.Output[pair]) (result <-chan outcome, cancel func()) {
	done := make(chan outcome, 1)
	cancel = h.Do(index, coordinator.Command[*register, pair]{Decide: decide, Done: func(response any, err error) {
		done <- outcome{response, err}
	}})
	return done, cancel
}

// do gives a command and waits for its outcome, again and again while the machine is loading.
func (h *harness) do(decide func(*register, time.Time, rsm.Ticket) rsm.Output[pair]) outcome {
	for {
		result, _ := h.start(decide)
		o := <-result
		if !errors.Is(o.err, coordinator.ErrLoading) {
			return o
		}
	}
}

func (h *harness) expect(decide func(*register, time.Time, rsm.Ticket) rsm.Output[pair], want string) {
	h.t.Helper()
	if o := h.do(decide); o.err != nil || fmt.Sprint(o.response) != want {
		h.t.Errorf("got %v, %v; want %s", o.response, o.err, want)
	}
}
