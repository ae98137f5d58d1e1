package partition

import (
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Writable returns a channel that is closed once records can be appended, or why not is known. A partition that was never
// written has its files made for that; who wants several such partitions asks each before it waits for one, so that they
// share the syncs.
func (p *Partition) Writable() <-chan struct{} {
	if log := p.Log(); log == nil || !log.Unwritten() {
		return p.Settled()
	}
	p.mu.Lock()
	creating := p.mu.creating
	asked := creating != nil
	if !asked {
		creating = make(chan struct{})
		p.mu.creating = creating
	}
	p.mu.Unlock()
	if !asked {
		p.home.Load().Create(p)
	}
	return creating
}

// Created ends what Writable has begun. An error takes the partition offline, unless it is commitlog.Transient: then the next
// append tries again.
func (p *Partition) Created(err error) {
	p.mu.Lock()
	close(p.mu.creating)
	p.mu.creating = nil
	var n news
	if err != nil && !commitlog.Transient(err) {
		n = p.failLocked(err)
	}
	p.mu.Unlock()
	p.tell(n)
}
