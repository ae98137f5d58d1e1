package dumplog

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

// TestTransactionState: Kafka's decoder reads what the coordinator of transactions writes, and the markers.
func TestTransactionState(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts Java")
	}
	dir := t.TempDir()
	b := subject.Start(t, dir, "transaction.state.log.num.partitions=1")
	topic := subject.Topic(t, b.Address, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.TransactionalID("dumped"), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("a")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	for state := ""; state != "CompleteCommit"; { // until the markers are written
		described, err := kadm.NewClient(client).DescribeTransactions(t.Context(), "dumped")
		if err != nil {
			t.Fatal(err)
		}
		state = described["dumped"].State
	}
	b.Stop(t)
	read := func(partition, option string, texts ...string) {
		t.Helper()
		out := peers.RunTool(t, "kafka-dump-log", "--files", filepath.Join(dir, partition, "00000000000000000000.log"), option)
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("the dump of %s lacks %s:\n%s", partition, text, out)
			}
		}
	}
	read("__transaction_state-0", "--transaction-log-decoder", `"transactionalId":"dumped"`, `"transactionPartitions":[{"topic":"`+topic+`","partitionIds":[0]}]`,
		`"transactionStatus":2`, `"transactionStatus":4`, `"clientTransactionVersion":2`)
	read(topic+"-0", "--print-data-log", "endTxnMarker: COMMIT coordinatorEpoch: 0", "isTransactional: true")
}
