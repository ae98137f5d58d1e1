package status

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/metric"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/wire"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// scrape writes the metrics of one request. The names are those that the usual rules of the JMX exporter make of Apache
// Kafka's beans, so that dashboards and alerts made for it work here (O-20 to O-25): lower case, PerSec becomes _total,
// a percentile becomes the label quantile. What has no counterpart here is absent rather than invented.
type scrape struct {
	*metric.Writer
	src      Source
	image    *metadata.Image
	status   quorum.Status
	rows     []row
	recovery bool // logs are still being opened
}

// row is a partition with its labels.
type row struct {
	*partition.Partition
	log       *commitlog.Log // nil where it is not open; it stays good for figures when the partition goes meanwhile
	unwritten bool           // a log that was never written, and has no figures worth a line
}

func (r row) labels() []string {
	return []string{"topic", r.Name.Topic, "partition", strconv.Itoa(int(r.Name.Partition))}
}

func newScrape(w *metric.Writer, src Source) *scrape {
	s := &scrape{Writer: w, src: src, image: src.Image(), status: src.Quorum(), rows: rowsOf(src.Partitions())}
	s.recovery = slices.ContainsFunc(s.rows, func(r row) bool { return r.Loading() })
	return s
}

// rowsOf sorts partitions by topic and number.
func rowsOf(all []*partition.Partition) []row {
	rows := make([]row, len(all))
	for i, p := range all {
		log := p.Log()
		rows[i] = row{p, log, log != nil && log.Unwritten()}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.Name.Topic, b.Name.Topic), cmp.Compare(a.Name.Partition, b.Name.Partition))
	})
	return rows
}

// topicCounter is a counter of a topic under the name that it bears.
type topicCounter struct {
	name, help string
	value      func(*partition.TopicStats) int64
}

var topicCounters = [...]topicCounter{
	{"messagesin", "Records appended", func(s *partition.TopicStats) int64 { return s.MessagesIn.Load() }},
	{"bytesin", "Bytes of batches appended", func(s *partition.TopicStats) int64 { return s.BytesIn.Load() }},
	{"bytesout", "Bytes of batches sent to clients", func(s *partition.TopicStats) int64 { return s.BytesOut.Load() }},
	{"bytesrejected", "Bytes of batches refused for their size", func(s *partition.TopicStats) int64 { return s.BytesRejected.Load() }},
	{"totalproducerequests", "Produce requests, counted for each partition", func(s *partition.TopicStats) int64 { return s.ProduceRequests.Load() }},
	{"totalfetchrequests", "Fetch requests, counted for each partition", func(s *partition.TopicStats) int64 { return s.FetchRequests.Load() }},
	{"failedproducerequests", "Produce requests that failed, counted for each partition", func(s *partition.TopicStats) int64 { return s.FailedProduce.Load() }},
	{"failedfetchrequests", "Fetch requests that failed, counted for each partition", func(s *partition.TopicStats) int64 { return s.FailedFetch.Load() }},
	{"invalidmessagecrcrecords", "Batches refused for their checksum", func(s *partition.TopicStats) int64 { return s.InvalidCRC.Load() }},
	{"invalidmagicnumberrecords", "Batches refused for what they hold", func(s *partition.TopicStats) int64 { return s.InvalidRecord.Load() }},
	{"invalidoffsetorsequencerecords", "Batches refused for their sequence or producer epoch", func(s *partition.TopicStats) int64 { return s.InvalidSequence.Load() }},
}

// topics writes BrokerTopicMetrics: the total without a label, then each topic that exists (O-20).
func (s *scrape) topics() {
	counted := s.src.Topics()
	names := slices.Sorted(maps.Keys(counted))
	for _, c := range topicCounters {
		name := "kafka_server_brokertopicmetrics_" + c.name + "_total"
		var total int64
		for _, stats := range counted {
			total += c.value(stats)
		}
		s.Counter(name, c.help, total)
		for _, topic := range names {
			if s.image.Topic(topic) != nil {
				s.Counter(name, c.help, c.value(counted[topic]), "topic", topic)
			}
		}
	}
}

