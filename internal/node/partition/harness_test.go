package partition

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var pageviews = moldau.TopicPartition{Topic: "pageviews", Partition: 3}

// harness is a partition over a real log in memory.
type harness struct {
	*Partition
	t       testing.TB
	fs      *memfs.FS
	flusher *Flusher
	codecs  record.Codecs

	mu   sync.Mutex
	fail func(memfs.Op) error
}

var errDisk = errors.New("the disk has failed")

// newHarness makes a partition that is still loading.
func newHarness(t testing.TB, s Settings) *harness {
	t.Helper()
	h := &harness{t: t, fs: memfs.New(), flusher: NewFlusher(env.Real(), slog.New(slog.DiscardHandler), nil)}
	h.fs.Hook = func(op memfs.Op) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.fail == nil {
			return nil
		}
		return h.fail(op)
	}
	if s.Log == (commitlog.Config{}) {
		s.Log = commitlog.DefaultConfig()
	}
	h.Partition = New(pageviews, moldau.TopicID{1}, NewDirectory("/data"), h.flusher, new(TopicStats), &s)
	if err := h.fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	return h
}

// failOn makes every call of this kind fail from now on; "" ends that.
func (h *harness) failOn(kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = func(op memfs.Op) error {
		if op.Kind == kind {
			return errDisk
		}
		return nil
	}
}

// onOp runs fn before each call of this kind from now on.
func (h *harness) onOp(kind string, fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = func(op memfs.Op) error {
		if op.Kind == kind {
			fn()
		}
		return nil
	}
}

func (h *harness) openLog() *commitlog.Log {
	h.t.Helper()
	log, err := commitlog.Open(commitlog.Options{
		FS: h.fs, Now: time.Now, Dir: "/data/pageviews-3", Partition: pageviews, TopicID: moldau.TopicID{1}, Config: h.Settings().Log,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = log.Close() }) // of one that has failed
	return log
}

// leading is a partition that leads epoch 1, alone.
func leading(t testing.TB, s Settings) *harness {
	t.Helper()
	h := newHarness(t, s)
	h.lead(1, 1)
	h.open()
	return h
}

func (h *harness) open() {
	h.t.Helper()
	if err := h.Opened(h.openLog(), 0); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) lead(epoch moldau.LeaderEpoch, inSync ...moldau.BrokerID) {
	h.t.Helper()
	if err := h.Lead(Leadership{Self: 1, Epoch: epoch, Replicas: []moldau.BrokerID{1}, InSync: inSync}); err != nil {
		h.t.Fatal(err)
	}
}

// batch is one of n records with a value of size bytes each.
func (h *harness) batch(n, size int) record.Batch {
	b := record.NewBuilder(0)
	return h.fill(b, n, size)
}

func (h *harness) sequenced(id moldau.ProducerID, epoch moldau.ProducerEpoch, sequence moldau.Sequence, n int) record.Batch {
	b := record.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = id, epoch, sequence
	return h.fill(b, n, 10)
}

func (h *harness) fill(b *record.Builder, n, size int) record.Batch {
	h.t.Helper()
	for range n {
		b.Add(record.Record{Timestamp: 1_700_000_000_000, Value: make([]byte, size)})
	}
	out, err := b.Build(&h.codecs)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// append expects the append to be taken.
func (h *harness) append(b record.Batch, all bool, w Waiter, index int) Appended {
	h.t.Helper()
	at, code, err := h.Append(b, all, w, index)
	if code != moldau.None || err != nil {
		h.t.Fatalf("append: %v, %v", code, err)
	}
	return at
}

// outcomes is a Waiter that remembers.
type outcomes struct {
	mu   sync.Mutex
	told map[int][]moldau.Code
}

func (o *outcomes) Committed(index int, code moldau.Code) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told == nil {
		o.told = make(map[int][]moldau.Code)
	}
	o.told[index] = append(o.told[index], code)
}

// of is the outcome of one append, and whether there is one. Two are one too many.
func (o *outcomes) of(t testing.TB, index int) (moldau.Code, bool) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch told := o.told[index]; len(told) {
	case 0:
		return 0, false
	case 1:
		return told[0], true
	default:
		t.Fatalf("append %d was told %v", index, told)
		return 0, false
	}
}

func (o *outcomes) expect(t testing.TB, index int, want moldau.Code) {
	t.Helper()
	if code, told := o.of(t, index); !told || code != want {
		t.Errorf("append %d was told %v (%v), want %v", index, code, told, want)
	}
}

func (o *outcomes) expectNone(t testing.TB, index int) {
	t.Helper()
	if code, told := o.of(t, index); told {
		t.Errorf("append %d was told %v before its time", index, code)
	}
}

func settings() Settings { return Settings{MinInSync: 1, FlushMessages: 1 << 62, FlushMs: 1 << 62} }

func durable() Settings {
	s := settings()
	s.FlushMessages = 1
	return s
}

// woken reports whether a watch of the partition was marked since the last look.
func woken(r *Ready) bool { return len(r.Take(nil)) > 0 }
