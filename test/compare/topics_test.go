package compare

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	newTopic   = kmsg.CreateTopicsRequestTopic
	newConfig  = kmsg.CreateTopicsRequestTopicConfig
	assignment = kmsg.CreateTopicsRequestTopicReplicaAssignment
)

func topic(name string, partitions int32, replicas int16, configs ...newConfig) newTopic {
	return newTopic{Topic: name, NumPartitions: partitions, ReplicationFactor: replicas, Configs: configs}
}

func assigned(name string, as ...assignment) newTopic {
	return newTopic{Topic: name, NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: as}
}

func set(name, value string) newConfig { return newConfig{Name: name, Value: &value} }

// tellCreateTopics creates topics in every way, also where that must not work.
func tellCreateTopics(r *run) {
	create := func(step string, make func(v int16) []newTopic, vs ...int16) {
		r.each(step, func(v int16) kmsg.Request {
			return &kmsg.CreateTopicsRequest{TimeoutMillis: 10000, Topics: make(v)}
		}, vs...)
		r.settle()
	}
	these := func(step string, ts ...newTopic) {
		create(step, func(int16) []newTopic { return ts })
	}
	create("one", func(v int16) []newTopic { return []newTopic{topic(fmt.Sprintf("one-%d", v), 2, 1)} })
	create("by default", func(v int16) []newTopic { return []newTopic{topic(fmt.Sprintf("default-%d", v), -1, -1)} }, 4, 5, 6, 7)
	create("by default before defaults", func(v int16) []newTopic { return []newTopic{topic(fmt.Sprintf("default-%d", v), -1, -1)} }, 2, 3)
	create("with configs", func(v int16) []newTopic {
		return []newTopic{topic(fmt.Sprintf("configs-%d", v), 1, 1, set("cleanup.policy", "compact,delete"), set("retention.ms", "1000"), set("max.message.bytes", "2000"))}
	})
	these("that exists", topic("one-2", 1, 1))
	these("twice in a request", topic("twice", 1, 1), topic("twice", 1, 1), topic("twice", 2, 1), topic("one-2", 1, 1))
	tellNames(r, create)
	these("no partitions", topic("a", 0, 1))
	these("minus two partitions", topic("a", -2, 1))
	these("no replicas", topic("a", 1, 0))
	these("minus two replicas", topic("a", 1, -2))
	these("too many replicas", topic("a", 1, 2))
	these("bad counts both", topic("a", 0, 0))
	these("too many partitions", topic("a", 20000, 1))
	these("manual, with a count", newTopic{Topic: "a", NumPartitions: 1, ReplicationFactor: -1, ReplicaAssignment: []assignment{{Partition: 0, Replicas: []int32{1}}}})
	these("manual, with a factor", newTopic{Topic: "a", NumPartitions: -1, ReplicationFactor: 1, ReplicaAssignment: []assignment{{Partition: 0, Replicas: []int32{1}}}})
	these("manual, unknown broker", assigned("a", assignment{Partition: 0, Replicas: []int32{77}}))
	these("manual, broker twice", assigned("a", assignment{Partition: 0, Replicas: []int32{1, 1}}))
	these("manual, no brokers", assigned("a", assignment{Partition: 0}))
	these("manual, a hole", assigned("a", assignment{Partition: 0, Replicas: []int32{1}}, assignment{Partition: 2, Replicas: []int32{1}}))
	these("manual, not from 0", assigned("a", assignment{Partition: 1, Replicas: []int32{1}}))
	these("manual, a partition twice", assigned("a", assignment{Partition: 0, Replicas: []int32{1}}, assignment{Partition: 0, Replicas: []int32{1}}))
	these("manual, a negative partition", assigned("a", assignment{Partition: -1, Replicas: []int32{1}}))
	create("manual", func(v int16) []newTopic {
		return []newTopic{assigned(fmt.Sprintf("manual-%d", v), assignment{Partition: 1, Replicas: []int32{1}}, assignment{Partition: 0, Replicas: []int32{1}})}
	})
	for _, c := range [][2]string{{"no.such.config", "1"}, {"retention.ms", "abc"}, {"retention.ms", "-2"}, {"retention.ms", ""}, {"cleanup.policy", "shred"},
		{"cleanup.policy", ""}, {"compression.type", "rar"}, {"min.insync.replicas", "0"}, {"segment.bytes", "13"}, {"segment.bytes", "99999999999"},
		{"max.message.bytes", "-1"}, {"unclean.leader.election.enable", "maybe"}, {"message.timestamp.type", "Never"}, {"", "1"},
		{"min.cleanable.dirty.ratio", "1.5"}, {"message.format.version", "2.0"}, {"log.retention.ms", "1"}, {"compression.gzip.level", "0"},
		{"compression.zstd.level", "99"}, {"leader.replication.throttled.replicas", "x"}, {"remote.storage.enable", "true"},
		{"local.retention.ms", "5000"}, {"flush.messages", "0"}, {"retention.ms", " 5 "}, {"index.interval.bytes", "-1"}, {"cleanup.policy", "compact , delete"}} {
		these(fmt.Sprintf("config %s=%q", c[0], c[1]), topic("bad-"+strings.Trim(strings.ReplaceAll(c[0]+"-"+fmt.Sprint(len(c[1])), " ", ""), "."), 1, 1, set(c[0], c[1])))
	}
	these("config null", topic("bad-null", 1, 1, newConfig{Name: "retention.ms"}))
	create("config twice", func(v int16) []newTopic {
		return []newTopic{topic(fmt.Sprintf("config-twice-%d", v), 1, 1, set("retention.ms", "1"), set("retention.ms", "2"))}
	})
	these("none")
	these("a good one and bad ones", topic("one-2", 1, 1), topic(".", 1, 1), topic("a", 0, 1), topic("one-3", 1, 9))
	r.each("only validated", func(v int16) kmsg.Request {
		return &kmsg.CreateTopicsRequest{TimeoutMillis: 10000, ValidateOnly: true, Topics: []newTopic{topic("validated", 3, 1, set("retention.ms", "5")), topic("one-2", 1, 1), topic("x/y", 1, 1)}}
	})
	r.all("time-out of 0", &kmsg.CreateTopicsRequest{Topics: []newTopic{topic("one-2", 1, 1)}})
}