// replicas writes ReplicaManager: the partitions on this broker (O-21).
func (s *scrape) replicas() {
	var led, offline, damaged, short, underMin, atMin, producers int
	for _, r := range s.rows {
		if !r.unwritten {
			producers += r.ProducerCount()
		}
		if isOffline(r.Partition) {
			offline++
		}
		if r.Damage() != nil {
			damaged++
		}
		reg := s.registration(r.Partition)
		if reg == nil || reg.Leader != s.src.Self() {
			continue
		}
		led++
		least := min(r.Settings().MinInSync, len(reg.Replicas))
		switch inSync := len(reg.ISR); {
		case inSync < least:
			underMin++
		case inSync == least:
			atMin++
		}
		if len(reg.ISR) < len(reg.Replicas) {
			short++
		}
	}
	s.gauge("kafka_server_replicamanager_partitioncount", "Partitions on this broker", len(s.rows))
	s.gauge("kafka_server_replicamanager_leadercount", "Partitions that this broker leads", led)
	s.gauge("kafka_server_replicamanager_offlinereplicacount", "Partitions whose log cannot be used", offline)
	s.gauge("moldau_partitions_damaged", "Partitions of which not all can be read: they serve what is before damaged bytes, or a read has met some", damaged)
	s.gauge("kafka_server_replicamanager_underreplicatedpartitions", "Partitions led here with replicas out of sync", short)
	s.gauge("kafka_server_replicamanager_underminisrpartitioncount", "Partitions led here with fewer replicas in sync than min.insync.replicas", underMin)
	s.gauge("kafka_server_replicamanager_atminisrpartitioncount", "Partitions led here with just min.insync.replicas in sync", atMin)
	s.gauge("kafka_server_replicamanager_produceridcount", "Producers that the partitions on this broker remember", producers)
	state := map[Stage]int{Starting: 1, Serving: 3, Stopping: 7}[s.src.Stage()]
	if state == 3 && s.recovery {
		state = 2
	}
	s.gauge("kafka_server_kafkaserver_brokerstate", "1 starting, 2 recovering logs, 3 running, 7 shutting down", state)
	count, partitions, evictions := s.src.FetchSessions()
	s.gauge("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Fetch sessions", count)
	s.gauge("kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", "Partitions in fetch sessions", partitions)
	s.Counter("kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total", "Fetch sessions that had to make room", evictions)
}

// registration is what the metadata says of a partition, or nil.
func (s *scrape) registration(p *partition.Partition) *metadata.Partition {
	t := s.image.TopicByID(p.ID)
	if t == nil || int(p.Name.Partition) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[p.Name.Partition]
}

