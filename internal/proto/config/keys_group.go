package config

// groupKeys are the keys of one group; where nobody sets one, its broker synonym decides (C-35).
var groupKeys = []row{
	{"consumer.assignment.interval.ms", TypeInt, "1000", atLeast(0), clusterWide, inert,
		"Shortest time between two new assignments of this consumer group, in milliseconds."},
	{"consumer.heartbeat.interval.ms", TypeInt, "5000", atLeast(1), clusterWide, inert,
		"Time between two heartbeats of a member of this consumer group, in milliseconds."},
	{"consumer.session.timeout.ms", TypeInt, "45000", atLeast(1), clusterWide, inert,
		"Time without a heartbeat after which a member leaves this consumer group, in milliseconds."},
	{"share.assignment.interval.ms", TypeInt, "1000", atLeast(0), clusterWide, inert,
		"Shortest time between two new assignments of this share group, in milliseconds."},
	{"share.auto.offset.reset", TypeString, "latest", offsetReset, clusterWide, inert,
		"Where a share group begins that has no position: latest, earliest, or by_duration:PERIOD back from now."},
	{"share.delivery.count.limit", TypeInt, "5", atLeast(2), clusterWide, inert,
		"Times that a record is delivered to this share group before it is given up."},
	{"share.heartbeat.interval.ms", TypeInt, "5000", atLeast(1), clusterWide, inert,
		"Time between two heartbeats of a member of this share group, in milliseconds."},
	{"share.isolation.level", TypeString, "read_uncommitted", oneOf("read_committed", "read_uncommitted"), clusterWide, inert,
		"Whether this share group sees records of transactions that are not committed."},
	{"share.partition.max.record.locks", TypeInt, "2000", atLeast(100), clusterWide, inert,
		"Most records of one partition that this share group holds locked at a time."},
	{"share.record.lock.duration.ms", TypeInt, "30000", atLeast(1000), clusterWide, inert,
		"Time for which a record handed to this share group stays locked, in milliseconds."},
	{"share.renew.acknowledge.enable", TypeBoolean, "true", anything, clusterWide, inert,
		"Whether a member of this share group may prolong the lock of a record."},
	{"share.session.timeout.ms", TypeInt, "45000", atLeast(1), clusterWide, inert,
		"Time without a heartbeat after which a member leaves this share group, in milliseconds."},
	{"streams.assignment.interval.ms", TypeInt, "1000", atLeast(0), clusterWide, inert,
		"Shortest time between two new assignments of this streams group, in milliseconds."},
	{"streams.heartbeat.interval.ms", TypeInt, "5000", atLeast(1), clusterWide, inert,
		"Time between two heartbeats of a member of this streams group, in milliseconds."},
	{"streams.initial.rebalance.delay.ms", TypeInt, "3000", atLeast(0), clusterWide, inert,
		"Time that this streams group waits when empty for more members, in milliseconds."},
	{"streams.num.standby.replicas", TypeInt, "0", atLeast(0), clusterWide, inert,
		"Standby replicas of each task of this streams group."},
	{"streams.session.timeout.ms", TypeInt, "45000", atLeast(1), clusterWide, inert,
		"Time without a heartbeat after which a member leaves this streams group, in milliseconds."},
}

// clientMetricsKeys are the keys of one subscription to the metrics of clients (C-36, KIP-714).
var clientMetricsKeys = []row{
	{"interval.ms", TypeInt, "300000", between(100, 3600000), clusterWide, inert,
		"Time between two pushes of metrics by a client, in milliseconds."},
	{"match", TypeList, "", clientMatch, clusterWide, inert,
		"Regular expressions that a client must match to be asked, as property=expression."},
	{"metrics", TypeList, "", anything, clusterWide, inert,
		"Prefixes of the metrics that clients are asked for; an asterisk means all."},
}
