package broker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau"
)

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it did not happen: " + what)
		}
	}
}

// The scrub finds a batch that has changed in a sealed segment. The partition stays online, /healthz and /metrics tell, a start
// looks there first, and the complaint ends with the damage.
func TestScrubFindsDamage(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir, "log.segment.bytes=1048576")
	c := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	create(t, c, "t", 1)
	for range 8 {
		produce(t, c, "t", strings.Repeat("x", 500_000))
	}
	stop()
	segment := filepath.Join(dir, "t-0", "00000000000000000002.log")
	was, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, segment, 100_000)
	if err := os.WriteFile(filepath.Join(dir, scrubName), []byte("version: 0\nat: t-0 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const set = "moldau.scrub.bytes.per.second=1000000000"
	b, stop = start(t, dir, set, "moldau.http.listener=127.0.0.1:0")
	sealed := func() bool { return source{b}.Scrubs().Bytes >= 500_000 }
	eventually(t, "the segment behind the place that was written down is read", sealed)
	if all := (source{b}).Scrubs(); len(all.Damage) > 0 || all.Bytes > 1_100_000 {
		t.Errorf("it did not go on where it was: %+v", all)
	}
	stop()
	if text, err := os.ReadFile(filepath.Join(dir, scrubName)); err != nil || !strings.HasPrefix(string(text), "version: 0\n") {
		t.Fatalf("%q %v", text, err)
	}
	if err := os.Remove(filepath.Join(dir, scrubName)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // the second start is led there by what the first one has noted
		if i == 1 {
			at := "version: 0\nat: t-0 4\ndamaged: t-0 2\n"
			if err := os.WriteFile(filepath.Join(dir, scrubName), []byte(at), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, stop = start(t, dir, set, "moldau.http.listener=127.0.0.1:0")
		eventually(t, "the damage is found", func() bool { return len(source{b}.Scrubs().Damage) > 0 })
		if p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0); !p.Online() {
			t.Error("the partition is offline")
		}
		produce(t, client(t, b), "t", "y")
		for page, want := range map[string]string{"healthz": "partition t-0 has damaged records: offset 2, " + segment, "metrics": "moldau_scrub_damaged 1"} {
			if got := httpGet(t, "http://"+b.Info().HTTP+"/"+page); !strings.Contains(got, want) {
				t.Errorf("%s lacks %q: %s", page, want, got)
			}
		}
		eventually(t, "the damage is noted for the next start", func() bool {
			text, _ := os.ReadFile(filepath.Join(dir, scrubName))
			return strings.Contains(string(text), "damaged: t-0 2\n")
		})
		stop()
	}
	if err := os.WriteFile(segment, was, 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ = start(t, dir, set)
	eventually(t, "the mended segment is read", func() bool { return source{b}.Scrubs().Bytes >= 1_000_000 })
	if d := (source{b}).Scrubs().Damage; len(d) > 0 {
		t.Errorf("after it was mended: %v", d)
	}
}

// The scrub reads no faster than it may.
func TestScrubIsSlow(t *testing.T) {
	b, _ := start(t, t.TempDir(), "moldau.scrub.bytes.per.second=1048576")
	s := &scrub{b: b, rate: 1 << 20}
	begun := time.Now()
	for range 8 {
		if err := s.wait(t.Context(), 16<<10); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.wait(t.Context(), 128<<10); err != nil { // 256 KiB are full: a quarter of a second
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("256 KiB took %v at 1 MiB a second", took)
	}
}

func TestPlaces(t *testing.T) {
	places := []place{{}, {moldau.TopicPartition{Topic: "a", Partition: 2}, 70}, {moldau.TopicPartition{Topic: "a", Partition: 10}, 0}, {moldau.TopicPartition{Topic: "b-c"}, 1}}
	if !slices.IsSortedFunc(places, place.compare) {
		t.Error("the order of partitions is not that of topics and numbers")
	}
	for _, p := range places[1:] {
		if got, ok := parsePlace(p.String()); !ok || got != p {
			t.Errorf("%v became %v", p, got)
		}
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "format", "directory.md"))
	if err != nil {
		t.Fatal(err)
	}
	orders := func(i int32, base moldau.Offset) place {
		return place{moldau.TopicPartition{Topic: "orders", Partition: i}, base}
	}
	drawn := "    moldau.scrub\n"
	for line := range strings.Lines(scrubText(orders(0, 40), []place{orders(1, 7)})) {
		drawn += "    | " + line
	}
	if !strings.Contains(string(page), drawn) {
		t.Errorf("docs/format/directory.md does not draw what is written:\n%s", drawn)
	}
	for _, text := range []string{"", "a-1", "a 1", "a-1 x", places[0].String()} {
		if p, ok := parsePlace(text); ok {
			t.Errorf("%q was taken for %v", text, p)
		}
	}
}
