package powerloss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// shortRun is how long the cuts go on where POWERLOSS_TIME does not say otherwise.
const shortRun = 40 * time.Second

// TestPowerLoss cuts the power again and again under load.
func TestPowerLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts the power for most of a minute")
	}
	subject.OnlyOurs(t)
	needsFUSE(t)
	length, seed := shortRun, uint64(time.Now().UnixNano())
	if text := os.Getenv("POWERLOSS_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	if text := os.Getenv("POWERLOSS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("POWERLOSS_SEED=%d", seed)
	w := newWorld(t, rand.New(rand.NewPCG(seed, 1)))
	for begun := time.Now(); time.Since(begun) < length || w.cuts < int(modes); {
		w.round()
	}
	t.Logf("%d cuts; %d records acknowledged, %d of them on topics whose acknowledgements are durable; %d lost that were not promised",
		w.cuts, w.acked, w.ackedDurable, w.lost)
	if w.acked == 0 || w.ackedDurable == 0 {
		t.Error("nothing was acknowledged, so nothing was tried")
	}
}

// The topics: one that asks for durable acknowledgements, one with many partitions, and one that asks for nothing. Each log is
// synced by itself here: the broker takes only file systems that it knows for ones that syncfs makes durable.
var topics = []struct {
	name       string
	partitions int32
	durable    bool
}{{"ledger", 3, true}, {"accounts", 40, true}, {"pageviews", 3, false}}

// at is a place in a topic.
type at struct {
	topic     string
	partition int32
	offset    int64
}

// world is the broker on its disk, and what clients know of it.
type world struct {
	t      *testing.T
	rand   *rand.Rand
	disk   *disk
	dir    string
	broker *subject.Broker
	umount func() error

	cuts, acked, ackedDurable, lost int
	sent                            int

	mu    sync.Mutex
	known map[at]string       // what was acknowledged and not found lost
	seen  map[at]string       // what a consumer has read, on the durable topics
	wrote map[string]struct{} // every value that was sent
	made  map[string]bool     // topics beside: whether they were acknowledged as made (true) or deleted
	epoch int32               // of ledger-0 after the last start
}

func newWorld(t *testing.T, r *rand.Rand) *world {
	w := &world{t: t, rand: r, disk: newDisk(), dir: t.TempDir(), known: map[at]string{}, seen: map[at]string{}, wrote: map[string]struct{}{}, made: map[string]bool{}, epoch: -1}
	w.mount()
	t.Cleanup(func() {
		if err := w.umount(); err != nil {
			t.Error(err)
		}
	})
	w.broker = subject.Start(t, filepath.Join(w.dir, "data"), "log.segment.bytes=1048576", "num.recovery.threads.per.data.dir=2")
	t.Cleanup(w.broker.Kill) // before the unmount
	cl := w.client()
	defer cl.Close()
	for _, topic := range topics {
		config := map[string]*string{}
		if topic.durable {
			one := "1"
			config["flush.messages"] = &one
		}
		if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), topic.partitions, 1, config, topic.name); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) mount() {
	w.t.Helper()
	umount, err := w.disk.mount(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.umount = umount
}

// needsFUSE skips where this machine lets nobody mount a file system: no package can bring a device.
func needsFUSE(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		err = f.Close()
	}
	if err == nil && os.Getuid() != 0 {
		err = errors.New("not root")
	}
	if err != nil {
		t.Skipf("SKIPPED, a loss of power is not tested with the binary: %v", err)
	}
}

func (w *world) client(options ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	cl, err := kgo.NewClient(append(options, kgo.SeedBrokers(w.broker.Address), kgo.RetryTimeout(10*time.Second))...)
	if err != nil {
		w.t.Fatal(err)
	}
	return cl
}

// round is a while of load, a cut, and a look at what is left.
func (w *world) round() {
	w.t.Helper()
	w.load()
	m := mode(w.rand.IntN(int(modes)))
	if w.cuts < int(modes) {
		m = mode(w.cuts) // each of them at least once
	}
	w.cut(m)
	for w.rand.IntN(3) == 0 { // and again while it recovers
		w.broker.Restart(w.t)
		time.Sleep(time.Duration(w.rand.IntN(40)) * time.Millisecond)
		w.broker.Kill()
		m = mode(w.rand.IntN(int(modes)))
		w.cut(m)
	}
	w.broker.Restart(w.t)
	w.check(m)
}

// cut ends a broker that was killed for good: what it had not synced goes.
func (w *world) cut(m mode) {
	w.t.Helper()
	if err := w.umount(); err != nil {
		w.t.Fatal(err)
	}
	w.disk.cut(m, w.rand)
	w.cuts++
	w.mount()
}

// load lets clients write, read and change topics, and kills the broker in the midst of it.
func (w *world) load() {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(500+w.rand.IntN(1500))*time.Millisecond)
	defer cancel()
	var running sync.WaitGroup
	run := func(fn func(context.Context)) {
		running.Add(1)
		go func() { // ends with ctx
			defer running.Done()
			fn(ctx)
		}()
	}
	for _, topic := range topics {
		run(func(ctx context.Context) { w.produce(ctx, topic.name, topic.partitions, topic.durable) })
	}
	run(w.follow)
	run(w.administer)
	<-ctx.Done()
	w.broker.Kill()
	running.Wait()
}

