package api

// DescribeTransactions (key 65), version 0
//
// Behaviour: the state of transactional ids with their producer and partitions; while markers are being written the partitions
// that lack one. Topics that the caller may not describe are left out (T-14, KIP-664).

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/server"
)

func describeTransactions(b *Broker, c *server.Call, req *kmsg.DescribeTransactionsRequest) server.Pending {
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	resp.TransactionStates = make([]kmsg.DescribeTransactionsResponseTransactionState, len(req.TransactionalIDs))
	caller := *c // what is asked of the authorizer after the handler has returned
	return inquire(len(req.TransactionalIDs), func(i int, done func()) func() {
		id, out := req.TransactionalIDs[i], &resp.TransactionStates[i]
		refuse := func(code moldau.Code) {
			*out = kmsg.NewDescribeTransactionsResponseTransactionState()
			out.TransactionalID, out.ErrorCode = id, int16(code)
		}
		switch {
		case !b.allowed(c, access.Describe, access.TransactionalID, id):
			refuse(moldau.TransactionalIDAuthorizationFailed)
			done()
			return nil
		case id == "":
			refuse(moldau.InvalidRequest)
			done()
			return nil
		}
		return askTransaction(b, id, func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
			return s.Describe(now, to, id)
		}, func(r kmsg.DescribeTransactionsResponseTransactionState, code moldau.Code) {
			if *out = r; code != moldau.None {
				refuse(code)
			}
			done()
		})
	}).respond(c, func() kmsg.Response {
		for i := range resp.TransactionStates {
			s := &resp.TransactionStates[i]
			s.Topics = slices.DeleteFunc(s.Topics, func(t kmsg.DescribeTransactionsResponseTransactionStateTopic) bool {
				return !b.allowedTopic(&caller, access.Describe, t.Topic)
			})
		}
		return resp
	})
}