func tellNames(r *run, create func(string, func(int16) []newTopic, ...int16)) {
	long := strings.Repeat("n", 249)
	for _, n := range []struct{ what, name string }{
		{"empty", ""}, {"dot", "."}, {"two dots", ".."}, {"three dots", "..."}, {"a slash", "a/b"}, {"a space", "a b"}, {"beyond ascii", "ä"}, {"too long", long + "n"},
		{"of the quorum", "__cluster_metadata"}, {"a line break", "a\n"}, {"a colon", "a:b"},
	} {
		create("name "+n.what, func(int16) []newTopic { return []newTopic{topic(n.name, 1, 1)} }, 2, 5, 7)
	}
	create("name as long as can be", func(int16) []newTopic { return []newTopic{topic(long, 1, 1)} }, 7)
	create("name with dots and underscores", func(int16) []newTopic { return []newTopic{topic("col.li_ding", 1, 1)} }, 7)
	create("name that collides", func(int16) []newTopic { return []newTopic{topic("col_li.ding", 1, 1), topic("col.li.ding", 1, 1)} })
	create("names that collide in a request", func(int16) []newTopic { return []newTopic{topic("new.col", 1, 1), topic("new_col", 1, 1)} }, 7)
}

// tellDeleteTopics deletes by name and by id.
func tellDeleteTopics(r *run) {
	byName := func(v int16, names ...string) *kmsg.DeleteTopicsRequest {
		req := &kmsg.DeleteTopicsRequest{TimeoutMillis: 10000, TopicNames: names}
		for _, n := range names {
			req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: ptr(n)})
		}
		return req
	}
	for _, v := range versions(kmsg.DeleteTopics) {
		r.create(fmt.Sprintf("gone-%d", v), 1)
	}
	r.each("by name", func(v int16) kmsg.Request { return byName(v, fmt.Sprintf("gone-%d", v)) })
	r.settle()
	r.each("that are gone", func(v int16) kmsg.Request { return byName(v, fmt.Sprintf("gone-%d", v)) })
	r.each("bad names", func(v int16) kmsg.Request { return byName(v, "", ".", "a/b", "absent") })
	r.each("one twice", func(v int16) kmsg.Request { return byName(v, "one-2", "one-2", "absent") })
	r.each("none", func(v int16) kmsg.Request { return byName(v) })
	id := r.create("gone-id", 1)
	type t = kmsg.DeleteTopicsRequestTopic
	ask := func(step string, ts ...t) {
		r.all(step, &kmsg.DeleteTopicsRequest{TimeoutMillis: 10000, Topics: ts}, 6)
	}
	ask("by an absent id", t{TopicID: absentID})
	ask("by a zero id", t{})
	ask("by name and id", t{Topic: ptr("gone-id"), TopicID: id})
	ask("one by name and again by id", t{Topic: ptr("gone-id")}, t{TopicID: id})
	ask("one id twice", t{TopicID: absentID}, t{TopicID: absentID}, t{TopicID: id}, t{TopicID: id})
	ask("by id", t{TopicID: id})
	r.settle()
	ask("by an id that is gone", t{TopicID: id})
}

