package traps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

// sessionOf is the first Fetch of a session, by topic ids.
func sessionOf(partitions ...kmsg.FetchRequestTopic) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.SessionEpoch, req.Topics = -1, 50<<20, 0, partitions
	return req
}

// from is partition 0 of a topic by id, from an offset.
func from(id [16]byte, offset int64) kmsg.FetchRequestTopic {
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, 1<<20, -1
	return kmsg.FetchRequestTopic{TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{p}}
}

// next is a later Fetch of a session.
func next(session *kmsg.FetchResponse, epoch int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.SessionID, req.SessionEpoch = -1, 50<<20, session.SessionID, epoch
	return req
}

// a forgotten topic with the zero id crashed Kafka up to 3.5: it is not in the session, and that is all.
func TestX30ForgottenTopicWithZeroID(t *testing.T) {
	topic := subject.Topic(t, subject.Address(t), 1)
	c := shared(t)
	id := topicOf(c, topic).TopicID
	first := ask[*kmsg.FetchResponse](c, 13, sessionOf(from(id, 0)))
	if first.ErrorCode != 0 || first.SessionID == 0 {
		t.Fatalf("no session: %+v", first)
	}
	again := next(first, 1)
	again.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Partitions: []int32{0, 5}}}
	second := ask[*kmsg.FetchResponse](c, 13, again)
	if second.ErrorCode != 0 || second.SessionID != first.SessionID {
		t.Errorf("after a forgotten topic with the zero id: error %d, session %d, want %d", second.ErrorCode, second.SessionID, first.SessionID)
	}
	written(c, topic, batch{values: []string{"still there"}})
	third := ask[*kmsg.FetchResponse](c, 13, next(first, 2))
	if third.ErrorCode != 0 || len(third.Topics) != 1 || len(batches(c, third.Topics[0].Partitions[0].RecordBatches)) != 1 {
		t.Errorf("the session goes on with %+v", third)
	}
	lost := next(first, 3)
	lost.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: id, Partitions: []int32{0}}}
	last := ask[*kmsg.FetchResponse](c, 13, lost)
	if last.ErrorCode != 0 || last.SessionID != 0 { // W-44
		t.Errorf("without a partition the session ends: error %d, session %d", last.ErrorCode, last.SessionID)
	}
}

// remake deletes a topic and creates it again, and returns its new id.
func remake(c *client, topic string) [16]byte {
	c.t.Helper()
	drop := kmsg.NewPtrDeleteTopicsRequest()
	drop.TimeoutMillis = 10_000
	drop.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &topic}}
	if code := ask[*kmsg.DeleteTopicsResponse](c, 6, drop).Topics[0].ErrorCode; code != 0 {
		c.t.Fatalf("DeleteTopics: error %d", code)
	}
	return created(c, topic).TopicID
}

func created(c *client, topic string) kmsg.CreateTopicsResponseTopic {
	c.t.Helper()
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 10_000
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}
	made := ask[*kmsg.CreateTopicsResponse](c, 7, create).Topics[0]
	if made.ErrorCode != 0 {
		c.t.Fatalf("CreateTopics: error %d %s", made.ErrorCode, orNothing(made.ErrorMessage))
	}
	within(c.t, answerTimeout, func() string { // Apache Kafka answers before the topic can be used
		if m := topicOf(c, topic); m.TopicID != made.TopicID || fetch(c, topic, 0).ErrorCode != 0 {
			return "the topic is not there"
		}
		return ""
	})
	return made
}

