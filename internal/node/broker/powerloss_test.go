package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/config"
)

// startOnDisk starts a broker on a disk in memory, in a life of the machine of its own.
func startOnDisk(t *testing.T, fs *memfs.FS, boot string, set ...string) (b *Broker, stop func()) {
	t.Helper()
	flags := append([]string{"log.dirs=/data", "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener=", "offsets.topic.num.partitions=1"}, set...)
	settings, err := config.Merge(nil, nil, flags)
	if err != nil {
		t.Fatal(err)
	}
	e := env.Real()
	e.FS, e.BootID = fs, func() string { return boot }
	b, err = Start(Options{Env: e, Logger: slog.New(slog.DiscardHandler), Static: settings.Static()})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() { _ = b.Stop() }
	t.Cleanup(stop)
	return b, stop
}

// TestWhatAnAcknowledgementIsWorth is README's table, row by row: what clients were told is compared with what is there after
// the process or the machine has died, at once after the last answer. Its disk is slow. What is not
// promised is told there, too (NATS 7564).
func TestWhatAnAcknowledgementIsWorth(t *testing.T) {
	const n = 20
	for _, c := range []struct {
		name string
		keep memfs.Keep
		set  []string
		// whether all is kept: of a topic with flush.messages=1, of one without, of the offsets of groups
		ledger, orders, offsets bool
	}{
		{"the process dies", memfs.All, nil, true, true, true},
		{"the machine dies", memfs.None, nil, true, false, false},
		{"the machine dies, and some of its cache was written back", memfs.Some, nil, true, false, false},
		{"the machine dies, and files have become longer by zeros", memfs.Zeros, nil, true, false, false},
		{"the machine dies, every topic durable", memfs.None, []string{"log.flush.interval.messages=1"}, true, true, true},
	} {
		for _, last := range []string{"ledger", "orders", "offsets"} { // is answered last, and the death comes at once
			t.Run(c.name+", last "+last, func(t *testing.T) {
				t.Parallel()
				disk := memfs.New()
				if err := errors.Join(disk.MkdirAll("/data"), disk.SyncDir("/")); err != nil {
					t.Fatal(err)
				}
				disk.SyncTime = 5 * time.Millisecond // an answer that does not wait for the disk comes long before it
				b, stop := startOnDisk(t, disk, "first", c.set...)
				cl := client(t, b)
				one := "1"
				if r, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"flush.messages": &one}, "ledger"); err != nil || r.Err != nil {
					t.Fatal(err, r.Err)
				}
				create(t, cl, "orders", 1)
				var sent []string
				for i := range n {
					sent = append(sent, fmt.Sprint(i))
				}
				acknowledged := map[string]func(){
					"orders": func() { produce(t, cl, "orders", sent...) },
					"offsets": func() {
						var offsets kadm.Offsets
						offsets.AddOffset("ledger", 0, 7, -1)
						if r, err := kadm.NewClient(cl).CommitOffsets(t.Context(), "readers", offsets); err != nil || r.Error() != nil {
							t.Fatal(err, r.Error())
						}
					},
					"ledger": func() { produce(t, cl, "ledger", sent...) },
				}
				for what, acknowledge := range acknowledged {
					if what != last {
						acknowledge()
					}
				}
				acknowledged[last]()
				after := disk.Crash(c.keep, 1)
				stop()
				boot := "second"
				if c.keep == memfs.All {
					boot = "first"
				}
				b, _ = startOnDisk(t, after, boot, c.set...)
				for topic, whole := range map[string]bool{"ledger": c.ledger, "orders": c.orders} {
					p := b.partitions.Get(b.cluster.Image().Topic(topic).ID, 0)
					<-p.Settled()
					end := n
					if p.Online() && !whole {
						end = int(p.HighWatermark())
					}
					if got := read(t, b, topic, end); !slices.Equal(got, sent[:end]) {
						t.Errorf("%s holds %v after %v", topic, got, sent[:end])
					}
				}
				cl = client(t, b)
				create(t, cl, "another", 1) // and goes on
				produce(t, cl, "orders", "more")
				switch at, err := committed(t, cl); {
				case err != nil:
					t.Error(err)
				case at != 7 && (c.offsets || at != -1):
					t.Errorf("the group's offset is %d", at)
				}
			})
		}
	}
}

// committed is the offset of group readers, -1 where there is none.
func committed(t *testing.T, cl *kgo.Client) (int64, error) {
	t.Helper()
	r, err := kadm.NewClient(cl).FetchOffsets(t.Context(), "readers")
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1, nil
	}
	if o, ok := r.Lookup("ledger", 0); ok {
		return o.At, err
	}
	return -1, err
}
