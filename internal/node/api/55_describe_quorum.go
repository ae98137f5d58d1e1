package api

// DescribeQuorum (key 55), versions 0–2
//
// Behaviour: leader, epoch, high watermark and voters of the metadata quorum. Only partition 0 of __cluster_metadata
// exists (C-13).
// Version notes: v1 fetch and caught-up times; v2 directory ids and the nodes' endpoints (KIP-853).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
)

func describeQuorum(b *Broker, c *server.Call, req *kmsg.DescribeQuorumRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeQuorumResponse()
	if !b.allowedCluster(c, access.Describe) {
		resp.ErrorCode, resp.ErrorMessage = int16(moldau.ClusterAuthorizationFailed), text("DESCRIBE on the cluster is needed")
		return resp
	}
	status := b.Metadata.Quorum()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeQuorumResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			out.Partitions = append(out.Partitions, quorumPartition(t.Topic, p.Partition, status))
		}
		resp.Topics = append(resp.Topics, out)
	}
	b.addQuorumNodes(resp, status)
	return resp
}

func quorumPartition(topic string, index int32, status quorum.Status) kmsg.DescribeQuorumResponseTopicPartition {
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.Partition = index
	if topic != moldau.MetadataTopic || index != 0 {
		p.ErrorCode = int16(moldau.UnknownTopicOrPartition)
		return p
	}
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = -1, int32(status.Epoch), int64(status.HighWatermark)
	if status.Leader != nil {
		p.LeaderID = int32(status.Leader.ID)
	}
	for _, v := range status.Voters {
		r := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		r.ReplicaID, r.ReplicaDirectoryID = int32(v.ID), v.Directory
		r.LogEndOffset, r.LastFetchTimestamp, r.LastCaughtUpTimestamp = int64(v.End), int64(v.LastFetch), int64(v.LastCaughtUp)
		p.CurrentVoters = append(p.CurrentVoters, r)
	}
	return p
}

func (b *Broker) addQuorumNodes(resp *kmsg.DescribeQuorumResponse, status quorum.Status) {
	im := b.Metadata.Image()
	for _, v := range status.Voters {
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = int32(v.ID)
		if reg := im.Broker(v.ID); reg != nil {
			for _, e := range reg.Endpoints {
				node.Listeners = append(node.Listeners, kmsg.DescribeQuorumResponseNodeListener{Name: e.Name, Host: e.Host, Port: e.Port})
			}
		}
		resp.Nodes = append(resp.Nodes, node)
	}
}