// which error a session gives for a topic that was deleted or created anew decides whether users see it. Nothing
// of the new topic may come under the old id.
func TestX31SessionOverARecreatedTopic(t *testing.T) {
	c, other := shared(t), shared(t)
	name := fresh(t)
	old := created(c, name).TopicID
	written(c, name, batch{values: []string{"old"}})
	session := ask[*kmsg.FetchResponse](c, 13, sessionOf(from(old, 0)))
	if session.SessionID == 0 || len(session.Topics) != 1 {
		t.Fatalf("no session: %+v", session)
	}
	anew := remake(other, name)
	written(other, name, batch{values: []string{"new"}})
	for epoch := range int32(2) { // an error is told again and again
		resp := ask[*kmsg.FetchResponse](c, 13, next(session, 1+epoch))
		if resp.ErrorCode != 0 || len(resp.Topics) != 1 {
			t.Fatalf("fetch %d after the topic was made anew: %+v", epoch, resp)
		}
		p := resp.Topics[0].Partitions[0]
		equal(t, "error for the old id in a session", p.ErrorCode, inconsistentTopicID)
		equal(t, "bytes for the old id", len(p.RecordBatches), 0)
		equal(t, "id in the answer", resp.Topics[0].TopicID, old)
	}
	swap := next(session, 3)
	swap.Topics = []kmsg.FetchRequestTopic{from(anew, 0)}
	swap.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: old, Partitions: []int32{0}}}
	resp := ask[*kmsg.FetchResponse](c, 13, swap)
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || resp.Topics[0].TopicID != anew || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("the session with the new id: %+v", resp)
	}
	unknown := ask[*kmsg.FetchResponse](other, 13, sessionOf(from(old, 0)))
	equal(t, "error for an id that is not there", unknown.Topics[0].Partitions[0].ErrorCode, unknownTopicID)
}

// a deleted topic, in a session that knew it and by name.
func TestX31SessionOverADeletedTopic(t *testing.T) {
	c, other := shared(t), shared(t)
	name := fresh(t)
	id := created(c, name).TopicID
	byID := ask[*kmsg.FetchResponse](c, 13, sessionOf(from(id, 0)))
	named := fetchOf(name, 0)
	named.SessionEpoch = 0
	byName := ask[*kmsg.FetchResponse](other, 12, named)
	drop := kmsg.NewPtrDeleteTopicsRequest()
	drop.TimeoutMillis, drop.TopicNames = 10_000, []string{name}
	equal(t, "error of DeleteTopics", ask[*kmsg.DeleteTopicsResponse](shared(t), 3, drop).Topics[0].ErrorCode, 0)
	for what, resp := range map[string]*kmsg.FetchResponse{
		"by id": ask[*kmsg.FetchResponse](c, 13, next(byID, 1)), "by name": ask[*kmsg.FetchResponse](other, 12, next(byName, 1)),
	} {
		if resp.ErrorCode != 0 || len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].ErrorCode != unknownTopicOrPart {
			t.Errorf("session %s over a deleted topic: %+v", what, resp)
		}
	}
}

// a full answer with -1 for high watermark, last stable offset or start, and no error, loses a client its position.
func TestX32OffsetsAreFilledInFullAnswers(t *testing.T) {
	c := shared(t)
	for _, records := range []int{0, 3} {
		topic := subject.Topic(t, subject.Address(t), 1)
		fetch(c, topic, 0) // once it is open
		for range records {
			written(c, topic, batch{values: []string{"x"}})
		}
		id := topicOf(c, topic).TopicID
		for v := int16(4); v <= 18; v++ {
			for _, epoch := range []int32{-1, 0} {
				for _, isolation := range []int8{0, 1} {
					req := sessionOf(from(id, int64(records)))
					req.Topics[0].Topic, req.SessionEpoch, req.IsolationLevel = topic, epoch, isolation
					resp := ask[*kmsg.FetchResponse](c, v, req)
					if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
						t.Fatalf("v%d: a full answer names not every partition: %+v", v, resp)
					}
					p := resp.Topics[0].Partitions[0]
					end := int64(records)
					if p.ErrorCode != 0 || p.HighWatermark != end || p.LastStableOffset != end || v >= 5 && p.LogStartOffset != 0 {
						t.Errorf("v%d, session epoch %d, isolation %d: %+v, want end %d", v, epoch, isolation, p, end)
					}
				}
			}
		}
	}
}

// a consumer stands still for ever where a fetch below the high watermark returns nothing: the first batch comes
// whatever the limits say (KIP-74), in each partition's turn.
func TestX33NeverEmptyBelowTheHighWatermark(t *testing.T) {
	topic := subject.Topic(t, subject.Address(t), 1)
	c := shared(t)
	for i := range 20 {
		b := batch{values: []string{"a", strings.Repeat("x", 1+i*997), "c"}}
		if i%3 == 0 {
			b.codec, b.compressed = 1, gzipped
		}
		written(c, topic, b)
	}
	for offset := range int64(60) {
		for _, limit := range []int32{0, 1, 100, 1 << 20} {
			req := fetchOf(topic, offset)
			req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = max(limit, 1), limit
			if limit == 100 {
				req.MaxWaitMillis, req.MinBytes = 100, 1<<20 // more than there is
			}
			p := ask[*kmsg.FetchResponse](c, 12, req).Topics[0].Partitions[0]
			got := batches(c, p.RecordBatches)
			if len(got) == 0 {
				t.Fatalf("nothing at offset %d of %d with a limit of %d bytes", offset, p.HighWatermark, limit)
			}
			if first := got[0].FirstOffset; first > offset || first+int64(got[0].LastOffsetDelta) < offset {
				t.Fatalf("at offset %d the first batch is that of %d", offset, first)
			}
			if limit == 100 {
				break
			}
		}
	}
}

