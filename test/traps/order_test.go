package traps

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

// two responses swapped on one connection reset every pipelining client. Slow and fast requests are mixed here.
func TestX10ResponsesComeInRequestOrder(t *testing.T) {
	address := subject.Address(t)
	topic, empty := subject.Topic(t, address, 1), subject.Topic(t, address, 1)
	c := shared(t)
	poll := fetchOf(empty, 0)
	poll.MaxWaitMillis, poll.MinBytes = 300, 1
	list := kmsg.NewPtrListOffsetsRequest()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp = -1
	list.ReplicaID, list.Topics = -1, []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	init := kmsg.NewPtrInitProducerIDRequest()
	init.ProducerID, init.ProducerEpoch, init.TransactionTimeoutMillis = -1, -1, 60_000
	create := kmsg.NewPtrCreateTopicsRequest()
	create.TimeoutMillis = 10_000
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: fresh(t), NumPartitions: 3, ReplicationFactor: 1}}
	meta := kmsg.NewPtrMetadataRequest()
	type sent struct {
		id      int32
		version int16
		req     kmsg.Request
	}
	var pipeline []sent
	send := func(v int16, req kmsg.Request) {
		pipeline = append(pipeline, sent{c.send(v, req), v, req})
	}
	begun := time.Now()
	produces := 0
	for range 3 {
		for range 5 {
			produces++
			send(9, produceOf(topic, batch{values: []string{fmt.Sprint(produces)}}.bytes()))
		}
		send(12, poll) // nothing to read: waits
		send(12, fetchOf(topic, 0))
		send(9, meta)
		send(7, create) // waits for the metadata quorum; the second and third find the topic there
		send(5, list)
		send(4, init)
		send(3, apiVersionsRequest())
	}
	next := int64(0)
	for _, s := range pipeline {
		resp := c.receive(s.id, s.req)
		switch resp := resp.(type) {
		case *kmsg.ProduceResponse:
			p := resp.Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.BaseOffset != next {
				t.Errorf("Produce with id %d: error %d, base offset %d, want %d", s.id, p.ErrorCode, p.BaseOffset, next)
			}
			next++
		case *kmsg.ListOffsetsResponse:
			// Everything before it on this connection has been done, and it may be that later produces overtook no one.
			if at := resp.Topics[0].Partitions[0].Offset; at < next {
				t.Errorf("ListOffsets behind %d produces says %d", next, at)
			}
		}
	}
	if took := time.Since(begun); took < 300*time.Millisecond {
		t.Errorf("all was answered after %v, and a poll of 300 ms was among it", took)
	}
}

// order is one of answers, not of work. A produce behind a long poll of its own partition must not wait for the poll
// to end: it ends the poll. Apache Kafka serves one request after another, and here would need the whole minute.
func TestX10ProduceEndsTheLongPollBeforeIt(t *testing.T) {
	subject.OnlyOurs(t)
	topic := subject.Topic(t, subject.Address(t), 1)
	c := shared(t)
	poll := fetchOf(topic, 0)
	poll.MaxWaitMillis, poll.MinBytes = 60_000, 1
	polled := c.send(12, poll)
	write := produceOf(topic, batch{values: []string{"x"}}.bytes())
	wrote := c.send(9, write)
	p := c.receive(polled, poll).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	equal(t, "batches in the poll", len(batches(c, p.RecordBatches)), 1)
	equal(t, "error of the produce", c.receive(wrote, write).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode, 0)
}

// a response that has to queue behind a slow one is written long after its request has left the memory. It must
// still tell of its own topics, and of the version that was asked.
func TestX10QueuedResponsesAreTheirOwn(t *testing.T) {
	address := subject.Address(t)
	empty := subject.Topic(t, address, 1)
	var topics []string
	for range 7 {
		topics = append(topics, subject.Topic(t, address, 1))
	}
	c := shared(t)
	poll := fetchOf(empty, 0)
	poll.MaxWaitMillis, poll.MinBytes = 200, 1
	polled := c.send(12, poll)
	type sent struct {
		id  int32
		req kmsg.Request
	}
	var pipeline []sent
	for i := range 70 {
		req := produceOf(topics[i%7], batch{values: []string{"x"}}.bytes())
		req.Acks = 1
		pipeline = append(pipeline, sent{c.send(int16(3+i%10), req), req})
		if i%10 == 0 {
			name := fresh(t)
			meta := kmsg.NewPtrMetadataRequest()
			meta.AllowAutoTopicCreation, meta.Topics = true, []kmsg.MetadataRequestTopic{{Topic: &name}}
			pipeline = append(pipeline, sent{c.send(int16(4+i%9), meta), meta})
		}
	}
	c.receive(polled, poll)
	for _, s := range pipeline {
		switch resp := c.receive(s.id, s.req).(type) {
		case *kmsg.ProduceResponse:
			equal(t, "topic in a queued response", resp.Topics[0].Topic, s.req.(*kmsg.ProduceRequest).Topics[0].Topic)
		case *kmsg.MetadataResponse:
			equal(t, "topic in a queued response", *resp.Topics[0].Topic, *s.req.(*kmsg.MetadataRequest).Topics[0].Topic)
		}
	}
}