// logs writes the figures of each log that is open and was ever written, and of the directories (O-25). Those of the others are
// zeros: with copies', 65 MB of 100,000 partitions, and a million series in whatever reads them.
func (s *scrape) logs() {
	for _, g := range [...]struct {
		name, help string
		value      func(row) int64
	}{
		{"kafka_log_log_size", "Bytes of a partition's log", func(r row) int64 { return r.log.Size() }},
		{"kafka_log_log_numlogsegments", "Segments of a partition's log", func(r row) int64 { return int64(len(r.log.Segments())) }},
		{"kafka_log_log_logstartoffset", "First offset that can be read", func(r row) int64 { return int64(r.log.Start()) }},
		{"kafka_log_log_logendoffset", "Offset of the next record", func(r row) int64 { return int64(r.log.End()) }},
		{"kafka_cluster_partition_laststableoffsetlag", "Records that a reader of committed transactions cannot have yet", func(r row) int64 {
			return int64(r.HighWatermark() - r.Stable())
		}},
	} {
		for _, r := range s.rows {
			if r.log != nil && !r.unwritten {
				s.Gauge(g.name, g.help, float64(g.value(r)), r.labels()...)
			}
		}
	}
	scrubs := s.src.Scrubs()
	s.Counter("moldau_scrub_bytes_total", "Bytes of sealed segments that were read again and checked", scrubs.Bytes)
	s.gauge("moldau_scrub_damaged", "Places in sealed segments that cannot be read", len(scrubs.Damage))
	dirs := s.src.LogDirs()
	offline := 0
	for _, d := range dirs {
		if d.Failure != nil {
			offline++
		}
	}
	s.gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that failed", offline)
	for _, d := range dirs {
		s.gauge("kafka_log_logmanager_logdirectoryoffline", "1 where the log directory failed", one(d.Failure != nil), "logDirectory", d.Path)
	}
	for _, d := range dirs {
		recovering := 0
		for _, r := range s.rows {
			if r.Home().Path == d.Path && r.Loading() {
				recovering++
			}
		}
		s.gauge("kafka_log_logmanager_remaininglogstorecover", "Logs that are not open yet", recovering, "dir", d.Path)
	}
	for _, d := range dirs {
		if d.Flusher != nil {
			s.Summary("kafka_log_logflushstats_logflushrateandtimems", "Milliseconds of a sync of logs, of one or of many together", &d.Flusher.Took, "directory", d.Path)
		}
	}
	for _, d := range dirs {
		if d.Flusher != nil {
			s.Gauge("moldau_log_directory_unsynced_bytes", "Bytes appended that are not synced", float64(d.Flusher.Unsynced()), "directory", d.Path)
		}
	}
	for _, d := range dirs {
		if d.Total >= 0 {
			s.Gauge("moldau_log_directory_total_bytes", "Size of the volume of a log directory", float64(d.Total), "directory", d.Path)
		}
	}
	for _, d := range dirs {
		if d.Free >= 0 {
			s.Gauge("moldau_log_directory_free_bytes", "Bytes free on the volume of a log directory", float64(d.Free), "directory", d.Path)
		}
	}
	for _, d := range dirs {
		s.gauge("moldau_log_directory_futures", "Replicas that are being moved into a log directory", d.Futures, "directory", d.Path)
	}
	for _, d := range dirs {
		s.Gauge("moldau_log_directory_reserve_bytes", "Bytes of the volume that clients' records do not get", float64(d.Space.Reserve), "directory", d.Path)
	}
	for _, d := range dirs {
		s.gauge("moldau_log_directory_space_level", "0 ample, 1 scarce, 2 producers are slowed down, 3 clients' records are refused", int(d.Space.Level), "directory", d.Path)
	}
}

// keysMax is above every key of the protocol; between them are some that it has no more.
const keysMax = 127

// codesMax is above every error code of the protocol.
const codesMax moldau.Code = 150