// tellPartitions adds partitions and elects leaders.
func tellPartitions(r *run) {
	r.create("parts", 2)
	type t = kmsg.CreatePartitionsRequestTopic
	type a = kmsg.CreatePartitionsRequestTopicAssignment
	ask := func(step string, ts ...t) {
		r.all(step, &kmsg.CreatePartitionsRequest{TimeoutMillis: 10000, Topics: ts})
		r.settle()
	}
	ask("as many as there are", t{Topic: "parts", Count: 2})
	ask("fewer", t{Topic: "parts", Count: 1})
	ask("none", t{Topic: "parts", Count: 0})
	ask("a negative count", t{Topic: "parts", Count: -1})
	ask("of an absent topic", t{Topic: "absent", Count: 3})
	ask("of a bad name", t{Topic: "a/b", Count: 3})
	ask("of one topic twice", t{Topic: "parts", Count: 3}, t{Topic: "parts", Count: 4}, t{Topic: "absent", Count: 4})
	ask("of no topic")
	ask("assigned, too few", t{Topic: "parts", Count: 4, Assignment: []a{{Replicas: []int32{1}}}})
	ask("assigned, too many", t{Topic: "parts", Count: 3, Assignment: []a{{Replicas: []int32{1}}, {Replicas: []int32{1}}}})
	ask("assigned, none", t{Topic: "parts", Count: 3, Assignment: []a{}})
	ask("assigned, unknown broker", t{Topic: "parts", Count: 3, Assignment: []a{{Replicas: []int32{9}}}})
	ask("assigned, broker twice", t{Topic: "parts", Count: 3, Assignment: []a{{Replicas: []int32{1, 1}}}})
	ask("assigned, empty", t{Topic: "parts", Count: 3, Assignment: []a{{}}})
	ask("assigned, fewer", t{Topic: "parts", Count: 1, Assignment: []a{{Replicas: []int32{1}}}})
	r.all("only validated", &kmsg.CreatePartitionsRequest{TimeoutMillis: 10000, ValidateOnly: true, Topics: []t{{Topic: "parts", Count: 5}}})
	r.each("more", func(v int16) kmsg.Request {
		return &kmsg.CreatePartitionsRequest{TimeoutMillis: 10000, Topics: []t{{Topic: "parts", Count: 3 + int32(v)}}}
	})
	r.settle()
	r.each("assigned", func(v int16) kmsg.Request {
		return &kmsg.CreatePartitionsRequest{TimeoutMillis: 10000, Topics: []t{{Topic: "parts", Count: 8 + 2*int32(v), Assignment: []a{{Replicas: []int32{1}}, {Replicas: []int32{1}}}}}}
	}, 0)
	r.settle()
	tellElections(r)
}

func tellElections(r *run) {
	type t = kmsg.ElectLeadersRequestTopic
	for _, kind := range []int8{0, 1, 2, -1} {
		ask := func(step string, ts []t) {
			r.each(fmt.Sprintf("elect %s, type %d", step, kind), func(v int16) kmsg.Request {
				return &kmsg.ElectLeadersRequest{ElectionType: kind, TimeoutMillis: 10000, Topics: ts}
			}, map[bool][]int16{true: {0, 1, 2}, false: {1, 2}}[kind == 0]...)
		}
		ask("all", nil)
		ask("none", []t{})
		ask("of some", []t{{Topic: "parts", Partitions: []int32{0, 1, 99, -1}}, {Topic: "absent", Partitions: []int32{0}}})
		ask("no partition", []t{{Topic: "parts"}})
		ask("one twice", []t{{Topic: "parts", Partitions: []int32{0, 0}}})
	}
}