// restarts runs check before and after a clean stop and a kill, again and again, with whether the last end was a kill.
func restarts(t *testing.T, b *subject.Broker, check func(c *client, killed bool)) {
	t.Helper()
	check(dial(t, b.Address), false)
	for _, kill := range []bool{true, false, true, true, false, false} {
		if kill {
			b.Kill()
		} else {
			b.Stop(t)
		}
		b.Restart(t)
		check(dial(t, b.Address), kill)
	}
}

// a leader epoch that goes back, or is 0 or -1 while the leader is not known yet, makes clients ignore updates. It
// must be there from the moment that the port is open, never go back over stops and kills, and be the one in the log.
func TestX11LeaderEpochNeverGoesBackAndIsNeverInvented(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	last, begun := int32(-1), false
	offset := int64(0)
	restarts(t, b, func(c *client, killed bool) {
		epoch := epochOf(c, topic) // the first request after the port opened
		switch {
		case epoch < 0, epoch < last:
			t.Fatalf("the leader epoch is %d, after it was %d", epoch, last)
		case begun && killed && epoch == last:
			t.Errorf("the leader epoch is still %d after kill -9", epoch)
		}
		last, begun = epoch, true
		equal(t, "offset", written(c, topic, batch{values: []string{"x"}}), offset)
		stored := batches(c, fetch(c, topic, offset).RecordBatches)
		equal(t, "leader epoch in the stored batch", stored[0].PartitionLeaderEpoch, epoch)
		equal(t, "leader epoch after a write", epochOf(c, topic), epoch)
		offset++
	})
}

// two answers that name different leaders for one epoch park a consumer at the wrong broker. All keys that name a
// leader and its epoch must agree, and one epoch has one leader for ever.
func TestX12OneEpochHasOneLeader(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	leaders := make(map[int32]int32) // by epoch
	restarts(t, b, func(c *client, _ bool) {
		say := func(who string, leader, epoch int32) {
			t.Helper()
			if known, ok := leaders[epoch]; ok && known != leader {
				t.Errorf("%s: leader %d in epoch %d, which %d had", who, leader, epoch, known)
			}
			leaders[epoch] = leader
		}
		m := topicOf(c, topic).Partitions[0]
		say("Metadata", m.Leader, m.LeaderEpoch)
		describe := kmsg.NewPtrDescribeTopicPartitionsRequest()
		describe.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: topic}}
		describe.ResponsePartitionLimit = 10
		d := ask[*kmsg.DescribeTopicPartitionsResponse](c, 0, describe).Topics[0].Partitions[0]
		say("DescribeTopicPartitions", d.LeaderID, d.LeaderEpoch)
		equal(t, "epoch in DescribeTopicPartitions", d.LeaderEpoch, m.LeaderEpoch)
		equal(t, "epoch of the end in ListOffsets", offsetAt(c, topic, -1).LeaderEpoch, m.LeaderEpoch)
	})
}

// offsetAt looks up a timestamp, or a special one.
func offsetAt(c *client, topic string, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	c.t.Helper()
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp, part.CurrentLeaderEpoch = timestamp, -1
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	return ask[*kmsg.ListOffsetsResponse](c, 8, req).Topics[0].Partitions[0]
}

// epochEnd asks where a leader epoch ended.
func epochEnd(c *client, topic string, epoch, current int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	c.t.Helper()
	part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	part.LeaderEpoch, part.CurrentLeaderEpoch = epoch, current
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{part}}}
	return ask[*kmsg.OffsetForLeaderEpochResponse](c, 4, req).Topics[0].Partitions[0]
}