// requests writes RequestMetrics for every key that was asked for (O-22). Kafka tells the fetches of consumers from those
// of followers; on a broker without followers all are consumers'.
func (s *scrape) requests() {
	const (
		requests = "kafka_network_requestmetrics_requests_total"
		errors   = "kafka_network_requestmetrics_errors_total"
	)
	type request struct {
		key  wire.Key
		name string
	}
	var asked []request
	for key := range wire.Key(keysMax) {
		if !key.Known() || s.src.Server().Request(key).TotalTime.Count() == 0 {
			continue
		}
		asked = append(asked, request{key, key.String()})
		if key == wire.Fetch {
			asked = append(asked, request{key, "FetchConsumer"})
		}
	}
	for _, r := range asked {
		byVersion := &s.src.Server().Request(r.key).ByVersion
		for version := range byVersion {
			if n := byVersion[version].Load(); n > 0 {
				s.Counter(requests, "Requests answered", n, "request", r.name, "version", strconv.Itoa(version))
			}
		}
	}
	for _, r := range asked {
		for code := moldau.UnknownServerError; code < codesMax; code++ {
			if n := s.src.Server().Request(r.key).Outcomes(code); n > 0 {
				s.Counter(errors, "Codes told in responses, NONE included, one for each topic or partition", n, "request", r.name, "error", code.String())
			}
		}
	}
	for _, time := range [...]struct {
		name, help string
		of         func(*server.RequestMetrics) *metric.Histogram
	}{
		{"totaltimems", "Milliseconds from the arrival of a request to the end of its response", func(m *server.RequestMetrics) *metric.Histogram { return &m.TotalTime }},
		{"requestqueuetimems", "Milliseconds in which a request waited for memory before it was read; there is no other queue", func(m *server.RequestMetrics) *metric.Histogram { return &m.HeldTime }},
		{"localtimems", "Milliseconds of work on a request and its response, and of sending that", func(m *server.RequestMetrics) *metric.Histogram { return &m.WorkTime }},
		{"remotetimems", "Milliseconds in which a response waited for its condition and for those before it", func(m *server.RequestMetrics) *metric.Histogram { return &m.WaitTime }},
		{"responsequeuetimems", "Always 0: a response that waits for those before it counts as remote time", func(*server.RequestMetrics) *metric.Histogram { return new(metric.Histogram) }},
		{"responsesendtimems", "Always 0: sending is counted with the work", func(*server.RequestMetrics) *metric.Histogram { return new(metric.Histogram) }},
		{"throttletimems", "Milliseconds in which a connection was not read, after the response that told the client so", func(m *server.RequestMetrics) *metric.Histogram { return &m.MutedTime }},
	} {
		for _, r := range asked {
			m := s.src.Server().Request(r.key)
			s.SummaryAmong("kafka_network_requestmetrics_"+time.name, time.help, time.of(m), m.TotalTime.Count(), "request", r.name)
		}
	}
	for _, r := range asked {
		s.Counter("kafka_network_requestmetrics_requestbytes_total", "Bytes of requests", s.src.Server().Request(r.key).Bytes.Load(), "request", r.name)
	}
}

// cluster writes KafkaController: the cluster as the metadata has it (O-23).
func (s *scrape) cluster() {
	active, fenced := 0, 0
	for b := range s.image.Brokers() {
		if b.Fenced {
			fenced++
		} else {
			active++
		}
	}
	offline, moved := 0, 0
	for t := range s.image.Topics() {
		for _, p := range t.Partitions {
			if p.Leader == moldau.NoBroker {
				offline++
			}
			if len(p.Replicas) > 0 && p.Leader != p.Replicas[0] {
				moved++
			}
		}
	}
	const controller = "kafka_controller_kafkacontroller_"
	s.gauge(controller+"activecontrollercount", "1 where this node leads the metadata quorum", one(s.status.Leading))
	s.gauge(controller+"activebrokercount", "Brokers that are not fenced", active)
	s.gauge(controller+"fencedbrokercount", "Brokers that are registered and fenced", fenced)
	s.gauge(controller+"globaltopiccount", "Topics", s.image.TopicCount())
	s.gauge(controller+"globalpartitioncount", "Partitions", s.image.PartitionCount())
	s.gauge(controller+"offlinepartitionscount", "Partitions without a leader", offline)
	s.gauge(controller+"preferredreplicaimbalancecount", "Partitions led by another than their first replica", moved)
	s.gauge(controller+"lastappliedrecordoffset", "Offset of the last metadata record applied here", int(s.image.Offset()))
	s.gauge(controller+"lastcommittedrecordoffset", "Offset of the last metadata record committed", int(s.status.HighWatermark)-1)
}

