package transactions

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

// copierOf is the environment variable that makes the test program a copier: address, topic from, topic to.
const copierOf = "MOLDAU_TEST_COPIER"

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(copierOf)); len(words) == 3 {
		err := copyForEver(words[0], words[1], words[2])
		fmt.Fprintln(os.Stderr, "the copier has ended:", err)
		os.Exit(1)
	}
	os.Exit(subject.Main(m))
}

const (
	partitions = 3
	records    = 3000 // in each partition
	group      = "copiers"
)

// copyForEver copies in transactions of some records. Only an error that the client cannot go on after ends it.
func copyForEver(address, from, to string) error {
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(address), kgo.TransactionalID("copier"), kgo.ConsumerGroup(group),
		kgo.InstanceID("copier"), // who comes after a kill takes the place at once
		kgo.ConsumeTopics(from), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer session.Close()
	ctx := context.Background()
	for {
		fetches := session.PollRecords(ctx, 100)
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			return err
		}
		produced := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(r *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Topic: to, Partition: r.Partition, Value: []byte("copy of " + string(r.Value))}, produced.Promise())
		})
		if _, err := session.End(ctx, kgo.TransactionEndTry(produced.Err() == nil)); err != nil {
			return err
		}
	}
}

// copier is the process that copies, started again whenever it has ended.
type copier struct {
	t       *testing.T
	words   []string // the command
	env     string
	command *exec.Cmd
	ended   chan struct{}

	complaint bytes.Buffer // of all processes so far
}

func (c *copier) start() {
	c.t.Helper()
	c.command = exec.Command(c.words[0], c.words[1:]...)
	c.command.Env = append(os.Environ(), c.env)
	c.command.Stderr = &c.complaint
	if err := c.command.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	c.ended = ended
	command := c.command
	go func() { // ends with the process
		_ = command.Wait() // it was killed, or has told its error
		close(ended)
	}()
}

// kill ends the copier as kill -9 does.
func (c *copier) kill() {
	_ = c.command.Process.Kill() // one that has gone has ended
	<-c.ended
}

// revive starts the copier where it has given up, as a person would.
func (c *copier) revive() {
	select {
	case <-c.ended:
		c.start()
	default:
	}
}

// reader reads what is committed, partition by partition, and checks it as it comes (T1, T5).
type reader struct {
	t      *testing.T
	client *kgo.Client
	next   [partitions]int // number of the record that comes next
	total  int
}

func newReader(t *testing.T, address, topic string) *reader {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &reader{t: t, client: client}
}

// until reads until n records are there. alive is called again and again meanwhile.
func (r *reader) until(n int, alive func()) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); r.total < n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d records are committed, and nothing more comes", r.total, n)
		}
		alive()
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		r.client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			want := fmt.Sprintf("copy of %d/%d", rec.Partition, r.next[rec.Partition])
			if got := string(rec.Value); got != want {
				r.t.Fatalf("partition %d has %q at offset %d, want %q", rec.Partition, got, rec.Offset, want)
			}
			r.next[rec.Partition]++
			r.total++
		})
		cancel()
	}
}

func fill(t *testing.T, address, topic string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var list []*kgo.Record
	for p := range int32(partitions) {
		for i := range records {
			list = append(list, &kgo.Record{Topic: topic, Partition: p, Value: []byte(strconv.Itoa(int(p)) + "/" + strconv.Itoa(i))})
		}
	}
	if err := client.ProduceSync(t.Context(), list...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// command makes the command line of a copier.
type command func(t *testing.T, address, from, to string) (words []string, env string)

// Clients that speak transaction version 2, and for librdkafka version 1.
func TestFranzGo(t *testing.T) {
	copyUnderKills(t, 8, func(_ *testing.T, address, from, to string) ([]string, string) {
		return []string{os.Args[0], "-test.run=^$"}, copierOf + "=" + address + " " + from + " " + to
	})
}

func TestConfluentKafka(t *testing.T) {
	copyUnderKills(t, 6, func(t *testing.T, address, from, to string) ([]string, string) {
		return []string{peers.Python(t, "../clients/testdata/requirements.txt"), "testdata/copier.py", address, from, to}, ""
	})
}

func TestJava(t *testing.T) {
	copyUnderKills(t, 4, func(t *testing.T, address, from, to string) ([]string, string) {
		if err := peers.Missing(); err != nil {
			peers.Absent(t, err)
		}
		classPath, err := peers.ClassPath()
		if err != nil {
			t.Fatal(err)
		}
		return []string{"java", "-cp", classPath, "testdata/Copier.java", address, from, to}, ""
	})
}

// copyUnderKills kills the copier and the broker in turn while records are copied.
func copyUnderKills(t *testing.T, kills int, program command) {
	if testing.Short() {
		t.Skip("it kills brokers")
	}
	b := subject.Start(t, t.TempDir())
	from, to := subject.Topic(t, b.Address, partitions), subject.Topic(t, b.Address, partitions)
	fill(t, b.Address, from)
	c := &copier{t: t}
	c.words, c.env = program(t, b.Address, from, to)
	c.start()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("the copiers have said:\n%s", c.complaint.String())
		}
	})
	r := newReader(t, b.Address, to)
	for i := range kills {
		r.until((i+1)*partitions*records/(kills+2), c.revive)
		if i%2 == 0 {
			c.kill()
			c.start()
		} else {
			b.Kill()
			b.Restart(t)
		}
	}
	r.until(partitions*records, c.revive)
	c.kill()
	checkEnd(t, b.Address, from, to)
}

// checkEnd: the group has committed the whole input, and no transaction hangs (T5, T6). The last marker may be on its way.
func checkEnd(t *testing.T, address, from, to string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	deadline := time.Now().Add(10 * time.Second)
	for p := int32(0); p < partitions; {
		offsets, err := admin.FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := offsets.Lookup(from, p); o.At == records {
			p++
		} else if time.Now().After(deadline) {
			t.Fatalf("the group has committed %d of partition %d, want %d", o.At, p, records)
		}
	}
	committed, err := admin.ListCommittedOffsets(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := admin.ListEndOffsets(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		if stable, _ := committed.Lookup(to, end.Partition); stable.Offset != end.Offset {
			t.Errorf("a transaction hangs in partition %d: stable up to %d of %d", end.Partition, stable.Offset, end.Offset)
		}
	})
}
