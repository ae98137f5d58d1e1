package clients

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

// TestMoveReplica has Apache Kafka's Admin move a partition from one log directory to the other.
func TestMoveReplica(t *testing.T) {
	if err := peers.Missing(); err != nil {
		peers.Absent(t, err)
	}
	root := t.TempDir()
	dirs := []string{filepath.Join(root, "a"), filepath.Join(root, "b")}
	b := subject.Start(t, dirs[0], "log.dirs="+strings.Join(dirs, ","))
	topic := subject.Topic(t, b.Address, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const n = 1000
	for i := range n {
		client.Produce(t.Context(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}, nil)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	to := dirs[0]
	if at, err := filepath.Glob(filepath.Join(to, topic+"-0")); err != nil || len(at) > 0 {
		to = dirs[1]
	}
	out, errs, err := peers.Java(t.Context(), nil, "testdata/MoveReplica.java", b.Address, topic, "1", to)
	if err != nil || !strings.HasPrefix(out, "LogDirNotFoundException\nmoved\n") {
		t.Fatalf("it printed %s\n%s\n%v", out, errs, err)
	}
	for got := 0; got < n; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(got) {
				t.Fatalf("record %d is %s", got, r.Value)
			}
			got++
		})
	}
	if at, err := filepath.Glob(filepath.Join(to, topic+"-0")); err != nil || len(at) != 1 {
		t.Errorf("%s has no log of the partition: %v", to, err)
	}
}
