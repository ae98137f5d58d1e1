package api

// AddOffsetsToTxn (key 25), versions 0–4
//
// Behaviour: the offsets of a group join the transaction: the partition of __consumer_offsets that has them does (T-4).
// Version notes: v2 PRODUCER_FENCED, before that INVALID_PRODUCER_EPOCH; v4 TRANSACTION_ABORTABLE.
// Differs from Apache: waits for the markers of the transaction before, as AddPartitionsToTxn does.

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/server"
)

func addOffsetsToTxn(b *Broker, c *server.Call, req *kmsg.AddOffsetsToTxnRequest) server.Pending {
	resp := kmsg.NewPtrAddOffsetsToTxnResponse()
	code := b.checkTransactionalID(c, req.TransactionalID)
	if code == moldau.None {
		code = b.groupAccess(c, access.Read, req.Group)
	}
	offsets := b.Metadata.Image().Topic(moldau.OffsetsTopic)
	if code == moldau.None && offsets == nil {
		code = moldau.CoordinatorNotAvailable
	}
	if code != moldau.None {
		resp.ErrorCode = int16(code)
		return answer(resp, c.Version)
	}
	add := &txn.Add{ID: req.TransactionalID, Producer: producerOf(req.ProducerID, req.ProducerEpoch), Partitions: []moldau.TopicPartition{
		{Topic: moldau.OffsetsTopic, Partition: partitionOf(req.Group, len(offsets.Partitions))},
	}}
	return inquire(1, func(_ int, done func()) func() {
		return askTransaction(b, add.ID, func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
			return s.AddPartitions(now, to, add)
		}, func(codes []moldau.Code, code moldau.Code) {
			if code == moldau.None {
				code = codes[0]
			}
			resp.ErrorCode = int16(fencedCode(code, req.Version, 2))
			done()
		})
	}).respond(c, func() kmsg.Response { return resp })
}
