// Package pageviews sends a web access log through the broker under test, keyed by path, and counts views per page on
// the other side: the counts must be those that awk finds in the file.
package pageviews

import (
	"bufio"
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/examples/pageviews"
	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

const (
	lines      = 100_000
	partitions = 4
)

// accessLog writes the log to a file and returns its path, and the views of each page as awk counts them.
func accessLog(t *testing.T) (path string, views map[string]int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "access.log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := pageviews.Generate(f, 2026, lines); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program(t, "awk"), `{n[$7]++} END{for (p in n) print n[p], p}`, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	views = map[string]int{}
	for line := range strings.Lines(string(out)) {
		n, page, _ := strings.Cut(strings.TrimSpace(line), " ")
		if views[page], err = strconv.Atoi(n); err != nil {
			t.Fatalf("awk printed %q", line)
		}
	}
	return path, views
}

type missing string

func (m missing) Error() string { return "there is no " + string(m) + " on this machine" }

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		peers.Absent(t, missing(name))
	}
	return path
}

// keyed reads the log and calls f with each line and its path.
func keyed(t *testing.T, path string, f func(page, line string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := pageviews.NewReader(file)
	for r.Next() {
		f(r.Line().Path, r.Text())
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, got, want map[string]int) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	total := 0
	for page, n := range got {
		total += n
		if n != want[page] {
			t.Errorf("%s: counted %d, awk %d", page, n, want[page])
		}
	}
	t.Errorf("counted %d views of %d pages, awk has %d of %d", total, len(got), lines, len(want))
}

// TestKcatWritesGoReads also sees that all views of a page are in one partition, in the order of the file.
func TestKcatWritesGoReads(t *testing.T) {
	kcat := program(t, "kcat")
	log, want := accessLog(t)
	address := subject.Address(t)
	topic := subject.Topic(t, address, partitions)
	var in bytes.Buffer
	keyed(t, log, func(page, line string) { in.WriteString(page + "\t" + line + "\n") })
	produce := exec.Command(kcat, "-P", "-b", address, "-t", topic, "-K", "\t", "-z", "zstd",
		"-X", "queue.buffering.max.messages=1000000", "-X", "enable.idempotence=true")
	produce.Stdin = &in
	if out, err := produce.CombinedOutput(); err != nil {
		t.Fatalf("kcat: %v\n%s", err, out)
	}

	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, at, last := map[string]int{}, map[string]int32{}, map[string]time.Time{}
	for n := 0; n < lines; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d lines: %v", n, lines, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			page := string(r.Key)
			l, err := pageviews.Parse(string(r.Value))
			if err != nil || l.Path != page {
				t.Fatalf("key %q with value %q: %v", page, r.Value, err)
			}
			if p, ok := at[page]; ok && (p != r.Partition || l.Time.Before(last[page])) {
				t.Fatalf("a view of %s at %v in partition %d comes after one at %v in partition %d", page, l.Time, r.Partition, last[page], p)
			}
			at[page], last[page] = r.Partition, l.Time
			got[page]++
		})
	}
	compare(t, got, want)
}

func TestGoWritesKcatReads(t *testing.T) {
	kcat := program(t, "kcat")
	log, want := accessLog(t)
	address := subject.Address(t)
	topic := subject.Topic(t, address, partitions)
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	keyed(t, log, func(page, line string) {
		client.Produce(t.Context(), &kgo.Record{Topic: topic, Key: []byte(page), Value: []byte(line)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	})
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	got := map[string]int{}
	for p := range partitions {
		out, err := exec.Command(kcat, "-C", "-b", address, "-t", topic, "-p", strconv.Itoa(p), "-o", "beginning", "-e", "-q", "-K", "\t").Output()
		if err != nil {
			t.Fatalf("kcat on partition %d: %v", p, err)
		}
		s := bufio.NewScanner(bytes.NewReader(out))
		for s.Scan() {
			page, line, _ := strings.Cut(s.Text(), "\t")
			if l, err := pageviews.Parse(line); err != nil || l.Path != page {
				t.Fatalf("key %q with value %q: %v", page, line, err)
			}
			got[page]++
		}
	}
	compare(t, got, want)
}