// quorum writes the figures of the metadata quorum, under both names in use: that of the JMX exporter's defaults and that
// of the rules that come with Strimzi.
func (s *scrape) quorum() {
	leader := -1
	state := "unattached"
	if s.status.Leader != nil {
		leader, state = int(s.status.Leader.ID), "follower"
	}
	if s.status.Leading {
		state = "leader"
	}
	vote := -1 // who leads has voted for itself; the votes of others are not told
	if s.status.Leading {
		vote = leader
	}
	for _, family := range [...]struct{ prefix, stateLabel string }{
		{"kafka_server_raft_metrics_", "state"},
		{"kafka_server_raftmetrics_", "current_state"},
	} {
		s.gauge(family.prefix+"current_state", "The role of this node in the metadata quorum", 1, family.stateLabel, state)
		s.gauge(family.prefix+"current_leader", "The node that leads the metadata quorum, -1 for none", leader)
		s.gauge(family.prefix+"current_vote", "The node that this one votes for, -1 for none", vote)
		s.gauge(family.prefix+"number_of_voters", "Voters of the metadata quorum", len(s.status.Voters))
		s.gauge(family.prefix+"current_epoch", "The epoch of the metadata quorum", int(s.status.Epoch))
		s.gauge(family.prefix+"high_watermark", "The offset before which the metadata log is committed", int(s.status.HighWatermark))
		s.gauge(family.prefix+"log_end_offset", "The end of the metadata log here", int(s.status.End))
	}
	for _, prefix := range [...]string{"kafka_server_broker_metadata_metrics_", "kafka_server_brokermetadatametrics_"} {
		s.gauge(prefix+"last_applied_record_offset", "Offset of the last metadata record applied here", int(s.image.Offset()))
	}
}

// limits writes how near the broker is to what it allows.
func (s *scrape) limits() {
	m := s.src.Server()
	s.clients(m.Clients())
	for _, key := range [...]wire.Key{wire.Produce, wire.Fetch} {
		s.gauge("kafka_server_delayedoperationpurgatory_purgatorysize", "Requests that wait for a condition or their time-out",
			int(m.Request(key).Parked.Load()), "delayedOperation", key.String())
	}
	s.gauge("moldau_connections", "Connections of clients", int(m.Connections.Load()))
	s.gauge("moldau_responses_parked", "Responses that wait for something, long polls among them", int(m.Parked.Load()))
	s.Counter("moldau_connections_accepted_total", "Connections accepted", m.ConnectionsAccepted.Load())
	s.Counter("moldau_connections_refused_total", "Connections refused for a limit on them", m.ConnectionsRefused.Load())
	s.Counter("moldau_connections_failed_total", "Connections closed for a reason that was logged", m.ConnectionsFailed.Load())
	s.Counter("moldau_request_memory_waits_total", "Frames that waited for memory", m.BudgetWaits.Load())
	s.Counter("moldau_bytes_out_total", "Bytes of responses", m.BytesOut.Load())
	s.Counter("moldau_cold_bytes_out_total", "Bytes of responses of old data, which were taken out of the page cache behind their reader", m.ColdBytesOut.Load())
	s.Counter("moldau_panics_total", "Handlers that panicked; each is a bug", m.Panics.Load())
	budgets := m.Budgets()
	listeners := slices.Sorted(maps.Keys(budgets))
	for _, l := range listeners {
		s.Gauge("moldau_request_memory_used_bytes", "Bytes of requests in memory", float64(budgets[l].Used()), "listener", l)
	}
	for _, l := range listeners {
		s.Gauge("moldau_request_memory_limit_bytes", "Bytes of requests that may be in memory (moldau.request.memory.bytes)", float64(budgets[l].Limit()), "listener", l)
	}
	files := s.src.Files()
	s.gauge("moldau_open_files", "Files of logs that are open", files.Open)
	s.gauge("moldau_open_files_limit", "Files of logs that are kept open, from the process's own limit", files.Limit)
	s.Counter("moldau_open_files_opened_total", "Files of logs opened", files.Opens)
	s.Counter("moldau_open_files_evicted_total", "Files of logs closed to make room for others", files.Evictions)
	s.gauge("moldau_metadata_commands_waiting", "Commands that wait for the metadata quorum", s.status.CommandsWaiting)
	s.gauge("moldau_metadata_commands_limit", "Commands that may wait for the metadata quorum", s.status.CommandsMax)
}

// gauge is Gauge for a count.
func (s *scrape) gauge(name, help string, value int, labels ...string) {
	s.Gauge(name, help, float64(value), labels...)
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
