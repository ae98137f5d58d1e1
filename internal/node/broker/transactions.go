package broker

import (
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/api"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/status"
)

// markersHold is how long a request waits at most for the markers of the transaction before it (T-9). Clients give up after
// 30 seconds; those that are answered sooner that they are too early come again.
const markersHold = 5 * time.Second

// newTransactions makes the coordinator of transactions; it coordinates nothing before partitions of __transaction_state are
// led.
func (b *Broker) newTransactions() *api.TransactionCoordinator {
	settings := txn.Config{TimeoutMax: b.config.Transactions.TimeoutMax, Expiration: b.config.Transactions.Expiration, Hold: markersHold}
	return coordinator.New(coordinator.Kind[*txn.Transactions, txn.Record]{
		Name: "transaction coordinator", New: func() *txn.Transactions { return txn.New(settings) }, Encode: txn.Encode, Decode: txn.Decode,
		Effect: func(partition int32, epoch moldau.LeaderEpoch, effect any) {
			b.api.WriteMarkers(partition, epoch, effect.(*txn.Markers))
		},
	}, coordinator.Options{Env: b.env, Logger: b.logger, Loops: int(b.config.Groups.Loops)})
}

// Transactions implements status.Source.
func (s source) Transactions() status.Transactions {
	t := status.Transactions{ByState: make(map[txn.State]int)}
	t.Loading = s.b.transactions.Each(func(_ int32, m *txn.Transactions) {
		c := m.Count()
		for state, n := range c.ByState {
			t.ByState[state] += n
		}
		t.Held += c.Held
		t.Active++
	})
	t.Waiting, t.Limit = s.b.transactions.Waiting()
	return t
}
