package api

// DescribeLogDirs (key 35), versions 1–5
//
// Behaviour: each log directory with the size of each partition asked for (null: all).
// Version notes: v3 top-level error; v4 size and free space of the volume (KIP-827); v5 cordoned directories (KIP-1066),
// of which there are none.

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
)

// logDirsWait is how long the answer may wait for logs that are being opened, so that a topic just made is in it. Logs
// that need longer, after a crash, are left out.
const logDirsWait = time.Second

func describeLogDirs(b *Broker, c *server.Call, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	if !b.allowedCluster(c, access.Describe) {
		if c.Version >= 3 {
			resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
		}
		return resp
	}
	wanted := func(moldau.TopicPartition) bool { return true }
	if req.Topics != nil {
		set := make(map[moldau.TopicPartition]bool)
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				set[moldau.TopicPartition{Topic: t.Topic, Partition: p}] = true
			}
		}
		wanted = func(tp moldau.TopicPartition) bool { return set[tp] }
	}
	parts := b.Partitions.All()
	slices.SortFunc(parts, func(x, y *partition.Partition) int {
		if d := strings.Compare(x.Name.Topic, y.Name.Topic); d != 0 {
			return d
		}
		return int(x.Name.Partition) - int(y.Name.Partition)
	})
	deadline := c.Arrived.Add(logDirsWait)
	for _, dir := range b.LogDirs() {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir, out.TotalBytes, out.UsableBytes = dir.Path, dir.Total, dir.Free
		if dir.Failure != nil {
			out.ErrorCode = int16(moldau.KafkaStorageError)
		}
		for _, p := range parts {
			if p.Home().Path != dir.Path || !wanted(p.Name) || !b.settled(c, p, deadline) {
				continue
			}
			if log := p.Log(); log != nil {
				addLogDirPartition(&out, p.Name, FutureReplica{Size: log.Size()}, false)
			}
		}
		for _, f := range dir.Futures {
			if wanted(f.Partition) {
				addLogDirPartition(&out, f.Partition, f, true)
			}
		}
		resp.Dirs = append(resp.Dirs, out)
	}
	return resp
}

// addLogDirPartition adds a partition; those of one topic come one after another.
func addLogDirPartition(dir *kmsg.DescribeLogDirsResponseDir, tp moldau.TopicPartition, r FutureReplica, future bool) {
	if n := len(dir.Topics); n == 0 || dir.Topics[n-1].Topic != tp.Topic {
		t := kmsg.NewDescribeLogDirsResponseDirTopic()
		t.Topic = tp.Topic
		dir.Topics = append(dir.Topics, t)
	}
	p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
	p.Partition, p.Size, p.OffsetLag, p.IsFuture = tp.Partition, r.Size, r.Lag, future
	t := &dir.Topics[len(dir.Topics)-1]
	t.Partitions = append(t.Partitions, p)
}
