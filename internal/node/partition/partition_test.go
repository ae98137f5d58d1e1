package partition

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

func (h *harness) read(at moldau.Offset) ReadResult {
	res := h.Read(ReadRequest{At: at, Epoch: moldau.NoEpoch, LastRead: moldau.NoEpoch, MaxBytes: 1 << 20, WholeBatch: true})
	res.Region.Release()
	return res
}

func TestAppendAndRead(t *testing.T) {
	h := leading(t, settings())
	first := h.append(h.batch(3, 10), true, nil, 0)
	second := h.append(h.batch(2, 10), false, nil, 0)
	if first.Base != 0 || first.Last != 2 || second.Base != 3 || second.Last != 4 || first.Parked {
		t.Errorf("appended at %+v and %+v", first, second)
	}
	if hw := h.HighWatermark(); hw != 5 {
		t.Errorf("high watermark %d, want 5", hw)
	}
	for _, c := range []struct {
		at   moldau.Offset
		code moldau.Code
		next moldau.Offset
	}{
		{0, moldau.None, 5}, {4, moldau.None, 5}, {5, moldau.None, 0}, {6, moldau.OffsetOutOfRange, 0}, {-1, moldau.OffsetOutOfRange, 0},
	} {
		if res := h.read(c.at); res.Code != c.code || res.Region.Next != c.next {
			t.Errorf("read at %d: %v, next %d; want %v, %d", c.at, res.Code, res.Region.Next, c.code, c.next)
		}
	}
}

// W-46, KIP-595.
func TestReadChecksEpochs(t *testing.T) {
	h := leading(t, settings())
	h.append(h.batch(3, 10), false, nil, 0)
	h.lead(4, 1)
	h.append(h.batch(3, 10), false, nil, 0)
	for _, c := range []struct {
		name            string
		epoch, lastRead moldau.LeaderEpoch
		at              moldau.Offset
		code            moldau.Code
		diverges        moldau.Offset // -1: not
	}{
		{"current", 4, -1, 6, moldau.None, -1},
		{"an older leadership", 1, -1, 6, moldau.FencedLeaderEpoch, -1},
		{"a leadership to come", 5, -1, 6, moldau.UnknownLeaderEpoch, -1},
		{"the same history", 4, 1, 3, moldau.None, -1},
		{"a tail of epoch 1 that was lost", 4, 1, 5, moldau.None, 3},
		{"an epoch between", 4, 2, 5, moldau.None, 3},
		{"an epoch never heard of", 4, 9, 5, moldau.OffsetOutOfRange, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := h.Read(ReadRequest{At: c.at, Epoch: c.epoch, LastRead: c.lastRead, MaxBytes: 1 << 20, WholeBatch: true})
			defer res.Region.Release()
			if res.Code != c.code || res.Diverging != (c.diverges >= 0) || res.Diverging && res.DivergeEnd != c.diverges {
				t.Errorf("got %+v", res)
			}
		})
	}
}

// TestDurableAcknowledgement: with flush.messages=1 neither a producer nor a reader is told of what is not synced (etcd 14370).
func TestDurableAcknowledgement(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	for i := range 3 {
		if at := h.append(h.batch(1, 10), true, &w, i); !at.Parked {
			t.Fatalf("append %d was acknowledged before its sync", i)
		}
	}
	if res := h.read(0); h.HighWatermark() != 0 || res.Region.Len != 0 {
		t.Fatalf("%d bytes readable below %d before the sync", res.Region.Len, h.HighWatermark())
	}
	w.expectNone(t, 0)
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w.expect(t, i, moldau.None)
	}
	if hw := h.HighWatermark(); hw != 3 {
		t.Errorf("high watermark %d after the sync", hw)
	}
}

