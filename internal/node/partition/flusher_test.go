package partition

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// directory is partitions that share a flusher and a volume.
type directory struct {
	t       *testing.T
	fs      *memfs.FS
	watched env.FS
	home    *Directory
	flusher *Flusher
	all     []*harness

	saved int // how often the recovery points were to be saved

	mu    sync.Mutex
	calls map[string]int // of the file system, by kind
	fail  map[string]error
}

// newDirectory makes n partitions of these settings that lead.
func newDirectory(t *testing.T, n int, s Settings) *directory {
	t.Helper()
	d := &directory{t: t, fs: memfs.New(), home: NewDirectory("/data"), calls: map[string]int{}, fail: map[string]error{}}
	d.watched = env.Watch(d.fs, func(err error) { d.home.Fail(err) }, func(error) {})
	if err := d.fs.MkdirAll("/data"); err != nil {
		t.Fatal(err)
	}
	volume, err := d.watched.OpenVolume("/data")
	if err != nil {
		t.Fatal(err)
	}
	d.flusher = NewFlusher(env.Real(), slog.New(slog.DiscardHandler), volume)
	for i := range n {
		d.add(i, s)
	}
	d.fs.Hook = func(op memfs.Op) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.calls[op.Kind]++
		return d.fail[op.Kind]
	}
	return d
}

func (d *directory) add(i int, s Settings) *harness {
	d.t.Helper()
	if s.Log == (commitlog.Config{}) {
		s.Log = commitlog.DefaultConfig()
	}
	tp := moldau.TopicPartition{Topic: "t", Partition: int32(i)}
	h := &harness{t: d.t, fs: d.fs, flusher: d.flusher}
	h.Partition = New(tp, moldau.TopicID{1}, d.home, d.flusher, new(TopicStats), &s)
	h.lead(1, 1)
	log, err := commitlog.Open(commitlog.Options{FS: d.watched, Now: time.Now, Dir: "/data/" + tp.String(), Partition: tp, Config: s.Log})
	if err == nil {
		err = h.Opened(log, 0)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = log.Close() }) // of one that has failed
	d.all = append(d.all, h)
	return h
}

// failOn makes every call of this kind fail; nil ends that.
func (d *directory) failOn(kind string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail[kind] = err
}

// called is how often a kind of call was made since the last time it was asked.
func (d *directory) called(kind string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.calls[kind]
	d.calls[kind] = 0
	return n
}

// run runs the flusher until the returned function is called.
func (d *directory) run() (stop func()) {
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); d.flusher.Run(stopped, func() { d.saved++ }) }()
	return func() { close(stopped); <-ended }
}

// TestManyLogsShareOneSync: logs that wait together are made durable by one sync of their volume, and each append is answered
// once.
func TestManyLogsShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 50, durable())
		var w outcomes
		for i, h := range d.all {
			h.append(h.batch(1, 10), true, &w, 2*i)
			h.append(h.batch(1, 10), true, &w, 2*i+1)
		}
		d.called("sync")
		stop := d.run()
		synctest.Wait()
		for i := range 2 * len(d.all) {
			w.expect(t, i, moldau.None)
		}
		if volumes, files := d.called("syncvolume"), d.called("sync"); volumes != 1 || files != len(d.all) { // the files are those of the epochs
			t.Errorf("%d syncs of the volume, %d of files", volumes, files)
		}
		if n := d.flusher.Unsynced(); n != 0 {
			t.Errorf("%d bytes are counted as unsynced", n)
		}
		stop()
	})
}

// TestLogsWaitForTheNextRound: what comes while the volume is synced is not synced by its files beside that, and the next round takes
// all of it.
func TestLogsWaitForTheNextRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 2*togetherMin, durable())
		var before outcomes // the first flush of a log writes its epochs
		for i, h := range d.all {
			h.append(h.batch(1, 10), true, &before, i)
		}
		stop := d.run()
		synctest.Wait()
		count, release := d.fs.Hook, make(chan struct{})
		d.fs.Hook = func(op memfs.Op) error {
			err := count(op)
			if op.Kind == "syncvolume" {
				<-release
			}
			return err
		}
		d.called("syncvolume")
		var w outcomes
		d.flusher.mu.Lock()
		for _, h := range d.all[:togetherMin] {
			d.flusher.markLocked(h.Partition)
		}
		d.flusher.mu.syncers.Signal()
		d.flusher.mu.Unlock()
		synctest.Wait()
		d.called("sync")
		for i, h := range d.all {
			h.append(h.batch(1, 10), true, &w, i)
		}
		synctest.Wait()
		if n := d.called("sync"); n != 0 {
			t.Errorf("%d files were synced beside the volume", n)
		}
		close(release)
		synctest.Wait()
		for i := range d.all {
			w.expect(t, i, moldau.None)
		}
		if n := d.called("syncvolume"); n != 2 {
			t.Errorf("%d syncs of the volume, want 2", n)
		}
		stop()
	})
}

