package compare

import (
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	fetchTopic     = kmsg.FetchRequestTopic
	fetchPartition = kmsg.FetchRequestTopicPartition
	forgotten      = kmsg.FetchRequestForgottenTopic
)

// reads is a partition to be fetched from an offset on, with changes.
func reads(partition int32, offset int64, change ...func(*fetchPartition)) fetchPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	for _, c := range change {
		c(&p)
	}
	return p
}

// fetchOf is a sessionless fetch that does not wait.
func fetchOf(ts ...fetchTopic) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.Topics, req.SessionEpoch = 1<<20, ts, -1
	return req
}

// fill writes three batches of two records to a partition.
func (w writer) fill(name string, partition int32) {
	for _, vs := range [][]string{{"a", "b"}, {"c", "d"}, {"e", "f"}} {
		b := of(vs...)
		b.timestamp = longAgo + 1000*int64(vs[0][0]-'a')
		w.quiet(9, w.request(name, -1, to(partition, b.bytes())))
	}
}

func tellFetch(r *run) {
	w := writer{r, map[string][16]byte{}}
	w.topic("f", 3)
	w.topic("f-b", 1)
	w.fill("f", 0)
	w.fill("f", 1)
	w.fill("f-b", 0)
	f, b := w.ids["f"], w.ids["f-b"]
	ask := func(step string, req *kmsg.FetchRequest) { r.all(step, req) }
	from := func(step string, offset int64, change ...func(*fetchPartition)) {
		ask(step, fetchOf(fetchTopic{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(0, offset, change...)}}))
	}
	from("all", 0)
	from("from the middle of a batch", 3)
	from("at the end", 6)
	from("past the end", 7)
	from("far past the end", math.MaxInt64)
	from("before the start", -1)
	from("far before the start", math.MinInt64)
	from("a few bytes", 0, func(p *fetchPartition) { p.PartitionMaxBytes = 1 })
	from("bytes for one batch and a half", 0, func(p *fetchPartition) { p.PartitionMaxBytes = 120 })
	from("no bytes", 0, func(p *fetchPartition) { p.PartitionMaxBytes = 0 })
	from("negative bytes", 0, func(p *fetchPartition) { p.PartitionMaxBytes = -1 })
	for _, e := range []int32{0, 1, -2, 1000} {
		from(fmt.Sprintf("with leader epoch %d", e), 0, func(p *fetchPartition) { p.CurrentLeaderEpoch = e })
		from(fmt.Sprintf("past the end with leader epoch %d", e), 99, func(p *fetchPartition) { p.CurrentLeaderEpoch = e })
		from(fmt.Sprintf("with last fetched epoch %d", e), 2, func(p *fetchPartition) { p.LastFetchedEpoch = e })
	}
	from("past the end with last fetched epoch 0", 99, func(p *fetchPartition) { p.LastFetchedEpoch = 0 })
	from("with a log start", 2, func(p *fetchPartition) { p.LogStartOffset = 5 })
	tellFetchRequests(r, f, b)
}