// TestRestartOfADurablePartition: what was readable before a restart may lie above the high watermark after it, until a sync has
// come by. To a reader who has been there that is not out of range, and no latest offset is known.
func TestRestartOfADurablePartition(t *testing.T) {
	h := leading(t, durable())
	for range 3 {
		h.append(h.batch(1, 10), false, nil, 0)
	}
	if err := h.Gone().Close(); err != nil {
		t.Fatal(err)
	}
	s := durable()
	h.Partition = New(pageviews, moldau.TopicID{1}, NewDirectory("/data"), h.flusher, new(TopicStats), &s)
	h.lead(2, 1)
	h.open()
	if h.HighWatermark() != 0 || h.Caught() {
		t.Fatalf("high watermark %d, caught up %t: nothing is left to try", h.HighWatermark(), h.Caught())
	}
	for at := range moldau.Offset(4) {
		if res := h.read(at); res.Code != moldau.None || res.Region.Len != 0 {
			t.Errorf("read at %d: %v, %d bytes", at, res.Code, res.Region.Len)
		}
	}
	if res := h.read(4); res.Code != moldau.OffsetOutOfRange {
		t.Errorf("read above the end: %v", res.Code)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	if res := h.read(0); !h.Caught() || res.Code != moldau.None || res.Region.Len == 0 {
		t.Errorf("after the sync: caught up %t, %v, %d bytes", h.Caught(), res.Code, res.Region.Len)
	}
	h.append(h.batch(1, 10), false, nil, 0)
	if !h.Caught() {
		t.Error("an append after the start puts the leadership back to its beginning")
	}
}

// TestFlusher: the flusher's own goroutine answers, and every append is answered once.
func TestFlusher(t *testing.T) {
	h := leading(t, durable())
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); h.flusher.Run(stop, func() {}) }()
	defer func() { close(stop); <-ended }()
	for i := range 50 {
		told := make(signal, 1)
		h.append(h.batch(1, 10), true, told, i)
		select {
		case code := <-told:
			if code != moldau.None {
				t.Fatal(code)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("append %d was never answered", i)
		}
	}
}

type signal chan moldau.Code

func (s signal) Committed(_ int, code moldau.Code) { s <- code }

// L-12.
func TestTooFewInSync(t *testing.T) {
	s := settings()
	s.MinInSync = 2
	h := newHarness(t, s)
	lead := func(inSync ...moldau.BrokerID) {
		if err := h.Lead(Leadership{Self: 1, Epoch: 1, Replicas: []moldau.BrokerID{1, 2}, InSync: inSync}); err != nil {
			t.Fatal(err)
		}
	}
	lead(1)
	h.open()
	if _, code, _ := h.Append(h.batch(1, 10), true, nil, 0); code != moldau.NotEnoughReplicas {
		t.Errorf("acks=all with one of two: %v", code)
	}
	h.append(h.batch(1, 10), false, nil, 0)
	lead(1, 2)
	var w outcomes
	if at := h.append(h.batch(1, 10), true, &w, 0); at.Base != 1 || !at.Parked {
		t.Errorf("append %+v", at)
	}
	w.expectNone(t, 0)
}

// TestRetryIsAnsweredWithTheOldOffsets: L-20, in the middle of a sync too.
func TestRetryIsAnsweredWithTheOldOffsets(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	first := h.append(h.sequenced(7, 0, 0, 5), true, &w, 0)
	h.append(h.sequenced(7, 0, 5, 1), true, &w, 1)
	retry := h.append(h.sequenced(7, 0, 0, 5), true, &w, 2)
	if retry.Base != first.Base || retry.Last != first.Last || !retry.Parked {
		t.Errorf("retry at %+v, first at %+v", retry, first)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w.expect(t, i, moldau.None)
	}
	if again := h.append(h.sequenced(7, 0, 0, 5), true, &w, 3); again.Parked || again.Base != first.Base {
		t.Errorf("a retry of what is committed: %+v", again)
	}
	if end := h.Log().End(); end != 6 {
		t.Errorf("the log ends at %d, want 6", end)
	}
	for _, c := range []struct {
		name  string
		batch record.Batch
		want  moldau.Code
	}{
		{"a gap", h.sequenced(7, 0, 9, 1), moldau.OutOfOrderSequenceNumber},
		{"an epoch before", func() record.Batch { h.append(h.sequenced(8, 3, 0, 1), false, nil, 0); return h.sequenced(8, 2, 0, 1) }(), moldau.InvalidProducerEpoch},
	} {
		if _, code, err := h.Append(c.batch, true, &w, 4); code != c.want || err == nil {
			t.Errorf("%s: %v, %v, want %v", c.name, code, err, c.want)
		}
	}
	if !h.Online() {
		t.Error("a refused batch took the partition offline")
	}
}

