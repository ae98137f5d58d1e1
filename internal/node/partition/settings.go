package partition

import (
	"time"

	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Settings are those of a topic's settings that its partitions obey. A value never changes; Reconfigure replaces it.
type Settings struct {
	Log           commitlog.Config
	DirtyRatioMin float64 // min.cleanable.dirty.ratio
	MinInSync     int
	LogAppendTime bool
	FlushMessages int64
	FlushMs       int64
	DeleteAllowed bool // DeleteRecords may move the start: cleanup.policy is not compact alone
	// Checks are what a batch of a producer is checked against.
	Checks record.Policy
}

// durable reports whether each append is to be synced before it is acknowledged or read.
func (s *Settings) durable() bool { return s.FlushMessages <= 1 }

// unsyncedAgeMax is how long a record may stay unsynced.
func (s *Settings) unsyncedAgeMax() time.Duration {
	return time.Duration(min(s.FlushMs, unsyncedAge.Milliseconds())) * time.Millisecond
}
