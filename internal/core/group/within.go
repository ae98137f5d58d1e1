package group

import (
	"slices"

	"github.com/moldau/moldau"
)

// Offsets within transactions (T-10, T-11, KIP-98, KIP-447): they are in the log and count with the commit.

// replayWithin takes in an offset of an open transaction.
func (s *Groups) replayWithin(g *group, at moldau.Offset, c *Committed) {
	id := c.Within.ID
	if g.offsets.pending == nil {
		g.offsets.pending = map[moldau.ProducerID]map[moldau.TopicPartition]Offset{}
	}
	if g.offsets.pending[id] == nil {
		g.offsets.pending[id] = map[moldau.TopicPartition]Offset{}
	}
	g.offsets.pending[id][c.At] = offsetOf(c.Value, at)
	if !slices.Contains(s.open[id], g.id) {
		s.open[id] = append(s.open[id], g.id)
	}
}

// replayEnd makes the offsets of a transaction count, or drops them.
func (s *Groups) replayEnd(at moldau.Offset, e *Ended) {
	for _, id := range s.open[e.Producer.ID] {
		g := s.byID[id]
		if g == nil {
			continue // it was deleted meanwhile
		}
		for p, o := range g.offsets.pending[e.Producer.ID] { // order does not matter: partitions do not concern one another
			// Two producers of one group may end in another order than that of their offsets; what came last counts.
			if before, ok := g.offsets.byPartition[p]; e.Commit && (!ok || before.record < o.record) {
				g.offsets.set(p, o)
			}
		}
		delete(g.offsets.pending, e.Producer.ID)
		g.last = at
		if !g.exists() {
			s.forget(g)
		}
	}
	delete(s.open, e.Producer.ID)
}

// dropPending: a partition's offset was forgotten, and what transactions were to make of it too.
func (o *offsets) dropPending(at moldau.TopicPartition) {
	for id, list := range o.pending { // order does not matter: each is looked at
		delete(list, at)
		if len(list) == 0 {
			delete(o.pending, id)
		}
	}
}

// unstable reports whether an open transaction may replace the offset.
func (o *offsets) unstable(at moldau.TopicPartition) bool {
	for _, list := range o.pending { // order does not matter: any will do
		if _, ok := list[at]; ok {
			return true
		}
	}
	return false
}

// all lists the partitions with an offset, or one that may come to count.
func (o *offsets) all() []moldau.TopicPartition {
	list := o.sorted()
	for _, pending := range o.pending { // order does not matter: they are sorted below
		for at := range pending { // order does not matter here either
			list = append(list, at)
		}
	}
	slices.SortFunc(list, comparePartitions)
	return slices.Compact(list)
}

// checkCommitWithin says whether the sender may commit for the group in its transaction (T-11). Old clients say nothing of
// the group but its name. It is no sign of life, and a rebalance under way is no reason to refuse: who has the partitions of
// the generation may finish with them.
func (t *turn) checkCommitWithin(c *Commit) moldau.Code {
	if !t.exists() && c.Generation >= 0 {
		return moldau.IllegalGeneration
	}
	if c.Generation < 0 && (t.state == Empty || c.Member == "" && c.Instance == nil) {
		return moldau.None
	}
	if _, code := t.check(c.Member, c.Instance); code != moldau.None {
		return code
	}
	if c.Generation != t.generation {
		return moldau.IllegalGeneration
	}
	return moldau.None
}