func TestLogAppendTime(t *testing.T) {
	s := settings()
	s.LogAppendTime = true
	h := leading(t, s)
	before := moldau.Timestamp(time.Now().UnixMilli())
	at := h.append(h.sequenced(7, 0, 0, 1), true, nil, 0)
	if at.Timestamp < before {
		t.Errorf("timestamp %d, want the broker's", at.Timestamp)
	}
	if retry := h.append(h.sequenced(7, 0, 0, 1), true, nil, 0); retry.Timestamp != at.Timestamp {
		t.Errorf("the retry was told time %d, the append %d", retry.Timestamp, at.Timestamp)
	}
}

// TestFailedSyncAcknowledgesNothing: KAFKA-10778. Nor does anything after it, and the sync is not tried again.
func TestFailedSyncAcknowledgesNothing(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.batch(1, 10), true, &w, 0)
	var ready Ready
	h.Watch(NewWatch(&ready, nil))
	h.failOn("sync")
	if err := h.Flush(); !errors.Is(err, errDisk) {
		t.Fatalf("flush: %v", err)
	}
	h.failOn("")
	w.expect(t, 0, moldau.KafkaStorageError)
	if !woken(&ready) {
		t.Error("the fetcher was not woken")
	}
	if _, code, err := h.Append(h.batch(1, 10), true, &w, 1); code != moldau.KafkaStorageError || !errors.Is(err, errDisk) {
		t.Errorf("append afterwards: %v, %v", code, err)
	}
	if err := h.Flush(); err != nil || h.HighWatermark() != 0 {
		t.Errorf("a sync after the failed one: %v, high watermark %d", err, h.HighWatermark())
	}
	if res := h.read(0); res.Code != moldau.KafkaStorageError {
		t.Errorf("read: %v", res.Code)
	}
	if err := h.Failure(); !errors.Is(err, errDisk) || h.Online() {
		t.Errorf("failure %v, online %v", err, h.Online())
	}
	w.expectNone(t, 1)
}

func TestFailedWriteAnswersAllWhoWait(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.batch(1, 10), true, &w, 0)
	h.append(h.batch(1, 10), true, &w, 1)
	h.failOn("write")
	if _, code, err := h.Append(h.batch(1, 10), true, &w, 2); code != moldau.KafkaStorageError || !errors.Is(err, errDisk) {
		t.Errorf("append: %v, %v", code, err)
	}
	w.expect(t, 0, moldau.KafkaStorageError)
	w.expect(t, 1, moldau.KafkaStorageError)
	w.expectNone(t, 2)
}

func TestFailedRetentionAnswersAllWhoWait(t *testing.T) {
	s := durable()
	s.Log = commitlog.DefaultConfig()
	s.Log.SegmentBytes, s.Log.RetentionBytes, s.Log.DeleteEnabled = 1000, 1000, true
	h := leading(t, s)
	var w outcomes
	for range 4 {
		h.append(h.batch(1, 900), false, nil, 0)
	}
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	h.append(h.batch(1, 10), true, &w, 0)
	h.failOn("rename")
	if n, err := h.Retain(time.Now()); err != nil || n == 0 {
		t.Fatalf("retain: %d segments, %v", n, err)
	}
	if err := h.Sweep(time.Now()); !errors.Is(err, errDisk) {
		t.Fatalf("sweep: %v", err)
	}
	w.expect(t, 0, moldau.KafkaStorageError)
	if h.Online() {
		t.Error("online after a failed rename")
	}
}

