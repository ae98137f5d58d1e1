package status

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/proto/wire"
	"github.com/moldau/moldau/internal/store/commitlog"
	"github.com/moldau/moldau/internal/store/filecache"
)

const self moldau.BrokerID = 7

// source is a broker that says what the test wants.
type source struct {
	stage      Stage
	image      *metadata.Image
	quorum     quorum.Status
	partitions []*partition.Partition
	topics     map[string]*partition.TopicStats
	dirs       []LogDir
	server     *server.Metrics
	scrubs     Scrubs
	recovery   Recovery
}

func (s *source) Stage() Stage                             { return s.stage }
func (s *source) Self() moldau.BrokerID                    { return self }
func (s *source) Image() *metadata.Image                   { return s.image }
func (s *source) Quorum() quorum.Status                    { return s.quorum }
func (s *source) Partitions() []*partition.Partition       { return s.partitions }
func (s *source) Topics() map[string]*partition.TopicStats { return s.topics }
func (s *source) LogDirs() []LogDir                        { return s.dirs }
func (s *source) Scrubs() Scrubs                           { return s.scrubs }
func (s *source) Cleaner() Cleaner {
	return Cleaner{Passes: 3, BytesRead: 1000, DirtyRatioMax: 0.25, SinceLast: 2 * time.Second}
}
func (s *source) Recovery() Recovery      { return s.recovery }
func (s *source) Server() *server.Metrics { return s.server }
func (s *source) Files() filecache.Stats {
	return filecache.Stats{Open: 6, Limit: 512, Opens: 20, Evictions: 14}
}
func (s *source) Transactions() Transactions {
	return Transactions{ByState: map[txn.State]int{txn.Ongoing: 2, txn.PrepareCommit: 1}, Held: 1, Active: 50, Waiting: 3, Limit: 10}
}

func (s *source) Groups() Groups {
	return Groups{ByState: map[group.State]int{group.Stable: 3, group.Empty: 1}, Offsets: 12, Active: 49, Loading: 1, Waiting: 2, Limit: 10}
}
func (s *source) FetchSessions() (count, partitions int, evictions int64) {
	return 3, 40, 5
}

