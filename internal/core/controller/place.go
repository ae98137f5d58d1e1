package controller

import (
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
)

// stripes places the replicas of new partitions: leaders go round the active brokers, one partition each; the
// other replicas of a partition come from racks that it does not have yet, as long as there are such; fenced brokers
// hold replicas only where there are too few active ones, and never lead. Brokers that are shutting down, or that have
// cordoned all their directories, hold none.
type stripes struct {
	active []*metadata.Broker // such that neighbours are of different racks, as far as possible
	fenced []*metadata.Broker
	racks  int // among active
}

func newStripes(im *metadata.Image) stripes {
	var s stripes
	byRack := map[string][]*metadata.Broker{}
	var racks []string
	for b := range im.Brokers() {
		switch {
		case b.ShuttingDown || cordoned(b):
		case b.Fenced:
			s.fenced = append(s.fenced, b)
		default:
			rack := rackOf(b)
			if byRack[rack] == nil {
				racks = append(racks, rack)
			}
			byRack[rack] = append(byRack[rack], b)
		}
	}
	slices.SortFunc(racks, strings.Compare)
	for i := 0; ; i++ {
		before := len(s.active)
		for _, rack := range racks {
			if i < len(byRack[rack]) {
				s.active = append(s.active, byRack[rack][i])
			}
		}
		if len(s.active) == before {
			s.racks = len(racks)
			return s
		}
	}
}

// cordoned reports whether the broker takes no new replicas.
func cordoned(b *metadata.Broker) bool {
	for _, dir := range b.LogDirs {
		if !slices.Contains(b.CordonedLogDirs, dir) {
			return false
		}
	}
	return len(b.LogDirs) > 0
}

// rackOf is the broker's rack; brokers without one stand together in a rack of their own.
func rackOf(b *metadata.Broker) string {
	if b.Rack == nil {
		return ""
	}
	return *b.Rack
}

// check refuses a replication factor that the brokers cannot give.
func (s stripes) check(factor int) *refusal {
	switch all := len(s.active) + len(s.fenced); {
	case len(s.active) == 0:
		return refuse(moldau.InvalidReplicationFactor, "no broker can take a replica: all are fenced, shutting down or have cordoned their log directories")
	case factor > all:
		return refuse(moldau.InvalidReplicationFactor, "a replication factor of %d needs as many brokers, and only %d can take replicas", factor, all)
	}
	return nil
}

// place is where the replicas of the n-th new partition go, counted from a random number: factor brokers, the leader
// first. factor has passed check.
func (s stripes) place(n uint64, factor int) []moldau.BrokerID {
	count := uint64(len(s.active))
	lead := n % count
	// Each time round, the others shift by one, so that a broker's followers are not always the same.
	shift := uint64(0)
	if count > 1 {
		shift = n / count % (count - 1)
	}
	replicas := []moldau.BrokerID{s.active[lead].ID}
	racks := []string{rackOf(s.active[lead])}
	for pass := 0; pass < 2; pass++ { // the first takes new racks only
		for i := uint64(0); i+1 < count && len(replicas) < factor; i++ {
			b := s.active[(lead+1+(shift+i)%(count-1))%count]
			fresh := !slices.Contains(racks, rackOf(b))
			if slices.Contains(replicas, b.ID) || pass == 0 && !fresh {
				continue
			}
			replicas = append(replicas, b.ID)
			if fresh {
				racks = append(racks, rackOf(b))
			}
		}
	}
	for i := uint64(0); len(replicas) < factor; i++ {
		fenced := uint64(len(s.fenced))
		replicas = append(replicas, s.fenced[(n%fenced+i)%fenced].ID) // n+i could wrap
	}
	return replicas
}
