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
func (q *ProduceRequest) toKmsg(version int16) *kmsg.ProduceRequest {
	out := kmsg.NewPtrProduceRequest()
	out.Version, out.Acks, out.TimeoutMillis = version, q.Acks, q.TimeoutMs
	out.TransactionID = stringPtr(q.TransactionalID)
	for topic := range q.Topics() {
		t := kmsg.ProduceRequestTopic{Topic: string(topic.Name), TopicID: topic.ID}
		for p := range topic.Partitions() {
			t.Partitions = append(t.Partitions, kmsg.ProduceRequestTopicPartition{Partition: p.Index, Records: p.Records})
		}
		out.Topics = append(out.Topics, t)
	}
	return out
}

func stringPtr(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// checkProduce compares what ParseProduce and kmsg make of the same bytes.
func checkProduce(t *testing.T, version int16, body []byte) {
	t.Helper()
	view, err := ParseProduce(version, body)
	if walked := walkOf(Produce, version, body, 1<<40).ok(); walked != (err == nil) {
		t.Fatalf("v%d %x: the walk says %v, ParseProduce %v", version, body, walked, err)
	}
	if err != nil {
		return
	}
	want := kmsg.NewPtrProduceRequest()
	want.Version = version
	if err := want.ReadFrom(body); err != nil {
		t.Fatalf("v%d %x: kmsg says %v", version, body, err)
	}
	got := view.toKmsg(version)
	if g, w := got.AppendTo(nil), withoutTags(want).AppendTo(nil); !bytes.Equal(g, w) {
		t.Fatalf("v%d: got %+v, kmsg %+v", version, got, want)
	}
	partitions := 0
	for topic := range view.Topics() {
		partitions += topic.PartitionCount
	}
	if view.TopicCount != len(want.Topics) || view.PartitionCount != partitions {
		t.Fatalf("v%d: %d topics with %d partitions are %d with %d", version, len(want.Topics), partitions,
			view.TopicCount, view.PartitionCount)
	}
}

// withoutTags removes all unknown tags from a message of kmsg.
func withoutTags[T any](message T) T {
	var clear func(reflect.Value)
	clear = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				clear(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				clear(v.Index(i))
			}
		case reflect.Struct:
			if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
				*tags = kmsg.Tags{}
				return
			}
			for i := range v.NumField() {
				clear(v.Field(i))
			}
		}
	}
	clear(reflect.ValueOf(message))
	return message
}

func TestProduceAgreesWithKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for version := ProduceVersions.Min; version <= ProduceVersions.Max; version++ {
		for range 500 {
			body := randomRequest(rng, Produce, version).AppendTo(nil)
			checkProduce(t, version, body)
			checkProduce(t, version, append(body, 1, 2, 3))
			body[rng.IntN(len(body))] = byte(rng.IntN(256))
			checkProduce(t, version, body)
			checkProduce(t, version, body[:rng.IntN(len(body))])
		}
	}
	for _, version := range []int16{-1, 0, 2, 14} {
		if _, err := ParseProduce(version, nil); err == nil {
			t.Errorf("version %d was read", version)
		}
	}
}

// Nobody who appends to the records of one partition may write into the next.
func TestProduceRecordsHaveNoRoomBehindThem(t *testing.T) {
	view, err := ParseProduce(9, produceBody(9, 2, 10))
	if err != nil {
		t.Fatal(err)
	}
	for topic := range view.Topics() {
		for p := range topic.Partitions() {
			if len(p.Records) != 10 || cap(p.Records) != 10 {
				t.Errorf("records of length %d and capacity %d", len(p.Records), cap(p.Records))
			}
		}
	}
}

// produceBody is a Produce request for partitions of one topic with size bytes of records each.
func produceBody(version int16, partitions, size int) []byte {
	request := kmsg.NewPtrProduceRequest()
	request.Version, request.Acks, request.TimeoutMillis = version, -1, 30000
	topic := kmsg.ProduceRequestTopic{Topic: "page-views"}
	for i := range partitions {
		topic.Partitions = append(topic.Partitions, kmsg.ProduceRequestTopicPartition{
			Partition: int32(i), Records: bytes.Repeat([]byte{'r'}, size),
		})
	}
	request.Topics = []kmsg.ProduceRequestTopic{topic}
	return request.AppendTo(nil)
}

// answerProduce reads a request and appends a response that accepts all of it.
func answerProduce(dst []byte, version int16, body []byte) ([]byte, error) {
	q, err := ParseProduce(version, body)
	if err != nil {
		return nil, err
	}
	w := NewProduceResponse(dst, version, q.TopicCount)
	for topic := range q.Topics() {
		w.Topic(topic.Name, topic.ID, topic.PartitionCount)
		for p := range topic.Partitions() {
			w.Partition(ProduceResult{
				Index: p.Index, BaseOffset: moldau.Offset(len(p.Records)), LogAppendTime: moldau.NoTimestamp,
			})
		}
	}
	return w.End(0, nil), nil
}