func tellFetchRequests(r *run, f, b [16]byte) {
	both := func() []fetchTopic {
		return []fetchTopic{{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(1, 0), reads(0, 4), reads(2, 0)}}, {Topic: "f-b", TopicID: b, Partitions: []fetchPartition{reads(0, 2)}}}
	}
	with := func(step string, ts []fetchTopic, change func(*kmsg.FetchRequest)) {
		req := fetchOf(ts...)
		change(req)
		r.all(step, req)
	}
	with("several", both(), func(*kmsg.FetchRequest) {})
	tellOrder(r, fetchOf(both()...))
	with("several, read committed", both(), func(q *kmsg.FetchRequest) { q.IsolationLevel = 1 })
	with("with an unknown isolation", both(), func(q *kmsg.FetchRequest) { q.IsolationLevel = 7 })
	with("several with few bytes in all", both(), func(q *kmsg.FetchRequest) { q.MaxBytes = 1 })
	with("several with bytes for two batches", both(), func(q *kmsg.FetchRequest) { q.MaxBytes = 200 })
	with("several with no bytes", both(), func(q *kmsg.FetchRequest) { q.MaxBytes = 0 })
	with("several with negative bytes", both(), func(q *kmsg.FetchRequest) { q.MaxBytes = -1 })
	with("waiting for what is there", both(), func(q *kmsg.FetchRequest) { q.MinBytes, q.MaxWaitMillis = 1, 10000 })
	with("waiting for more bytes than may be", both(), func(q *kmsg.FetchRequest) { q.MinBytes, q.MaxWaitMillis, q.MaxBytes = 1<<20, 50, 100 })
	with("waiting in vain", []fetchTopic{{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(0, 6)}}}, func(q *kmsg.FetchRequest) { q.MinBytes, q.MaxWaitMillis = 1, 20 })
	with("an error does not wait", []fetchTopic{{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(0, 6), reads(1, 99)}}}, func(q *kmsg.FetchRequest) { q.MinBytes, q.MaxWaitMillis = 1, 15000 })
	with("an absent one does not wait", []fetchTopic{{Topic: "absent", TopicID: absentID, Partitions: []fetchPartition{reads(0, 0)}}}, func(q *kmsg.FetchRequest) { q.MinBytes, q.MaxWaitMillis = 1, 15000 })
	with("negative wait", both(), func(q *kmsg.FetchRequest) { q.MinBytes, q.MaxWaitMillis = 1<<20, -1 })
	for _, replica := range []int32{-2, 99} {
		r.each(fmt.Sprintf("as replica %d", replica), func(v int16) kmsg.Request {
			req := fetchOf(both()...)
			if v >= 15 {
				req.ReplicaState.ID = replica
			} else {
				req.ReplicaID = replica
			}
			return req
		})
	}
	with("a rack", both(), func(q *kmsg.FetchRequest) { q.Rack = "r" })
	with("another cluster", both(), func(q *kmsg.FetchRequest) { q.ClusterID = ptr("another") })
	absent := []fetchTopic{{Topic: "absent", TopicID: absentID, Partitions: []fetchPartition{reads(0, 0), reads(1, 5)}},
		{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(9, 0), reads(-1, 0), reads(0, 4)}}}
	with("absent ones", absent, func(*kmsg.FetchRequest) {})
	with("a bad name", []fetchTopic{{Topic: "a/b", Partitions: []fetchPartition{reads(0, 0)}}}, func(*kmsg.FetchRequest) {})
	with("nothing", nil, func(*kmsg.FetchRequest) {})
	with("no partitions", []fetchTopic{{Topic: "f", TopicID: f}}, func(*kmsg.FetchRequest) {})
	with("one partition twice", []fetchTopic{{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(0, 0), reads(0, 4)}}}, func(*kmsg.FetchRequest) {})
	with("one topic twice", []fetchTopic{{Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(0, 4)}}, {Topic: "f", TopicID: f, Partitions: []fetchPartition{reads(1, 4)}}}, func(*kmsg.FetchRequest) {})
	with("the quorum", []fetchTopic{{Topic: "__cluster_metadata", Partitions: []fetchPartition{reads(0, 0)}}}, func(*kmsg.FetchRequest) {})
}

// tellOrder notes the order of partitions in an answer, which limits on bytes give a meaning.
func tellOrder(r *run, req *kmsg.FetchRequest) {
	resp := r.quiet(13, req).(*kmsg.FetchResponse)
	var order []string
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			order = append(order, fmt.Sprintf("%s-%d", r.known.id(t.TopicID), p.Partition))
		}
	}
	r.note("order of several", 13, req, []field{{"", "Order", strings.Join(order, ",")}})
}

// tellSessions lives through fetch sessions (KIP-227).
func tellSessions(r *run) {
	w := writer{r, map[string][16]byte{}}
	for _, v := range []int16{7, 12, 13, 18} {
		tellSession(w, v)
	}
}

