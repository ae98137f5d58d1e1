package status

import "github.com/moldau/moldau/internal/core/txn"

// transactions writes the transaction coordinator's figures.
func (s *scrape) transactions() {
	t := s.src.Transactions()
	for _, state := range [...]txn.State{txn.Empty, txn.Ongoing, txn.PrepareCommit, txn.PrepareAbort, txn.CompleteCommit, txn.CompleteAbort} {
		s.gauge("moldau_transactional_ids", "Transactional ids that this broker coordinates, by state", t.ByState[state], "state", state.String())
	}
	s.gauge("moldau_transaction_requests_held", "Requests that wait for the markers of the transaction before theirs", t.Held)
	const partitions = "moldau_transaction_coordinator_partitions"
	s.gauge(partitions, "Partitions of __transaction_state by the state of their coordinator", t.Active, "state", "active")
	s.gauge(partitions, "Partitions of __transaction_state by the state of their coordinator", t.Loading, "state", "loading")
	s.gauge("moldau_transaction_commands_waiting", "Requests that wait for the transaction coordinator", t.Waiting)
	s.gauge("moldau_transaction_commands_limit", "Requests that may wait for the transaction coordinator", t.Limit)
}
