package status

import "github.com/moldau/moldau/internal/core/group"

// groups writes the group coordinator's figures (O-24).
func (s *scrape) groups() {
	g := s.src.Groups()
	total := 0
	for _, n := range g.ByState {
		total += n
	}
	const prefix = "kafka_coordinator_group_groupmetadatamanager_"
	s.gauge(prefix+"numgroups", "Groups that this broker coordinates", total)
	s.gauge(prefix+"numoffsets", "Offsets that they have committed", g.Offsets)
	for _, state := range [...]struct {
		group.State
		name string
	}{
		{group.Empty, "empty"}, {group.Preparing, "preparingrebalance"}, {group.Completing, "completingrebalance"},
		{group.Stable, "stable"}, {group.Dead, "dead"},
	} {
		s.gauge(prefix+"numgroups"+state.name, "Groups in the state "+string(state.State), g.ByState[state.State])
	}
	const partitions = "kafka_server_group_coordinator_metrics_num_partitions"
	s.gauge(partitions, "Partitions of __consumer_offsets by the state of their coordinator", g.Active, "state", "active")
	s.gauge(partitions, "Partitions of __consumer_offsets by the state of their coordinator", g.Loading, "state", "loading")
	s.gauge("moldau_group_commands_waiting", "Requests that wait for the group coordinator", g.Waiting)
	s.gauge("moldau_group_commands_limit", "Requests that may wait for the group coordinator", g.Limit)
}
