package wire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/moldau/moldau"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// toKmsg reads a view into the struct that kmsg would make of the same bytes, unknown tags aside.
func (q *FetchRequest) toKmsg(version int16) *kmsg.FetchRequest {
	out := kmsg.NewPtrFetchRequest()
	out.Version, out.ClusterID, out.Rack = version, stringPtr(q.ClusterID), string(q.Rack)
	out.MaxWaitMillis, out.MinBytes, out.MaxBytes = q.MaxWaitMs, q.MinBytes, q.MaxBytes
	out.IsolationLevel, out.SessionID, out.SessionEpoch = q.Isolation, q.SessionID, q.SessionEpoch
	out.ReplicaID = int32(q.Replica)
	if q.ReplicaEpoch != -1 || version >= 15 {
		out.ReplicaState.ID, out.ReplicaState.Epoch = int32(q.Replica), int64(q.ReplicaEpoch)
	}
	for topic := range q.Topics() {
		t := kmsg.FetchRequestTopic{Topic: string(topic.Name), TopicID: topic.ID}
		for p := range topic.Partitions() {
			t.Partitions = append(t.Partitions, kmsg.FetchRequestTopicPartition{
				Partition: p.Index, CurrentLeaderEpoch: int32(p.LeaderEpoch), FetchOffset: int64(p.Offset),
				LastFetchedEpoch: int32(p.LastFetchedEpoch), LogStartOffset: int64(p.LogStart),
				PartitionMaxBytes: p.MaxBytes, ReplicaDirectoryID: p.DirectoryID, HighWatermark: int64(p.HighWatermark),
			})
		}
		out.Topics = append(out.Topics, t)
	}
	for topic := range q.Forgotten() {
		t := kmsg.FetchRequestForgottenTopic{Topic: string(topic.Name), TopicID: topic.ID}
		for p := range topic.Partitions() {
			t.Partitions = append(t.Partitions, p)
		}
		out.ForgottenTopics = append(out.ForgottenTopics, t)
	}
	return out
}

// checkFetch compares what ParseFetch and kmsg make of the same bytes.
func checkFetch(t *testing.T, version int16, body []byte) {
	t.Helper()
	view, err := ParseFetch(version, body)
	if walked := walkOf(Fetch, version, body, 1<<40).ok(); walked != (err == nil) {
		t.Fatalf("v%d %x: the walk says %v, ParseFetch %v", version, body, walked, err)
	}
	if err != nil {
		return
	}
	want := kmsg.NewPtrFetchRequest()
	want.Version = version
	if err := want.ReadFrom(body); err != nil {
		t.Fatalf("v%d %x: kmsg says %v", version, body, err)
	}
	got := view.toKmsg(version)
	if version < 15 && want.ReplicaState.ID != -1 {
		want.ReplicaID = want.ReplicaState.ID // a tag from a later version counts
		got.ReplicaState.ID = want.ReplicaState.ID
	}
	if g, w := got.AppendTo(nil), withoutTags(want).AppendTo(nil); !bytes.Equal(g, w) {
		t.Fatalf("v%d %x:\ngot  %+v\nkmsg %+v", version, body, got, want)
	}
	partitions, forgotten := 0, 0
	for topic := range view.Topics() {
		partitions += topic.PartitionCount
	}
	for range view.Forgotten() {
		forgotten++
	}
	if view.TopicCount != len(want.Topics) || view.PartitionCount != partitions || view.ForgottenCount != forgotten {
		t.Fatalf("v%d: wrong counts in %+v", version, view)
	}
}

func TestFetchAgreesWithKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for version := FetchVersions.Min; version <= FetchVersions.Max; version++ {
		for range 500 {
			request := randomRequest(rng, Fetch, version).(*kmsg.FetchRequest)
			if version < 15 {
				request.ReplicaState = kmsg.NewFetchRequestReplicaState()
			}
			body := request.AppendTo(nil)
			checkFetch(t, version, body)
			checkFetch(t, version, append(body, 1, 2, 3))
			body[rng.IntN(len(body))] = byte(rng.IntN(256))
			checkFetch(t, version, body)
			checkFetch(t, version, body[:rng.IntN(len(body))])
		}
	}
	for _, version := range []int16{-1, 0, 3, 19} {
		if _, err := ParseFetch(version, nil); err == nil {
			t.Errorf("version %d was read", version)
		}
	}
}

func TestFetchDefaults(t *testing.T) {
	request := kmsg.NewPtrFetchRequest()
	request.Version = 4
	partitions := []kmsg.FetchRequestTopicPartition{{Partition: 3}}
	request.Topics = []kmsg.FetchRequestTopic{{Topic: "views", Partitions: partitions}}
	q, err := ParseFetch(4, request.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	if q.Replica != moldau.NoBroker || q.ReplicaEpoch != -1 || q.SessionID != 0 || q.SessionEpoch != -1 {
		t.Errorf("%+v", q)
	}
	for topic := range q.Topics() {
		for p := range topic.Partitions() {
			want := FetchPartition{3, moldau.NoEpoch, 0, moldau.NoEpoch, -1, 0, moldau.DirectoryID{}, 1<<63 - 1}
			if p != want {
				t.Errorf("%+v instead of %+v", p, want)
			}
		}
	}
}

// filled puts the records where the cuts of the response are, as a server does from its files.
func filled(buf []byte, cuts []Cut, records func() []byte) []byte {
	var out []byte
	at := 0
	for _, c := range cuts {
		out = append(out, buf[at:c.At]...)
		out = append(out, records()[:c.Len]...)
		at = c.At
	}
	return append(out, buf[at:]...)
}

// kmsg writes the same bytes for the same answer as FetchResponse once the cuts are filled.
func TestFetchResponseAgreesWithKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	var w FetchResponse
	for version := FetchVersions.Min; version <= FetchVersions.Max; version++ {
		for range 300 {
			want := kmsg.NewPtrFetchResponse()
			fill(rng, reflect.ValueOf(want).Elem(), false)
			want.Version = version
			var records [][]byte
			w.Begin([]byte("before"), version, want.ThrottleMillis, moldau.Code(want.ErrorCode), want.SessionID,
				len(want.Topics))
			for i := range want.Topics {
				topic := &want.Topics[i]
				w.Topic([]byte(topic.Topic), topic.TopicID, len(topic.Partitions))
				for j := range topic.Partitions {
					p := &topic.Partitions[j]
					if p.RecordBatches == nil {
						p.RecordBatches = []byte{}
					}
					if len(p.RecordBatches) > 0 {
						records = append(records, p.RecordBatches)
					}
					w.Partition(fetchResult(rng, version, p), len(p.RecordBatches))
				}
			}
			if version < 16 {
				want.Brokers = nil
			}
			var nodes []NodeEndpoint
			for i := range want.Brokers {
				b := &want.Brokers[i]
				b.Rack = noEmpty(b.Rack)
				nodes = append(nodes, NodeEndpoint{moldau.BrokerID(b.NodeID), b.Host, b.Port, deref(b.Rack)})
			}
			buf := w.End(nodes)
			next := 0
			got := filled(buf, w.Cuts, func() []byte { next++; return records[next-1] })
			if expect := want.AppendTo([]byte("before")); !bytes.Equal(got, expect) {
				t.Fatalf("v%d: %+v\ngot  %x\nkmsg %x", version, want, got, expect)
			}
			if len(w.Cuts) != len(records) || len(got) != len(buf)+w.Omitted {
				t.Fatalf("v%d: %d cuts for %d records, %d bytes and %d omitted are %d", version, len(w.Cuts), len(records),
					len(buf), w.Omitted, len(got))
			}
		}
	}
}

