package broker

import (
	"maps"
	"math"
	"strconv"
	"sync"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/must"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// reconcile makes the partitions of this broker what the metadata says. It runs on the quorum's loop: logs are opened and
// removed in the background, and only a directory that another topic of the same name has left behind is renamed here.
func (b *Broker) reconcile(delta *metadata.Delta) {
	c := change{b: b, im: delta.New, settings: make(map[string]*partition.Settings), arrivals: make(map[*logDir]*arrival)}
	for _, step := range delta.Steps(b.config.NodeID) {
		switch s := step.(type) {
		case metadata.BecomeLeader:
			c.lead(s)
		case metadata.BecomeFollower:
			// A single broker never follows; the step comes with replication.
		case metadata.Delete:
			b.resign(s.Topic, s.Partition)
			if p := b.partitions.Remove(s.TopicID, s.Partition); p != nil {
				b.storage.remove(p)
			}
			if s.Partition == 0 {
				b.forgetOffsets(s.Topic)
			}
			b.stats.fold(s.Topic)
		case metadata.Reconfigure:
			c.reconfigure(s.Resource)
		}
	}
	for dir, a := range c.arrivals {
		b.storage.open(dir, a)
	}
	b.storage.firstLook.Do(func() { // the first change is all that the metadata has
		b.storage.tellUnclaimed()
		for _, d := range b.storage.dirs {
			b.storage.endClaims(d)
			b.storage.forgetClaimed(d)
			b.storage.settle(d)
		}
	})
}

// change is one delta on its way into the partitions.
type change struct {
	b        *Broker
	im       *metadata.Image
	live     *config.Broker                 // what broker returns; nil before somebody asked
	settings map[string]*partition.Settings // by topic
	arrivals map[*logDir]*arrival
}

// broker is the settings of this broker with those that were changed while it runs. Where these do not fit together any more,
// since the file is another one than when they were made, those of the file stand.
func (c *change) broker() *config.Broker {
	if c.live != nil {
		return c.live
	}
	of := func(name string) map[string]string {
		return c.im.Config(metadata.Resource{Type: schema.BrokerResource, Name: name})
	}
	live, err := config.ResolveBrokerLayers(config.Layers{
		Broker: of(strconv.Itoa(int(c.b.config.NodeID))), Default: of(""), Static: c.b.static,
	})
	if err != nil {
		c.b.logger.Error("the settings that were changed at run time do not fit those of the start, which stand in", "error", err)
		live = c.b.config
	}
	c.live = &live
	return c.live
}

// liveConfig is the settings of this broker with those that were changed while it runs.
func (b *Broker) liveConfig() *config.Broker {
	return (&change{b: b, im: b.cluster.Image()}).broker()
}

func (c *change) settingsOf(topic string) *partition.Settings {
	if c.settings[topic] == nil {
		c.settings[topic] = c.b.settings(c.im, topic, c.broker())
	}
	return c.settings[topic]
}

func (c *change) lead(s metadata.BecomeLeader) {
	b := c.b
	p := b.partitions.Get(s.TopicID, s.Partition)
	if p == nil {
		p = c.admit(moldau.TopicPartition{Topic: s.Topic, Partition: s.Partition}, s.TopicID, s.Directory)
	}
	err := p.Lead(partition.Leadership{
		Self: b.config.NodeID, Epoch: s.LeaderEpoch, PartitionEpoch: s.PartitionEpoch, Replicas: s.Replicas, InSync: s.ISR,
	})
	if err != nil {
		b.logger.Error("a partition cannot be led; it is offline", "partition", p.Name.String(), "error", err)
		return
	}
	b.coordinate(p)
}

// admit enters a partition that this broker has not had since it started, and has its log opened. One that was never written
// has nothing to be opened: it is online at once.
func (c *change) admit(tp moldau.TopicPartition, id moldau.TopicID, assigned moldau.DirectoryID) *partition.Partition {
	b := c.b
	dir, held, err := b.storage.place(tp, id, assigned)
	home, flusher := partition.NewDirectory(""), b.storage.dirs[0].flusher // of one that has no place, and flushes nothing
	if dir != nil {
		home, flusher = dir.home, dir.flusher
	}
	p := partition.New(tp, id, home, flusher, b.stats.of(tp.Topic), c.settingsOf(tp.Topic))
	if dir != nil {
		b.storage.claim(dir, p, held)
	}
	b.partitions.Add(p)
	if err != nil {
		b.logger.Error("a partition is offline", "partition", tp.String(), "error", err)
		p.Fail(err)
		return p
	}
	if !held {
		if err := p.Opened(commitlog.New(b.storage.logOptions(dir, p)), 0); err != nil {
			must.True(false, "partition %v was just made: %v", tp, err)
		}
		return p
	}
	b.assignHeld(p, dir, assigned)
	a := c.arrivals[dir]
	if a == nil {
		a = &arrival{unlisted: make(map[moldau.TopicPartition]moldau.TopicID)}
		c.arrivals[dir] = a
	}
	a.add(dir, p)
	return p
}

// reconfigure hands new settings to the partitions that they concern.
func (c *change) reconfigure(r metadata.Resource) {
	if r.Type != schema.TopicResource && r.Type != schema.BrokerResource {
		return
	}
	defer c.b.cleaner.nudge()
	if r.Type == schema.BrokerResource {
		c.b.server.Limit(connectionLimits(c.broker()))
	}
	for _, p := range c.b.partitions.All() {
		if topic := p.Name.Topic; r.Type == schema.BrokerResource || topic == r.Name {
			p.Reconfigure(c.settingsOf(topic))
		}
	}
}

// settings are a topic's settings as its partitions need them.
func (b *Broker) settings(im *metadata.Image, topic string, live *config.Broker) *partition.Settings {
	t, err := config.ResolveTopic(controller.TopicConfig(im, topic, controller.Env{Config: &b.config, Static: b.static}))
	if err != nil {
		b.logger.Error("a topic has settings that cannot be read; their defaults stand in", "topic", topic, "error", err)
	}
	s := &partition.Settings{
		Log: commitlog.Config{
			SegmentBytes: int64(t.SegmentBytes), SegmentMs: t.SegmentMs, SegmentJitterMs: t.SegmentJitterMs,
			IndexIntervalBytes: int64(t.IndexIntervalBytes), IndexBytesMax: int64(t.SegmentIndexBytes),
			RetentionMs: t.RetentionMs, RetentionBytes: t.RetentionBytes, DeleteEnabled: t.CleanupPolicy.Has(config.CleanupDelete),
			CompactEnabled: t.CleanupPolicy.Has(config.CleanupCompact), MinCompactionLagMs: t.MinCompactionLagMs,
			MaxCompactionLagMs: t.MaxCompactionLagMs, DeleteRetentionMs: t.DeleteRetentionMs,
			FileDeleteDelayMs: t.FileDeleteDelayMs, ProducerExpirationMs: live.ProducerIDExpiration.Milliseconds(),
		},
		MinInSync: int(t.MinInSyncReplicas), LogAppendTime: t.TimestampType == config.LogAppendTime,
		DirtyRatioMin: t.MinCleanableDirtyRatio,
		FlushMessages: t.FlushMessages, FlushMs: t.FlushMs,
		DeleteAllowed: !t.CleanupPolicy.Has(config.CleanupCompact) || t.CleanupPolicy.Has(config.CleanupDelete),
		Checks: record.Policy{
			MessageBytesMax: int(t.MaxMessageBytes), SegmentBytesMax: int(t.SegmentBytes),
			LogAppendTime:        t.TimestampType == config.LogAppendTime,
			TimestampBeforeMaxMs: t.TimestampBeforeMaxMs, TimestampAfterMaxMs: t.TimestampAfterMaxMs,
			Compacted: t.CleanupPolicy.Has(config.CleanupCompact), OpenBytesMax: int(min(b.config.DecompressedMaxBytes, math.MaxInt32)),
			Codecs: &b.codecs,
		},
	}
	if t.CompressionType != "producer" {
		s.Checks.Compression = compression(t)
	}
	return s
}

// compression is how batches of a topic are recompressed (L-7).
func compression(t config.Topic) *record.Compression {
	name := t.CompressionType
	if name == "uncompressed" {
		return &record.Compression{Codec: record.Uncompressed}
	}
	codec, err := record.ParseCodec(name)
	if err != nil {
		return nil // ResolveTopic takes no other value
	}
	level := map[record.Codec]int{record.Gzip: t.CompressionGzipLevel, record.LZ4: t.CompressionLZ4Level, record.Zstd: t.CompressionZstdLevel}[codec]
	return &record.Compression{Codec: codec, Level: level}
}

// topicStats are the counters of the topics by name. Those of deleted topics are kept as one, so that totals only rise.
type topicStats struct {
	mu      sync.Mutex
	byName  map[string]*partition.TopicStats
	deleted partition.TopicStats
}

func (s *topicStats) of(topic string) *partition.TopicStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = make(map[string]*partition.TopicStats)
	}
	if s.byName[topic] == nil {
		s.byName[topic] = new(partition.TopicStats)
	}
	return s.byName[topic]
}

// fold ends the counters of a topic that is deleted; one without is none.
func (s *topicStats) fold(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stats := s.byName[topic]; stats != nil {
		s.deleted.Add(stats)
		delete(s.byName, topic)
	}
}

// all returns the counters by topic; those of deleted topics are under the empty name.
func (s *topicStats) all() map[string]*partition.TopicStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.byName)
	if all == nil {
		all = make(map[string]*partition.TopicStats, 1)
	}
	all[""] = &s.deleted
	return all
}
