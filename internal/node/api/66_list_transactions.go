package api

// ListTransactions (key 66), versions 0–2
//
// Behaviour: the transactional ids that this broker coordinates and the caller may describe, by id (T-14, KIP-664).
// Version notes: v1 filter by how long a transaction is open (KIP-994); v2 by a regular expression in RE2's syntax (KIP-1152).

import (
	"cmp"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/server"
)

func listTransactions(b *Broker, c *server.Call, req *kmsg.ListTransactionsRequest) server.Pending {
	resp := kmsg.NewPtrListTransactionsResponse()
	filter, ok := transactionFilter(req, resp)
	if !ok {
		resp.ErrorCode = int16(moldau.InvalidRegularExpression)
		return answer(resp, c.Version)
	}
	mine := b.ledPartitions(b.Metadata.Image().Topic(moldau.TransactionTopic))
	lists := make([][]kmsg.ListTransactionsResponseTransactionState, len(mine))
	codes := make([]moldau.Code, len(mine))
	caller := *c // what is asked of the authorizer after the handler has returned
	return inquire(len(mine), func(i int, done func()) func() {
		return b.Transactions.Do(mine[i], coordinator.Command[*txn.Transactions, txn.Record]{
			Decide: func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output { return s.List(now, to, filter) },
			Done: func(response any, err error) {
				if err != nil {
					codes[i] = coordinatorCode(err)
				} else {
					lists[i] = response.([]kmsg.ListTransactionsResponseTransactionState)
				}
				done()
			},
		})
	}).respond(c, func() kmsg.Response {
		for i, list := range lists {
			if codes[i] != moldau.None && codes[i] != moldau.NotCoordinator {
				resp.ErrorCode = int16(codes[i])
			}
			for _, x := range list {
				if b.allowed(&caller, access.Describe, access.TransactionalID, x.TransactionalID) {
					resp.TransactionStates = append(resp.TransactionStates, x)
				}
			}
		}
		slices.SortFunc(resp.TransactionStates, func(a, b kmsg.ListTransactionsResponseTransactionState) int {
			return cmp.Compare(a.TransactionalID, b.TransactionalID)
		})
		if resp.ErrorCode != 0 {
			resp.TransactionStates = nil
		}
		return resp
	})
}

// transactionFilter reads the filters; states that do not exist are told in the response. false: the expression is none.
func transactionFilter(req *kmsg.ListTransactionsRequest, resp *kmsg.ListTransactionsResponse) (*txn.Filter, bool) {
	f := &txn.Filter{Producers: req.ProducerIDFilters, Longer: -1}
	if req.Version >= 1 && req.DurationFilterMillis >= 0 {
		f.Longer = time.Duration(req.DurationFilterMillis) * time.Millisecond
	}
	for _, state := range req.StateFilters {
		if !slices.Contains(kmsg.TransactionStateStrings(), state) {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, state)
		}
	}
	f.States = req.StateFilters
	if pattern := req.TransactionalIDPattern; pattern != nil && *pattern != "" {
		re, err := regexp.Compile("^(?:" + *pattern + ")$")
		if err != nil {
			return nil, false
		}
		f.Matches = re.MatchString
	}
	return f, true
}
