package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/config"
)

// faulty is a disk whose writes and syncs fail where fail says so.
type faulty struct {
	env.FS
	fail *atomic.Pointer[func(kind, name string) error]
	boot string // the life of the operating system, where it is another
}

func (f faulty) ask(kind, name string) error {
	if fail := f.fail.Load(); fail != nil {
		return (*fail)(kind, name)
	}
	return nil
}

func (f faulty) Create(name string) (env.File, error) { return f.file(f.FS.Create(name)) }
func (f faulty) Open(name string) (env.File, error)   { return f.file(f.FS.Open(name)) }

func (f faulty) file(file env.File, err error) (env.File, error) {
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f}, nil
}

type faultyFile struct {
	env.File
	disk faulty
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.ask("write", f.Name()); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f faultyFile) Sync() error {
	if err := f.disk.ask("sync", f.Name()); err != nil {
		return err
	}
	return f.File.Sync()
}

// startOn runs a broker over directories of a disk that may fail. It ends with the test, or when done is read.
func startOn(t *testing.T, disk faulty, dirs string) (b *Broker, done chan error) {
	t.Helper()
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dirs, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		t.Fatal(err)
	}
	e := env.Real()
	e.FS = disk
	if disk.boot != "" {
		e.BootID = func() string { return disk.boot }
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan *Broker, 1)
	done = make(chan error, 1)
	go func() { // ends with ctx, or with the broker
		err := Run(ctx, Options{Env: e, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Static: settings.Static()}, func(b *Broker) { ready <- b })
		done <- err
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case b = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return b, done
}

func healthyDisk() faulty {
	return faulty{FS: env.OS{}, fail: new(atomic.Pointer[func(kind, name string) error])}
}

// awaitState waits for the partition to be as it should.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("still not: " + what)
		}
		<-time.After(time.Millisecond)
	}
}

// replicaIn is a partition of the topic whose files are in the directory.
func replicaIn(t *testing.T, b *Broker, topic, dir string) *partition.Partition {
	t.Helper()
	for _, p := range b.partitions.All() {
		if p.Name.Topic == topic && p.Home().Path == dir {
			return p
		}
	}
	t.Fatalf("no partition of %s is in %s", topic, dir)
	return nil
}

func produceTo(ctx context.Context, c *kgo.Client, topic string, partition int32, value string) error {
	return c.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}).FirstErr()
}

// One write or sync of one of two directories fails, once, under many writers (INV L4, KAFKA-10778, fsyncgate). From then on
// nothing in that directory is acknowledged, although its disk would take it; the other goes on. After a start all that was
// acknowledged is there.
func TestOneDirectoryFails(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a second of load")
	}
	for _, kind := range []string{"write", "sync"} {
		t.Run(kind, func(t *testing.T) {
			root := t.TempDir()
			good, bad := filepath.Join(root, "good"), filepath.Join(root, "bad")
			disk := healthyDisk()
			b, _ := startOn(t, disk, good+","+bad)
			admin := kadm.NewClient(client(t, b))
			durable := "1"
			if _, err := admin.CreateTopic(t.Context(), 8, 1, map[string]*string{"flush.messages": &durable}, "t"); err != nil {
				t.Fatal(err)
			}
			home := replicaIn(t, b, "t", bad).Home()
			homes := map[int32]*partition.Directory{}
			for _, p := range b.partitions.All() {
				homes[p.Name.Partition] = p.Home()
			}
			ctx, cancel := context.WithCancel(t.Context())
			var acked [8]atomic.Int64
			var writers sync.WaitGroup
			for i := range acked {
				for range 2 {
					c := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
					writers.Add(1)
					go func() { // ends with ctx
						defer writers.Done()
						for ctx.Err() == nil {
							failed := home.Failure() != nil
							err := produceTo(ctx, c, "t", int32(i), "x")
							if err == nil {
								acked[i].Add(1)
								if failed && homes[int32(i)] == home {
									t.Errorf("partition %d acknowledged a record that came after the failure", i)
								}
							}
						}
					}()
				}
			}
			reached := func(least int64) func() bool {
				var before [8]int64
				for i := range acked {
					before[i] = acked[i].Load()
				}
				return func() bool {
					for i := range acked {
						if (homes[int32(i)] != home || home.Failure() == nil) && acked[i].Load() < before[i]+least {
							return false
						}
					}
					return true
				}
			}
			await(t, "records in every partition", reached(5))
			var once sync.Once
			fail := func(at, name string) (err error) {
				if at == kind && strings.HasPrefix(name, bad) && strings.HasSuffix(name, ".log") {
					once.Do(func() { err = syscall.EIO })
				}
				return err
			}
			disk.fail.Store(&fail)
			await(t, "the directory is offline", func() bool { return home.Failure() != nil })
			await(t, "records in the other directory", reached(20))
			cancel()
			writers.Wait()
			checkOffline(t, b, bad)
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(bad, ".kafka_cleanshutdown")); err == nil {
				t.Error("the stop of the failed directory is marked clean")
			}
			if _, err := os.Stat(filepath.Join(good, ".kafka_cleanshutdown")); err != nil {
				t.Error("the stop of the other directory is not marked clean:", err)
			}
			b, _ = start(t, good+","+bad)
			for _, p := range b.partitions.All() {
				<-p.Settled()
				if !p.Online() {
					t.Errorf("partition %v is offline: %v", p.Name, p.Failure())
				} else if want := acked[p.Name.Partition].Load(); p.Name.Topic == "t" && int64(p.Log().End()) < want {
					t.Errorf("partition %v ends at %d, and %d records were acknowledged", p.Name, p.Log().End(), want)
				}
			}
		})
	}
}

