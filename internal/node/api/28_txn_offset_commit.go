package api

// TxnOffsetCommit (key 28), versions 0–5
//
// Behaviour: positions of a group that count with the commit of a transaction; until then OffsetFetch can be told to wait for
// them (T-10, T-11).
// Version notes: v3 members of groups, whose generation has to be the current one (KIP-447); v4 TRANSACTION_ABORTABLE; v5 the
// offsets join the transaction without an AddOffsetsToTxn before (KIP-890).
// Differs from Apache: waits for the markers of the transaction before, as AddPartitionsToTxn does.

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
)

func txnOffsetCommit(b *Broker, c *server.Call, req *kmsg.TxnOffsetCommitRequest) server.Pending {
	k := &committingWithin{b: b, req: req, version: c.Version, resp: kmsg.NewPtrTxnOffsetCommitResponse(), by: producerOf(req.ProducerID, req.ProducerEpoch)}
	k.commit = group.Commit{Group: req.Group, Member: "", Generation: -1, Version: c.Version, Retention: -1, Within: true}
	if c.Version >= 3 {
		k.commit.Member, k.commit.Generation, k.commit.Instance = req.MemberID, req.Generation, req.InstanceID
	}
	refusal := b.checkTransactionalID(c, req.TransactionalID)
	if refusal == moldau.None {
		refusal = b.groupAccess(c, access.Read, req.Group)
	}
	if refusal == moldau.None && req.Group == "" {
		refusal = moldau.InvalidGroupID
	}
	im := b.Metadata.Image()
	for _, t := range req.Topics {
		code := refusal
		if code == moldau.None && !b.allowedTopic(c, access.Read, t.Topic) {
			code = moldau.TopicAuthorizationFailed
		}
		k.topic(im.Topic(t.Topic), t, code)
	}
	if len(k.commit.Offsets) == 0 {
		return answer(k.resp, c.Version)
	}
	version := c.Version
	return server.Poll(func(closed <-chan struct{}) {
		k.run(closed)
	}, func(r *server.Reply) {
		k.resp.SetVersion(version)
		encode(r, k.resp)
	}, nil)
}

// committingWithin is a TxnOffsetCommit on its way.
type committingWithin struct {
	b       *Broker
	req     *kmsg.TxnOffsetCommitRequest
	version int16
	resp    *kmsg.TxnOffsetCommitResponse
	by      rsm.Producer
	commit  group.Commit
	places  [][2]int // of each offset: topic and partition in the response
}

// topic takes in the positions of one topic. refusal, if there is one, is the answer to all of them.
func (k *committingWithin) topic(topic *metadata.Topic, t kmsg.TxnOffsetCommitRequestTopic, refusal moldau.Code) {
	out := kmsg.NewTxnOffsetCommitResponseTopic()
	out.Topic = t.Topic
	for _, p := range t.Partitions {
		rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
		rp.Partition, rp.ErrorCode = p.Partition, int16(refusal)
		switch {
		case refusal != moldau.None:
		case topic == nil || p.Partition < 0 || int(p.Partition) >= len(topic.Partitions):
			rp.ErrorCode = int16(moldau.UnknownTopicOrPartition)
		default:
			o := group.CommitOffset{
				At:   moldau.TopicPartition{Topic: topic.Name, Partition: p.Partition},
				Next: moldau.Offset(p.Offset), Epoch: moldau.LeaderEpoch(p.LeaderEpoch),
			}
			if p.Metadata != nil {
				o.Metadata = *p.Metadata
			}
			k.commit.Offsets = append(k.commit.Offsets, o)
			k.places = append(k.places, [2]int{len(k.resp.Topics), len(out.Partitions)})
		}
		out.Partitions = append(out.Partitions, rp)
	}
	k.resp.Topics = append(k.resp.Topics, out)
}

// run asks both coordinators, that of the transaction first.
func (k *committingWithin) run(closed <-chan struct{}) {
	index, code := k.b.coordinatorPartition(moldau.OffsetsTopic, k.commit.Group)
	if code != moldau.None {
		k.tell(nil, code)
		return
	}
	p, code := k.b.lookup(k.b.Metadata.Image().Topic(moldau.OffsetsTopic), index)
	if code != moldau.None {
		k.tell(nil, moldau.NotCoordinator)
		return
	}
	guard, needed := p.EnterCoordinated(k.by.ID, k.by.Epoch)
	if needed {
		code = k.join(moldau.TopicPartition{Topic: moldau.OffsetsTopic, Partition: index}, closed)
	}
	if code != moldau.None {
		k.tell(nil, code)
		return
	}
	k.write(index, guard, closed)
}

// join has the group's offsets join the transaction, or sees that they have.
func (k *committingWithin) join(at moldau.TopicPartition, closed <-chan struct{}) moldau.Code {
	add := &txn.Add{
		ID: k.req.TransactionalID, Producer: k.by, Partitions: []moldau.TopicPartition{at}, VerifyOnly: k.version < 5, Version: bumping,
	}
	codes, code := awaitTransaction[[]moldau.Code](k.b, add.ID, func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
		return s.AddPartitions(now, to, add)
	}, closed, nil)
	if code == moldau.None {
		code = codes[0]
	}
	switch code {
	case moldau.ProducerFenced:
		return moldau.InvalidProducerEpoch
	case moldau.NotCoordinator, moldau.CoordinatorLoadInProgress, moldau.ConcurrentTransactions:
		return moldau.CoordinatorNotAvailable // of the transaction, and the client would look for that of the group
	}
	return code
}

// write has the group take the offsets.
func (k *committingWithin) write(index int32, guard partition.Guard, closed <-chan struct{}) {
	type outcome struct {
		response any
		err      error
	}
	done := make(chan outcome, 1)
	cancel := k.b.Groups.Do(index, coordinator.Command[*group.Groups, group.Record]{
		Within: &k.by, Guard: guard,
		Decide: func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
			return g.CommitOffsets(now, to, &k.commit)
		},
		Done: func(response any, err error) { done <- outcome{response, err} },
	})
	select {
	case o := <-done:
		if o.err != nil {
			k.tell(nil, commitCode(o.err))
			return
		}
		k.tell(o.response.([]moldau.Code), moldau.None)
	case <-closed:
		cancel()
	}
}

// commitCode is the wire's word for why offsets were not taken.
func commitCode(err error) moldau.Code {
	var refusal *coordinator.Refusal
	if !errors.As(err, &refusal) {
		return coordinatorCode(err)
	}
	switch refusal.Code {
	case moldau.MessageTooLarge:
		return moldau.InvalidCommitOffsetSize
	case moldau.NotEnoughReplicas:
		return moldau.CoordinatorNotAvailable
	case moldau.NotLeaderOrFollower, moldau.KafkaStorageError:
		return moldau.NotCoordinator
	}
	return refusal.Code
}

// tell puts the answers into the response.
func (k *committingWithin) tell(codes []moldau.Code, code moldau.Code) {
	for i, at := range k.places {
		each := code
		if code == moldau.None {
			each = codes[i]
		}
		if each == moldau.CoordinatorLoadInProgress && k.version < 1 {
			each = moldau.CoordinatorNotAvailable // the producers of that time know no other
		}
		k.resp.Topics[at[0]].Partitions[at[1]].ErrorCode = int16(abortableCode(each, k.version, 4))
	}
}