// wrong answers of OffsetForLeaderEpoch make consumers report lost data or start at 0: a future epoch is -1/-1, a
// past one is itself with its end, one without records is the one before it, and nothing is below what was acknowledged.
func TestX13OffsetForLeaderEpoch(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	type era struct {
		epoch int32
		end   int64
	}
	var eras []era // with records, rising
	end := int64(0)
	round := 0
	restarts(t, b, func(c *client, _ bool) {
		now := epochOf(c, topic)
		if round++; round != 3 { // one epoch stays without records
			end = written(c, topic, batch{values: []string{"a", "b", "c"}}) + 3
			if n := len(eras); n > 0 && eras[n-1].epoch == now {
				eras = eras[:n-1]
			}
			eras = append(eras, era{now, end})
		}
		current := epochEnd(c, topic, now, now)
		if current.ErrorCode != 0 || current.LeaderEpoch != now || current.EndOffset != end {
			t.Errorf("current epoch %d: %+v, want end %d", now, current, end)
		}
		for _, e := range eras {
			got := epochEnd(c, topic, e.epoch, -1)
			if got.ErrorCode != 0 || got.LeaderEpoch != e.epoch || got.EndOffset != e.end {
				t.Errorf("past epoch %d in epoch %d: epoch %d end %d, want end %d", e.epoch, now, got.LeaderEpoch, got.EndOffset, e.end)
			}
		}
		for asked := eras[0].epoch; asked < now; asked++ { // also those that never wrote
			want := eras[0]
			for _, e := range eras {
				if e.epoch <= asked {
					want = e
				}
			}
			got := epochEnd(c, topic, asked, -1)
			if got.LeaderEpoch != want.epoch || got.EndOffset != want.end {
				t.Errorf("epoch %d in epoch %d: epoch %d end %d, want %+v", asked, now, got.LeaderEpoch, got.EndOffset, want)
			}
		}
		for what, got := range map[string]kmsg.OffsetForLeaderEpochResponseTopicPartition{
			"future epoch": epochEnd(c, topic, now+1, -1), "far future epoch": epochEnd(c, topic, now+1000, now),
			"epoch before all": epochEnd(c, topic, eras[0].epoch-1, -1),
		} {
			if got.ErrorCode != 0 || got.LeaderEpoch != -1 || got.EndOffset != -1 {
				t.Errorf("%s: error %d, epoch %d end %d, want -1/-1", what, got.ErrorCode, got.LeaderEpoch, got.EndOffset)
			}
		}
		equal(t, "error for a current epoch from the future", epochEnd(c, topic, now, now+1).ErrorCode, unknownLeaderEpoch)
		if now > 0 {
			equal(t, "error for a current epoch from the past", epochEnd(c, topic, now, now-1).ErrorCode, fencedLeaderEpoch)
		}
	})
}

// kafka-go gives up where the first Metadata of a topic that is created by asking brings anything but a retriable
// error. Here it may bring the topic; and where creation is not allowed, nothing is created.
func TestX14FirstMetadataOfAnAutoCreatedTopic(t *testing.T) {
	for _, v := range []int16{0, 1, 3, 4, 6, 9, 12, 13} {
		c := shared(t)
		name := fresh(t)
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		if v >= 4 {
			first := ask[*kmsg.MetadataResponse](c, v, req).Topics[0]
			equal(t, fmt.Sprintf("error in v%d without leave to create", v), first.ErrorCode, unknownTopicOrPart)
			req.AllowAutoTopicCreation = true
		}
		within(t, 5*time.Second, func() string {
			m := ask[*kmsg.MetadataResponse](c, v, req).Topics[0]
			switch m.ErrorCode {
			case 0:
				if len(m.Partitions) == 0 {
					t.Fatalf("v%d: the topic has no partitions", v)
				}
				return ""
			case unknownTopicOrPart, leaderNotAvailable:
				return "the topic is not there"
			}
			t.Fatalf("v%d: error %d is not one that clients try again", v, m.ErrorCode)
			return ""
		})
		equal(t, "first offset", written(c, name, batch{values: []string{"at once"}}), 0)
	}
	bad := "no such/name"
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation, req.Topics = true, []kmsg.MetadataRequestTopic{{Topic: &bad}}
	equal(t, "error for a name that cannot be", ask[*kmsg.MetadataResponse](shared(t), 9, req).Topics[0].ErrorCode, invalidTopic)
}

// once CreateTopics is answered, its topic id must be known to every request on every connection.
func TestX15TopicIDIsKnownOnceCreated(t *testing.T) {
	admin, other := shared(t), shared(t)
	for i := range 20 {
		create := kmsg.NewPtrCreateTopicsRequest()
		create.TimeoutMillis = 10_000
		create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: fresh(t), NumPartitions: 2, ReplicationFactor: 1}}
		made := ask[*kmsg.CreateTopicsResponse](admin, 7, create).Topics[0]
		if made.ErrorCode != 0 {
			t.Fatalf("CreateTopics: error %d", made.ErrorCode)
		}
		send := produceOf("", batch{values: []string{"x"}}.bytes())
		send.Topics[0].TopicID = made.TopicID
		send.Topics[0].Partitions[0].Partition = int32(i % 2)
		read := fetchOf("", 0)
		read.Topics[0].TopicID = made.TopicID
		for what, try := range map[string]func() int16{
			"Produce": func() int16 { return ask[*kmsg.ProduceResponse](other, 13, send).Topics[0].Partitions[0].ErrorCode },
			"Fetch":   func() int16 { return ask[*kmsg.FetchResponse](other, 16, read).Topics[0].Partitions[0].ErrorCode },
		} {
			within(t, 5*time.Second, func() string {
				switch code := try(); code {
				case 0:
					return ""
				case notLeader: // known, but its log is being opened, and this fetch does not wait
					return "the partition is not open"
				default:
					t.Fatalf("%s by id: error %d", what, code)
					return ""
				}
			})
		}
		meta := kmsg.NewPtrMetadataRequest()
		meta.Topics = []kmsg.MetadataRequestTopic{{TopicID: made.TopicID}}
		equal(t, "error of Metadata by id", ask[*kmsg.MetadataResponse](other, 12, meta).Topics[0].ErrorCode, 0)
	}
}
