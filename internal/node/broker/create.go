package broker

import (
	"sync"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/partition"
)

// create makes the files of partitions that are to be written for the first time. What the checkpoints say of others of the
// same names, whose topics were deleted, is forgotten first: it would be taken for theirs. The syncs of each are waited for
// side by side.
func (s *storage) create(d *logDir, partitions []*partition.Partition) {
	ids := make(map[moldau.TopicPartition]moldau.TopicID, len(partitions))
	for _, p := range partitions {
		if !p.IsGone() {
			ids[p.Name] = p.ID
		}
	}
	err := s.forget(d, ids)
	if err == nil {
		d.manifest.Lock()
		err = d.MakePartitions(ids)
		d.manifest.Unlock()
	}
	s.each(len(partitions), func(i int) {
		p := partitions[i]
		failed := err
		if log := p.Log(); failed == nil && log != nil {
			failed = log.Create(p.ID)
		}
		if failed != nil && !p.IsGone() {
			s.logger.Error("the files of a partition cannot be made", "partition", p.Name.String(), "directory", d.path, "error", failed)
		}
		p.Created(failed)
	})
}

// each calls fn for the numbers below n on some goroutines and returns once all calls have. Calls that wait for syncs do so
// together: the file system makes one journal commit of those.
func (s *storage) each(n int, fn func(i int)) {
	places := make(chan struct{}, syncersMax)
	var running sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		running.Add(1)
		s.env.Go("log files", func() { // ends with its call; waited for below
			defer func() { <-places; running.Done() }()
			fn(i)
		})
	}
	running.Wait()
}

// syncersMax is how many logs are created or closed at a time.
const syncersMax = 64

// forget takes what is said of namesakes of partitions out of the checkpoints, durably.
func (s *storage) forget(d *logDir, partitions map[moldau.TopicPartition]moldau.TopicID) error {
	s.checkpoints.Lock()
	defer s.checkpoints.Unlock()
	var stale uint8
	for tp := range partitions {
		stale |= d.stale[tp]
	}
	if stale == 0 {
		return nil
	}
	all := s.partitions.All()
	for c := range column(len(columns)) {
		if stale&(1<<c) == 0 {
			continue
		}
		if err := d.save(c, all, column.saved); err != nil {
			return err
		}
	}
	return nil
}