// TestFewLogsAreSyncedByThemselves: for a few logs, and beside many unsynced bytes of others, the volume is left alone.
func TestFewLogsAreSyncedByThemselves(t *testing.T) {
	for name, n := range map[string]int{"few": togetherMin - 1, "beside a busy topic": 50} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(t, n, durable())
				busy := d.add(n, settings())
				for range 20 {
					busy.append(busy.batch(1, 1<<20), false, nil, 0)
				}
				if n < togetherMin {
					if err := busy.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				var w outcomes
				for i, h := range d.all[:n] {
					h.append(h.batch(1, 10), true, &w, i)
				}
				d.called("syncvolume")
				stop := d.run()
				synctest.Wait()
				for i := range n {
					w.expect(t, i, moldau.None)
				}
				if volumes := d.called("syncvolume"); volumes != 0 {
					t.Errorf("%d syncs of the volume", volumes)
				}
				stop()
			})
		})
	}
}

// TestFailedVolumeSync: the failure may be that of any file, and is told once. Nothing of the directory is acknowledged or
// read after it.
func TestFailedVolumeSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 20, durable())
		lazy := d.add(20, settings())
		lazy.append(lazy.batch(1, 10), false, nil, 0)
		var w outcomes
		for i, h := range d.all[:20] {
			h.append(h.batch(1, 10), true, &w, i)
		}
		d.failOn("syncvolume", errDisk)
		stop := d.run()
		synctest.Wait()
		d.failOn("syncvolume", nil)
		for i, h := range d.all[:20] {
			w.expect(t, i, moldau.KafkaStorageError)
			if !errors.Is(h.Failure(), errDisk) || h.HighWatermark() != 0 {
				t.Fatalf("partition %d: %v, high watermark %d", i, h.Failure(), h.HighWatermark())
			}
		}
		if !errors.Is(lazy.Failure(), errDisk) {
			t.Error("what nobody waited for is online, and may be lost:", lazy.Failure())
		}
		time.Sleep(time.Hour)
		if lazy.Log() != nil || d.called("sync") > 20 {
			t.Error("a sync was tried after the failure")
		}
		stop()
	})
}

// TestFlushBehind: when a log is synced for which nobody waits.
func TestFlushBehind(t *testing.T) {
	at := func(change func(*Settings)) Settings {
		s := settings()
		s.Log = commitlog.DefaultConfig()
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		settings Settings
		appends  int
		want     time.Duration
	}{
		"an idle log":      {settings(), 1, unsyncedAge},
		"flush.ms":         {at(func(s *Settings) { s.FlushMs = 300 }), 1, 300 * time.Millisecond},
		"flush.ms=0":       {at(func(s *Settings) { s.FlushMs = 0 }), 1, 0},
		"flush.messages=3": {at(func(s *Settings) { s.FlushMessages = 3 }), 2, 0}, // batches of two
		"too few of them":  {at(func(s *Settings) { s.FlushMessages = 5 }), 2, unsyncedAge},
		"a sealed segment": {at(func(s *Settings) { s.Log.SegmentBytes = 100 }), 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(t, 1, c.settings)
				h := d.all[0]
				stop := d.run()
				for range c.appends {
					h.append(h.batch(2, 10), false, nil, 0)
				}
				if c.want > 0 {
					time.Sleep(c.want - time.Millisecond)
					synctest.Wait()
					if h.Log().RecoveryPoint() != 0 {
						t.Fatalf("synced before %v", c.want)
					}
					time.Sleep(time.Millisecond)
				}
				synctest.Wait()
				if point, end := h.Log().RecoveryPoint(), h.Log().End(); point != end || d.flusher.Unsynced() != 0 {
					t.Errorf("after %v the recovery point is %d of %d, %d bytes are unsynced", c.want, point, end, d.flusher.Unsynced())
				}
				d.called("sync")
				time.Sleep(time.Hour)
				if n := d.called("sync"); n != 0 {
					t.Errorf("%d syncs of a log that is synced", n)
				}
				stop()
			})
		})
	}
}

// TestFlushMsFollowsAChange: also for what was appended before.
func TestFlushMsFollowsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 1, settings())
		h := d.all[0]
		stop := d.run()
		h.append(h.batch(1, 10), false, nil, 0)
		s := settings()
		s.Log, s.FlushMs = commitlog.DefaultConfig(), 50
		h.Reconfigure(&s)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if h.Log().RecoveryPoint() != 1 {
			t.Error("it was not synced in the new time")
		}
		h.append(h.batch(1, 10), false, nil, 0)
		s.FlushMs = 60_000
		h.Reconfigure(&s)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if h.Log().RecoveryPoint() != 2 {
			t.Error("a later time put off what was expected")
		}
		stop()
	})
}

