// Package dumplog lets Apache Kafka's own kafka-dump-log read the data directory of the broker under test.
package dumplog

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/peers"
	"github.com/moldau/moldau/test/subject"
)

func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }

// written is what fill has produced.
type written struct {
	topic   string
	records int
	codecs  map[string]bool // as kafka-dump-log names them
}

var codecs = []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}

// fill writes more than 3 MB in every codec to one partition, whose segments have 1 MiB.
func fill(t *testing.T, address string) written {
	t.Helper()
	w := written{topic: subject.Topic(t, address, 1, "segment.bytes=1048576"), codecs: map[string]bool{}}
	random := rand.New(rand.NewPCG(1, 2))
	for _, codec := range codecs {
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		for range 1500 {
			value := make([]byte, 1000) // which compress to half their size
			for i := range 500 {
				value[i] = byte('0' + random.IntN(64))
			}
			r := &kgo.Record{Topic: w.topic, Key: strconv.AppendInt(nil, int64(w.records), 10), Value: value,
				Headers: []kgo.RecordHeader{{Key: "n", Value: []byte("1")}}}
			w.records++
			client.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := client.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		client.Close()
	}
	for _, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		w.codecs[name] = true
	}
	return w
}

// files lists the files of the partition with a suffix, in order.
func files(t *testing.T, dir, topic, suffix string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, topic+"-0", "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(names)
	return names
}

// dump reads the partition with kafka-dump-log and returns what is wrong with it.
func dump(t *testing.T, dir string, w written) (wrong []string) {
	t.Helper()
	complain := func(s string) { wrong = append(wrong, s) }
	segments := files(t, dir, w.topic, ".log")
	if len(segments) < 3 {
		complain("there are only " + strconv.Itoa(len(segments)) + " segments")
	}
	run := func(args ...string) (out, errs string) {
		out, errs, err := peers.Tool(t.Context(), nil, "kafka-dump-log", args...)
		if err != nil {
			complain(err.Error())
		}
		return out, errs
	}
	// The tool finds a gap before the first offset of each file but the first; that is no gap of ours.
	begins := map[string]bool{}
	for _, s := range segments {
		base, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(s), ".log"))
		begins["-1 is followed by "+strconv.Itoa(base)] = true
	}
	next, seen := 0, map[string]bool{}
	out, errs := run("--files", strings.Join(segments, ","), "--deep-iteration", "--print-data-log")
	for line := range strings.Lines(errs) {
		line = strings.TrimSpace(line)
		if !begins[line] && !strings.HasPrefix(line, "Non-consecutive offsets in ") { // the next line says which
			complain(line)
		}
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "| offset: "):
			if want := "| offset: " + strconv.Itoa(next) + " "; !strings.HasPrefix(line, want) || !strings.Contains(line, " key: "+strconv.Itoa(next)+" ") {
				complain("record " + strconv.Itoa(next) + " reads: " + line[:min(len(line), 200)])
			}
			next++
		case strings.HasPrefix(line, "baseOffset: "):
			_, codec, _ := strings.Cut(line, "compresscodec: ")
			codec, _, _ = strings.Cut(codec, " ")
			seen[codec] = true
			if !strings.Contains(line, "isvalid: true") {
				complain(line)
			}
		case strings.HasPrefix(line, "Dumping "), strings.HasPrefix(line, "Log starting offset: "), line == "":
		default:
			complain(line)
		}
	}
	if next != w.records {
		complain("kafka-dump-log found " + strconv.Itoa(next) + " records of " + strconv.Itoa(w.records))
	}
	for codec := range w.codecs {
		if !seen[codec] {
			complain("no batch is compressed with " + codec)
		}
	}
	for _, suffix := range []string{".index", ".timeindex"} {
		indexes := files(t, dir, w.topic, suffix)
		if len(indexes) != len(segments) {
			complain(strconv.Itoa(len(indexes)) + " files " + suffix + " for " + strconv.Itoa(len(segments)) + " segments")
		}
		list := strings.Join(indexes, ",")
		out, _ := run("--files", list, "--index-sanity-check")
		if suffix == ".index" && strings.Count(out, "passed sanity check") != len(indexes) {
			complain("the index sanity check says: " + out)
		}
		for _, how := range [][]string{{}, {"--verify-index-only"}} { // each entry against the segment
			out, errs := run(append(how, "--files", list)...)
			wrong = append(wrong, mismatches(out+errs)...)
		}
	}
	if snapshots := files(t, dir, w.topic, ".snapshot"); len(snapshots) > 0 {
		out, _ := run("--files", strings.Join(snapshots, ","))
		if !strings.Contains(out, "producerId: ") {
			complain("the producer snapshots read: " + out)
		}
	} else {
		complain("there is no producer snapshot")
	}
	return wrong
}

// mismatches picks the lines with which the tool complains about an index.
func mismatches(out string) (wrong []string) {
	for line := range strings.Lines(out) {
		for _, word := range []string{"Mismatches", "mismatch", "Found timestamp", "out of order", "corrupt", "Index offset", "Exception"} {
			if strings.Contains(line, word) {
				wrong = append(wrong, strings.TrimSpace(line))
				break
			}
		}
	}
	return wrong
}

func TestOurDirectory(t *testing.T) {
	subject.OnlyOurs(t)
	if err := peers.Missing(); err != nil {
		peers.Absent(t, err)
	}
	dir := t.TempDir()
	b := subject.Start(t, dir)
	w := fill(t, b.Address)
	b.Stop(t)
	for _, wrong := range dump(t, dir, w) {
		t.Error(wrong)
	}
	b.Restart(t) // and after a crash and its recovery
	b.Kill()
	b.Restart(t)
	b.Stop(t)
	for _, wrong := range dump(t, dir, w) {
		t.Errorf("after kill -9: %s", wrong)
	}
}

// TestTheCheckItself reads a directory of Apache Kafka, in which nothing is wrong, and then one byte.
func TestTheCheckItself(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	k := peers.Start(t, t.TempDir())
	w := fill(t, k.Address)
	k.Stop()
	for _, wrong := range dump(t, k.DataDir, w) {
		t.Error(wrong)
	}
	segment := files(t, k.DataDir, w.topic, ".log")[1]
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if wrong := dump(t, k.DataDir, w); len(wrong) == 0 {
		t.Error("a segment with a flipped bit passes")
	}
}