// produce writes values of which no two are alike, with acks=all, and notes what is acknowledged.
func (w *world) produce(ctx context.Context, topic string, partitions int32, durable bool) {
	cl := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(500), kgo.ProducerBatchMaxBytes(20_000))
	defer cl.Close() // without a flush: the broker is gone
	acknowledged := func(r *kgo.Record, err error) {
		if err != nil {
			return // it may be there or not
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acked++
		if durable {
			w.ackedDurable++
		}
		w.known[at{r.Topic, r.Partition, r.Offset}] = string(r.Value)
	}
	for n := int32(0); ctx.Err() == nil; n++ {
		w.mu.Lock()
		w.sent++
		value := fmt.Sprintf("%s %d %0*d", topic, w.sent, 1+w.sent%300, 0)
		w.wrote[value] = struct{}{}
		w.mu.Unlock()
		cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: n % partitions, Value: []byte(value)}, acknowledged)
		if n%200 == 199 {
			time.Sleep(time.Millisecond)
		}
	}
}

// follow notes what can be read at the ends of the durable topics: nobody may see what a cut can take back.
func (w *world) follow(ctx context.Context) {
	cl := w.client(kgo.ConsumeTopics("ledger", "accounts"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(100*time.Millisecond))
	defer cl.Close()
	for ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen[at{r.Topic, r.Partition, r.Offset}] = string(r.Value)
		})
	}
}

// administer makes topics and deletes them, and notes what was acknowledged.
func (w *world) administer(ctx context.Context) {
	cl := w.client()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("made-%d-%d", w.cuts, n)
		if _, err := admin.CreateTopic(ctx, 2, 1, nil, name); err != nil {
			return
		}
		w.note(name, true)
		if n%3 == 2 {
			w.mu.Lock()
			delete(w.made, name) // until it is known
			w.mu.Unlock()
			if _, err := admin.DeleteTopic(ctx, name); err != nil {
				return
			}
			w.note(name, false)
		}
	}
}

func (w *world) note(topic string, made bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made[topic] = made
}

// check reads everything back and compares it with what was promised.
func (w *world) check(m mode) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	fail := func(format string, args ...any) {
		w.t.Helper()
		w.t.Fatalf("after cut %d (%v): %s", w.cuts, m, fmt.Sprintf(format, args...))
	}
	details, err := admin.ListTopics(w.t.Context())
	if err != nil {
		fail("%v", err)
	}
	for name, made := range w.made {
		if details.Has(name) != made {
			fail("topic %s: acknowledged as made %t, there %t", name, made, details.Has(name))
		}
	}
	if epoch := details["ledger"].Partitions[0].LeaderEpoch; epoch <= w.epoch {
		fail("the leader epoch is %d, and was %d before the cut", epoch, w.epoch)
	} else {
		w.epoch = epoch
	}
	ends, err := w.ends(admin)
	if err != nil {
		fail("%v", err)
	}
	there, err := w.readAll(ends)
	if err != nil {
		fail("%v", err)
	}
	for place, value := range there {
		if _, ok := w.wrote[value]; !ok {
			fail("%+v has %q, which nobody wrote", place, value)
		}
	}
	for _, topic := range topics {
		if topic.durable {
			w.promised(topic.name, there, fail)
		} else {
			w.prefix(topic.name, there, ends, fail)
		}
	}
}

// promised: on a durable topic everything that was acknowledged or read is there, unchanged.
func (w *world) promised(topic string, there map[at]string, fail func(string, ...any)) {
	w.t.Helper()
	for _, claims := range []struct {
		what string
		list map[at]string
	}{{"acknowledged", w.known}, {"read", w.seen}} {
		for place, value := range claims.list {
			if place.topic == topic && there[place] != value {
				fail("%+v was %s as %.60q and is %.60q", place, claims.what, value, there[place])
			}
		}
	}
}

// prefix: on another topic the end may be gone, and what is left is as it was.
func (w *world) prefix(topic string, there map[at]string, ends map[string]map[int32]int64, fail func(string, ...any)) {
	w.t.Helper()
	for place, value := range w.known {
		switch {
		case place.topic != topic:
		case place.offset >= ends[topic][place.partition]:
			delete(w.known, place)
			w.lost++
		case there[place] != value:
			fail("%+v was acknowledged as %.60q and is %.60q", place, value, there[place])
		}
	}
}

// ends are the ends of all partitions, once all are open.
func (w *world) ends(admin *kadm.Client) (map[string]map[int32]int64, error) {
	var last error
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		listed, err := admin.ListEndOffsets(w.t.Context(), "ledger", "accounts", "pageviews")
		if last = errors.Join(err, listed.Error()); last != nil {
			continue
		}
		ends := map[string]map[int32]int64{}
		listed.Each(func(o kadm.ListedOffset) {
			if ends[o.Topic] == nil {
				ends[o.Topic] = map[int32]int64{}
			}
			ends[o.Topic][o.Partition] = o.Offset
		})
		return ends, nil
	}
	return nil, last
}

// readAll reads every partition from its start to its end.
func (w *world) readAll(ends map[string]map[int32]int64) (map[at]string, error) {
	from := map[string]map[int32]kgo.Offset{}
	left := 0
	for topic, partitions := range ends {
		from[topic] = map[int32]kgo.Offset{}
		for p, end := range partitions {
			if end > 0 {
				from[topic][p] = kgo.NewOffset().At(0)
				left += int(end)
			}
		}
	}
	cl := w.client(kgo.ConsumePartitions(from), kgo.FetchMaxWait(100*time.Millisecond))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	defer cancel()
	there := map[at]string{}
	for len(there) < left {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d records read: %w", len(there), left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { there[at{r.Topic, r.Partition, r.Offset}] = string(r.Value) })
	}
	return there, nil
}