// newSource is a broker that serves one topic of two partitions, of which the second has a replica out of sync.
func newSource(t *testing.T) *source {
	t.Helper()
	id := moldau.TopicID{1}
	im, _ := metadata.Empty().Apply(9, 2, []schema.Record{
		&schema.RegisterBroker{Broker: self},
		&schema.RegisterBroker{Broker: 8, Fenced: true},
		&schema.Topic{Name: "views", ID: id},
		&schema.Partition{TopicID: id, Partition: 0, Leader: self, Replicas: []moldau.BrokerID{self}, ISR: []moldau.BrokerID{self}},
		&schema.Partition{TopicID: id, Partition: 1, Leader: self, Replicas: []moldau.BrokerID{8, self}, ISR: []moldau.BrokerID{self}},
		&schema.Topic{Name: "lost", ID: moldau.TopicID{2}},
		&schema.Partition{TopicID: moldau.TopicID{2}, Partition: 0, Leader: moldau.NoBroker, Replicas: []moldau.BrokerID{8}, ISR: []moldau.BrokerID{8}},
	})
	srv := server.New(server.Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Limits: server.Limits{FrameMax: 1 << 20, RequestMemory: 1 << 25}})
	t.Cleanup(srv.Close)
	if _, err := srv.Listen(server.Listener{Name: "PLAINTEXT", Kind: server.ForBrokers, Address: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	return &source{
		stage: Serving, image: im, server: srv.Metrics(),
		quorum: quorum.Status{
			Leader: &quorum.Voter{ID: self}, Leading: true, Epoch: 2, HighWatermark: 10, End: 11, CommandsWaiting: 1, CommandsMax: 100,
		},
		partitions: []*partition.Partition{newPartition("views", id, 1), newPartition("views", id, 0)},
		topics:     map[string]*partition.TopicStats{"views": new(partition.TopicStats), "deleted": new(partition.TopicStats)},
		dirs: []LogDir{{Path: "/data/a", Total: 1000, Free: 400,
			Flusher: partition.NewFlusher(env.Real(), slog.New(slog.DiscardHandler), nil)}},
	}
}

func newPartition(topic string, id moldau.TopicID, index int32) *partition.Partition {
	settings := &partition.Settings{Log: commitlog.DefaultConfig(), MinInSync: 1, FlushMessages: math.MaxInt64}
	return partition.New(moldau.TopicPartition{Topic: topic, Partition: index}, id, partition.NewDirectory("/data/a"),
		partition.NewFlusher(env.Real(), slog.New(slog.DiscardHandler), nil), new(partition.TopicStats), settings)
}

// open gives a partition a log with one record.
func open(t *testing.T, p *partition.Partition) {
	t.Helper()
	if err := p.Lead(partition.Leadership{Self: self, Epoch: 1, Replicas: []moldau.BrokerID{self}, InSync: []moldau.BrokerID{self}}); err != nil {
		t.Fatal(err)
	}
	fs := memfs.New()
	if err := fs.MkdirAll("/data/a"); err != nil {
		t.Fatal(err)
	}
	log, err := commitlog.Open(commitlog.Options{
		FS: fs, Now: time.Now, Dir: "/data/a/" + p.Name.String(), Partition: p.Name, TopicID: p.ID, Config: commitlog.DefaultConfig(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Opened(log, 0); err != nil {
		t.Fatal(err)
	}
	if _, code, err := p.Append(batch(t), false, nil, 0); code != moldau.None || err != nil {
		t.Fatal(code, err)
	}
}

func get(t *testing.T, src Source, path string) (code int, body string) {
	t.Helper()
	h := New(Options{
		Source: src, Version: "1.2.3", StartedAt: time.Unix(1000, 0), Now: func() time.Time { return time.Unix(1060, 0) },
		Process: func() Process {
			return Process{CPU: 1500 * time.Millisecond, ResidentBytes: 4096, VirtualBytes: -1, OpenFiles: 12, OpenFilesMax: 1024}
		},
	})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	for _, p := range src.partitions {
		open(t, p)
	}
	src.topics["views"].MessagesIn.Add(20)
	src.topics["views"].BytesIn.Add(2000)
	src.topics["deleted"].MessagesIn.Add(3)
	src.dirs[0].Flusher.Took.Observe(3 * time.Millisecond)
	produce := src.server.Request(wire.Produce)
	produce.ByVersion[9].Add(4)
	produce.TotalTime.Observe(2 * time.Millisecond)
	src.server.Request(wire.Fetch).ByVersion[12].Add(6)
	src.server.Request(wire.Fetch).TotalTime.Observe(time.Millisecond)
	src.server.Request(wire.ApiVersions).ByVersion[4].Add(1) // behind the keys that the protocol has no more
	src.server.Request(wire.ApiVersions).TotalTime.Observe(time.Microsecond)
	src.server.Connections.Add(2)
	code, body := get(t, src, "/metrics")
	if code != http.StatusOK {
		t.Fatal(code, body)
	}
	have := parse(t, body)
	size := strconv.Itoa(len(batch(t)))
	for name, want := range map[string]string{
		`kafka_server_brokertopicmetrics_messagesin_total`:                               "23", // a deleted topic stays in the total
		`kafka_server_brokertopicmetrics_messagesin_total{topic="views"}`:                "20",
		`kafka_server_brokertopicmetrics_messagesin_total{topic="deleted"}`:              "",
		`kafka_server_brokertopicmetrics_bytesin_total{topic="views"}`:                   "2000",
		`kafka_server_replicamanager_partitioncount`:                                     "2",
		`kafka_server_replicamanager_leadercount`:                                        "2",
		`kafka_server_replicamanager_underreplicatedpartitions`:                          "1",
		`kafka_server_replicamanager_underminisrpartitioncount`:                          "0",
		`kafka_server_replicamanager_atminisrpartitioncount`:                             "2",
		`kafka_server_replicamanager_offlinereplicacount`:                                "0",
		`kafka_server_kafkaserver_brokerstate`:                                           "3",
		`kafka_server_fetchsessioncache_numincrementalfetchsessions`:                     "3",
		`kafka_server_fetchsessioncache_numincrementalfetchpartitionscached`:             "40",
		`kafka_log_log_size{topic="views",partition="1"}`:                                size,
		`kafka_log_log_logendoffset{topic="views",partition="0"}`:                        "1",
		`kafka_log_log_logstartoffset{topic="views",partition="0"}`:                      "0",
		`kafka_log_logflushstats_logflushrateandtimems_count{directory="/data/a"}`:       "1",
		`moldau_log_directory_unsynced_bytes{directory="/data/a"}`:                       "0",
		`kafka_log_log_numlogsegments{topic="views",partition="0"}`:                      "1",
		`kafka_log_logmanager_offlinelogdirectorycount`:                                  "0",
		`kafka_log_logmanager_logdirectoryoffline{logDirectory="/data/a"}`:               "0",
		`kafka_network_requestmetrics_requests_total{request="Produce",version="9"}`:     "4",
		`kafka_network_requestmetrics_requests_total{request="Fetch",version="12"}`:      "6",
		`kafka_network_requestmetrics_requests_total{request="ApiVersions",version="4"}`: "1",
		`kafka_network_requestmetrics_totaltimems_count{request="Produce"}`:              "1",
		`kafka_network_requestmetrics_totaltimems_count{request="FetchConsumer"}`:        "1",
		`kafka_controller_kafkacontroller_activecontrollercount`:                         "1",
		`kafka_controller_kafkacontroller_activebrokercount`:                             "1",
		`kafka_controller_kafkacontroller_fencedbrokercount`:                             "1",
		`kafka_controller_kafkacontroller_globaltopiccount`:                              "2",
		`kafka_controller_kafkacontroller_globalpartitioncount`:                          "3",
		`kafka_controller_kafkacontroller_offlinepartitionscount`:                        "1",
		`kafka_controller_kafkacontroller_preferredreplicaimbalancecount`:                "2",
		`kafka_server_raft_metrics_current_state{state="leader"}`:                        "1",
		`kafka_server_raftmetrics_current_state{current_state="leader"}`:                 "1",
		`kafka_server_raftmetrics_current_leader`:                                        "7",
		`kafka_server_raft_metrics_high_watermark`:                                       "10",
		`kafka_server_raft_metrics_log_end_offset`:                                       "11",
		`kafka_server_broker_metadata_metrics_last_applied_record_offset`:                "9",
		`moldau_connections`: "2",
		`moldau_request_memory_limit_bytes{listener="PLAINTEXT"}`:                strconv.Itoa(1 << 25),
		`moldau_request_memory_used_bytes{listener="PLAINTEXT"}`:                 "0",
		`kafka_coordinator_group_groupmetadatamanager_numgroups`:                 "4",
		`kafka_coordinator_group_groupmetadatamanager_numgroupsstable`:           "3",
		`kafka_coordinator_group_groupmetadatamanager_numoffsets`:                "12",
		`kafka_server_group_coordinator_metrics_num_partitions{state="loading"}`: "1",
		`moldau_transactional_ids{state="Ongoing"}`:                              "2",
		`moldau_transaction_requests_held`:                                       "1",
		`moldau_transaction_commands_waiting`:                                    "3",
		`moldau_group_commands_waiting`:                                          "2",
		`moldau_metadata_commands_waiting`:                                       "1",
		`moldau_log_directory_free_bytes{directory="/data/a"}`:                   "400",
		`process_cpu_seconds_total`:                                              "1.5",
		`kafka_network_socketserver_networkprocessoravgidle_percent`: strconv.FormatFloat(
			1-1.5/60/float64(runtime.GOMAXPROCS(0)), 'f', -1, 64),
		`kafka_server_replicamanager_produceridcount`:                                    "0",
		`kafka_cluster_partition_underreplicated{topic="views",partition="0"}`:           "0",
		`kafka_cluster_partition_underreplicated{topic="views",partition="1"}`:           "1",
		`kafka_cluster_partition_replicascount{topic="views",partition="1"}`:             "2",
		`kafka_cluster_partition_insyncreplicascount{topic="views",partition="1"}`:       "1",
		`kafka_cluster_partition_atminisr{topic="views",partition="1"}`:                  "1",
		`kafka_cluster_partition_underminisr{topic="views",partition="1"}`:               "0",
		`kafka_network_requestmetrics_remotetimems_count{request="FetchConsumer"}`:       "1",
		`kafka_network_requestmetrics_localtimems_count{request="Produce"}`:              "1",
		`kafka_network_requestmetrics_requestqueuetimems_count{request="Produce"}`:       "1",
		`kafka_network_requestmetrics_responsequeuetimems_sum{request="Produce"}`:        "0",
		`kafka_network_requestmetrics_responsesendtimems_count{request="Produce"}`:       "1",
		`kafka_network_requestmetrics_throttletimems_count{request="Produce"}`:           "1",
		`kafka_network_requestmetrics_requestbytes_total{request="Produce"}`:             "0",
		`kafka_server_replicamanager_isrshrinks_total`:                                   "0",
		`kafka_server_replicafetchermanager_maxlag{clientId="Replica"}`:                  "0",
		`kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation="Fetch"}`: "0",
		`kafka_server_socket_server_metrics_connection_count{listener="PLAINTEXT"}`:      "0",
		`kafka_server_raftmetrics_current_vote`:                                          "7",
		`process_resident_memory_bytes`:                                                  "4096",
		`process_virtual_memory_bytes`:                                                   "", // not known
		`process_start_time_seconds`:                                                     "1000",
		`moldau_uptime_seconds`:                                                          "60",
		`moldau_build_info{version="1.2.3"}`:                                             "1",
	} {
		got, ok := have[name]
		if number, err := strconv.ParseFloat(got, 64); err == nil && want != "" {
			got = strconv.FormatFloat(number, 'f', -1, 64)
		}
		if got != want || ok != (want != "") {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

var sample = regexp.MustCompile(`^([a-z_]+)(\{(?:[A-Za-z_]+="(?:[^"\\]|\\.)*",?)*\})? (\S+)$`)

// parse reads the text format and checks that the samples of one family stand together below its type, as the format
// demands, and that no series comes twice.
func parse(t *testing.T, text string) map[string]string {
	t.Helper()
	series := make(map[string]string)
	families := make(map[string]bool)
	family := ""
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family, _, _ = strings.Cut(name, " ")
			if families[family] {
				t.Errorf("family %s comes twice", family)
			}
			families[family] = true
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a sample: %q", line)
			continue
		}
		if m[1] != family && m[1] != family+"_sum" && m[1] != family+"_count" {
			t.Errorf("%s stands below the type of %s", m[1], family)
		}
		if _, ok := series[m[1]+m[2]]; ok {
			t.Errorf("%s comes twice", m[1]+m[2])
		}
		if _, err := strconv.ParseFloat(m[3], 64); err != nil {
			t.Errorf("%s is no number in %q", m[3], line)
		}
		series[m[1]+m[2]] = m[3]
	}
	return series
}

func TestHealth(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	for _, p := range src.partitions {
		open(t, p)
	}
	if code, body := get(t, src, "/healthz"); code != http.StatusOK || body != "healthy\n" {
		t.Errorf("%d %q", code, body)
	}
	src.dirs[0].Failure = errors.New("input/output error")
	src.partitions[0].Fail(errors.New("no space left on device"))
	src.quorum.Leader = nil
	src.scrubs = Scrubs{Bytes: 7, Damage: []Damage{{src.partitions[1].Name, "offset 5, /data/a/views-0/0.log at byte 70: the CRC is wrong"}}}
	code, body := get(t, src, "/healthz")
	want := "log directory /data/a is offline: input/output error\n" +
		"partition views-1 is offline: no space left on device\n" +
		"partition views-0 has damaged records: offset 5, /data/a/views-0/0.log at byte 70: the CRC is wrong\n" +
		"the metadata quorum has no leader: topics cannot be made or changed\n"
	if code != http.StatusServiceUnavailable || body != want {
		t.Errorf("%d %q, want %q", code, body, want)
	}
	for i := range int32(12) {
		p := newPartition("more", moldau.TopicID{3}, i)
		p.Fail(errors.New("gone"))
		src.partitions = append(src.partitions, p)
	}
	if _, body := get(t, src, "/healthz"); !strings.Contains(body, "\nand 3 more partitions are offline\n") || strings.Count(body, "is offline") != 11 {
		t.Errorf("a long list is not cut: %q", body)
	}
	if have := parse(t, second(get(t, src, "/metrics"))); have["kafka_server_replicamanager_offlinereplicacount"] != "13" ||
		have["kafka_log_logmanager_offlinelogdirectorycount"] != "1" || have["moldau_scrub_damaged"] != "1" || have["moldau_scrub_bytes_total"] != "7" {
		t.Error("what is offline or damaged is not counted")
	}
}

// A recovery that reads says how much it has read, in bytes too: of one large log the number of partitions tells nothing.
func TestReadyTellsWhatIsRead(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	src.stage = Serving
	tp := func(i int32) moldau.TopicPartition { return moldau.TopicPartition{Topic: "views", Partition: i} }
	src.recovery = Recovery{Read: 1 << 20, Underway: []Reading{
		{tp(0), 512 << 10, 8 << 20}, {tp(1), 0, 4 << 20}, {tp(2), 0, 2 << 20}, {tp(3), 0, 1 << 20}, {tp(4), 0, 1 << 20},
	}}
	want := "recovering: 0 of 2 partitions are open, 1.5 MiB of batches are checked; now 0.5 MiB of 8.0 MiB of views-0, " +
		"0.0 MiB of 4.0 MiB of views-1, 0.0 MiB of 2.0 MiB of views-2 and of 2 more logs\n"
	if code, body := get(t, src, "/readyz"); code != http.StatusServiceUnavailable || body != want {
		t.Errorf("%d %q, want %q", code, body, want)
	}
}

func second(_ int, body string) string { return body }

func TestReady(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	for _, c := range []struct {
		stage Stage
		open  int
		state string
		want  string
	}{
		{Starting, 0, "1", "starting\n"},
		{Serving, 0, "2", "recovering: 0 of 2 partitions are open\n"},
		{Serving, 1, "2", "recovering: 1 of 2 partitions are open\n"},
		{Serving, 2, "3", ""},
		{Stopping, 2, "7", "stopping\n"},
	} {
		src.stage = c.stage
		if c.open > 0 && src.partitions[c.open-1].Loading() {
			open(t, src.partitions[c.open-1])
		}
		code, body := get(t, src, "/readyz")
		if c.want == "" && (code != http.StatusOK || body != "ready\n") || c.want != "" && (code != http.StatusServiceUnavailable || body != c.want) {
			t.Errorf("stage %d, %d open: %d %q, want %q", c.stage, c.open, code, body, c.want)
		}
		if have := parse(t, second(get(t, src, "/metrics"))); have["kafka_server_kafkaserver_brokerstate"] != c.state {
			t.Errorf("stage %d, %d open: broker state %s, want %s", c.stage, c.open, have["kafka_server_kafkaserver_brokerstate"], c.state)
		}
	}
}

// TestPages: what is not a page is no page, and nothing can be changed.
func TestPages(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	h := New(Options{Source: src})
	for request, want := range map[string]int{
		"GET /": 200, "GET /metrics": 200, "HEAD /metrics": 200, "GET /healthz": 200, "GET /nothing": 404, "POST /metrics": 405, "DELETE /": 405,
	} {
		method, path, _ := strings.Cut(request, " ")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		if rec.Code != want {
			t.Errorf("%s is answered %d, want %d", request, rec.Code, want)
		}
	}
}

// A partition that was never written has no series of its own, and counts all the same.
func TestUnwrittenPartitionsHaveNoSeries(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	id := src.partitions[0].ID
	src.image, _ = src.image.Apply(10, 2, []schema.Record{
		&schema.Partition{TopicID: id, Partition: 2, Leader: self, Replicas: []moldau.BrokerID{self}, ISR: []moldau.BrokerID{self}},
	})
	src.partitions = append(src.partitions, newPartition("views", id, 2))
	for _, p := range src.partitions {
		if p.Name.Partition == 2 {
			open(t, p)
			continue
		}
		log := commitlog.New(commitlog.Options{Now: time.Now, Dir: "/data/a/" + p.Name.String(), Partition: p.Name, Config: commitlog.DefaultConfig()})
		if err := p.Opened(log, 0); err != nil {
			t.Fatal(err)
		}
	}
	have := parse(t, second(get(t, src, "/metrics")))
	for name, want := range map[string]string{
		`kafka_log_log_size{topic="views",partition="2"}`:                      strconv.Itoa(len(batch(t))),
		`kafka_log_log_size{topic="views",partition="1"}`:                      "",
		`kafka_log_log_logendoffset{topic="views",partition="1"}`:              "",
		`kafka_cluster_partition_replicascount{topic="views",partition="0"}`:   "",
		`kafka_cluster_partition_underreplicated{topic="views",partition="1"}`: "1", // something is the matter with it
		`kafka_cluster_partition_replicascount{topic="views",partition="2"}`:   "1",
		`kafka_server_replicamanager_partitioncount`:                           "3",
		`kafka_server_replicamanager_underreplicatedpartitions`:                "1",
		`kafka_server_replicamanager_offlinereplicacount`:                      "0",
		`kafka_server_kafkaserver_brokerstate`:                                 "3",
	} {
		if have[name] != want {
			t.Errorf("%s is %q, want %q", name, have[name], want)
		}
	}
}

func TestMetricsAreCompressedWhenAsked(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "identity, GZIP;q=0.5": true, "deflate": false, "gzip;q=0": false, "gzip; q=0.0, br": false, "*": true, "*;q=0": false, "gzip;q=x": false,
	} {
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		if accept != "" {
			req.Header.Set("Accept-Encoding", accept)
		}
		rec := httptest.NewRecorder()
		New(Options{Source: src, Now: time.Now}).ServeHTTP(rec, req)
		var body io.Reader = rec.Body
		if got := rec.Header().Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%q: compressed %v", accept, got)
			continue
		}
		if want {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		text, err := io.ReadAll(body)
		if err != nil || parse(t, string(text))["kafka_server_replicamanager_partitioncount"] != "2" {
			t.Errorf("%q: %v, %d bytes that do not tell of two partitions", accept, err, len(text))
		}
	}
}

func TestReadProcess(t *testing.T) {
	t.Parallel()
	p := ReadProcess()
	if p == unknownProcess() {
		t.Skip("nothing is known of processes on this system")
	}
	if p.CPU <= 0 || p.ResidentBytes < 1<<20 || p.VirtualBytes < p.ResidentBytes || p.OpenFiles < 3 || p.OpenFilesMax < p.OpenFiles {
		t.Errorf("%+v", p)
	}
}

// BenchmarkMetrics scrapes a broker with a thousand partitions.
func BenchmarkMetrics(b *testing.B) {
	src := &source{stage: Serving, image: metadata.Empty(), server: new(server.Metrics)}
	for i := range int32(1000) {
		src.partitions = append(src.partitions, newPartition(fmt.Sprint("topic-", i%100), moldau.TopicID{byte(i % 100)}, i/100))
	}
	p := pages{Options{Source: src, Process: ReadProcess}, new(idleShare)}
	for b.Loop() {
		p.writeMetrics(io.Discard)
	}
}

// TestIdleShare measures between scrapes, not since the start, and not over moments.
func TestIdleShare(t *testing.T) {
	t.Parallel()
	started := time.Unix(1000, 0)
	at := func(s float64) time.Time { return started.Add(time.Duration(s * float64(time.Second))) }
	var i idleShare
	for _, step := range []struct {
		at   float64
		cpu  time.Duration
		want float64
	}{
		{0.2, 100 * time.Millisecond, 1}, // too soon to tell
		{10, 5 * time.Second, 0.75},
		{10.5, 6 * time.Second, 0.75}, // too soon after
		{20, 25 * time.Second, 0},
		{30, 25 * time.Second, 1},
	} {
		if got := i.measure(at(step.at), started, step.cpu, 2); got != step.want {
			t.Errorf("after %v s with %v of CPU time: %v, want %v", step.at, step.cpu, got, step.want)
		}
	}
}

func batch(t *testing.T) record.Batch {
	t.Helper()
	b := record.NewBuilder(0)
	b.Add(record.Record{Timestamp: 1, Value: []byte("hello")})
	built, err := b.Build(new(record.Codecs))
	if err != nil {
		t.Fatal(err)
	}
	return built
}
