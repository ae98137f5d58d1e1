package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/config"
)

// world is a broker in memory, which the tests write to and back up.
type world struct {
	*testing.T
	fs   *memfs.FS
	env  env.Env
	node *broker.Broker
	cl   *kgo.Client
}

// newWorld starts a broker on /data.
func newWorld(t *testing.T) *world {
	w := &world{T: t, fs: memfs.New(), env: env.Real()}
	w.fs.Now = time.Now
	w.env.FS = w.fs
	w.node = w.start("/data")
	w.cl = w.client(w.node)
	return w
}

func (w *world) start(dir string) *broker.Broker {
	w.Helper()
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		w.Fatal(err)
	}
	b, err := broker.Start(broker.Options{Env: w.env, Logger: slog.New(slog.DiscardHandler), Static: settings.Static()})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = b.Stop() }) // some tests stop it themselves
	return b
}

func (w *world) client(b *broker.Broker, opts ...kgo.Opt) *kgo.Client {
	w.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Info().Bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(c.Close)
	return c
}

func (w *world) create(topic string, partitions int32, set ...string) {
	w.Helper()
	configs := map[string]*string{}
	for i := 0; i < len(set); i += 2 {
		configs[set[i]] = &set[i+1]
	}
	if resp, err := kadm.NewClient(w.cl).CreateTopic(w.Context(), partitions, 1, configs, topic); err != nil || resp.Err != nil {
		w.Fatal(err, resp.Err)
	}
}

// write appends n records of about 100 kB, whose values begin with their number.
func (w *world) write(topic string, partition int32, from, n int) {
	w.Helper()
	for i := from; i < from+n; i++ {
		value := append(strconv.AppendInt(nil, int64(i), 10), ' ')
		r := &kgo.Record{Topic: topic, Partition: partition, Value: append(value, make([]byte, 100_000)...)}
		if err := w.cl.ProduceSync(w.Context(), r).FirstErr(); err != nil {
			w.Fatal(err)
		}
	}
}

// ask is what the command line asks a broker.
func (w *world) ask(ctx context.Context) (Live, error) {
	live := Live{
		Starts: map[moldau.TopicPartition]moldau.Offset{}, Ends: map[moldau.TopicPartition]moldau.Offset{},
		Failed: map[moldau.TopicPartition]string{}, ClusterID: w.node.Info().ClusterID,
	}
	admin := kadm.NewClient(w.cl)
	ends, err := admin.ListEndOffsets(ctx)
	if err != nil {
		return live, err
	}
	starts, err := admin.ListStartOffsets(ctx)
	if err != nil {
		return live, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		live.Ends[moldau.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = moldau.Offset(o.Offset)
	})
	starts.Each(func(o kadm.ListedOffset) {
		live.Starts[moldau.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = moldau.Offset(o.Offset)
	})
	return live, nil
}

func (w *world) options() Options {
	return Options{Env: w.env, Repo: "/repo", From: []string{"/data"}, Ask: w.ask}
}

// backup takes a backup that must be complete.
func (w *world) backup(o Options) Created {
	w.Helper()
	made, err := Create(w.Context(), o)
	if err != nil {
		w.Fatal(err)
	}
	if len(made.Missing) > 0 {
		w.Fatalf("missing: %+v", made.Missing)
	}
	return made
}

// restored restores a backup to a directory and starts a broker there.
func (w *world) restored(m *Manifest, to string) *broker.Broker {
	w.Helper()
	o := RestoreOptions{Env: w.env, Logger: slog.New(slog.DiscardHandler), Repo: "/repo", To: to, Command: "restore it"}
	if err := m.Restore(w.Context(), o); err != nil {
		w.Fatal(err)
	}
	return w.start(to)
}

// numbers reads the numbers of the records of a partition, with their offsets.
func (w *world) numbers(b *broker.Broker, topic string, partition int32) (list []string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	c := w.client(b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topic)
	if err != nil {
		w.Fatal(err)
	}
	starts, err := kadm.NewClient(c).ListStartOffsets(ctx, topic)
	if err != nil {
		w.Fatal(err)
	}
	for at := starts[topic][partition].Offset; at < ends[topic][partition].Offset; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.Fatalf("read %s-%d at %d: %v", topic, partition, at, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n := 0
			_, _ = fmt.Sscanf(string(r.Value[:10]), "%d", &n) // 0 is wrong enough where there is no number
			list = append(list, fmt.Sprintf("%d:%d", r.Offset, n))
			at = r.Offset + 1
		})
	}
	return list
}

// rewrite changes the bytes of a file.
func (w *world) rewrite(name string, change func([]byte) []byte) {
	w.Helper()
	b, err := env.ReadFile(w.fs, name, 1<<30)
	if err == nil {
		err = put(w.fs, name, change(b))
	}
	if err != nil {
		w.Fatal(err)
	}
}

func put(fsys *memfs.FS, name string, content []byte) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Sync(), f.Close(), fsys.SyncDir(filepath.Dir(name)))
}
