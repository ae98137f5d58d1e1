package clients

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

// tool runs one of Kafka's command line tools against the broker under test.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	return peers.RunTool(t, name, append([]string{"--bootstrap-server", subject.Address(t)}, args...)...)
}

// wants fails the test when a tool's output lacks one of the texts.
func wants(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, w := range texts {
		if !strings.Contains(out, w) {
			t.Errorf("the tool's output lacks %q:\n%s", w, out)
		}
	}
}

func TestKafkaTopics(t *testing.T) {
	topic := fmt.Sprintf("tool-topics-%d", os.Getpid())
	wants(t, tool(t, "kafka-topics", "--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=7654321"),
		"Created topic "+topic)
	out := tool(t, "kafka-topics", "--describe", "--topic", topic)
	wants(t, out, "PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=7654321", "Partition: 2", "Leader: ", "Isr: ")
	wants(t, tool(t, "kafka-topics", "--list"), topic)
	tool(t, "kafka-topics", "--alter", "--topic", topic, "--partitions", "5")
	wants(t, tool(t, "kafka-topics", "--describe", "--topic", topic), "PartitionCount: 5", "Partition: 4")
	tool(t, "kafka-topics", "--delete", "--topic", topic)
	if out := tool(t, "kafka-topics", "--list"); strings.Contains(out, topic) {
		t.Errorf("the deleted topic is still listed:\n%s", out)
	}
	_, errs, err := peers.Tool(t.Context(), nil, "kafka-topics", "--bootstrap-server", subject.Address(t), "--create", "--topic", "no/slash")
	if err == nil {
		t.Error("a topic with a slash in its name was created")
	}
	wants(t, errs, "InvalidTopicException")
}

// TestConsoleClients writes with the console producer in each compression and reads with the console consumer.
func TestConsoleClients(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			address := subject.Address(t)
			topic := subject.Topic(t, address, 1)
			want := sample(true)[:25]
			var in strings.Builder
			for i := range want {
				want[i].headers = nil
				in.WriteString(string(want[i].key) + "\t" + string(want[i].value) + "\n")
			}
			peers.RunToolWith(t, strings.NewReader(in.String()), "kafka-console-producer", "--bootstrap-server", address, "--topic", topic,
				"--reader-property", "parse.key=true", "--compression-codec", codec)
			same(t, "franz-go", franzConsume(t, address, topic, len(want), codec), want)
			if out := consoleConsume(t, topic, len(want)); out != in.String() {
				t.Errorf("the console consumer printed\n%.500s\nwant\n%.500s", out, in.String())
			}
		})
	}
}

func consoleConsume(t *testing.T, topic string, n int) string {
	t.Helper()
	return tool(t, "kafka-console-consumer", "--topic", topic, "--partition", "0", "--offset", "earliest",
		"--max-messages", strconv.Itoa(n), "--timeout-ms", "60000", "--formatter-property", "print.key=true")
}

func TestKafkaConfigs(t *testing.T) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 1)
	of := []string{"--entity-type", "topics", "--entity-name", topic}
	tool(t, "kafka-configs", append(of, "--alter", "--add-config", "retention.ms=123456,cleanup.policy=[compact,delete]")...)
	wants(t, tool(t, "kafka-configs", append(of, "--describe")...), "retention.ms=123456", "cleanup.policy=compact,delete", "DYNAMIC_TOPIC_CONFIG")
	tool(t, "kafka-configs", append(of, "--alter", "--delete-config", "retention.ms")...)
	if out := tool(t, "kafka-configs", append(of, "--describe")...); strings.Contains(out, "retention.ms=123456") {
		t.Errorf("the deleted setting still holds:\n%s", out)
	}
	wants(t, tool(t, "kafka-configs", append(of, "--describe", "--all")...), "segment.bytes=1073741824", "DEFAULT_CONFIG")
	client := kadm.NewClient(franzClient(t, address))
	brokers, err := client.ListBrokers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(int(brokers.NodeIDs()[0]))
	wants(t, tool(t, "kafka-configs", "--entity-type", "brokers", "--entity-name", id, "--describe", "--all"), "log.dirs=", "num.partitions=")
}

func TestProducerPerfTest(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			topic := subject.Topic(t, subject.Address(t), 3)
			wants(t, tool(t, "kafka-producer-perf-test", "--topic", topic, "--num-records", "20000", "--record-size", "200",
				"--throughput", "-1", "--command-property", "acks=all", "compression.type="+codec), "20000 records sent")
			sum := 0
			for line := range strings.Lines(tool(t, "kafka-get-offsets", "--topic", topic)) {
				f := strings.Split(strings.TrimSpace(line), ":")
				n, err := strconv.Atoi(f[len(f)-1])
				if err != nil {
					t.Fatalf("kafka-get-offsets printed %q", line)
				}
				sum += n
			}
			if sum != 20000 {
				t.Errorf("the partitions' ends add up to %d, want 20000", sum)
			}
		})
	}
}

// TestOffsetsDirsAndDeletion looks at a topic through kafka-get-offsets and kafka-log-dirs, before and after
// kafka-delete-records.
func TestOffsetsDirsAndDeletion(t *testing.T) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 1)
	rs := sample(false)
	franzProduce(t, address, topic, "none", rs)
	offset := func(at string) string {
		return strings.TrimSpace(tool(t, "kafka-get-offsets", "--topic", topic, "--time", at))
	}
	const latest, earliest, highestTimestamp = "-1", "-2", "-3"
	if got := offset(latest); got != topic+":0:60" {
		t.Errorf("the end is %q", got)
	}
	if got := offset(highestTimestamp); !strings.HasPrefix(got, topic+":0:") {
		t.Errorf("the offset of the highest timestamp is %q", got)
	}

	out := tool(t, "kafka-log-dirs", "--describe", "--topic-list", topic)
	var dirs struct {
		Brokers []struct {
			LogDirs []struct {
				Error      *string
				Partitions []struct {
					Partition string
					Size      int64
				}
			}
		}
	}
	if i := strings.IndexByte(out, '{'); i < 0 || json.Unmarshal([]byte(out[i:]), &dirs) != nil {
		t.Fatalf("kafka-log-dirs printed\n%s", out)
	}
	found := false
	for _, d := range dirs.Brokers[0].LogDirs {
		for _, p := range d.Partitions {
			found = found || p.Partition == topic+"-0" && p.Size > 0 && d.Error == nil
		}
	}
	if !found {
		t.Errorf("kafka-log-dirs does not show the partition:\n%s", out)
	}

	file := filepath.Join(t.TempDir(), "delete.json")
	text := fmt.Sprintf(`{"version": 1, "partitions": [{"topic": %q, "partition": 0, "offset": 25}]}`, topic)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, tool(t, "kafka-delete-records", "--offset-json-file", file), "low_watermark: 25")
	if got := offset(earliest); got != topic+":0:25" {
		t.Errorf("after the deletion the log begins at %q", got)
	}
	rest := consoleConsume(t, topic, len(rs)-25)
	if !strings.HasPrefix(rest, string(rs[25].key)+"\t") {
		t.Errorf("after the deletion the consumer begins with %.100q", rest)
	}
}

func TestBrokerAPIVersions(t *testing.T) {
	out := tool(t, "kafka-broker-api-versions")
	wants(t, out, "Produce(0): 0 to 13", "Fetch(1): 4 to", "Metadata(3): 0 to", "ApiVersions(18): 0 to", "(id: ")
	if strings.Contains(out, "UNKNOWN(") {
		t.Errorf("a key that the tool does not know is advertised:\n%s", out)
	}
}
