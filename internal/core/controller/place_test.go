package controller

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
	"pgregory.net/rapid"
)

// drawBrokers registers a few brokers on a few racks, some fenced, shutting down or cordoned.
func drawBrokers(t *rapid.T) *metadata.Image {
	var recs []schema.Record
	for i := range rapid.IntRange(1, 9).Draw(t, "brokers") {
		b := &schema.RegisterBroker{Broker: moldau.BrokerID(i * 3), LogDirs: []moldau.DirectoryID{{byte(i), 1}}}
		if rack := rapid.IntRange(0, 3).Draw(t, "rack"); rack > 0 {
			name := fmt.Sprint("rack", rack)
			b.Rack = &name
		}
		switch rapid.IntRange(0, 7).Draw(t, "state") {
		case 0:
			b.Fenced = true
		case 1:
			b.ShuttingDown = true
		case 2:
			b.CordonedLogDirs = b.LogDirs
		}
		recs = append(recs, b)
	}
	im, _ := metadata.Empty().Apply(0, 0, recs)
	return im
}

// replicas are distinct brokers that may take them, on as many racks as there are; leaders go round the active
// brokers evenly; fenced brokers come last and only where active ones are too few.
func TestPlacement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := drawBrokers(t)
		s := newStripes(im)
		factor := rapid.IntRange(1, 9).Draw(t, "factor")
		if no := s.check(factor); no != nil {
			if no.code != moldau.InvalidReplicationFactor || len(s.active) > 0 && len(s.active)+len(s.fenced) >= factor {
				t.Fatalf("refused: %+v", no)
			}
			return
		}
		partitions := rapid.IntRange(1, 40).Draw(t, "partitions")
		start := rapid.Uint64().Draw(t, "start")
		leaders := map[moldau.BrokerID]int{}
		for n := range partitions {
			replicas := s.place(start+uint64(n), factor)
			if again := s.place(start+uint64(n), factor); !slices.Equal(replicas, again) {
				t.Fatal("the same place in two ways")
			}
			checkReplicas(t, im, s, replicas, factor)
			leaders[replicas[0]]++
		}
		if start > start+uint64(partitions) {
			return // the start wraps to zero: an uneven seam that no random number below 2⁶⁴-40 meets
		}
		for _, b := range s.active {
			if n := leaders[b.ID]; n < partitions/len(s.active) || n > (partitions+len(s.active)-1)/len(s.active) {
				t.Fatalf("broker %d leads %d of %d partitions on %d brokers", b.ID, n, partitions, len(s.active))
			}
		}
	})
}

func checkReplicas(t *rapid.T, im *metadata.Image, s stripes, replicas []moldau.BrokerID, factor int) {
	if len(replicas) != factor || len(slices.Compact(slices.Sorted(slices.Values(replicas)))) != factor {
		t.Fatalf("%v are not %d brokers", replicas, factor)
	}
	racks := map[string]bool{}
	for i, id := range replicas {
		b := im.Broker(id)
		if b.ShuttingDown || cordoned(b) {
			t.Fatalf("broker %d takes no replicas: %v", id, replicas)
		}
		if fencedRank := i >= len(s.active); b.Fenced != fencedRank {
			t.Fatalf("place %d of %v: fenced is %t, with %d active brokers", i, replicas, b.Fenced, len(s.active))
		}
		if !b.Fenced {
			racks[rackOf(b)] = true
		}
	}
	if want := min(factor, s.racks); len(racks) < want {
		t.Fatalf("%v are on %d racks, %d are possible", replicas, len(racks), want)
	}
}

// What a record says of a new partition fits the brokers: the in-sync set is the active replicas and the first of them
// leads, each with its directory.
func TestNewPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := drawBrokers(t)
		var all []moldau.BrokerID
		for b := range im.Brokers() {
			all = append(all, b.ID)
		}
		p := newPartition(im, moldau.TopicID{1}, 0, all)
		var active []moldau.BrokerID
		for i, id := range all {
			if im.Broker(id).Active() {
				active = append(active, id)
			}
			if p.Directories[i] != im.Broker(id).LogDirs[0] {
				t.Fatalf("broker %d keeps it in %v", id, p.Directories[i])
			}
		}
		leader := moldau.NoBroker
		if len(active) > 0 {
			leader = active[0]
		}
		if !slices.Equal(p.ISR, active) || p.Leader != leader {
			t.Fatalf("leader %d, in sync %v of %v", p.Leader, p.ISR, active)
		}
	})
}

// A start near 2⁶⁴ wrapped round and gave a partition the same fenced broker twice.
func TestPlacementStartDoesNotWrap(t *testing.T) {
	s := stripes{active: []*metadata.Broker{{ID: 9}}, fenced: []*metadata.Broker{{ID: 1}, {ID: 2}, {ID: 3}}, racks: 1}
	for back := range uint64(4) {
		replicas := s.place(math.MaxUint64-back, 4)
		slices.Sort(replicas)
		if len(slices.Compact(slices.Clone(replicas))) != 4 {
			t.Errorf("start 2⁶⁴-%d: %v", back+1, replicas)
		}
	}
}
