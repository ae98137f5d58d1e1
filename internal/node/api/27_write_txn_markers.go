package api

// WriteTxnMarkers (key 27), versions 1–2
//
// Behaviour: ends transactions in partitions, for coordinators on other brokers and for operators with a transaction that nobody
// ends (T-14). A coordinator epoch below the newest that the partition has seen is TRANSACTION_COORDINATOR_FENCED (L-27).
// Version notes: v2 says whether the marker's epoch was raised above that of the transaction (KIP-890).

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/server"
)

func writeTxnMarkers(b *Broker, c *server.Call, req *kmsg.WriteTxnMarkersRequest) server.Pending {
	allowed := b.allowedCluster(c, access.Alter) || b.allowedCluster(c, access.ClusterAction)
	req.Markers = slices.DeleteFunc(req.Markers, func(m kmsg.WriteTxnMarkersRequestMarker) bool {
		return !slices.ContainsFunc(m.Topics, func(t kmsg.WriteTxnMarkersRequestMarkerTopic) bool { return len(t.Partitions) > 0 })
	})
	if allowed {
		b.awaitMarkable(c, req)
	}
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	return inquire(len(req.Markers), func(i int, done func()) func() {
		m := &req.Markers[i]
		resp.Markers = append(resp.Markers, kmsg.WriteTxnMarkersResponseMarker{ProducerID: m.ProducerID})
		var partitions []moldau.TopicPartition
		var outs []*int16
		for _, t := range m.Topics {
			out := kmsg.WriteTxnMarkersResponseMarkerTopic{Topic: t.Topic, Partitions: make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(t.Partitions))}
			for j, index := range t.Partitions {
				partitions = append(partitions, moldau.TopicPartition{Topic: t.Topic, Partition: index})
				out.Partitions[j].Partition, out.Partitions[j].ErrorCode = index, int16(moldau.ClusterAuthorizationFailed)
				outs = append(outs, &out.Partitions[j].ErrorCode)
			}
			resp.Markers[i].Topics = append(resp.Markers[i].Topics, out)
		}
		if !allowed {
			done()
			return nil
		}
		b.mark(coordinator.Marker{
			Producer: producerOf(m.ProducerID, m.ProducerEpoch), Commit: m.Committed, CoordinatorEpoch: m.CoordinatorEpoch,
			Bumped: int16(m.TransactionVersion) >= bumping,
		}, partitions, func(codes []moldau.Code) {
			for j, code := range codes {
				*outs[j] = int16(code)
			}
			done()
		})
		return nil
	}).respond(c, func() kmsg.Response { return resp })
}

// awaitMarkable waits until the partitions that markers are for can take them: one that was never written has its files made first.
func (b *Broker) awaitMarkable(c *server.Call, req *kmsg.WriteTxnMarkersRequest) {
	im, deadline := b.Metadata.Image(), c.Arrived.Add(b.Config.RequestTimeout)
	for _, m := range req.Markers {
		for _, t := range m.Topics {
			for _, index := range t.Partitions {
				if p, code := b.lookup(im.Topic(t.Topic), index); code == moldau.None && !b.closes(c, p.Writable(), deadline) {
					return
				}
			}
		}
	}
}
