package broker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A compacted topic loses what is superseded while it is written to, keeps the last value of each key over a restart, and
// checkpoints how far it was compacted. What a compaction did shows in the metrics.
func TestCompactedTopicKeepsTheLastOfEachKey(t *testing.T) {
	dir := t.TempDir()
	const backoff = "log.cleaner.backoff.ms=5"
	b, stop := start(t, dir, "log.segment.bytes=1048576", backoff, "moldau.http.listener=127.0.0.1:0")
	c := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	policy := "compact"
	if _, err := kadm.NewClient(c).CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &policy}, "t"); err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte{'v'}, 300_000)
	for i := range 16 {
		r := &kgo.Record{Topic: "t", Key: fmt.Appendf(nil, "key %d", i%2), Value: append(fmt.Appendf(nil, "%d ", i), value...)}
		if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
	eventually(t, "the sealed segments are compacted", func() bool { return p.Log().FirstDirty() >= 12 && p.Log().Size() < 2_500_000 })
	eventually(t, "the metrics tell of it", func() bool { // a pass is counted behind its last commit
		text := httpGet(t, "http://"+b.Info().HTTP+"/metrics")
		return !strings.Contains(text, "moldau_cleaner_passes_total 0") && strings.Contains(text, "kafka_log_logcleanermanager_uncleanable_partitions_count")
	})
	stop()
	text, err := os.ReadFile(filepath.Join(dir, "cleaner-offset-checkpoint"))
	if err != nil || !strings.HasPrefix(string(text), "0\n1\nt 0 1") {
		t.Errorf("%q %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cleaner-offset-checkpoint"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ = start(t, dir, backoff) // all is dirty again, and nothing is lost
	last := map[string]string{}
	c = client(t, b, kgo.ConsumeTopics("t"))
	for end := false; !end; {
		fetched := c.PollFetches(t.Context())
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			last[string(r.Key)], _, _ = strings.Cut(string(r.Value), " ")
			end = end || r.Offset == 15
		})
	}
	if last["key 0"] != "14" || last["key 1"] != "15" || len(last) != 2 {
		t.Errorf("the last values are %v", last)
	}
}
