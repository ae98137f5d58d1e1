package compare

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// script is a story that is told to a broker: requests, what they depend on, and the wish to note the answers.
type script struct {
	name string
	tell func(*run)
}

// run is the scripts on their way over one broker, over one connection.
type run struct {
	testing.TB
	address string
	script  string
	conn    *conn
	known   known
	said    transcript
	barrier int
}

// tell runs all scripts on the broker at address, in order, and returns its answers. dir is its data
// directory, empty where that is not known.
func tell(t testing.TB, address, dir string, scripts []script) transcript {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{TB: t, address: address, known: known{ids: map[[16]byte]string{absentID: "absent"}, port: int32(p), dir: dir, begun: time.Now(), names: map[string]string{}}}
	r.connect()
	defer func() { r.conn.Close() }()
	first := r.quiet(2, &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{}}).(*kmsg.MetadataResponse)
	r.known.cluster = *first.ClusterID
	if dir == "" { // not known: as the broker says
		r.known.dir = r.quiet(1, &kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{}}).(*kmsg.DescribeLogDirsResponse).Dirs[0].Dir
	}
	r.create(barrierTopic, 1)
	r.setDefault("min.insync.replicas", "1")
	for _, s := range scripts {
		r.script = s.name
		s.tell(r)
	}
	return r.said
}

// setDefault sets a key for all brokers. Apache Kafka does so by itself with min.insync.replicas when it has eligible leader
// replicas (KIP-966), and the scripts would see it everywhere.
func (r *run) setDefault(key, value string) {
	r.Helper()
	r.quiet(1, &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBroker,
		Configs:      []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: key, Value: &value}}}}})
	r.settle()
}

// absentID is the id of no topic.
var absentID = [16]byte{0: 0xab, 1: 0x5e, 6: 0x4e, 8: 0x80, 15: 0x77}

