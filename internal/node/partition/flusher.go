package partition

import (
	"log/slog"
	"sync"

	"github.com/moldau/moldau/internal/store/commitlog"
)

// Flusher syncs the logs whose topics ask for durable acknowledgements. One sync answers every append that came before
// it: appends gather while the one before is under way.
type Flusher struct {
	logger *slog.Logger

	mu struct {
		sync.Mutex
		dirty   map[*Partition]struct{}
		order   []*Partition
		starved []*Partition // whose syncs found no space
	}
	wake chan struct{}
}

// NewFlusher returns a flusher; its owner runs Run.
func NewFlusher(logger *slog.Logger) *Flusher {
	f := &Flusher{logger: logger, wake: make(chan struct{}, 1)}
	f.mu.dirty = make(map[*Partition]struct{})
	return f
}

func (f *Flusher) mark(p *Partition) {
	f.mu.Lock()
	if _, marked := f.mu.dirty[p]; !marked {
		f.mu.dirty[p] = struct{}{}
		f.mu.order = append(f.mu.order, p)
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Flusher) take() []*Partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	order := f.mu.order
	f.mu.order = nil
	clear(f.mu.dirty)
	return order
}

func (f *Flusher) starve(p *Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.starved = append(f.mu.starved, p)
}

// Retry marks the partitions again whose syncs found no space.
func (f *Flusher) Retry() {
	f.mu.Lock()
	starved := f.mu.starved
	f.mu.starved = nil
	f.mu.Unlock()
	for _, p := range starved {
		f.mark(p)
	}
}

// Run syncs marked partitions until stop is closed.
func (f *Flusher) Run(stop <-chan struct{}) {
	for {
		select {
		case <-f.wake:
		case <-stop:
			return
		}
		for _, p := range f.take() {
			switch err := p.Flush(); {
			case err == nil:
			case commitlog.Transient(err): // who waits for it goes on waiting
				f.starve(p)
			default:
				f.logger.Error("sync failed: the partition is offline, what was not acknowledged may be lost",
					"partition", p.Name.String(), "error", err)
			}
		}
	}
}
