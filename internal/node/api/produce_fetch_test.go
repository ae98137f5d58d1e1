package api

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// fetchRequest asks for partitions 0.. of a topic, each from the offset given.
func fetchRequest(id moldau.TopicID, session, epoch int32, offsets map[int32]moldau.Offset) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.MaxWaitMillis, r.MinBytes, r.MaxBytes, r.SessionID, r.SessionEpoch = 0, 1, 1<<20, session, epoch
	if len(offsets) > 0 {
		t := kmsg.NewFetchRequestTopic()
		t.TopicID = id
		for i := range int32(100) {
			if o, ok := offsets[i]; ok {
				p := kmsg.NewFetchRequestTopicPartition()
				p.Partition, p.FetchOffset, p.PartitionMaxBytes = i, int64(o), 1<<20
				t.Partitions = append(t.Partitions, p)
			}
		}
		r.Topics = append(r.Topics, t)
	}
	return r
}

// told lists the partitions of a response with how many bytes of records each has.
func told(resp *kmsg.FetchResponse) map[int32]string {
	m := make(map[int32]string)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			m[p.Partition] = fmt.Sprintf("%s %d records", moldau.Code(p.ErrorCode), countRecords(p.RecordBatches))
		}
	}
	return m
}

func countRecords(raw []byte) int {
	n := 0
	for len(raw) > 0 {
		b, rest, err := record.Split(raw)
		if err != nil {
			return -1
		}
		n += int(b.Count())
		raw = rest
	}
	return n
}

func TestProduceThenFetch(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 1)
	if base := h.produce("t", 0, "a", "b"); base != 0 {
		t.Fatalf("base offset %d", base)
	}
	if base := h.produce("t", 0, "c"); base != 2 {
		t.Fatalf("base offset %d", base)
	}
	resp := call[*kmsg.FetchResponse](h, fetchRequest(id, 0, -1, map[int32]moldau.Offset{0: 1}), 13)
	p := resp.Topics[0].Partitions[0]
	if got := countRecords(p.RecordBatches); got != 3 { // whole batches, from the one that holds the offset (L-10)
		t.Errorf("%d records", got)
	}
	if p.HighWatermark != 3 || p.LastStableOffset != 3 || p.LogStartOffset != 0 {
		t.Errorf("offsets %d %d %d", p.HighWatermark, p.LastStableOffset, p.LogStartOffset)
	}
}

// W-40, W-41: an incremental response names only partitions with news.
func TestFetchSession(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 3)
	h.produce("t", 0, "a")
	full := call[*kmsg.FetchResponse](h, fetchRequest(id, 0, 0, map[int32]moldau.Offset{0: 0, 1: 0, 2: 0}), 13)
	if full.SessionID == 0 || len(full.Topics[0].Partitions) != 3 {
		t.Fatalf("session %d, %v", full.SessionID, told(full))
	}
	next := int32(1)
	step := func(offsets map[int32]moldau.Offset) map[int32]string {
		t.Helper()
		resp := call[*kmsg.FetchResponse](h, fetchRequest(id, full.SessionID, next, offsets), 13)
		if resp.ErrorCode != 0 {
			t.Fatalf("epoch %d: %s", next, moldau.Code(resp.ErrorCode))
		}
		next++
		return told(resp)
	}
	// The client has not moved on: the same records come again.
	if got := step(nil); got[0] != "NONE 1 records" || len(got) != 1 {
		t.Errorf("unmoved: %v", got)
	}
	if got := step(map[int32]moldau.Offset{0: 1}); len(got) != 0 {
		t.Errorf("nothing is new: %v", got)
	}
	h.produce("t", 2, "x", "y")
	if got := step(nil); got[2] != "NONE 2 records" || len(got) != 1 {
		t.Errorf("partition 2: %v", got)
	}
	if got := step(map[int32]moldau.Offset{2: 2}); len(got) != 0 {
		t.Errorf("nothing is new: %v", got)
	}
	bad := call[*kmsg.FetchResponse](h, fetchRequest(id, full.SessionID, next+5, nil), 13)
	if moldau.Code(bad.ErrorCode) != moldau.InvalidFetchSessionEpoch || bad.SessionID != 0 || len(bad.Topics) != 0 {
		t.Errorf("wrong epoch: %s session %d", moldau.Code(bad.ErrorCode), bad.SessionID)
	}
	gone := call[*kmsg.FetchResponse](h, fetchRequest(id, full.SessionID+1, 1, nil), 13)
	if moldau.Code(gone.ErrorCode) != moldau.FetchSessionIDNotFound {
		t.Errorf("unknown session: %s", moldau.Code(gone.ErrorCode))
	}
	byName := fetchRequest(id, full.SessionID, next, nil)
	if resp := call[*kmsg.FetchResponse](h, byName, 12); moldau.Code(resp.ErrorCode) != moldau.FetchSessionTopicIDError {
		t.Errorf("by name in a session by id: %s", moldau.Code(resp.ErrorCode)) // W-43
	}
}

