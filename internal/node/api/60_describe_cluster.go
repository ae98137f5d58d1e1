package api

// DescribeCluster (key 60), versions 0–2
//
// Behaviour: cluster id, a broker that takes admin requests, and the endpoints for the listener of the call: those of the
// brokers, or of the controllers on a listener for controllers.
// Version notes: v1 endpoint type (KIP-919); v2 fenced brokers (KIP-1073).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/server"
)

const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

func describeCluster(b *Broker, c *server.Call, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterAuthorizedOperations = noOperations
	kind, other := int8(brokerEndpoints), int8(controllerEndpoints)
	if c.Listener.Kind&server.ForBrokers == 0 {
		kind, other = other, kind
	}
	asked := req.EndpointType
	if c.Version == 0 {
		asked = brokerEndpoints
	}
	if asked != kind {
		code, message := moldau.UnsupportedEndpointType, text("unknown endpoint type %d", asked)
		if asked == other {
			code, message = moldau.MismatchedEndpointType, text("the request asks for endpoints of type %d on a listener of type %d", asked, kind)
		}
		resp.ErrorCode, resp.ErrorMessage = int16(code), message
		return resp
	}
	resp.EndpointType = asked
	resp.ClusterID = b.Config.ClusterID
	resp.ControllerID = int32(b.Config.Self)
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = b.clusterOperations(c)
	}
	if kind == controllerEndpoints {
		resp.Brokers = b.controllersAt(c.Listener.Name)
		return resp
	}
	for node := range b.Metadata.Image().Brokers() {
		endpoint, ok := node.Endpoint(c.Listener.Name)
		if !ok || node.Fenced && !req.IncludeFencedBrokers {
			continue
		}
		resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{
			NodeID: int32(node.ID), Host: endpoint.Host, Port: int32(endpoint.Port), Rack: node.Rack, IsFenced: node.Fenced,
		})
	}
	return resp
}

// controllersAt is the nodes of the metadata quorum as they are reached on a listener for controllers. Of one node that is
// this one.
func (b *Broker) controllersAt(listener string) []kmsg.DescribeClusterResponseBroker {
	for _, l := range b.Controllers() {
		if l.Name == listener {
			node := kmsg.DescribeClusterResponseBroker{NodeID: int32(b.Config.Self), Host: l.Host, Port: l.Port}
			if b.Config.Broker.Rack != "" {
				node.Rack = &b.Config.Broker.Rack
			}
			return []kmsg.DescribeClusterResponseBroker{node}
		}
	}
	return nil
}
