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
	quorums, status := asksForQuorum(req), b.Metadata.Quorum()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeQuorumResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			if quorums {
				out.Partitions = append(out.Partitions, quorumPartition(status))
				continue
			}
			no := kmsg.NewDescribeQuorumResponseTopicPartition()
			no.Partition, no.ErrorCode = p.Partition, int16(moldau.UnknownTopicOrPartition)
			no.ErrorMessage = text("the one quorum is that of %s, partition 0, to be asked for alone", moldau.MetadataTopic)
			out.Partitions = append(out.Partitions, no)
		}
		resp.Topics = append(resp.Topics, out)
	}
	if quorums {
		b.addQuorumNodes(resp, status)
	}
	return resp
}

// asksForQuorum reports whether the request names partition 0 of the metadata log and nothing else.
func asksForQuorum(req *kmsg.DescribeQuorumRequest) bool {
	if len(req.Topics) != 1 || req.Topics[0].Topic != moldau.MetadataTopic {
		return false
	}
	ps := req.Topics[0].Partitions
	return len(ps) == 1 && ps[0].Partition == 0
}

func quorumPartition(status quorum.Status) kmsg.DescribeQuorumResponseTopicPartition {
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
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
		if v.ID == b.Config.Self {
			for _, l := range b.Controllers() {
				node.Listeners = append(node.Listeners, kmsg.DescribeQuorumResponseNodeListener{Name: l.Name, Host: l.Host, Port: uint16(l.Port)})
			}
		}
		if reg := im.Broker(v.ID); reg != nil && len(node.Listeners) == 0 { // no listener for controllers: the way that there is
			for _, e := range reg.Endpoints {
				node.Listeners = append(node.Listeners, kmsg.DescribeQuorumResponseNodeListener{Name: e.Name, Host: e.Host, Port: e.Port})
			}
		}
		resp.Nodes = append(resp.Nodes, node)
	}
}