// What a response had no room for comes with the next ones, though nothing happens to those partitions any more.
func TestFetchSessionKeepsWhatDidNotFit(t *testing.T) {
	h := newHarness(t)
	const partitions = 5
	id := h.createTopic("t", partitions)
	offsets := make(map[int32]moldau.Offset)
	for i := range int32(partitions) {
		h.produce("t", i, "some value", "another value")
		offsets[i] = 0
	}
	size := int32(len(batchOf(t, "some value", "another value")))
	session, epoch, got := int32(0), int32(0), make(map[int32]int)
	for range 4 * partitions {
		req := fetchRequest(id, session, epoch, offsets)
		req.MaxBytes = size
		resp := call[*kmsg.FetchResponse](h, req, 13)
		session, epoch = resp.SessionID, epoch+1
		offsets = make(map[int32]moldau.Offset) // the next request names only what has moved
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if n := countRecords(p.RecordBatches); n > 0 {
					got[p.Partition] += n
					offsets[p.Partition] = moldau.Offset(p.HighWatermark)
				}
			}
		}
	}
	for i := range int32(partitions) {
		if got[i] != 2 {
			t.Errorf("partition %d: %d of 2 records", i, got[i])
		}
	}
}

// W-44: a session that loses its last partition is closed.
func TestFetchSessionForgets(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 2)
	full := call[*kmsg.FetchResponse](h, fetchRequest(id, 0, 0, map[int32]moldau.Offset{0: 0, 1: 0}), 13)
	forget := func(epoch int32, partitions ...int32) *kmsg.FetchResponse {
		r := fetchRequest(id, full.SessionID, epoch, nil)
		r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: id, Partitions: partitions}, {Partitions: []int32{7}}}
		return call[*kmsg.FetchResponse](h, r, 13)
	}
	if resp := forget(1, 0); resp.SessionID != full.SessionID || resp.ErrorCode != 0 {
		t.Fatalf("session %d, %s", resp.SessionID, moldau.Code(resp.ErrorCode))
	}
	h.produce("t", 0, "unseen")
	if resp := forget(2, 1); resp.SessionID != 0 || len(resp.Topics) != 0 {
		t.Errorf("session %d, %v", resp.SessionID, told(resp))
	}
	if count, _, _ := h.FetchSessions(); count != 0 {
		t.Errorf("%d sessions are left", count)
	}
	if p := h.Partitions.Get(id, 0); p == nil {
		t.Error("no partition")
	}
}

// W-43, X-31: what a session says of a topic that it knew and that is gone, or has come again with another id.
func TestFetchSessionVanishedTopic(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 1)
	full := call[*kmsg.FetchResponse](h, fetchRequest(id, 0, 0, map[int32]moldau.Offset{0: 0}), 13)
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("t")}}
	call[*kmsg.DeleteTopicsResponse](h, del, 6)
	for epoch := range int32(2) {
		resp := call[*kmsg.FetchResponse](h, fetchRequest(id, full.SessionID, epoch+1, nil), 13)
		if got := told(resp); got[0] != "UNKNOWN_TOPIC_OR_PARTITION 0 records" {
			t.Errorf("deleted topic: %v", got)
		}
	}
	h.createTopic("t", 1)
	if got := told(call[*kmsg.FetchResponse](h, fetchRequest(id, full.SessionID, 3, nil), 13)); got[0] != "INCONSISTENT_TOPIC_ID 0 records" {
		t.Errorf("topic made anew: %v", got)
	}
	if got := told(call[*kmsg.FetchResponse](h, fetchRequest(id, 0, 0, map[int32]moldau.Offset{0: 0}), 13)); got[0] != "UNKNOWN_TOPIC_ID 0 records" {
		t.Errorf("an id that the session never knew: %v", got)
	}
}

