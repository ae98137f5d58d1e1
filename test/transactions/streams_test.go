package transactions

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

// words is what is counted: each of so many words so often.
const (
	words    = 40
	eachWord = 150
)

// TestKafkaStreams: Apache Kafka Streams counts words exactly once while it and the broker are killed. The counts that are
// committed rise, each word's from one record to the next, and come to what a plain count gives.
func TestKafkaStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("it kills brokers")
	}
	classPath, err := peers.StreamsClassPath()
	if err != nil {
		peers.Absent(t, err)
	}
	classes := t.TempDir()
	if out, err := exec.Command("javac", "-d", classes, "-cp", classPath, "testdata/WordCount.java").CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	b := subject.Start(t, t.TempDir())
	from, to := subject.Topic(t, b.Address, partitions), subject.Topic(t, b.Address, partitions)
	fillWords(t, b.Address, from)
	c := &copier{t: t, words: []string{"java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes + ":" + classPath, "WordCount",
		b.Address, from, to, t.TempDir()}}
	c.start()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			said := c.complaint.String()
			t.Logf("the counter has said:\n%s", said[max(0, len(said)-6000):])
		}
	})
	r := newCounts(t, b.Address, to)
	const kills = 4
	for i := range kills {
		r.until((i+1)*words*eachWord/(kills+2), c.revive)
		if i%2 == 0 {
			c.kill()
			c.start()
		} else {
			b.Kill()
			b.Restart(t)
		}
	}
	r.until(words*eachWord, c.revive)
	for word, n := range r.counts {
		if n != eachWord {
			t.Errorf("%s is counted %d times, and is there %d times", word, n, eachWord)
		}
	}
}

func fillWords(t *testing.T, address, topic string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var list []*kgo.Record
	for i := range words * eachWord {
		list = append(list, &kgo.Record{Topic: topic, Partition: int32(i % partitions), Value: fmt.Append(nil, "word-", i%words)})
	}
	if err := client.ProduceSync(t.Context(), list...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// counts is what is committed of the counts.
type counts struct {
	t      *testing.T
	client *kgo.Client
	counts map[string]int
	total  int
}

func newCounts(t *testing.T, address, topic string) *counts {
	return &counts{t: t, client: newReader(t, address, topic).client, counts: map[string]int{}}
}

// until reads until n words are counted. alive is called again and again meanwhile.
func (r *counts) until(n int, alive func()) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); r.total < n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d words are counted, and nothing more comes", r.total, n)
		}
		alive()
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		r.client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			word := string(rec.Key)
			count, err := strconv.Atoi(string(rec.Value))
			if err != nil || count <= r.counts[word] {
				r.t.Fatalf("the count of %s goes from %d to %q", word, r.counts[word], rec.Value)
			}
			r.total += count - r.counts[word]
			r.counts[word] = count
		})
		cancel()
	}
}