// what compaction and aborted transactions leave, here put into the log by hand: a batch without records, and
// offsets that no batch has. Both must be passed, from every offset.
func TestX33EmptyBatchesAndGapsArePassed(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	c := dial(t, b.Address)
	written(c, topic, batch{values: []string{"0", "1", "2"}})
	epoch := epochOf(c, topic)
	b.Kill()
	piece := func(base int64, last int32, values ...string) []byte {
		raw := batch{values: values, leaderEpoch: epoch}.bytes()
		binary.BigEndian.PutUint64(raw, uint64(base))
		binary.BigEndian.PutUint32(raw[23:], uint32(last))
		if len(values) == 0 {
			binary.BigEndian.PutUint64(raw[27:], uint64(1_700_000_000_000))
		}
		seal(raw)
		return raw
	}
	segment := filepath.Join(b.Dir, topic+"-0", fmt.Sprintf("%020d.log", 0))
	f, err := os.OpenFile(segment, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{piece(3, 4), piece(12, 1, "12", "13"), piece(14, 5)} { // 3–7 empty, 8–11 nowhere, 14–19 empty
		if _, err := f.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.Restart(t)
	c = dial(t, b.Address)
	list := offsetAt(c, topic, -1)
	if list.Offset != 20 {
		t.Fatalf("the log ends at %d, want 20", list.Offset)
	}
	for offset := range int64(20) {
		req := fetchOf(topic, offset)
		req.MaxWaitMillis, req.MinBytes = 50, 1
		p := ask[*kmsg.FetchResponse](c, 12, req).Topics[0].Partitions[0]
		got := batches(c, p.RecordBatches)
		if p.ErrorCode != 0 || len(got) == 0 || got[0].FirstOffset+int64(got[0].LastOffsetDelta) < offset {
			t.Errorf("at offset %d: error %d, %d batches", offset, p.ErrorCode, len(got))
		}
		last := got[len(got)-1]
		equal(t, fmt.Sprintf("end of what is read from %d", offset), last.FirstOffset+int64(last.LastOffsetDelta)+1, 20)
	}
	equal(t, "offset of the next record", written(c, topic, batch{values: []string{"20"}}), 20)
}

// load balancers drop idle connections without a word, so the broker ends them itself, with a FIN, and keeps TCP's
// keepalive on.
func TestX36IdleConnectionsEndByFINAndTCPKeepaliveIsOn(t *testing.T) {
	b := subject.Start(t, t.TempDir(), "connections.max.idle.ms=500")
	idle, busy := dial(t, b.Address), dial(t, b.Address)
	ask[*kmsg.MetadataResponse](idle, 9, kmsg.NewPtrMetadataRequest())
	keepalive(t, idle)
	if err := idle.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { // ends at the deadline
		_, err := idle.Read(make([]byte, 1))
		ended <- err
	}()
	for {
		select {
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				t.Errorf("an idle connection ends with %v, want a FIN", err)
			}
			return
		case <-time.After(50 * time.Millisecond):
			ask[*kmsg.ApiVersionsResponse](busy, 3, apiVersionsRequest()) // one that works stays
		}
	}
}

// keepalive fails the test unless the broker's end of the connection has a timer for keepalive.
func keepalive(t *testing.T, c *client) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Logf("keepalive is not checked: %v", err)
		return
	}
	ours, theirs := c.LocalAddr().(*net.TCPAddr).Port, c.RemoteAddr().(*net.TCPAddr).Port
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // sl local remote st tx:rx tr:when …
		if len(f) > 5 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", theirs)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", ours)) {
			if !strings.HasPrefix(f[5], "02:") {
				t.Errorf("no keepalive timer runs on the broker's end of a connection: %s", line)
			}
			return
		}
	}
	t.Errorf("the connection is not in /proc/net/tcp")
}
