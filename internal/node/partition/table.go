package partition

import (
	"sync"

	"github.com/moldau/moldau"
)

// Table is the partitions of this broker.
type Table struct {
	mu   sync.RWMutex
	byID map[key]*Partition
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
}

// Remove takes a partition out and returns it, or nil.
func (t *Table) Remove(id moldau.TopicID, partition int32) *Partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := key{id, partition}
	p := t.byID[k]
	delete(t.byID, k)
	return p
}

// All returns the partitions in no order.
func (t *Table) All() []*Partition {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*Partition, 0, len(t.byID))
	for _, p := range t.byID {
		all = append(all, p)
	}
	return all
}

// Len is the number of partitions.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}