func TestProduceAllocatesNothing(t *testing.T) {
	for _, version := range []int16{3, 8, 12, 13} {
		body, dst := produceBody(version, 3, 100), make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := answerProduce(dst, version, body); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("v%d: %v allocations to read and answer a Produce request", version, n)
		}
	}
}

// kmsg and ProduceResponse write the same bytes for the same answer.
func TestProduceResponseAgreesWithKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for version := ProduceVersions.Min; version <= ProduceVersions.Max; version++ {
		for range 300 {
			want := kmsg.NewPtrProduceResponse()
			fill(rng, reflect.ValueOf(want).Elem(), false)
			want.Version = version
			w := NewProduceResponse([]byte("before"), version, len(want.Topics))
			for i := range want.Topics {
				topic := &want.Topics[i]
				w.Topic([]byte(topic.Topic), topic.TopicID, len(topic.Partitions))
				for j := range topic.Partitions {
					w.Partition(produceResult(rng, version, &topic.Partitions[j]))
				}
			}
			if version < 10 {
				want.Brokers = nil
			}
			var nodes []NodeEndpoint
			for i := range want.Brokers {
				b := &want.Brokers[i]
				b.Rack = noEmpty(b.Rack)
				nodes = append(nodes, NodeEndpoint{moldau.BrokerID(b.NodeID), b.Host, b.Port, deref(b.Rack)})
			}
			got := w.End(want.ThrottleMillis, nodes)
			if expect := want.AppendTo([]byte("before")); !bytes.Equal(got, expect) {
				t.Fatalf("v%d: %+v\ngot  %x\nkmsg %x", version, want, got, expect)
			}
		}
	}
}

// produceResult makes the two forms of one result agree: an empty message is null, and tags only stand where the
// version has them.
func produceResult(rng *rand.Rand, version int16, p *kmsg.ProduceResponseTopicPartition) ProduceResult {
	p.ErrorMessage = noEmpty(p.ErrorMessage)
	r := ProduceResult{
		Index: p.Partition, Code: moldau.Code(p.ErrorCode), BaseOffset: moldau.Offset(p.BaseOffset),
		LogAppendTime: moldau.Timestamp(p.LogAppendTime), LogStart: moldau.Offset(p.LogStartOffset),
		ErrorMessage: deref(p.ErrorMessage),
	}
	for i := range p.ErrorRecords {
		e := &p.ErrorRecords[i]
		e.ErrorMessage = noEmpty(e.ErrorMessage)
		r.RecordErrors = append(r.RecordErrors, RecordError{e.RelativeOffset, deref(e.ErrorMessage)})
	}
	r.Leader = &CurrentLeader{moldau.BrokerID(p.CurrentLeader.LeaderID), moldau.LeaderEpoch(p.CurrentLeader.LeaderEpoch)}
	if version < 10 || rng.IntN(2) == 0 {
		p.CurrentLeader = kmsg.NewProduceResponseTopicPartitionCurrentLeader()
		if version >= 10 {
			r.Leader = nil
		}
	}
	return r
}

func noEmpty(s *string) *string {
	if s != nil && *s == "" {
		return nil
	}
	return s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func TestProduceResponseKeepsItsCounts(t *testing.T) {
	for name, f := range map[string]func(w *ProduceResponse){
		"a topic is missing":     func(w *ProduceResponse) { w.End(0, nil) },
		"a partition is missing": func(w *ProduceResponse) { w.Topic(nil, moldau.TopicID{}, 1); w.End(0, nil) },
		"a partition too many": func(w *ProduceResponse) {
			w.Topic(nil, moldau.TopicID{}, 0)
			w.Partition(ProduceResult{})
		},
		"a topic too many": func(w *ProduceResponse) {
			w.Topic(nil, moldau.TopicID{}, 0)
			w.Topic(nil, moldau.TopicID{}, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			w := NewProduceResponse(nil, 9, 1)
			f(&w)
		})
	}
}

func BenchmarkProduce(b *testing.B) {
	body, dst := produceBody(12, 1, 64<<10), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := answerProduce(dst, 12, body); err != nil {
			b.Fatal(err)
		}
	}
}

// The same request and answer by kmsg, for comparison.
func BenchmarkProduceByKmsg(b *testing.B) {
	body, dst := produceBody(12, 1, 64<<10), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		var q kmsg.ProduceRequest
		q.Version = 12
		if err := q.ReadFrom(body); err != nil {
			b.Fatal(err)
		}
		r := kmsg.ProduceResponse{Version: 12}
		for _, t := range q.Topics {
			topic := kmsg.ProduceResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				result := kmsg.NewProduceResponseTopicPartition()
				result.Partition, result.BaseOffset = p.Partition, int64(len(p.Records))
				topic.Partitions = append(topic.Partitions, result)
			}
			r.Topics = append(r.Topics, topic)
		}
		_ = r.AppendTo(dst)
	}
}