// fetchResult makes the two forms of one result agree: tags only stand where the version has them.
func fetchResult(rng *rand.Rand, version int16, p *kmsg.FetchResponseTopicPartition) FetchResult {
	d, l, snap := p.DivergingEpoch, p.CurrentLeader, p.SnapshotID
	r := FetchResult{
		Index: p.Partition, Code: moldau.Code(p.ErrorCode), HighWatermark: moldau.Offset(p.HighWatermark),
		LastStable: moldau.Offset(p.LastStableOffset), LogStart: moldau.Offset(p.LogStartOffset),
		PreferredReplica: moldau.BrokerID(p.PreferredReadReplica),
		Diverging:        &EpochEndOffset{moldau.LeaderEpoch(d.Epoch), moldau.Offset(d.EndOffset)},
		Leader:           &CurrentLeader{moldau.BrokerID(l.LeaderID), moldau.LeaderEpoch(l.LeaderEpoch)},
		Snapshot:         &EpochEndOffset{moldau.LeaderEpoch(snap.Epoch), moldau.Offset(snap.EndOffset)},
	}
	if p.AbortedTransactions != nil {
		r.Aborted = []AbortedTransaction{}
	}
	for _, a := range p.AbortedTransactions {
		r.Aborted = append(r.Aborted, AbortedTransaction{moldau.ProducerID(a.ProducerID), moldau.Offset(a.FirstOffset)})
	}
	if version < 12 {
		return r // kmsg too leaves all tags out
	}
	if rng.IntN(2) == 0 {
		r.Diverging, p.DivergingEpoch = nil, kmsg.NewFetchResponseTopicPartitionDivergingEpoch()
	}
	if rng.IntN(2) == 0 {
		r.Leader, p.CurrentLeader = nil, kmsg.NewFetchResponseTopicPartitionCurrentLeader()
	}
	if rng.IntN(2) == 0 {
		r.Snapshot, p.SnapshotID = nil, kmsg.NewFetchResponseTopicPartitionSnapshotID()
	}
	return r
}

// fetchBody is a Fetch request for partitions of one topic.
func fetchBody(version int16, partitions int) []byte {
	request := kmsg.NewPtrFetchRequest()
	request.Version, request.MaxWaitMillis, request.MinBytes, request.MaxBytes = version, 500, 1, 50<<20
	topic := kmsg.FetchRequestTopic{Topic: "page-views"}
	for i := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = int32(i), 1<<20
		p.ReplicaDirectoryID = [16]byte{1}
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = []kmsg.FetchRequestTopic{topic}
	request.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "gone", Partitions: []int32{1, 2}}}
	return request.AppendTo(nil)
}

// answerFetch reads a request and appends a response with records for every partition.
func answerFetch(w *FetchResponse, dst []byte, version int16, body []byte) ([]byte, error) {
	q, err := ParseFetch(version, body)
	if err != nil {
		return nil, err
	}
	for topic := range q.Forgotten() {
		for range topic.Partitions() {
		}
	}
	w.Begin(dst, version, 0, moldau.None, 0, q.TopicCount)
	for topic := range q.Topics() {
		w.Topic(topic.Name, topic.ID, topic.PartitionCount)
		for p := range topic.Partitions() {
			w.Partition(FetchResult{Index: p.Index, PreferredReplica: moldau.NoBroker}, int(p.MaxBytes))
		}
	}
	return w.End(nil), nil
}

func TestFetchAllocatesNothing(t *testing.T) {
	var w FetchResponse
	for _, version := range []int16{4, 11, 12, 18} {
		body, dst := fetchBody(version, 3), make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := answerFetch(&w, dst, version, body); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("v%d: %v allocations to read and answer a Fetch request", version, n)
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	var w FetchResponse
	body, dst := fetchBody(18, 1), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := answerFetch(&w, dst, 18, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchOf100Partitions(b *testing.B) {
	var w FetchResponse
	body, dst := fetchBody(18, 100), make([]byte, 0, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := answerFetch(&w, dst, 18, body); err != nil {
			b.Fatal(err)
		}
	}
}