func tellSession(w writer, v int16) {
	name := fmt.Sprintf("s-%d", v)
	w.topic(name, 3)
	w.fill(name, 0)
	id := w.ids[name]
	topic := func(ps ...fetchPartition) fetchTopic { return fetchTopic{Topic: name, TopicID: id, Partitions: ps} }
	var session int32
	ask := func(step string, id, epoch int32, ts []fetchTopic, forget ...forgotten) int32 {
		req := fetchOf(ts...)
		req.SessionID, req.SessionEpoch, req.ForgottenTopics = id, epoch, forget
		resp := w.ask(step, v, req)
		if resp == nil {
			return 0
		}
		return resp.(*kmsg.FetchResponse).SessionID
	}
	session = ask("begin", 0, 0, []fetchTopic{topic(reads(0, 0), reads(1, 0))})
	ask("nothing new, but not moved on", session, 1, nil)
	ask("moved on", session, 2, []fetchTopic{topic(reads(0, 6))})
	ask("no news", session, 3, nil)
	w.fill(name, 1)
	ask("news", session, 4, nil)
	ask("a partition more", session, 5, []fetchTopic{topic(reads(1, 6), reads(2, 0))})
	ask("an absent partition", session, 6, []fetchTopic{topic(reads(8, 0))})
	ask("the absent partition is named again", session, 7, nil)
	ask("out of range", session, 8, []fetchTopic{topic(reads(0, 77))})
	ask("still out of range", session, 9, nil)
	ask("in range again", session, 10, []fetchTopic{topic(reads(0, 6))})
	ask("forget", session, 11, nil, forgotten{Topic: name, TopicID: id, Partitions: []int32{8, 2, 55}})
	ask("forget what is not there", session, 12, nil, forgotten{Topic: "absent", TopicID: absentID, Partitions: []int32{0}})
	ask("wrong epoch", session, 99, nil)
	ask("old epoch", session, 3, nil)
	ask("on after wrong epochs", session, 13, nil)
	ask("absent session", 1, 5, nil)
	ask("an absent topic joins", session, 14, []fetchTopic{{Topic: "absent", TopicID: absentID, Partitions: []fetchPartition{reads(0, 0)}}})
	ask("the absent topic is named again", session, 15, nil)
	ask("forget the absent topic", session, 16, nil, forgotten{Topic: "absent", TopicID: absentID, Partitions: []int32{0}})
	if v == 12 || v == 13 { // the other side of topic ids
		req := fetchOf()
		req.SessionID, req.SessionEpoch = session, 17
		w.ask("with ids and without", 25-v, req)
	} else {
		ask("forget and fetch the same", session, 17, []fetchTopic{topic(reads(1, 0))}, forgotten{Topic: name, TopicID: id, Partitions: []int32{1}})
	}
	ask("forget all", session, 18, nil, forgotten{Topic: name, TopicID: id, Partitions: []int32{0, 1, 2}})
	ask("after all was forgotten", session, 19, nil)
	session = ask("begin with an absent one", 0, 0, []fetchTopic{topic(reads(0, 6), reads(7, 0))})
	session = ask("begin again in place of the old", session, 0, []fetchTopic{topic(reads(0, 2))})
	ask("end", session, -1, nil)
	ask("after the end", session, 1, nil)
	ask("end one that is not there", 77, -1, []fetchTopic{topic(reads(0, 6))})
	ask("begin with nothing", 0, 0, nil)
	ask("negative epoch", 0, -2, []fetchTopic{topic(reads(0, 6))})
	session = ask("begin to be deleted", 0, 0, []fetchTopic{topic(reads(0, 6), reads(1, 6))})
	w.quiet(6, &kmsg.DeleteTopicsRequest{TimeoutMillis: 10000, Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}})
	w.settle()
	ask("deleted", session, 1, nil)
	ask("still deleted", session, 2, nil)
	w.topic(name, 1)
	w.fill(name, 0)
	ask("created again", session, 3, nil)
	ask("created again, from the start", session, 4, []fetchTopic{topic(reads(0, 0))})
}
