package status

import (
	"math"
	"time"

	"github.com/moldau/moldau/internal/node/partition"
)

// Cleaner is what the compaction of logs has done since the start, and what it is about.
type Cleaner struct {
	Now            time.Time // by the broker's clock
	Underway       int       // passes
	Passes         int64
	BytesRead      int64
	BytesWritten   int64
	RecordsDropped int64
	SinceLast      time.Duration // since a pass ended, or the start
	TookLast       time.Duration // the last pass
	MapFillLast    float64       // how full its map of keys was, of what it may be
	RecopyLast     float64       // written bytes of those read
	DirtyRatioMax  float64       // of the logs that wait
	DelayMax       time.Duration // by which the log that is most overdue is late
	Uncleanable    map[*partition.Partition]error
}

// cleaner writes LogCleaner and LogCleanerManager (L-66).
func (s *scrape) cleaner() {
	c := s.src.Cleaner()
	const logs, passes = "kafka_log_logcleanermanager_", "kafka_log_logcleaner_"
	bytes, count := make(map[string]int64), make(map[string]int)
	var behind int64
	for _, r := range s.rows {
		dir := r.Home().Path
		if c.Uncleanable[r.Partition] != nil {
			count[dir]++
			if r.log != nil {
				bytes[dir] += r.log.Size()
			}
		}
		if d, ok, err := r.Dirt(c.Now, math.MaxInt64); ok && err == nil {
			behind += d.DirtyBytes
		}
	}
	for _, d := range s.src.LogDirs() {
		s.gauge(logs+"uncleanable_partitions_count", "Partitions whose compaction has failed", count[d.Path], "logDirectory", d.Path)
	}
	for _, d := range s.src.LogDirs() {
		s.Gauge(logs+"uncleanable_bytes", "Bytes of the partitions whose compaction has failed", float64(bytes[d.Path]), "logDirectory", d.Path)
	}
	s.gauge(logs+"max_dirty_percent", "Share of the filthiest log that waits to be compacted", int(100*c.DirtyRatioMax))
	s.Gauge(logs+"time_since_last_run_ms", "Milliseconds since a compaction ended", float64(c.SinceLast.Milliseconds()))
	s.gauge(passes+"deadthreadcount", "Cleaners that have died: none ever does", 0)
	s.gauge(passes+"max_buffer_utilization_percent", "How full the map of keys of the last compaction was", int(100*c.MapFillLast))
	s.gauge(passes+"cleaner_recopy_percent", "Bytes written of those read by the last compaction", int(100*c.RecopyLast))
	s.Gauge(passes+"max_clean_time_secs", "Seconds of the last compaction", c.TookLast.Seconds())
	s.Gauge(passes+"max_compaction_delay_secs", "Seconds by which the log that is most overdue for compaction is late", c.DelayMax.Seconds())
	s.Gauge("moldau_cleaner_dirty_bytes", "Bytes of compacted topics that no compaction has seen and that one could clean now", float64(behind))
	s.gauge("moldau_cleaner_passes_underway", "Compactions under way", c.Underway)
	s.Counter("moldau_cleaner_passes_total", "Compactions", c.Passes)
	s.Counter("moldau_cleaner_read_bytes_total", "Bytes read by compactions", c.BytesRead)
	s.Counter("moldau_cleaner_written_bytes_total", "Bytes written by compactions", c.BytesWritten)
	s.Counter("moldau_cleaner_dropped_records_total", "Records that compactions dropped", c.RecordsDropped)
}
