package compare

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tellOffsets looks up offsets by time and epoch, and moves the start of logs.
func tellOffsets(r *run) {
	w := writer{r, map[string][16]byte{}}
	w.topic("o", 2)
	w.topic("o-compact", 1, "cleanup.policy", "compact")
	w.topic("o-both", 1, "cleanup.policy", "compact,delete")
	w.topic("o-empty", 1)
	for _, name := range []string{"o", "o-compact", "o-both"} {
		w.fill(name, 0)
	}
	tellTimestamps(r)
	tellEpochs(r)
	tellDeletions(r)
	tellTimestampsAfter(r)
}

type listed = kmsg.ListOffsetsRequestTopicPartition

func at(partition int32, timestamp int64) listed {
	return listed{Partition: partition, Timestamp: timestamp, CurrentLeaderEpoch: -1, MaxNumOffsets: 1}
}

func listOf(topic string, ps ...listed) *kmsg.ListOffsetsRequest {
	return &kmsg.ListOffsetsRequest{ReplicaID: -1, TimeoutMillis: 5000, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: ps}}}
}

// times are special ones and some around the records that fill writes.
var times = []int64{-1, -2, -3, -4, -5, -6, -7, -100, 0, 1, longAgo - 1, longAgo, longAgo + 1, longAgo + 2, longAgo + 2000, longAgo + 2001, longAgo + 4001, longAgo + 4002}

func tellTimestamps(r *run) {
	for _, ts := range times {
		r.all(fmt.Sprintf("at %d", ts), listOf("o", at(0, ts), at(1, ts)))
	}
	committed := listOf("o", at(0, -1))
	committed.IsolationLevel = 1
	r.all("latest, read committed", committed)
	r.all("of absent ones", listOf("o", at(7, -1), at(-1, -1)))
	r.all("of an absent topic", listOf("absent", at(0, -1)))
	r.all("of a bad name", listOf("a/b", at(0, -1)))
	r.all("one twice", listOf("o", at(0, -1), at(0, -2), at(1, -1)))
	r.all("of nothing", &kmsg.ListOffsetsRequest{ReplicaID: -1})
	r.all("of no partition", listOf("o"))
	for _, e := range []int32{0, 1, -2} {
		p := at(0, -1)
		p.CurrentLeaderEpoch = e
		r.all(fmt.Sprintf("with leader epoch %d", e), listOf("o", p), 4, 11)
		p.Timestamp = longAgo
		r.all(fmt.Sprintf("by time with leader epoch %d", e), listOf("o", p), 4, 11)
	}
	debug := listOf("o", at(0, -1))
	debug.ReplicaID = -2
	r.all("as a debugger", debug)
	isolated := listOf("o", at(0, -1))
	isolated.IsolationLevel = 9
	r.all("with an unknown isolation", isolated, 2, 11)
}

func tellTimestampsAfter(r *run) {
	for _, ts := range times {
		r.all(fmt.Sprintf("after deletions at %d", ts), listOf("o", at(0, ts), at(1, ts)), 1, 4, 11)
	}
	w := writer{r, map[string][16]byte{}}
	b := of("late", "later")
	b.timestamp = longAgo - 5000
	r.quiet(9, w.request("o", -1, to(0, b.bytes())))
	gz := of("x", "y", "z").with(gzipped)
	gz.timestamp = longAgo + 100000
	r.quiet(9, w.request("o", -1, to(0, gz.bytes())))
	for _, ts := range append(times, longAgo-5000, longAgo+100001, longAgo+100002, longAgo+100003) {
		r.all(fmt.Sprintf("with times out of order at %d", ts), listOf("o", at(0, ts)), 4, 11)
	}
}