// TestManyLogsBehind: a whole directory of logs that are due costs one sync.
func TestManyLogsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 100, settings())
		stop := d.run()
		for _, h := range d.all {
			h.append(h.batch(1, 10), false, nil, 0)
		}
		time.Sleep(unsyncedAge)
		synctest.Wait()
		for i, h := range d.all {
			if h.Log().RecoveryPoint() != 1 {
				t.Fatalf("log %d is not synced", i)
			}
		}
		if n := d.called("syncvolume"); n != 1 {
			t.Errorf("%d syncs of the volume", n)
		}
		stop()
	})
}

// TestUnsyncedBytesAreBounded: what a kill leaves to be read is at most so much, whoever wrote it, and little of it is synced
// twice: the largest logs go first.
func TestUnsyncedBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 20, settings())
		d.flusher.unsyncedMax = 10_000
		stop := d.run()
		for i := range 100 { // one log takes most, the others a little each
			d.all[0].append(d.all[0].batch(1, 1000), false, nil, 0)
			d.all[1+i%19].append(d.all[1+i%19].batch(1, 10), false, nil, 0)
			synctest.Wait()
			if n := d.flusher.Unsynced(); n > 10_000 {
				t.Fatalf("%d bytes unsynced after %d appends", n, i)
			}
		}
		if point := d.all[0].Log().RecoveryPoint(); point < 90 {
			t.Errorf("the recovery point of the large log is %d of 100", point)
		}
		if point := d.all[5].Log().RecoveryPoint(); point > 1 {
			t.Errorf("a small log was synced up to %d", point)
		}
		if d.saved < 8 || d.saved > 11 {
			t.Errorf("%d times were the recovery points saved, for some 110 kB", d.saved)
		}
		stop()
	})
}

// TestRecoveryPointsOfDurableTopics are saved too: what is synced at once would be read again after a kill all the same.
func TestRecoveryPointsOfDurableTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 2, durable())
		d.flusher.unsyncedMax = 10_000
		stop := d.run()
		for range 25 {
			d.all[0].append(d.all[0].batch(1, 1000), false, nil, 0)
			synctest.Wait()
		}
		if d.saved != 2 {
			t.Errorf("%d times were the recovery points saved, for some 27 kB", d.saved)
		}
		stop()
	})
}

// TestNoSpaceIsTriedAgain: an acknowledgement that waits for room comes once there is some, without another append.
func TestNoSpaceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, 1, durable())
		h := d.all[0]
		d.failOn("create", syscall.ENOSPC) // of the epochs' checkpoint
		stop := d.run()
		var w outcomes
		h.append(h.batch(1, 10), true, &w, 0)
		time.Sleep(10 * flushRetry)
		w.expectNone(t, 0)
		d.failOn("create", nil)
		time.Sleep(flushRetry)
		synctest.Wait()
		w.expect(t, 0, moldau.None)
		stop()
	})
}

// TestUnsyncedIsCounted: what leaves a directory by failing or by deletion is not counted any more.
func TestUnsyncedIsCounted(t *testing.T) {
	d := newDirectory(t, 3, settings())
	var want int64
	for _, h := range d.all {
		b := h.batch(1, 100)
		want += int64(len(b))
		h.append(b, false, nil, 0)
	}
	for i, end := range []func(h *harness){
		func(h *harness) { h.Fail(errDisk) },
		func(h *harness) { h.Gone() },
		func(h *harness) { _ = h.Flush() },
	} {
		if n := d.flusher.Unsynced(); n != want*int64(3-i)/3 {
			t.Errorf("%d bytes unsynced, want %d", n, want*int64(3-i)/3)
		}
		end(d.all[i])
	}
	if n, due := d.flusher.Unsynced(), len(d.flusher.mu.due); n != 0 || due != 0 {
		t.Errorf("%d bytes unsynced, %d logs due", n, due)
	}
}

// TestFlusherUnderLoad: appends from many sides on many logs; each is answered once, when it is durable.
func TestFlusherUnderLoad(t *testing.T) {
	d := newDirectory(t, 40, durable())
	stop := d.run()
	defer stop()
	var clients sync.WaitGroup
	for c := range 30 {
		clients.Go(func() {
			for i := range 50 {
				h := d.all[(7*c+i)%len(d.all)]
				told := make(signal, 2)
				at, code, err := h.Append(h.batch(1, 10), true, told, i)
				if code != moldau.None || err != nil || !at.Parked {
					panic(fmt.Sprint(code, err, at))
				}
				if code := <-told; code != moldau.None || h.Log().RecoveryPoint() <= at.Last {
					panic(fmt.Sprintf("told %v, and %d is durable of %+v", code, h.Log().RecoveryPoint(), at))
				}
			}
		})
	}
	clients.Wait()
}