// W-45: a long poll ends with the bytes that it waits for, not before.
func TestFetchWaitsForBytes(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 2)
	for _, session := range []bool{false, true} {
		t.Run(fmt.Sprint("session ", session), func(t *testing.T) {
			end0, end1 := h.end(id, 0), h.end(id, 1)
			req := fetchRequest(id, 0, -1, map[int32]moldau.Offset{0: end0, 1: end1})
			if session {
				req.SessionEpoch = 0
			}
			one := batchOf(t, "0123456789")
			req.MaxWaitMillis, req.MinBytes = 10_000, int32(2*len(one))
			req.SetVersion(13)
			pending := h.start(req)
			done := make(chan *kmsg.FetchResponse, 1)
			go func() { done <- h.finish(pending, req).(*kmsg.FetchResponse) }()
			h.produce("t", 0, "0123456789")
			select {
			case resp := <-done:
				t.Fatalf("answered with half of the bytes: %v", told(resp))
			case <-time.After(30 * time.Millisecond):
			}
			h.produce("t", 1, "0123456789")
			select {
			case resp := <-done:
				if got := told(resp); got[0] != "NONE 1 records" || got[1] != "NONE 1 records" {
					t.Errorf("%v", got)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the bytes are there and nobody woke")
			}
		})
	}
}

func (h *harness) end(id moldau.TopicID, index int32) moldau.Offset {
	return h.Partitions.Get(id, index).HighWatermark()
}

// A long poll that nothing ends is answered in time, empty.
func TestFetchTimesOut(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 1)
	req := fetchRequest(id, 0, -1, map[int32]moldau.Offset{0: 0})
	req.MaxWaitMillis = 30
	start := time.Now()
	resp := call[*kmsg.FetchResponse](h, req, 13)
	if took := time.Since(start); took < 25*time.Millisecond {
		t.Errorf("answered after %s", took)
	}
	if got := told(resp); got[0] != "NONE 0 records" {
		t.Errorf("%v", got)
	}
}

// A connection that ends while its long poll waits leaves no watch behind.
func TestFetchAbandoned(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 1)
	req := fetchRequest(id, 0, 0, map[int32]moldau.Offset{0: 0})
	req.MaxWaitMillis = 60_000
	req.SetVersion(13)
	pending := h.start(req)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := pending.Await(ctx.Done()); ended <- err }()
	cancel()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the poll did not notice that its connection ended")
	}
}

// Until a log is open, data requests wait up to their own time-out and then get a retriable code.
func TestRequestsWaitForRecovery(t *testing.T) {
	h := newHarness(t)
	h.holdOpening = true
	id := h.createTopic("t", 1)
	early := produceRequest("t", 0, -1, batchOf(t, "a"))
	early.TimeoutMillis = 20
	if p := call[*kmsg.ProduceResponse](h, early, 9).Topics[0].Partitions[0]; moldau.Code(p.ErrorCode) != moldau.NotLeaderOrFollower {
		t.Errorf("produce during recovery: %s", moldau.Code(p.ErrorCode))
	}
	poll := fetchRequest(id, 0, -1, map[int32]moldau.Offset{0: 0})
	poll.MaxWaitMillis = 20
	if got := told(call[*kmsg.FetchResponse](h, poll, 13)); got[0] != "NOT_LEADER_OR_FOLLOWER 0 records" {
		t.Errorf("fetch during recovery: %v", got)
	}
	produced := make(chan int16, 1)
	go func() {
		p := call[*kmsg.ProduceResponse](h, produceRequest("t", 0, -1, batchOf(t, "b")), 9).Topics[0].Partitions[0]
		produced <- p.ErrorCode
	}()
	fetched := make(chan map[int32]string, 1)
	wait := fetchRequest(id, 0, -1, map[int32]moldau.Offset{0: 0})
	wait.MaxWaitMillis = 5000
	wait.SetVersion(13)
	pending := h.start(wait)
	go func() { fetched <- told(h.finish(pending, wait).(*kmsg.FetchResponse)) }()
	for _, open := range h.held {
		open()
	}
	if code := <-produced; code != 0 {
		t.Errorf("produce after recovery: %s", moldau.Code(code))
	}
	if got := <-fetched; got[0] != "NONE 1 records" {
		t.Errorf("fetch after recovery: %v", got)
	}
}

