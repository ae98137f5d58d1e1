package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/config"
)

// start runs a broker on free ports over dir until the test ends or stop is called.
func start(t *testing.T, dir string, set ...string) (b *Broker, stop func()) {
	t.Helper()
	return startIn(t, env.Real(), dir, set...)
}

func startIn(t *testing.T, e env.Env, dir string, set ...string) (b *Broker, stop func()) {
	t.Helper()
	flags := append([]string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="}, set...)
	settings, err := config.Merge(nil, nil, flags)
	if err != nil {
		t.Fatal(err)
	}
	b, err = Start(Options{Env: e, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Static: settings.Static()})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return b, stop
}

func client(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Info().Bootstrap)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func create(t *testing.T, c *kgo.Client, topic string, partitions int32) {
	t.Helper()
	resp, err := kadm.NewClient(c).CreateTopic(t.Context(), partitions, 1, nil, topic)
	if err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
}

func produce(t *testing.T, c *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns the values of partition 0 from the start.
func read(t *testing.T, b *Broker, topic string, n int) []string {
	t.Helper()
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var values []string
	for len(values) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(values), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func leaderEpoch(t *testing.T, b *Broker, topic string) moldau.LeaderEpoch {
	t.Helper()
	topicState := b.cluster.Image().Topic(topic)
	if topicState == nil {
		t.Fatalf("no topic %s", topic)
	}
	return topicState.Partitions[0].LeaderEpoch
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	c := client(t, b)
	create(t, c, "t", 1)
	produce(t, c, "t", "a", "b")
	cluster, epoch := b.Info().ClusterID, leaderEpoch(t, b, "t")
	stop()

	b, _ = start(t, dir)
	if b.Info().Recovered {
		t.Error("a clean stop was not recognised")
	}
	if got := b.Info().ClusterID; got != cluster {
		t.Errorf("cluster id %s became %s", cluster, got)
	}
	if got := leaderEpoch(t, b, "t"); got <= epoch {
		t.Errorf("leader epoch %d after a restart, %d before", got, epoch)
	}
	produce(t, client(t, b), "t", "c")
	if got := strings.Join(read(t, b, "t", 3), ""); got != "abc" {
		t.Errorf("read %q", got)
	}
}

// A port that is taken stops a start before it opens any log. What was closed cleanly must not be recovered for that.
func TestFailedStartLeavesACleanDirectoryClean(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for _, what := range []string{"new", "closed cleanly"} {
		settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dir, "listeners=PLAINTEXT://" + taken.Addr().String(), "moldau.http.listener="})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Start(Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Static: settings.Static()}); err == nil {
			t.Fatal("it starts on a port that is taken")
		}
		b, stop := start(t, dir)
		if b.Info().Recovered {
			t.Errorf("after a failed start the directory that was %s is recovered", what)
		}
		stop()
	}
}

func TestSecondBrokerOnTheSameDirectory(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Static: settings.Static()})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the second broker says: %v", err)
	}
}

func TestSeveralLogDirectories(t *testing.T) {
	root := t.TempDir()
	dirs := filepath.Join(root, "a") + "," + filepath.Join(root, "b")
	b, stop := start(t, dirs)
	c := client(t, b)
	create(t, c, "t", 6)
	for i := range 6 {
		r := &kgo.Record{Topic: "t", Partition: int32(i), Value: []byte(fmt.Sprint(i))}
		if err := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	dirOf := make(map[int32]string)
	count := make(map[string]int)
	for _, p := range b.partitions.All() {
		dirOf[p.Name.Partition] = p.Home().Path
		count[p.Home().Path]++
	}
	if len(count) != 2 || count[filepath.Join(root, "a")] != 3 {
		t.Errorf("partitions are spread %v", count)
	}
	stop()
	b, _ = start(t, dirs)
	for _, p := range b.partitions.All() {
		if p.Home().Path != dirOf[p.Name.Partition] {
			t.Errorf("partition %d was in %s and is looked for in %s", p.Name.Partition, dirOf[p.Name.Partition], p.Home().Path)
		}
	}
}

// A configured controller listener opens and serves the controller's keys, and no others.
func TestControllerListener(t *testing.T) {
	b, _ := start(t, t.TempDir(), "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
		"controller.listener.names=CONTROLLER", "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT")
	at := b.bound["CONTROLLER"]
	c, err := kgo.NewClient(kgo.SeedBrokers(net.JoinHostPort("127.0.0.1", fmt.Sprint(at.port))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
	resp, err := req.RequestWith(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[int16]bool)
	for _, k := range resp.ApiKeys {
		has[k.ApiKey] = true
	}
	if !has[19] || !has[55] || has[0] || has[1] || has[3] {
		t.Errorf("the controller listener serves %v", has)
	}

	// An admin client for controllers begins with who they are (KIP-919), and finds them nowhere else.
	want := fmt.Sprintf("node 1 at 127.0.0.1:%d", at.port)
	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.EndpointType = 2
	nodes, err := cluster.RequestWith(t.Context(), c.SeedBrokers()[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Brokers) != 1 || fmt.Sprintf("node %d at %s:%d", nodes.Brokers[0].NodeID, nodes.Brokers[0].Host, nodes.Brokers[0].Port) != want {
		t.Errorf("the controllers are %+v, want %s", nodes.Brokers, want)
	}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: moldau.MetadataTopic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	voters, err := quorum.RequestWith(t.Context(), c.SeedBrokers()[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(voters.Nodes) != 1 || len(voters.Nodes[0].Listeners) != 1 || voters.Nodes[0].Listeners[0].Port != uint16(at.port) {
		t.Errorf("the voters are at %+v", voters.Nodes)
	}
}

// A topic that is deleted and made again is another topic: nothing of the old one is seen.
func TestRecreatedTopic(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	c := client(t, b)
	for i := range 5 {
		create(t, c, "t", 1)
		produce(t, client(t, b), "t", fmt.Sprint(i))
		if got := read(t, b, "t", 1); got[0] != fmt.Sprint(i) {
			t.Fatalf("life %d reads %q", i, got)
		}
		if i < 4 {
			if _, err := kadm.NewClient(c).DeleteTopics(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	b, _ = start(t, dir)
	if got := read(t, b, "t", 1); got[0] != "4" {
		t.Errorf("after the restart it reads %q", got)
	}
}

// Limits of a broker that change are obeyed at once, and after a restart.
func TestBrokerSettingsTakeEffect(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	alter := func(key, value string) error {
		resp, err := kadm.NewClient(client(t, b)).AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: key, Value: &value}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		return resp[0].Err
	}
	if err := alter("listeners", "PLAINTEXT://127.0.0.1:1"); err == nil {
		t.Error("listeners are changed and not obeyed")
	}
	if err := alter("max.connections.per.ip.overrides", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"after the change", "after a restart"} {
		nc, err := net.Dial("tcp", b.Info().Bootstrap)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: an address that may have no connection has one", when)
		}
		nc.Close()
		stop()
		b, stop = start(t, dir)
	}
}

// Settings that change reach the partitions that are open.
func TestTopicSettingsTakeEffect(t *testing.T) {
	b, _ := start(t, t.TempDir())
	c := client(t, b)
	create(t, c, "t", 1)
	max := "100"
	_, err := kadm.NewClient(c).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &max}}, "t")
	if err != nil {
		t.Fatal(err)
	}
	plain := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	err = plain.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: make([]byte, 500)}).FirstErr()
	if err == nil || !strings.Contains(err.Error(), "MESSAGE_TOO_LARGE") {
		t.Errorf("a batch over max.message.bytes: %v", err)
	}
}