func tellEpochs(r *run) {
	type p = kmsg.OffsetForLeaderEpochRequestTopicPartition
	ask := func(step, topic string, replica int32, ps ...p) {
		r.all("epochs, "+step, &kmsg.OffsetForLeaderEpochRequest{ReplicaID: replica, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: ps}}})
	}
	for _, e := range []int32{0, 1, 5, -1, -2} {
		ask(fmt.Sprintf("asked for %d", e), "o", -1, p{Partition: 0, CurrentLeaderEpoch: -1, LeaderEpoch: e}, p{Partition: 1, CurrentLeaderEpoch: -1, LeaderEpoch: e})
		ask(fmt.Sprintf("with the current one said to be %d", e), "o", -1, p{Partition: 0, CurrentLeaderEpoch: e, LeaderEpoch: 0})
	}
	ask("as a replica", "o", 1, p{Partition: 0, CurrentLeaderEpoch: -1})
	ask("as a debugger", "o", -2, p{Partition: 0, CurrentLeaderEpoch: -1})
	ask("of absent ones", "o", -1, p{Partition: 7, CurrentLeaderEpoch: -1}, p{Partition: -1, CurrentLeaderEpoch: -1})
	ask("of an absent topic", "absent", -1, p{Partition: 0, CurrentLeaderEpoch: -1})
	ask("of a bad name", "a/b", -1, p{Partition: 0, CurrentLeaderEpoch: -1})
	ask("one twice", "o", -1, p{Partition: 0, CurrentLeaderEpoch: -1}, p{Partition: 0, CurrentLeaderEpoch: -1, LeaderEpoch: 4})
	ask("of none", "o", -1)
	r.all("epochs of nothing", &kmsg.OffsetForLeaderEpochRequest{ReplicaID: -1})
}

func tellDeletions(r *run) {
	type p = kmsg.DeleteRecordsRequestTopicPartition
	ask := func(step, topic string, ps ...p) {
		r.all("delete records "+step, &kmsg.DeleteRecordsRequest{TimeoutMillis: 10000, Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: ps}}})
	}
	ask("of nothing", "o")
	ask("to 0", "o", p{Partition: 0, Offset: 0})
	ask("to the middle of a batch", "o", p{Partition: 0, Offset: 3})
	ask("to before the start", "o", p{Partition: 0, Offset: 1})
	ask("past the end", "o", p{Partition: 0, Offset: 7})
	ask("to -2", "o", p{Partition: 0, Offset: -2})
	ask("of absent ones", "o", p{Partition: 7, Offset: 0}, p{Partition: -1, Offset: 0})
	ask("of an absent topic", "absent", p{Partition: 0, Offset: 0})
	ask("of a bad name", "a/b", p{Partition: 0, Offset: 0})
	ask("of an internal topic", "__consumer_offsets", p{Partition: 0, Offset: 0})
	ask("of a compacted topic", "o-compact", p{Partition: 0, Offset: 2})
	ask("of a topic compacted and deleted", "o-both", p{Partition: 0, Offset: 2})
	ask("of an empty partition", "o-empty", p{Partition: 0, Offset: 0})
	ask("all of an empty partition", "o-empty", p{Partition: 0, Offset: -1})
	ask("past the end of an empty partition", "o-empty", p{Partition: 0, Offset: 1})
	ask("one twice", "o", p{Partition: 0, Offset: 3}, p{Partition: 0, Offset: 4})
	for _, offset := range []int64{0, 2, 3, 4, 6} {
		r.all(fmt.Sprintf("fetch after deletions from %d", offset), fetchOf(fetchTopic{Topic: "o", Partitions: []fetchPartition{reads(0, offset)}}), 12)
	}
	r.all("epochs after deletions", &kmsg.OffsetForLeaderEpochRequest{ReplicaID: -1, Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "o",
		Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 0, CurrentLeaderEpoch: -1}}}}})
	ask("all", "o", p{Partition: 0, Offset: -1})
	r.all("fetch after all was deleted", fetchOf(fetchTopic{Topic: "o", Partitions: []fetchPartition{reads(0, 6), reads(1, 0)}}), 12)
	r.all("offsets after all was deleted", listOf("o", at(0, -2)), 4, 11)
}

// tellLogDirs asks for the sizes of logs.
func tellLogDirs(r *run) {
	w := writer{r, map[string][16]byte{}}
	w.topic("d", 2)
	w.fill("d", 0)
	type t = kmsg.DescribeLogDirsRequestTopic
	ask := func(step string, ts []t) { r.all(step, &kmsg.DescribeLogDirsRequest{Topics: ts}) }
	ask("of a topic", []t{{Topic: "d", Partitions: []int32{0, 1}}})
	ask("of one partition", []t{{Topic: "d", Partitions: []int32{0}}})
	ask("of absent ones", []t{{Topic: "d", Partitions: []int32{7, -1}}, {Topic: "absent", Partitions: []int32{0}}})
	ask("of no partition", []t{{Topic: "d"}})
	ask("of nothing", []t{})
	ask("one twice", []t{{Topic: "d", Partitions: []int32{0, 0}}, {Topic: "d", Partitions: []int32{0}}})
	r.all("of all", &kmsg.DescribeLogDirsRequest{}, 1, 5)
}
