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
	if err := p.log.Load().AdvanceStart(before); err != nil {
		return 0, err
	}
	return p.log.Load().Start(), nil
}

// Retain deletes segments that retention.ms and retention.bytes give up, and returns how many; their files
// go with the next Sweep. An I/O error takes the partition offline.
func (p *Partition) Retain(now time.Time) (int, error) {
	p.mu.Lock()
	log := p.Log()
	if log == nil || log.Damage() != nil { // what is left of a damaged log stays until somebody has decided about it
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
	case commitlog.Transient(err) || p.log.Load() != log:
		err = nil // the next one goes on, or the log has moved and this one goes as a whole
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
		p.log.Load().Reconfigure(s.Log)
		if p.mu.leader != nil {
			n = p.reconfigureLocked(p.mu.leader.Config())
		}
		if p.mu.expected {
			p.flusher.hasten(p, p.flusher.env.Clock.Now().Add(s.unsyncedAgeMax()))
		}
	}
	p.mu.Unlock()
	p.tell(n)
}

// Move puts another log in the place of the partition's, with appends held off: its copy in the directory to. prepare gets the
// log, and with its error nothing has changed. finish returns the copy, opened where it stays; its error takes the partition
// offline, since the copy may be in place already. Until the next start the partition keeps its flusher. Reads under way may still use the old log, which is the caller's.
func (p *Partition) Move(to *Directory, prepare func(*commitlog.Log) error, finish func(old *commitlog.Log) (*commitlog.Log, error)) error {
	p.mu.Lock()
	n, err := p.moveLocked(to, prepare, finish)
	p.mu.Unlock()
	p.tell(n)
	return err
}

func (p *Partition) moveLocked(to *Directory, prepare func(*commitlog.Log) error, finish func(old *commitlog.Log) (*commitlog.Log, error)) (news, error) {
	if !p.Online() {
		return news{}, ErrOffline
	}
	old := p.log.Load()
	if err := prepare(old); err != nil {
		return news{}, err
	}
	log, err := finish(old)
	if err != nil {
		return p.failLocked(err), err
	}
	p.unberthLocked() // the copy is durable
	p.home.Store(to)
	p.log.Store(log)
	if p.mu.leader != nil {
		p.mu.leader.Flushed(log.End())
		return p.advanceLocked(), nil
	}
	return news{}, nil
}

// Locked runs fn on the log with appends held off.
func (p *Partition) Locked(fn func(*commitlog.Log) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Online() {
		return ErrOffline
	}
	return fn(p.log.Load())
}

// ProducerCount is the number of producers that the partition remembers, 0 while its log is not open.
func (p *Partition) ProducerCount() (n int) {
	_ = p.Locked(func(log *commitlog.Log) error { // an offline partition has none
		n = log.ProducerCount()
		return nil
	})
	return n
}
