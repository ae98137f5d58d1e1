package status

// copies writes what dashboards and alerts ask of each partition's replicas (Kafka's Partition beans), as far as this broker
// leads it. One that was never written, and whose replicas are all in sync, has nothing to tell.
func (s *scrape) copies() {
	for _, g := range [...]struct {
		name, help string
		value      func(replicas, inSync, least int) int
	}{
		{"replicascount", "Replicas of a partition led here", func(replicas, _, _ int) int { return replicas }},
		{"insyncreplicascount", "Replicas in sync of a partition led here", func(_, inSync, _ int) int { return inSync }},
		{"underreplicated", "1 where a replica of a partition led here is out of sync", func(replicas, inSync, _ int) int { return one(inSync < replicas) }},
		{"underminisr", "1 where fewer replicas are in sync than min.insync.replicas", func(_, inSync, least int) int { return one(inSync < least) }},
		{"atminisr", "1 where just min.insync.replicas are in sync", func(_, inSync, least int) int { return one(inSync == least) }},
	} {
		for _, r := range s.rows {
			if reg := s.registration(r.Partition); reg != nil && reg.Leader == s.src.Self() && !(r.unwritten && len(reg.ISR) == len(reg.Replicas)) {
				least := min(r.Settings().MinInSync, len(reg.Replicas))
				s.gauge("kafka_cluster_partition_"+g.name, g.help, g.value(len(reg.Replicas), len(reg.ISR), least), r.labels()...)
			}
		}
	}
}

// alone writes what happens between brokers. There is one, so that each is a true zero, which a panel or an alert can tell from
// a broker that does not answer. With replication they get counters.
func (s *scrape) alone() {
	for _, c := range [...]struct{ name, help string }{
		{"kafka_server_brokertopicmetrics_replicationbytesin_total", "Bytes replicated from other brokers"},
		{"kafka_server_brokertopicmetrics_replicationbytesout_total", "Bytes replicated to other brokers"},
		{"kafka_server_brokertopicmetrics_reassignmentbytesin_total", "Bytes replicated from other brokers by reassignments"},
		{"kafka_server_brokertopicmetrics_reassignmentbytesout_total", "Bytes replicated to other brokers by reassignments"},
		{"kafka_server_replicamanager_isrshrinks_total", "Replicas that fell out of sync"},
		{"kafka_server_replicamanager_isrexpands_total", "Replicas that came back in sync"},
		{"kafka_server_replicamanager_failedisrupdates_total", "Changes of the replicas in sync that the controller refused"},
		{"kafka_controller_controllerstats_uncleanleaderelections_total", "Leaders elected out of sync"},
		{"kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount", "Brokers whose heartbeats were missed"},
	} {
		s.Counter(c.name, c.help, 0)
	}
	s.gauge("kafka_server_replicamanager_reassigningpartitions", "Partitions that are moved between brokers", 0)
	s.gauge("kafka_server_replicamanager_partitionswithlatetransactionscount", "Partitions with a transaction open for too long", 0)
	s.gauge("kafka_server_replicafetchermanager_maxlag", "Records by which replicas here lag behind their leaders", 0, "clientId", "Replica")
}
