package api

// InitProducerId (key 22), versions 0–5
//
// Behaviour: without a transactional id a fresh producer id with epoch 0, from a block of 1000 that the metadata log
// gave to this broker (T-2, T-13). With one, COORDINATOR_NOT_AVAILABLE: transactions are not served yet.
// Version notes: v3 producer id and epoch of a producer that goes on (KIP-360), only with a transactional id.

import (
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
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
	resp := kmsg.NewPtrInitProducerIDResponse()
	refuse := func(code moldau.Code) server.Pending {
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = int16(code), -1, -1
		return answer(resp, c.Version)
	}
	if req.TransactionalID != nil {
		switch {
		case *req.TransactionalID == "":
			return refuse(moldau.InvalidRequest)
		case !b.allowed(c, access.Write, access.TransactionalID, *req.TransactionalID):
			return refuse(moldau.TransactionalIDAuthorizationFailed)
		}
		return refuse(moldau.CoordinatorNotAvailable)
	}
	if !b.allowedCluster(c, access.IdempotentWrite) && !b.allowed(c, access.Write, access.Topic, "") {
		return refuse(moldau.ClusterAuthorizationFailed)
	}
	if (req.ProducerID == -1) != (req.ProducerEpoch == -1) && c.Version >= 3 {
		return refuse(moldau.InvalidRequest)
	}
	for {
		if id, ok := b.producers.take(); ok {
			resp.ProducerID, resp.ProducerEpoch = int64(id), 0
			return answer(resp, c.Version)
		}
		if err := b.refillProducerIDs(c); errors.Is(err, quorum.ErrNoSpace) {
			return refuse(moldau.CoordinatorLoadInProgress)
		} else if err != nil {
			return server.HangUp(fmt.Errorf("cannot get producer ids: %w", err))
		}
	}
}

func (b *Broker) refillProducerIDs(c *server.Call) error {
	var block controller.ProducerIDBlock
	code := moldau.None
	err := b.changeNow(c, func(head *metadata.Image) (recs []schema.Record) {
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
