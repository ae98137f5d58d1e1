package api

// EndTxn (key 26), versions 0–5
//
// Behaviour: commits or aborts a transaction. The answer comes once the outcome is on record; markers are written to all
// partitions after that, for as long as it takes (T-5, T-6, T-9).
// Version notes: v2 PRODUCER_FENCED, before that INVALID_PRODUCER_EPOCH; v4 TRANSACTION_ABORTABLE; v5 each end raises the epoch,
// and the answer tells the producer id and epoch to go on with (KIP-890).

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/server"
)

func endTxn(b *Broker, c *server.Call, req *kmsg.EndTxnRequest) server.Pending {
	version := c.Version
	write := func(g txn.Granted) kmsg.Response {
		resp := kmsg.NewPtrEndTxnResponse()
		resp.ErrorCode = int16(fencedCode(g.Code, version, 2))
		resp.ProducerID, resp.ProducerEpoch = int64(g.Producer.ID), int16(g.Producer.Epoch)
		return resp
	}
	if code := b.checkTransactionalID(c, req.TransactionalID); code != moldau.None {
		return answer(write(txn.Granted{Code: code, Producer: rsm.NoProducer()}), version)
	}
	speaks := int16(0)
	if version >= 5 {
		speaks = bumping
	}
	return b.grant(c, req.TransactionalID, func(fresh moldau.ProducerID) decideTransaction {
		q := &txn.End{
			ID: req.TransactionalID, Producer: producerOf(req.ProducerID, req.ProducerEpoch), Commit: req.Commit, Version: speaks, Fresh: fresh,
		}
		return func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
			return s.EndTransaction(now, to, q)
		}
	}, write)
}