func (r *run) connect() {
	c, err := dial(r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.conn = c
}

// versions are what both brokers serve.
func versions(key kmsg.Key) []int16 {
	of, ok := map[kmsg.Key][2]int16{
		kmsg.Produce: {3, 13}, kmsg.Fetch: {4, 18}, kmsg.ListOffsets: {1, 11}, kmsg.Metadata: {0, 13}, kmsg.FindCoordinator: {0, 6},
		kmsg.SASLHandshake: {0, 1}, kmsg.ApiVersions: {0, 4}, kmsg.CreateTopics: {2, 7}, kmsg.DeleteTopics: {1, 6},
		kmsg.DeleteRecords: {0, 2}, kmsg.InitProducerID: {0, 5}, kmsg.OffsetForLeaderEpoch: {2, 4}, kmsg.DescribeACLs: {1, 3},
		kmsg.DescribeConfigs: {1, 4}, kmsg.AlterConfigs: {0, 2}, kmsg.DescribeLogDirs: {1, 5}, kmsg.CreatePartitions: {0, 3},
		kmsg.DescribeDelegationToken: {1, 3}, kmsg.ElectLeaders: {0, 2}, kmsg.IncrementalAlterConfigs: {0, 1},
		kmsg.ListPartitionReassignments: {0, 0}, kmsg.DescribeClientQuotas: {0, 1}, kmsg.DescribeUserSCRAMCredentials: {0, 0},
		kmsg.DescribeQuorum: {0, 2}, kmsg.UpdateFeatures: {0, 2}, kmsg.DescribeCluster: {0, 2}, kmsg.DescribeProducers: {0, 0},
		kmsg.OffsetCommit: {2, 10}, kmsg.OffsetFetch: {1, 10}, kmsg.JoinGroup: {0, 9}, kmsg.Heartbeat: {0, 4}, kmsg.LeaveGroup: {0, 5},
		kmsg.SyncGroup: {0, 5}, kmsg.DescribeGroups: {0, 6}, kmsg.ListGroups: {0, 5}, kmsg.DeleteGroups: {0, 2}, kmsg.OffsetDelete: {0, 0},
		kmsg.AddPartitionsToTxn: {0, 5}, kmsg.AddOffsetsToTxn: {0, 4}, kmsg.EndTxn: {0, 5}, kmsg.WriteTxnMarkers: {1, 2}, kmsg.TxnOffsetCommit: {0, 5},
		kmsg.DescribeTransactions: {0, 0}, kmsg.ListTransactions: {0, 2}, kmsg.ListConfigResources: {0, 1}, kmsg.DescribeTopicPartitions: {0, 0},
	}[key]
	if !ok {
		panic(fmt.Sprintf("no versions of key %d", key))
	}
	var vs []int16
	for v := of[0]; v <= of[1]; v++ {
		vs = append(vs, v)
	}
	return vs
}

// each sends a request in every version, or in those given, and notes the answers. make gets the version.
func (r *run) each(step string, make func(v int16) kmsg.Request, vs ...int16) {
	r.Helper()
	if len(vs) == 0 {
		vs = versions(kmsg.Key(make(0).Key()))
	}
	for _, v := range vs {
		r.ask(step, v, make(v))
	}
}

// all is each for a request that is the same in every version.
func (r *run) all(step string, req kmsg.Request, vs ...int16) {
	r.Helper()
	r.each(step, func(int16) kmsg.Request { return req }, vs...)
}

// ask sends a request and notes the answer, which may be that the broker hangs up or stays silent: then it returns nil.
func (r *run) ask(step string, v int16, req kmsg.Request) kmsg.Response {
	r.Helper()
	resp, err := r.exchange(v, req, answerTimeout)
	switch {
	case errors.Is(err, errHungUp), errors.Is(err, os.ErrDeadlineExceeded):
		state := "closed"
		if !errors.Is(err, errHungUp) {
			state = "silent" // Apache Kafka forgets the answer where its handler fails in certain ways
		}
		r.note(step, v, req, []field{{"", "Connection", state}})
		r.conn.Close()
		r.connect()
		return nil
	case err != nil:
		r.Fatalf("%s: %s: %v", r.script, step, err)
	}
	r.known.learn(resp)
	r.note(step, v, req, read(&r.known, resp))
	return resp
}

// shout sends a request that gets no answer, and notes whether the connection goes on.
func (r *run) shout(step string, v int16, req kmsg.Request) {
	r.Helper()
	if err := r.conn.send(v, req); err != nil {
		r.Fatalf("%s: %s: %v", r.script, step, err)
	}
	state := "open"
	if _, err := r.exchange(0, kmsg.NewPtrApiVersionsRequest(), answerTimeout); err != nil {
		state = "closed"
		r.conn.Close()
		r.connect()
	}
	r.note(step, v, req, []field{{"", "Connection", state}})
}

func (r *run) exchange(v int16, req kmsg.Request, wait time.Duration) (kmsg.Response, error) {
	if err := r.conn.send(v, req); err != nil {
		return nil, err
	}
	return r.conn.receive(v, req, wait)
}

func (r *run) note(step string, v int16, req kmsg.Request, fields []field) {
	r.said = append(r.said, answer{req.Key(), r.script + ": " + step, v, fields})
}

// quiet sends a request whose answer is not noted.
func (r *run) quiet(v int16, req kmsg.Request) kmsg.Response {
	r.Helper()
	resp, err := r.exchange(v, req, preparedTimeout)
	if err != nil {
		r.Fatalf("%s: %s: %v", r.script, kmsg.NameForKey(req.Key()), err)
	}
	r.known.learn(resp)
	return resp
}

// create makes a topic that other steps need, with configuration key, value, …, and returns its id.
func (r *run) create(name string, partitions int32, config ...string) [16]byte {
	r.Helper()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(config); i += 2 {
		t.Configs = append(t.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: config[i], Value: &config[i+1]})
	}
	resp := r.quiet(7, &kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{t}, TimeoutMillis: 10000}).(*kmsg.CreateTopicsResponse)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		r.Fatalf("%s: create topic %s: code %d %s", r.script, name, code, deref(resp.Topics[0].ErrorMessage))
	}
	if name != barrierTopic {
		r.settle()
	}
	r.await(name, partitions)
	return resp.Topics[0].TopicID
}

// await waits until a topic's partitions serve.
func (r *run) await(name string, partitions int32) {
	r.Helper()
	var ask []listed
	for p := range partitions {
		ask = append(ask, at(p, -1))
	}
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		resp := r.quiet(9, listOf(name, ask...)).(*kmsg.ListOffsetsResponse)
		if !slices.ContainsFunc(resp.Topics[0].Partitions, func(p kmsg.ListOffsetsResponseTopicPartition) bool { return p.ErrorCode != 0 }) {
			return
		}
		if time.Since(begun) > preparedTimeout {
			r.Fatalf("%s: topic %s does not serve: %+v", r.script, name, resp.Topics[0].Partitions)
		}
	}
}

const barrierTopic = "barrier"

// settle waits until everything that the controller has decided so far holds on the broker. Apache Kafka answers before:
// a change of our own is seen by the broker after those that came earlier, and a second one once they took effect.
func (r *run) settle() {
	r.Helper()
	for range 2 {
		r.barrier++
		value := strconv.Itoa(100000000 + r.barrier)
		set := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: barrierTopic,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "delete.retention.ms", Value: &value}}}
		r.quiet(1, &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{set}})
		ask := kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: barrierTopic, ConfigNames: []string{"delete.retention.ms"}}}}
		for begun := time.Now(); ; time.Sleep(2 * time.Millisecond) {
			resp := r.quiet(4, &ask).(*kmsg.DescribeConfigsResponse)
			if c := resp.Resources[0].Configs; len(c) == 1 && deref(c[0].Value) == value {
				break
			}
			if time.Since(begun) > preparedTimeout {
				r.Fatalf("%s: the broker does not see its metadata", r.script)
			}
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func ptr[T any](v T) *T { return &v }
