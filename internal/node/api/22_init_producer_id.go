package api

// InitProducerId (key 22), versions 0–5
//
// Behaviour: without a transactional id a fresh producer id with epoch 0, from a block of 1000 that the metadata log
// gave to this broker (T-2, T-13). With one, the id that belongs to it at the next epoch: whoever had it is fenced, and its open
// transaction aborted first, for which the answer waits (T-3).
// Version notes: v3 producer id and epoch of a producer that goes on (KIP-360); v4 PRODUCER_FENCED, before that
// INVALID_PRODUCER_EPOCH.
// Differs from Apache: where a transaction has to end first the answer waits up to 5 s for that; Apache Kafka tells
// CONCURRENT_TRANSACTIONS at once, and clients ask again. One that was fenced and goes on does not abort the transaction of who
// has fenced it.

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

// producerIDs hands out the ids of a block; the block was committed before, so that no id is given twice (T-2).
type producerIDs struct {
	mu   sync.Mutex
	next moldau.ProducerID
	end  moldau.ProducerID
}

func (p *producerIDs) take() (moldau.ProducerID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		return 0, false
	}
	p.next++
	return p.next - 1, true
}

// refill takes a new block; where two requests fetched one at the same time, the ids of the first are skipped.
func (p *producerIDs) refill(first moldau.ProducerID, count int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.end = first, first+moldau.ProducerID(count)
}

func initProducerID(b *Broker, c *server.Call, req *kmsg.InitProducerIDRequest) server.Pending {
	version := c.Version
	write := func(g txn.Granted) kmsg.Response {
		resp := kmsg.NewPtrInitProducerIDResponse()
		resp.ErrorCode = int16(fencedCode(g.Code, version, 4))
		resp.ProducerID, resp.ProducerEpoch = int64(g.Producer.ID), int16(g.Producer.Epoch)
		return resp
	}
	refuse := func(code moldau.Code) server.Pending {
		return answer(write(txn.Granted{Code: code, Producer: rsm.NoProducer()}), version)
	}
	expected := rsm.NoProducer()
	if version >= 3 {
		expected = producerOf(req.ProducerID, req.ProducerEpoch)
	}
	if req.TransactionalID != nil {
		code := b.checkTransactionalID(c, *req.TransactionalID)
		switch {
		case code != moldau.None:
			return refuse(code)
		case (expected.ID == moldau.NoProducer) != (expected.Epoch == -1):
			return refuse(moldau.InvalidRequest)
		}
		return b.grant(c, *req.TransactionalID, func(fresh moldau.ProducerID) decideTransaction {
			q := &txn.Init{
				ID: *req.TransactionalID, Timeout: time.Duration(req.TransactionTimeoutMillis) * time.Millisecond, Expected: expected, Fresh: fresh,
			}
			return func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output { return s.InitProducer(now, to, q) }
		}, write)
	}
	if !b.allowedCluster(c, access.IdempotentWrite) && !b.allowed(c, access.Write, access.Topic, "") {
		return refuse(moldau.ClusterAuthorizationFailed)
	}
	if (expected.ID == moldau.NoProducer) != (expected.Epoch == -1) {
		return refuse(moldau.InvalidRequest)
	}
	id, err := b.freshProducer(c.Waits())
	switch {
	case errors.Is(err, quorum.ErrNoSpace):
		return refuse(moldau.CoordinatorLoadInProgress)
	case err != nil:
		return server.HangUp(fmt.Errorf("cannot get producer ids: %w", err))
	}
	return answer(write(txn.Granted{Producer: rsm.Producer{ID: id}}), version)
}

// freshProducer returns a producer id that nobody has had; it waits for a new block where there is none left.
func (b *Broker) freshProducer(closed <-chan struct{}) (moldau.ProducerID, error) {
	for {
		if id, ok := b.producers.take(); ok {
			return id, nil
		}
		if err := b.refillProducerIDs(closed); err != nil {
			return moldau.NoProducer, err
		}
	}
}

func (b *Broker) refillProducerIDs(closed <-chan struct{}) error {
	var block controller.ProducerIDBlock
	code := moldau.None
	err := b.changeNow(closed, func(head *metadata.Image) (recs []schema.Record) {
		self := head.Broker(b.Config.Self)
		if self == nil {
			code = moldau.BrokerIDNotRegistered
			return nil
		}
		block, code, recs = controller.AllocateProducerIDs(head, self.ID, self.Epoch)
		return recs
	})
	if err != nil {
		return err
	}
	if code != moldau.None {
		return fmt.Errorf("the controller answered %s", code)
	}
	b.producers.refill(block.First, block.Count)
	return nil
}
