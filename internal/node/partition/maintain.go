package partition

import (
	"errors"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// ErrAboveHighWatermark: DeleteRecords would delete what is not committed.
var ErrAboveHighWatermark = errors.New("the offset is above the high watermark")

// DeleteRecords moves the log's start to before, or to the high watermark for -1, and returns the new start (L-54).
func (p *Partition) DeleteRecords(before moldau.Offset) (moldau.Offset, error) {
	p.mu.Lock()
	start, err := p.deleteLocked(before)
	p.mu.Unlock()
	if err == nil {
		p.tell(news{readable: -1}) // fetches below the new start are told so (W-45)
	}
	return start, err
}

func (p *Partition) deleteLocked(before moldau.Offset) (moldau.Offset, error) {
	if !p.Online() {
		return 0, ErrOffline
	}
	hw := p.HighWatermark()
	if before == -1 {
		before = hw
	}
	if before < 0 || before > hw {
		return 0, ErrAboveHighWatermark
	}
	if err := p.log.AdvanceStart(before); err != nil {
		return 0, err
	}
	return p.log.Start(), nil
}

// Retain deletes segments that retention.ms and retention.bytes give up, and returns how many; their files
// go with the next Sweep. An I/O error takes the partition offline.
func (p *Partition) Retain(now time.Time) (int, error) {
	log := p.Log()
	if log == nil || log.Damage() != nil { // what is left of a damaged log stays until somebody has decided about it
		return 0, nil
	}
	p.mu.Lock()
	if !p.Online() {
		p.mu.Unlock()
		return 0, nil
	}
	res, err := log.Retain(now, p.HighWatermark())
	var n news
	switch {
	case commitlog.Transient(err):
		err = nil // the next one goes on
	case err != nil:
		n = p.failLocked(err)
	case res.Segments > 0:
		n.readable = -1
	}
	p.mu.Unlock()
	p.tell(n)
	return res.Segments, err
}

// Sweep clears away the files of segments that Retain has deleted. The log's start has been checkpointed since: what is gone
// below it is no loss. An I/O error may take the partition offline.
func (p *Partition) Sweep(now time.Time) error {
	log := p.Log()
	if log == nil {
		return nil
	}
	err := log.Sweep(now) // beside appends: it renames and removes files
	switch {
	case commitlog.Transient(err):
		err = nil // the next one goes on
	case err != nil && log.Poisoned() != nil:
		p.Fail(err)
	}
	return err
}

// Reconfigure takes new settings of the topic.
func (p *Partition) Reconfigure(s *Settings) {
	p.mu.Lock()
	p.settings.Store(s)
	var n news
	if p.Online() {
		p.log.Reconfigure(s.Log)
		n, _ = p.leadLocked() // of the epoch that it leads: nothing that can fail
		if p.mu.expected {
			p.flusher.hasten(p, p.clock.Now().Add(s.unsyncedAgeMax()))
		}
	}
	p.mu.Unlock()
	p.tell(n)
}

// Locked runs fn on the log with appends held off.
func (p *Partition) Locked(fn func(*commitlog.Log) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return ErrOffline
	}
	return fn(p.log)
}

// ProducerCount is the number of producers that the partition remembers, 0 while its log is not open.
func (p *Partition) ProducerCount() (n int) {
	_ = p.Locked(func(log *commitlog.Log) error { // an offline partition has none
		n = log.ProducerCount()
		return nil
	})
	return n
}