// In durable mode (flush.messages=1) acks=all waits for the sync, and nobody reads before it.
func TestDurableProduceWaitsForFlush(t *testing.T) {
	h := newHarness(t)
	h.durable()
	id := h.createTopic("t", 1)
	req := produceRequest("t", 0, -1, batchOf(t, "a"))
	req.SetVersion(9)
	pending := h.start(req)
	if hw := h.end(id, 0); hw != 0 {
		t.Fatalf("high watermark %d before any sync", hw)
	}
	stop := make(chan struct{})
	go h.flusher.Run(stop, func() {})
	defer close(stop)
	resp := h.finish(pending, req).(*kmsg.ProduceResponse)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("%s at %d", moldau.Code(p.ErrorCode), p.BaseOffset)
	}
	if hw := h.end(id, 0); hw != 1 {
		t.Errorf("high watermark %d after the sync", hw)
	}
}

// after a restart no end is told that is below one that was told before it.
func TestEndIsUnknownUntilSynced(t *testing.T) {
	h := newHarness(t)
	h.durable()
	h.holdOpening = true
	id := h.createTopic("t", 1)
	p := h.Partitions.Get(id, 0)
	log, err := commitlog.Open(commitlog.Options{
		FS: h.Env.FS, Now: h.Env.Clock.Now, Dir: h.dir + "/recovered", Partition: p.Name, TopicID: id, Config: p.Settings().Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(batchOf(t, "a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Opened(log, 0); err != nil {
		t.Fatal(err)
	}
	ask := func(version int16, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Timestamp, part.CurrentLeaderEpoch = timestamp, -1
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
		req := kmsg.NewPtrListOffsetsRequest()
		req.Topics = append(req.Topics, topic)
		return call[*kmsg.ListOffsetsResponse](h, req, version).Topics[0].Partitions[0]
	}
	for _, timestamp := range []int64{latestTimestamp, maxTimestamp, 1 << 60} {
		if got := ask(7, timestamp); moldau.Code(got.ErrorCode) != moldau.OffsetNotAvailable || got.Offset != -1 {
			t.Errorf("timestamp %d before the sync: %s, %d", timestamp, moldau.Code(got.ErrorCode), got.Offset)
		}
	}
	if got := ask(4, latestTimestamp); moldau.Code(got.ErrorCode) != moldau.LeaderNotAvailable {
		t.Errorf("version 4 before the sync: %s", moldau.Code(got.ErrorCode))
	}
	if got := ask(7, earliestTimestamp); got.ErrorCode != 0 || got.Offset != 0 {
		t.Errorf("the start before the sync: %s, %d", moldau.Code(got.ErrorCode), got.Offset)
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := ask(7, latestTimestamp); got.ErrorCode != 0 || got.Offset != 1 {
		t.Errorf("after the sync: %s, %d", moldau.Code(got.ErrorCode), got.Offset)
	}
}

// Without a flush the answer is a time-out: the outcome is unknown.
func TestDurableProduceTimesOut(t *testing.T) {
	h := newHarness(t)
	h.durable()
	h.createTopic("t", 1)
	req := produceRequest("t", 0, -1, batchOf(t, "a"))
	req.TimeoutMillis = 20
	p := call[*kmsg.ProduceResponse](h, req, 9).Topics[0].Partitions[0]
	if moldau.Code(p.ErrorCode) != moldau.RequestTimedOut {
		t.Errorf("%s", moldau.Code(p.ErrorCode))
	}
}

// W-7: acks=0 has no response, and an error closes the connection.
func TestProduceWithoutAcks(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 1)
	req := produceRequest("t", 0, 0, batchOf(t, "a"))
	req.SetVersion(9)
	if body, err := h.start(req).Await(nil); body != nil || err != nil {
		t.Errorf("a response %x, %v", body, err)
	}
	bad := produceRequest("absent", 0, 0, batchOf(t, "a"))
	bad.SetVersion(9)
	if _, err := h.start(bad).Await(nil); err == nil {
		t.Error("the connection goes on after an error nobody can be told")
	}
}

func TestProduceRefusals(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 1)
	h.createTopic(moldau.OffsetsTopic, 1)
	good := batchOf(t, "a")
	corrupt := slices.Clone(good)
	corrupt[len(corrupt)-1] ^= 1
	txn := record.NewBuilder(0)
	txn.ProducerID, txn.ProducerEpoch, txn.BaseSequence, txn.Transactional = 5, 0, 0, true
	txn.Add(record.Record{Timestamp: 1, Value: []byte("x")})
	transactional, err := txn.Build(new(record.Codecs))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		req   *kmsg.ProduceRequest
		wants moldau.Code
	}{
		{"absent topic", produceRequest("absent", 0, -1, good), moldau.UnknownTopicOrPartition},
		{"absent partition", produceRequest("t", 9, -1, good), moldau.UnknownTopicOrPartition},
		{"internal topic (L-11)", produceRequest(moldau.OffsetsTopic, 0, -1, good), moldau.InvalidTopicException},
		{"acks 2", produceRequest("t", 0, 2, good), moldau.InvalidRequiredAcks},
		{"corrupt batch (L-2)", produceRequest("t", 0, -1, corrupt), moldau.CorruptMessage},
		{"no batch", produceRequest("t", 0, -1, nil), moldau.InvalidRecord},
		{"two batches", produceRequest("t", 0, -1, append(slices.Clone(good), good...)), moldau.InvalidRecord},
		{"transactional without an id (L-23)", produceRequest("t", 0, -1, transactional), moldau.TransactionalIDAuthorizationFailed},
	} {
		p := call[*kmsg.ProduceResponse](h, c.req, 9).Topics[0].Partitions[0]
		if got := moldau.Code(p.ErrorCode); got != c.wants || p.BaseOffset != -1 {
			t.Errorf("%s: %s at %d, want %s", c.name, got, p.BaseOffset, c.wants)
		}
	}
}

// X-21, L-20: a retried batch is answered with the offsets that it has already.
func TestProduceIdempotent(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 1)
	send := func(sequence moldau.Sequence) kmsg.ProduceResponseTopicPartition {
		b := record.NewBuilder(0)
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = 7, 0, sequence
		b.Add(record.Record{Timestamp: moldau.Timestamp(time.Now().UnixMilli()), Value: []byte("v")})
		batch, err := b.Build(new(record.Codecs))
		if err != nil {
			t.Fatal(err)
		}
		return call[*kmsg.ProduceResponse](h, produceRequest("t", 0, -1, batch), 9).Topics[0].Partitions[0]
	}
	for i := range 3 {
		if p := send(moldau.Sequence(i)); p.ErrorCode != 0 || p.BaseOffset != int64(i) {
			t.Fatalf("%d: %s at %d", i, moldau.Code(p.ErrorCode), p.BaseOffset)
		}
	}
	if p := send(1); p.ErrorCode != 0 || p.BaseOffset != 1 {
		t.Errorf("retry: %s at %d", moldau.Code(p.ErrorCode), p.BaseOffset)
	}
	if p := send(9); moldau.Code(p.ErrorCode) != moldau.OutOfOrderSequenceNumber {
		t.Errorf("gap: %s", moldau.Code(p.ErrorCode))
	}
	if end := h.end(id, 0); end != 3 {
		t.Errorf("end %d", end)
	}
}

func TestProduceAllocations(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 1)
	h.auth.deny = nil
	req := produceRequest("t", 0, -1, batchOf(t, "some value"))
	req.SetVersion(9)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := h.start(req).Await(nil); err != nil {
			t.Fatal(err)
		}
	}); n > 25 { // most are the harness's own: encoding the request, the Call, the recorder
		t.Errorf("%v allocations for one Produce", n)
	}
}
