package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
)

// TransactionCoordinator runs the transactional ids of the partitions of __transaction_state that this broker leads.
type TransactionCoordinator = coordinator.Coordinator[*txn.Transactions, txn.Record]

// decideTransaction is what a request asks of the machine that has the transactional id.
type decideTransaction func(*txn.Transactions, time.Time, rsm.Ticket) txn.Output

// bumping is the transaction version from which on clients have the epoch raised with each end, and partitions join with the
// first record (KIP-890).
const bumping = 2

// askTransaction has the coordinator of a transactional id decide. told gets the response, or the code that says why there is
// none.
func askTransaction[T any](b *Broker, id string, decide decideTransaction, told func(T, moldau.Code)) (cancel func()) {
	var none T
	index, code := b.coordinatorPartition(moldau.TransactionTopic, id)
	if code != moldau.None {
		told(none, code)
		return nil
	}
	return b.Transactions.Do(index, coordinator.Command[*txn.Transactions, txn.Record]{Decide: decide, Done: func(response any, err error) {
		if err != nil {
			told(none, coordinatorCode(err))
			return
		}
		told(response.(T), moldau.None)
	}})
}

// reply is what a coordinator has answered.
type reply[T any] struct {
	response T
	code     moldau.Code
}

// awaitTransaction is askTransaction for a caller that waits, until one of the channels is closed: then the answer is
// REQUEST_TIMED_OUT.
func awaitTransaction[T any](b *Broker, id string, decide decideTransaction, closed, late <-chan struct{}) (response T, code moldau.Code) {
	replies := make(chan reply[T], 1)
	cancel := askTransaction(b, id, decide, func(r T, code moldau.Code) { replies <- reply[T]{r, code} })
	select {
	case r := <-replies:
		return r.response, r.code
	case <-closed:
	case <-late:
	}
	if cancel != nil {
		cancel()
	}
	return response, moldau.RequestTimedOut
}

// grant has the coordinator decide something that may need a fresh producer id. decide gets one when it was asked for.
func (b *Broker) grant(c *server.Call, id string, decide func(fresh moldau.ProducerID) decideTransaction, write func(txn.Granted) kmsg.Response) server.Pending {
	var granted txn.Granted
	var failure error
	version := c.Version
	return server.Poll(func(closed <-chan struct{}) {
		fresh := moldau.NoProducer
		for {
			var code moldau.Code
			granted, code = awaitTransaction[txn.Granted](b, id, decide(fresh), closed, nil)
			if code != moldau.None {
				granted = txn.Granted{Code: code, Producer: rsm.NoProducer()}
			}
			if !granted.NeedsFresh {
				return
			}
			if fresh, failure = b.freshProducer(closed); errors.Is(failure, quorum.ErrNoSpace) {
				granted, failure = txn.Granted{Code: moldau.CoordinatorLoadInProgress, Producer: rsm.NoProducer()}, nil
				return
			} else if failure != nil {
				return
			}
		}
	}, func(r *server.Reply) {
		if failure != nil {
			r.Fail(fmt.Errorf("cannot get producer ids: %w", failure))
			return
		}
		resp := write(granted)
		resp.SetVersion(version)
		encode(r, resp)
	}, nil)
}

// checkTransactionalID says whether the caller may write with a transactional id (T-3).
func (b *Broker) checkTransactionalID(c *server.Call, id string) moldau.Code {
	switch {
	case !b.allowed(c, access.Write, access.TransactionalID, id):
		return moldau.TransactionalIDAuthorizationFailed
	case id == "":
		return moldau.InvalidRequest
	}
	return moldau.None
}

// fencedCode is PRODUCER_FENCED for clients that know the word, from this version of the request on.
func fencedCode(code moldau.Code, version, since int16) moldau.Code {
	if code == moldau.ProducerFenced && version < since {
		return moldau.InvalidProducerEpoch
	}
	return code
}

// abortableCode is TRANSACTION_ABORTABLE for clients that know the word, from this version of the request on (T-15).
func abortableCode(code moldau.Code, version, since int16) moldau.Code {
	if code == moldau.TransactionAbortable && version < since {
		return moldau.InvalidTxnState
	}
	return code
}

func producerOf(id int64, epoch int16) rsm.Producer {
	return rsm.Producer{ID: moldau.ProducerID(id), Epoch: moldau.ProducerEpoch(epoch)}
}
