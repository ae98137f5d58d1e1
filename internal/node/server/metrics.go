package server

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/metric"
	"github.com/moldau/moldau/internal/proto/wire"
)

// Keys and versions at or above these are not counted apart; the protocol is far from both.
const (
	keysMax     = 128
	versionsMax = 32
	codesMax    = 160
)

// Metrics are the counters of a server.
type Metrics struct {
	Connections         atomic.Int64 // open now
	ConnectionsAccepted atomic.Int64
	ConnectionsRefused  atomic.Int64 // over a limit
	ConnectionsFailed   atomic.Int64 // closed for a reason that was logged
	BudgetWaits         atomic.Int64 // frames that waited for memory
	Parked              atomic.Int64 // responses that wait now; at most ParkedMax for each connection
	Panics              atomic.Int64
	BytesOut            atomic.Int64
	ColdBytesOut        atomic.Int64 // of them, what was taken out of the page cache behind the reader

	requests [keysMax]RequestMetrics
	clients  func() []Clients

	mu struct {
		sync.Mutex
		budgets map[string]*Budget // by listener name
	}
}

// RequestMetrics count the requests of one key.
type RequestMetrics struct {
	ByVersion [versionsMax]atomic.Int64
	Bytes     atomic.Int64     // of the requests
	TotalTime metric.Histogram // from the arrival of the frame to the end of its response
	// WaitTime is the part of it in which a response waited for its condition, such as replicas or the end of a long poll, and
	// for those before it, where one did; WorkTime is the rest. A long poll makes TotalTime alone say little.
	WaitTime, WorkTime metric.Histogram
	// HeldTime is how long a request waited for memory before it was read, MutedTime how long the connection was not read after
	// its response; where it was so.
	HeldTime, MutedTime metric.Histogram
	Parked              atomic.Int64 // responses that wait now, part of Metrics.Parked

	byCode [codesMax]atomic.Int64
}

// Outcomes is how often a code was told in responses, once for each topic or partition that it was told of.
func (r *RequestMetrics) Outcomes(code moldau.Code) int64 { return r.outcome(code).Load() }

func (r *RequestMetrics) outcome(code moldau.Code) *atomic.Int64 {
	return &r.byCode[min(max(int(code), -1)+1, codesMax-1)]
}

// observe counts the request of p, whose response is sent now.
func (m *Metrics) observe(p *parked, now time.Time) {
	r := m.Request(p.key)
	r.ByVersion[min(int(uint16(p.version)), versionsMax-1)].Add(1) // ApiVersions is answered below 0, too
	r.Bytes.Add(int64(p.size))
	took := now.Sub(p.arrived)
	r.TotalTime.Observe(took)
	r.WorkTime.Observe(took - p.waited)
	if p.waited > 0 {
		r.WaitTime.Observe(p.waited)
	}
	if p.held > 0 {
		r.HeldTime.Observe(p.held)
	}
	if p.muted > 0 {
		r.MutedTime.Observe(p.muted)
	}
}

// Transfers is how often records were written or asked for.
func (m *Metrics) Transfers() int64 {
	return m.Request(wire.Produce).TotalTime.Count() + m.Request(wire.Fetch).TotalTime.Count()
}

func (m *Metrics) addBudget(listener string, b *Budget) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.budgets == nil {
		m.mu.budgets = make(map[string]*Budget)
	}
	m.mu.budgets[listener] = b
}

// Request returns the counters of one key.
func (m *Metrics) Request(key wire.Key) *RequestMetrics { return &m.requests[min(int(key), keysMax-1)] }

// Budgets returns the memory budget of each listener by its name.
func (m *Metrics) Budgets() map[string]*Budget {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]*Budget, len(m.mu.budgets))
	for name, b := range m.mu.budgets {
		all[name] = b
	}
	return all
}

// Clients are connections that are open, of one listener and one client software. Name and version are empty for those that
// have not told (before ApiVersions 3).
type Clients struct {
	Listener, Software, Version string
	Count                       int
}

// Clients counts the connections that are open, sorted by listener, software and version. It walks over all of them.
func (m *Metrics) Clients() []Clients { return m.clients() }

// countClients is what Metrics.Clients tells.
func (s *Server) countClients() []Clients {
	counts := make(map[Clients]int)
	s.mu.Lock()
	for c := range s.mu.conns {
		of := Clients{Listener: c.listener.Name}
		if told := c.software.Load(); told != nil {
			of.Software, of.Version = told[0], told[1]
		}
		counts[of]++
	}
	s.mu.Unlock()
	var all []Clients
	for of, n := range counts {
		of.Count = n
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b Clients) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Software, b.Software), cmp.Compare(a.Version, b.Version))
	})
	return all
}