// TestKAFKA5634RetentionStopsAtTheHighWatermark: what is old enough to go and not committed stays, so that the log's start does
// not pass the high watermark (R8).
func TestKAFKA5634RetentionStopsAtTheHighWatermark(t *testing.T) {
	s := durable()
	s.Log = commitlog.DefaultConfig()
	s.Log.SegmentBytes, s.Log.RetentionMs, s.Log.DeleteEnabled = 1000, 1, true
	h := leading(t, s)
	for _, committed := range []moldau.Offset{0, 3} {
		for range 3 {
			h.append(h.batch(1, 900), false, nil, 0)
		}
		if _, err := h.Retain(time.Now()); err != nil || h.HighWatermark() != committed || h.Log().Start() != committed {
			t.Fatalf("retention has moved the start to %d: %v; the high watermark is %d, want %d", h.Log().Start(), err, h.HighWatermark(), committed)
		}
		if err := h.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailedLookAtOldSegments: retention meets a broken index while somebody waits.
func TestFailedLookAtOldSegments(t *testing.T) {
	s := durable()
	s.Log = commitlog.DefaultConfig()
	s.Log.SegmentBytes, s.Log.RetentionMs, s.Log.DeleteEnabled = 1000, 1, true
	first := leading(t, s)
	for range 4 {
		first.append(first.batch(1, 900), false, nil, 0)
	}
	if err := first.Gone().Close(); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, s)
	log, err := commitlog.Open(commitlog.Options{
		FS: first.fs, Now: time.Now, Dir: "/data/pageviews-3", Partition: pageviews, TopicID: moldau.TopicID{1}, Config: s.Log,
		Clean: true, RecoveryPoint: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() }) // it has failed
	h.lead(2, 1)
	if err := h.Opened(log, 4); err != nil {
		t.Fatal(err)
	}
	var w outcomes
	h.append(h.batch(1, 10), true, &w, 0)
	first.failOn("open")
	if _, err := h.Retain(time.Now()); !errors.Is(err, errDisk) {
		t.Fatalf("retain: %v", err)
	}
	w.expect(t, 0, moldau.KafkaStorageError)
}

// TestLeadershipThatFailsIsNoSuccess: who waits must not be told that all is well when the next epoch cannot begin.
func TestLeadershipThatFailsIsNoSuccess(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.batch(1, 10), true, &w, 0)
	if err := h.Log().Close(); err != nil {
		t.Fatal(err)
	}
	err := h.Lead(Leadership{Self: 1, Epoch: 2, Replicas: []moldau.BrokerID{1}, InSync: []moldau.BrokerID{1}})
	if !errors.Is(err, commitlog.ErrClosed) {
		t.Fatalf("lead: %v", err)
	}
	w.expect(t, 0, moldau.KafkaStorageError)
}