// checkOffline expects a directory to be offline to everybody who asks, and new topics to be made beside it.
func checkOffline(t *testing.T, b *Broker, dir string) {
	t.Helper()
	admin := kadm.NewClient(client(t, b))
	all, err := admin.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all.Each(func(d kadm.DescribedLogDir) {
		if offline := d.Err != nil; offline != (d.Dir == dir) {
			t.Errorf("DescribeLogDirs says of %s: %v", d.Dir, d.Err)
		}
	})
	complaints := 0
	for _, d := range (source{b}).LogDirs() {
		if d.Failure != nil {
			complaints++
		}
	}
	if complaints != 1 {
		t.Errorf("%d directories are told to have failed", complaints)
	}
	await(t, "the metadata knows of the directory", func() bool { return len(b.cluster.Image().Broker(b.config.NodeID).LogDirs) == 1 })
	c := client(t, b)
	create(t, c, "new", 3)
	for range 3 {
		produce(t, c, "new", "a")
	}
}

// Without the metadata there is no broker, nor without any directory.
func TestLossOfTheMetadataStopsTheBroker(t *testing.T) {
	root := t.TempDir()
	first, second := filepath.Join(root, "first"), filepath.Join(root, "second")
	disk := healthyDisk()
	b, done := startOn(t, disk, first+","+second)
	create(t, client(t, b), "t", 2)
	fail := func(_, name string) error {
		if strings.HasPrefix(name, first) {
			return syscall.EIO
		}
		return nil
	}
	disk.fail.Store(&fail)
	c := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordRetries(0))
	p := replicaIn(t, b, "t", first)
	if err := produceTo(t.Context(), c, "t", p.Name.Partition, "x"); err == nil {
		t.Error("the record is acknowledged")
	}
	if err := <-done; !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), first) {
		t.Errorf("it ends with: %v", err)
	}
}

// A directory that cannot be opened at the start is offline, and the others serve. What it holds is never made anew
// elsewhere, what is new goes elsewhere, and when it is back so are its records. A volume that is not mounted looks like a
// directory that is empty.
func TestDirectoryMissingAtTheStart(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"unreadable":  func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"not mounted": func(dir string) error { return os.Mkdir(dir, 0o755) },
		"damaged meta.properties": func(dir string) error {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "meta.properties"), []byte("version=1\nmoldau.version=1\ncluster.id=c\nnode.id=x\n"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			a, lost := filepath.Join(root, "a"), filepath.Join(root, "b")
			dirs := a + "," + lost
			b, stop := start(t, dirs)
			manual := kgo.RecordPartitioner(kgo.ManualPartitioner())
			create(t, client(t, b), "t", 4)
			in := map[int32]string{}
			for i := range int32(4) {
				if err := produceTo(t.Context(), client(t, b, manual), "t", i, fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range b.partitions.All() {
				in[p.Name.Partition] = p.Home().Path
			}
			stop()
			if err := os.Rename(lost, lost+".away"); err != nil {
				t.Fatal(err)
			}
			if err := lose(lost); err != nil {
				t.Fatal(err)
			}
			b, stop = start(t, dirs)
			for _, p := range b.partitions.All() {
				<-p.Settled()
				if p.Online() != (in[p.Name.Partition] == a) {
					t.Errorf("partition %v, of %s, is online: %v (%v)", p.Name, in[p.Name.Partition], p.Online(), p.Failure())
				}
			}
			create(t, client(t, b), "new", 2)
			produce(t, client(t, b), "new", "a")
			stop()
			if err := os.RemoveAll(lost); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(lost+".away", lost); err != nil {
				t.Fatal(err)
			}
			b, _ = start(t, dirs)
			for _, p := range b.partitions.All() {
				<-p.Settled()
				if !p.Online() {
					if name == "not mounted" && p.Name.Topic == "new" {
						continue // its files are in the directory that was taken away
					}
					t.Errorf("partition %v is offline: %v", p.Name, p.Failure())
				} else if p.Name.Topic == "t" && p.HighWatermark() != 1 {
					t.Errorf("partition %v has %d records", p.Name, p.HighWatermark())
				}
			}
		})
	}
}

// A directory that is another's is a mistake, and no disk that has failed.
func TestForeignDirectoryStopsTheStart(t *testing.T) {
	root := t.TempDir()
	a, foreign := filepath.Join(root, "a"), filepath.Join(root, "b")
	_, stop := start(t, foreign)
	stop()
	_, stop = start(t, a)
	stop()
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + a + "," + foreign, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Start(Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Static: settings.Static()})
	if err == nil {
		_ = b.Stop()
	}
	if err == nil || !strings.Contains(err.Error(), "cluster") || !strings.Contains(err.Error(), foreign) {
		t.Errorf("it starts with: %v", err)
	}
}
