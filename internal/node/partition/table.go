package partition

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/moldau/moldau"
)

// Table is the partitions of this broker.
type Table struct {
	mu   sync.RWMutex
	byID map[key]*Partition
	all  []*Partition // the same as a list; nil: it is to be made anew
}

type key struct {
	id        moldau.TopicID
	partition int32
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{byID: make(map[key]*Partition)} }

// Get returns a partition by its topic's id, or nil where it is not on this broker.
func (t *Table) Get(id moldau.TopicID, partition int32) *Partition {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[key{id, partition}]
}

// Add enters a partition.
func (t *Table) Add(p *Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[key{p.ID, p.Name.Partition}] = p
	if t.all != nil {
		t.all = append(t.all, p)
	}
}

// Remove takes a partition out and returns it, or nil.
func (t *Table) Remove(id moldau.TopicID, partition int32) *Partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := key{id, partition}
	p := t.byID[k]
	delete(t.byID, k)
	if p != nil {
		t.all = nil
	}
	return p
}

// All returns the partitions in no order that could be relied on. It is that in which they were made, mostly: tasks walk over all of
// them every few seconds, and in the order of a map, which jumps about in memory, that takes five times as long.
func (t *Table) All() []*Partition {
	t.mu.RLock()
	all := slices.Clone(t.all)
	t.mu.RUnlock()
	if all != nil {
		return all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = slices.SortedFunc(maps.Values(t.byID), func(a, b *Partition) int {
			return cmp.Or(bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Name.Partition, b.Name.Partition))
		})
	}
	return slices.Clone(t.all)
}

// Len is the number of partitions.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}