func TestGone(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	var ready Ready
	h.append(h.batch(1, 10), true, &w, 0)
	h.Watch(NewWatch(&ready, nil))
	log := h.Gone()
	w.expect(t, 0, moldau.NotLeaderOrFollower)
	if log == nil || !woken(&ready) || h.Log() != nil {
		t.Errorf("log %v after Gone", log)
	}
	if h.Gone() != nil {
		t.Error("the log was given away twice")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, code, _ := h.Append(h.batch(1, 10), true, &w, 1); code != moldau.NotLeaderOrFollower {
		t.Errorf("append: %v", code)
	}
	if res := h.read(0); res.Code != moldau.NotLeaderOrFollower {
		t.Errorf("read: %v", res.Code)
	}
	if err := h.Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
	h.Fail(errDisk)
	if !h.IsGone() {
		t.Error("a failure brought it back")
	}
}

// TestFlushBesideGone: the log of a deleted topic is closed while it is synced; that is no failure.
func TestFlushBesideGone(t *testing.T) {
	h := leading(t, durable())
	h.append(h.batch(1, 10), false, nil, 0)
	h.mu.Lock()
	h.fail = func(op memfs.Op) error {
		if op.Kind == "sync" {
			h.Partition.Gone()
			return errDisk
		}
		return nil
	}
	h.mu.Unlock()
	if err := h.Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
}

// TestFailureDuringSync: A syncs, B meets a failed write, A's sync succeeds. What it would commit was answered with an
// error by then.
func TestFailureDuringSync(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	h.append(h.batch(1, 10), true, &w, 0)
	h.mu.Lock()
	h.fail = func(op memfs.Op) error {
		if op.Kind == "sync" {
			h.Partition.Fail(errDisk)
		}
		return nil
	}
	h.mu.Unlock()
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	w.expect(t, 0, moldau.KafkaStorageError)
	if hw := h.HighWatermark(); hw != 0 {
		t.Errorf("the high watermark rose to %d after the failure", hw)
	}
}

func TestOpened(t *testing.T) {
	t.Run("after Gone", func(t *testing.T) {
		h := newHarness(t, settings())
		h.lead(1, 1)
		if h.Gone() != nil {
			t.Error("there was no log yet")
		}
		<-h.Settled()
		if err := h.Opened(h.openLog(), 0); !errors.Is(err, ErrGone) {
			t.Errorf("opened: %v", err)
		}
	})
	t.Run("after Fail", func(t *testing.T) {
		h := newHarness(t, settings())
		h.Fail(errDisk)
		h.Fail(errors.New("another"))
		<-h.Settled()
		if err := h.Opened(h.openLog(), 0); !errors.Is(err, ErrOffline) || h.Failure() != errDisk {
			t.Errorf("opened: %v, failure %v", err, h.Failure())
		}
		if h.Gone() != nil {
			t.Error("gave a log away that it does not have")
		}
	})
	t.Run("with an epoch that its log is beyond", func(t *testing.T) {
		h := newHarness(t, settings())
		log := h.openLog()
		if err := log.AssignEpoch(9); err != nil {
			t.Fatal(err)
		}
		h.lead(1, 1)
		if err := h.Opened(log, 0); err == nil || h.Online() || h.Gone() != nil {
			t.Errorf("opened: %v", err)
		}
		<-h.Settled()
	})
	t.Run("before Lead", func(t *testing.T) {
		h := newHarness(t, settings())
		h.open()
		if _, code, _ := h.Append(h.batch(1, 10), false, nil, 0); code != moldau.NotLeaderOrFollower {
			t.Errorf("append without a leadership: %v", code)
		}
		h.lead(3, 1)
		h.append(h.batch(1, 10), false, nil, 0)
		if got := h.Log().EpochAt(0); got != 3 {
			t.Errorf("epoch %d in the log, want 3", got)
		}
	})
	t.Run("with a high watermark beyond its log", func(t *testing.T) {
		h := newHarness(t, durable())
		h.lead(1, 1)
		if err := h.Opened(h.openLog(), 500); err != nil || h.HighWatermark() != 0 {
			t.Errorf("opened: %v, high watermark %d", err, h.HighWatermark())
		}
	})
	t.Run("wakes those who wait for it", func(t *testing.T) {
		h := newHarness(t, settings())
		var ready Ready
		h.Watch(NewWatch(&ready, nil))
		h.open()
		if !woken(&ready) {
			t.Error("nobody was woken")
		}
	})
}

func TestReconfigure(t *testing.T) {
	h := leading(t, durable())
	var w outcomes
	var ready Ready
	h.append(h.batch(2, 10), true, &w, 0)
	h.Watch(NewWatch(&ready, nil))
	woken(&ready)
	s := settings()
	s.Log = commitlog.DefaultConfig()
	h.Reconfigure(&s)
	w.expect(t, 0, moldau.None)
	if h.HighWatermark() != 2 || !woken(&ready) {
		t.Errorf("high watermark %d, and nobody was told", h.HighWatermark())
	}
	back := durable()
	back.Log = s.Log
	h.Reconfigure(&back)
	if at := h.append(h.batch(1, 10), true, &w, 1); !at.Parked || h.HighWatermark() != 2 {
		t.Errorf("append %+v, high watermark %d", at, h.HighWatermark())
	}
}

func TestDeleteRecords(t *testing.T) {
	h := leading(t, durable())
	h.append(h.batch(10, 10), false, nil, 0)
	if err := h.Flush(); err != nil {
		t.Fatal(err)
	}
	h.append(h.batch(5, 10), false, nil, 0) // above the high watermark
	var ready Ready
	h.Watch(NewWatch(&ready, nil))
	for _, c := range []struct {
		before, start moldau.Offset
		err           error
	}{
		{4, 4, nil}, {2, 4, nil}, {11, 4, ErrAboveHighWatermark}, {-2, 4, ErrAboveHighWatermark}, {-1, 10, nil}, {10, 10, nil},
	} {
		start, err := h.DeleteRecords(c.before)
		if !errors.Is(err, c.err) || err == nil && start != c.start {
			t.Errorf("delete before %d: %d, %v; want %d, %v", c.before, start, err, c.start, c.err)
		}
		if err == nil && !woken(&ready) {
			t.Errorf("delete before %d told nobody", c.before)
		}
	}
	if res := h.read(3); res.Code != moldau.OffsetOutOfRange {
		t.Errorf("read below the start: %v", res.Code)
	}
	h.Fail(errDisk)
	if _, err := h.DeleteRecords(-1); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
}

func TestTable(t *testing.T) {
	table := NewTable()
	h := newHarness(t, settings())
	table.Add(h.Partition)
	if table.Get(h.ID, 3) != h.Partition || table.Get(h.ID, 2) != nil || table.Len() != 1 || len(table.All()) != 1 {
		t.Error("the partition is not in the table")
	}
	other := New(moldau.TopicPartition{Topic: "t", Partition: 4}, h.ID, h.Home(), h.flusher, h.Stats(), h.Settings())
	table.Add(other) // with a list that is there already
	all := table.All()
	all[0] = nil // it is the caller's
	if all = table.All(); !slices.Equal(all, []*Partition{h.Partition, other}) {
		t.Errorf("after another was added: %v", all)
	}
	if table.Remove(h.ID, 3) != h.Partition || table.Remove(h.ID, 3) != nil || table.Len() != 1 {
		t.Error("the partition cannot be removed")
	}
	if all = table.All(); !slices.Equal(all, []*Partition{other}) {
		t.Errorf("after one was removed: %v", all)
	}
}

// TestHotPathAllocations bounds what an append and a read cost beside the log's own work.
func TestHotPathAllocations(t *testing.T) {
	h := newHarness(t, settings())
	h.lead(1, 1)
	log, err := commitlog.Open(commitlog.Options{
		FS: env.OS{}, Now: time.Now, Dir: filepath.Join(t.TempDir(), "pageviews-3"), Partition: pageviews, TopicID: moldau.TopicID{1},
		Config: h.Settings().Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := h.Opened(log, 0); err != nil {
		t.Fatal(err)
	}
	b := h.batch(1, 100)
	if n := testing.AllocsPerRun(300, func() { h.append(b, true, nil, 0) }); n > 0 {
		t.Errorf("%v allocations for an append", n)
	}
	if n := testing.AllocsPerRun(300, func() { h.read(200) }); n > 0 {
		t.Errorf("%v allocations for a read", n)
	}
}
