package status

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moldau/moldau/internal/node/server"
)

// clients writes the connections of each listener, and by the software that the clients say they are (O-22).
func (s *scrape) clients(all []server.Clients) {
	count := make(map[string]int)
	for l := range s.src.Server().Budgets() {
		count[l] = 0
	}
	for _, c := range all {
		count[c.Listener] += c.Count
	}
	const prefix = "kafka_server_socket_server_metrics_"
	for _, l := range slices.Sorted(maps.Keys(count)) {
		s.gauge(prefix+"connection_count", "Connections of clients", count[l], "listener", l)
	}
	for _, c := range all {
		s.gauge(prefix+"connections_software", "Connections of clients by what they say they are", c.Count,
			"clientSoftwareName", cmp.Or(c.Software, "unknown"), "clientSoftwareVersion", cmp.Or(c.Version, "unknown"), "listener", c.Listener)
	}
}
