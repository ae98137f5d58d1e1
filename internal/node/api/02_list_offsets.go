package api

// ListOffsets (key 2), versions 1–11
//
// Behaviour: the offset for a timestamp, or for a special one: -1 end (high watermark, last stable offset for
// read_committed), -2 start, -3 record with the highest timestamp (v7, KIP-734), -4 local start (v8, KIP-405), -5 end of
// the tiered part (v9, KIP-1005), -6 start of what waits to be tiered (v11, KIP-1023). No match is offset -1 without an
// error. Without tiers the local start is the start, and nothing is tiered or waits to be. While a new leader's high watermark is
// below where its log began, the end is not known yet: OFFSET_NOT_AVAILABLE, before v5 LEADER_NOT_AVAILABLE.
// Version notes: v4 leader epochs; v10 time-out for remote look-ups.

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// The timestamps with a meaning of their own.
const (
	latestTimestamp        = -1
	earliestTimestamp      = -2
	maxTimestamp           = -3
	earliestLocalTimestamp = -4
	latestTieredTimestamp  = -5
	earliestPendingUpload  = -6
)

// sinceVersion is the version that brought each of them.
var sinceVersion = map[int64]int16{
	latestTimestamp: 1, earliestTimestamp: 1, maxTimestamp: 7, earliestLocalTimestamp: 8, latestTieredTimestamp: 9,
	earliestPendingUpload: 11,
}

func listOffsets(b *Broker, c *server.Call, req *kmsg.ListOffsetsRequest) server.Pending {
	resp := kmsg.NewPtrListOffsetsResponse()
	im := b.Metadata.Image()
	type slot struct {
		topic     string
		partition int32
	}
	seen := make(map[slot]int)
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			seen[slot{t.Topic, p.Partition}]++
		}
	}
	deadline := c.Arrived.Add(b.Config.RequestTimeout)
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		allowed := b.allowedTopic(c, access.Describe, t.Topic)
		for _, rp := range t.Partitions {
			var p kmsg.ListOffsetsResponseTopicPartition
			switch {
			case !allowed:
				p = offsetsError(rp.Partition, moldau.TopicAuthorizationFailed)
			case seen[slot{t.Topic, rp.Partition}] > 1:
				p = offsetsError(rp.Partition, moldau.InvalidRequest)
			default:
				part, code := b.lookup(im.Topic(t.Topic), rp.Partition)
				if code == moldau.None {
					p = b.offsetFor(c, part, rp, req.IsolationLevel == 1, c.Version, deadline)
				} else {
					p = offsetsError(rp.Partition, code)
				}
			}
			out.Partitions = append(out.Partitions, p)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return answer(resp, c.Version)
}

func offsetsError(index int32, code moldau.Code) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition()
	p.Partition, p.ErrorCode, p.Timestamp, p.Offset, p.LeaderEpoch = index, int16(code), -1, -1, -1
	return p
}

func (b *Broker) offsetFor(c *server.Call, p *partition.Partition, req kmsg.ListOffsetsRequestTopicPartition, committed bool, version int16, deadline time.Time) kmsg.ListOffsetsResponseTopicPartition {
	since, special := sinceVersion[req.Timestamp]
	if special && version < since || !special && req.Timestamp < 0 {
		return offsetsError(req.Partition, moldau.UnsupportedVersion)
	}
	if !b.settled(c, p, deadline) {
		return offsetsError(req.Partition, moldau.NotLeaderOrFollower)
	}
	log := p.Log()
	if log == nil {
		if p.IsGone() {
			return offsetsError(req.Partition, moldau.NotLeaderOrFollower)
		}
		return offsetsError(req.Partition, moldau.KafkaStorageError)
	}
	if code := p.CheckEpoch(moldau.LeaderEpoch(req.CurrentLeaderEpoch)); code != moldau.None {
		return offsetsError(req.Partition, code)
	}
	stamp, found, err := findOffset(p, log, req.Timestamp, committed)
	if err != nil {
		b.Logger.Error("cannot look up an offset by time", "partition", p.Name.String(), "timestamp", req.Timestamp, "error", err)
		return offsetsError(req.Partition, moldau.KafkaStorageError)
	}
	if !p.Caught() && (req.Timestamp == latestTimestamp || req.Timestamp == maxTimestamp || !special && !found) {
		code := moldau.OffsetNotAvailable
		if version < 5 {
			code = moldau.LeaderNotAvailable // W-11
		}
		return offsetsError(req.Partition, code)
	}
	out := offsetsError(req.Partition, moldau.None)
	if found {
		out.Offset, out.Timestamp, out.LeaderEpoch = int64(stamp.Offset), int64(stamp.Timestamp), int32(stamp.Epoch)
	}
	return out
}

func findOffset(p *partition.Partition, log *commitlog.Log, timestamp int64, committed bool) (commitlog.Stamp, bool, error) {
	end := p.HighWatermark()
	if committed {
		end = p.Stable()
	}
	at := func(o moldau.Offset, epoch moldau.LeaderEpoch) (commitlog.Stamp, bool, error) {
		return commitlog.Stamp{Offset: o, Timestamp: moldau.NoTimestamp, Epoch: epoch}, true, nil
	}
	switch timestamp {
	case latestTimestamp:
		return at(end, p.Epoch())
	case earliestTimestamp, earliestLocalTimestamp:
		start := log.Start()
		return at(start, log.EpochAt(start))
	case maxTimestamp:
		return log.MaxTimestamp()
	case latestTieredTimestamp, earliestPendingUpload:
		return commitlog.Stamp{}, false, nil
	default:
		return log.OffsetForTimestamp(moldau.Timestamp(timestamp), end)
	}
}
