package api

// AlterReplicaLogDirs (key 34), versions 1–2
//
// Behaviour: has replicas of this broker moved to other log directories. The answer comes before the moves are done;
// DescribeLogDirs shows their copies as future replicas. To name the directory where a replica is ends a move that is under way.
// Version notes: v1 and v2 differ in encoding only.
// Differs from Apache: one replica is copied at a time. A move that a stop has interrupted begins anew.

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
)

func alterReplicaLogDirs(b *Broker, c *server.Call, req *kmsg.AlterReplicaLogDirsRequest) kmsg.Response {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	allowed := b.allowedCluster(c, access.Alter)
	im := b.Metadata.Image()
	for _, dir := range req.Dirs {
		for _, topic := range dir.Topics {
			t := kmsg.NewAlterReplicaLogDirsResponseTopic()
			t.Topic = topic.Topic
			for _, index := range topic.Partitions {
				p := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				p.Partition = index
				code := moldau.ClusterAuthorizationFailed
				if allowed {
					code = b.alterReplicaLogDir(im, topic.Topic, index, dir.Dir)
				}
				p.ErrorCode = int16(code)
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	return resp
}

func (b *Broker) alterReplicaLogDir(im *metadata.Image, topic string, index int32, dir string) moldau.Code {
	var p *partition.Partition
	if t := im.Topic(topic); t != nil && index >= 0 && int(index) < len(t.Partitions) {
		if p = b.Partitions.Get(t.ID, index); p == nil {
			return moldau.ReplicaNotAvailable
		}
	}
	return b.MoveReplica(p, dir)
}
