package partition

import (
	"errors"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// ReadRequest is what a fetch asks of one partition.
type ReadRequest struct {
	At       moldau.Offset
	Epoch    moldau.LeaderEpoch // the leader epoch that the client knows, or NoEpoch
	LastRead moldau.LeaderEpoch // the epoch of the last record that it has, or NoEpoch (KIP-595)
	MaxBytes int
	// WholeBatch asks for the first batch even where it alone exceeds MaxBytes (KIP-74).
	WholeBatch bool
	// Committed reads up to the last stable offset (read_committed).
	Committed bool
}

// ReadResult is what a fetch is told of one partition. Offsets are -1 where Code says that it does not serve.
type ReadResult struct {
	Code                         moldau.Code
	HighWatermark, Stable, Start moldau.Offset
	Region                       commitlog.Region // empty: Len 0, nothing to release
	Aborted                      []commitlog.Aborted
	// Diverging is set where the client's last record is not in this log: its epoch ended at DivergingEnd here.
	Diverging    bool
	DivergeEpoch moldau.LeaderEpoch
	DivergeEnd   moldau.Offset
}

// Refused is the result for a partition of which nothing can be told but a code.
func Refused(code moldau.Code) ReadResult {
	return ReadResult{Code: code, HighWatermark: -1, Stable: -1, Start: -1}
}

// Read finds the records that r asks for and moves none of their bytes. It takes no lock that is held across a write.
func (p *Partition) Read(r ReadRequest) ReadResult {
	for {
		if code := p.refusal(); code != moldau.None {
			return Refused(code)
		}
		log := p.log.Load()
		res, err := p.readFrom(log, r)
		switch {
		case err == nil:
			return res
		case p.log.Load() == log:
			return p.readFailed(err)
		}
		// The log has moved to another directory meanwhile, and this one was removed.
	}
}

func (p *Partition) readFrom(log *commitlog.Log, r ReadRequest) (ReadResult, error) {
	if code := p.CheckEpoch(r.Epoch); code != moldau.None {
		return Refused(code), nil
	}
	if r.At >= log.End() && log.Damage() != nil {
		// Neither the end nor out of range: a client that was told so would wait for good, or skip what can be mended.
		return Refused(moldau.KafkaStorageError), nil
	}
	// The order matters: what is below these offsets was published in the log before them.
	stable := moldau.Offset(p.stable.Load())
	hw := p.HighWatermark()
	res := ReadResult{HighWatermark: hw, Stable: min(stable, hw), Start: log.Start()}
	if r.LastRead != moldau.NoEpoch {
		switch epoch, end := log.EpochEnd(r.LastRead); {
		case end < 0: // an epoch that this log has not heard of: it cannot tell what the two have in common
			return Refused(moldau.OffsetOutOfRange), nil
		case epoch < r.LastRead || end < r.At:
			res.Diverging, res.DivergeEpoch, res.DivergeEnd = true, epoch, end
			return res, nil
		}
	}
	upTo := res.HighWatermark
	if r.Committed {
		upTo = res.Stable
	}
	if plant.Has(plant.ReadsUncommitted) {
		upTo = log.End()
	}
	if r.At < res.Start || r.At > log.End() {
		return Refused(moldau.OffsetOutOfRange), nil
	}
	// Above the high watermark is not out of range: a consumer that has read up to there before a change of the leader would
	// begin anew somewhere else. It waits until the high watermark is there again.
	if r.At >= upTo {
		return res, nil
	}
	region, err := log.Read(r.At, r.MaxBytes, upTo, r.WholeBatch)
	switch {
	case errors.Is(err, commitlog.ErrOutOfRange):
		return Refused(moldau.OffsetOutOfRange), nil // the start moved past it meanwhile
	case err != nil:
		return ReadResult{}, err
	}
	res.Region = region
	if r.Committed && region.Len > 0 {
		if res.Aborted, err = log.AbortedIn(r.At, region.Next); err != nil {
			region.Release()
			return ReadResult{}, err
		}
	}
	return res, nil
}

// readFailed takes the partition offline, unless it has ended its service meanwhile and its log is closed. Bytes that are
// damaged are no reason: what is before and behind them can be read. Nor is the process's limit of open files.
func (p *Partition) readFailed(err error) ReadResult {
	switch {
	case errors.Is(err, commitlog.ErrDamaged):
		if before := p.met.Swap(&err); before == nil || (*before).Error() != err.Error() { // a client asks again and again
			p.flusher.logger.Error("a read met damaged bytes", "partition", p.Name.String(), "error", err)
		}
		return Refused(moldau.KafkaStorageError)
	case commitlog.Transient(err):
		p.flusher.logger.Warn("a read could not open its file", "partition", p.Name.String(), "error", err)
		return Refused(moldau.KafkaStorageError)
	}
	if p.Online() {
		p.Fail(err)
		p.flusher.logger.Error("read failed: the partition is offline", "partition", p.Name.String(), "error", err)
	}
	return Refused(p.refusal())
}
