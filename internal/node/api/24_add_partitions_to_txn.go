package api

// AddPartitionsToTxn (key 24), versions 0–5
//
// Behaviour: partitions join the transaction of a producer, which begins with the first (T-4). All of them or none: where one is
// unknown or not allowed, the others are OPERATION_NOT_ATTEMPTED.
// Version notes: v2 PRODUCER_FENCED, before that INVALID_PRODUCER_EPOCH; v4 several transactions, and whether partitions have
// joined, for brokers (KIP-890): TRANSACTION_ABORTABLE where not.
// Differs from Apache: while the markers of the transaction before are being written the answer waits up to 5 s for them; Apache
// Kafka tells CONCURRENT_TRANSACTIONS at once, and clients ask again after a pause (T-9).

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/server"
)

func addPartitionsToTxn(b *Broker, c *server.Call, req *kmsg.AddPartitionsToTxnRequest) server.Pending {
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	version := int16(0)
	if c.Version >= 4 {
		if !b.allowedCluster(c, access.ClusterAction) {
			resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
			return answer(resp, c.Version)
		}
		version = bumping
	} else {
		one := kmsg.AddPartitionsToTxnRequestTransaction{TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch}
		for _, t := range req.Topics {
			one.Topics = append(one.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: t.Topic, Partitions: t.Partitions})
		}
		req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{one}
	}
	im := b.Metadata.Image()
	all := make([]*joining, len(req.Transactions))
	return inquire(len(all), func(i int, done func()) func() {
		all[i] = b.newJoining(c, im, &req.Transactions[i], version)
		return all[i].ask(b, done)
	}).respond(c, func() kmsg.Response {
		for _, j := range all {
			j.fill(resp, req.Version)
		}
		return resp
	})
}

// joining is partitions that are to join one transaction.
type joining struct {
	req   *kmsg.AddPartitionsToTxnRequestTransaction
	add   txn.Add
	codes map[moldau.TopicPartition]moldau.Code
	code  moldau.Code // of those that have none of their own
}

func (b *Broker) newJoining(c *server.Call, im *metadata.Image, req *kmsg.AddPartitionsToTxnRequestTransaction, version int16) *joining {
	j := &joining{req: req, codes: map[moldau.TopicPartition]moldau.Code{}, add: txn.Add{
		ID: req.TransactionalID, Producer: producerOf(req.ProducerID, req.ProducerEpoch), VerifyOnly: req.VerifyOnly, Version: version,
	}}
	if c.Version < 4 {
		j.code = b.checkTransactionalID(c, req.TransactionalID)
	} else if req.TransactionalID == "" {
		j.code = moldau.InvalidRequest
	}
	if j.code != moldau.None {
		return j
	}
	for _, t := range req.Topics {
		topic := im.Topic(t.Topic)
		allowed := c.Version >= 4 || !moldau.IsInternalTopic(t.Topic) && b.allowedTopic(c, access.Write, t.Topic)
		for _, index := range t.Partitions {
			at := moldau.TopicPartition{Topic: t.Topic, Partition: index}
			switch {
			case !allowed:
				j.codes[at] = moldau.TopicAuthorizationFailed
			case topic == nil || index < 0 || int(index) >= len(topic.Partitions):
				j.codes[at] = moldau.UnknownTopicOrPartition
			default:
				j.add.Partitions = append(j.add.Partitions, at)
			}
		}
	}
	if len(j.codes) > 0 {
		j.code = moldau.OperationNotAttempted
	}
	return j
}

func (j *joining) ask(b *Broker, done func()) (cancel func()) {
	if j.code != moldau.None || len(j.add.Partitions) == 0 {
		done()
		return nil
	}
	return askTransaction(b, j.add.ID, func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
		return s.AddPartitions(now, to, &j.add)
	}, func(codes []moldau.Code, code moldau.Code) {
		j.code = code
		for i, c := range codes {
			j.codes[j.add.Partitions[i]] = c
		}
		done()
	})
}

// fill writes the answers in the shape of the version.
func (j *joining) fill(resp *kmsg.AddPartitionsToTxnResponse, version int16) {
	out := kmsg.AddPartitionsToTxnResponseTransaction{TransactionalID: j.req.TransactionalID}
	for _, t := range j.req.Topics {
		topic := kmsg.AddPartitionsToTxnResponseTransactionTopic{Topic: t.Topic}
		for _, index := range t.Partitions {
			code, ok := j.codes[moldau.TopicPartition{Topic: t.Topic, Partition: index}]
			if !ok {
				code = j.code
			}
			code = fencedCode(code, version, 2)
			topic.Partitions = append(topic.Partitions, kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{Partition: index, ErrorCode: int16(code)})
		}
		out.Topics = append(out.Topics, topic)
	}
	if version >= 4 {
		resp.Transactions = append(resp.Transactions, out)
		return
	}
	for _, t := range out.Topics {
		topic := kmsg.AddPartitionsToTxnResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
		}
		resp.Topics = append(resp.Topics, topic)
	}
}
