package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLifeOfATransaction looks at a transaction from its begin to its end, and tears one in a partition.
func TestLifeOfATransaction(t *testing.T) {
	s, topic := brokerShell(t)
	id := "txn-of-" + topic
	s.ok("", "topic", "create", topic, "-p", "2")
	address := strings.TrimPrefix(s.env[1], "MOLDAU_BOOTSTRAP=")
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	begin := func() {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Partition: 1, Value: []byte("a")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	if got := s.ok("", "txn", "list", "--state", "Ongoing"); !strings.Contains(got, id) {
		t.Errorf("listed:\n%s", got)
	}
	d := s.describeTxn(id)
	if d.State != "Ongoing" || d.Started == nil || len(d.Partitions) != 1 || d.Partitions[0] != (txnPartition{topic, 1}) {
		t.Errorf("described as %+v", d)
	}
	if got := s.ok("", "txn", "describe", id); !strings.Contains(got, topic+"/1") || !strings.Contains(got, "open for") {
		t.Errorf("described:\n%s", got)
	}
	if got := s.ok("", "txn", "find-hanging", topic, "--older", "0s"); !strings.Contains(got, "no transaction hangs") {
		t.Errorf("its coordinator knows of it, and hanging is\n%s", got)
	}
	if r := s.run("", "txn", "abort", topic, "0"); r.code != exitFailed || !strings.Contains(r.stderr, "no such transaction") {
		t.Errorf("abort where nothing is open: %d %s", r.code, r.stderr)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	begin()
	if got := s.ok("", "txn", "abort", topic, "1"); !strings.Contains(got, "is aborted") {
		t.Errorf("abort:\n%s", got)
	}
	if r := s.run("", "txn", "abort", topic, "1"); r.code != exitFailed {
		t.Errorf("abort again: %d %s", r.code, r.stderr)
	}
	if r := s.run("", "txn", "describe", "nobody"); r.code != exitFailed || !strings.Contains(r.stderr, "nobody") {
		t.Errorf("an id that nobody has: %d %s", r.code, r.stderr)
	}
}

func (s shell) describeTxn(id string) describedTxn {
	s.t.Helper()
	var txns []describedTxn
	if err := json.Unmarshal([]byte(s.ok("", "txn", "describe", id, "-o", "json")), &txns); err != nil {
		s.t.Fatal(err)
	}
	return txns[0]
}
