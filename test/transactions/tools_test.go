package transactions

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

// TestKafkaTransactions: Apache's own tool sees a transaction from its begin to its end, and ends it in a partition.
func TestKafkaTransactions(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts Java")
	}
	address := subject.Start(t, t.TempDir()).Address
	tool := func(args ...string) string {
		t.Helper()
		return peers.RunTool(t, "kafka-transactions", append([]string{"--bootstrap-server", address}, args...)...)
	}
	wants := func(out string, texts ...string) {
		t.Helper()
		for _, w := range texts {
			if !strings.Contains(out, w) {
				t.Errorf("the tool's output lacks %q:\n%s", w, out)
			}
		}
	}
	topic := subject.Topic(t, address, 1)
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID("looked-at"), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("a")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	wants(tool("list"), "looked-at", "Ongoing")
	wants(tool("describe", "--transactional-id", "looked-at"), "Ongoing", topic+"-0")
	wants(tool("describe-producers", "--topic", topic, "--partition", "0"), "CurrentTransactionStartOffset")
	if out := tool("find-hanging", "--broker-id", "1", "--max-transaction-timeout", "0"); strings.Contains(out, topic) {
		t.Errorf("a transaction that its coordinator knows of hangs:\n%s", out)
	}
	tool("abort", "--topic", topic, "--partition", "0", "--start-offset", "0")
	if out := tool("describe-producers", "--topic", topic, "--partition", "0"); !strings.Contains(out, "None") {
		t.Errorf("after the abort a transaction is open:\n%s", out)
	}
}
