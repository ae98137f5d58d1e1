package api

import (
	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/wire"
)

// leaderOf tells whom a client should turn to for a partition, and where that broker is on the client's listener (W-8).
func leaderOf(im *metadata.Image, l *server.Listener, topic *metadata.Topic, index int32) (wire.CurrentLeader, wire.NodeEndpoint, bool) {
	if topic == nil || index < 0 || int(index) >= len(topic.Partitions) {
		return wire.CurrentLeader{}, wire.NodeEndpoint{}, false
	}
	state := topic.Partitions[index]
	node := im.Broker(state.Leader)
	if node == nil {
		return wire.CurrentLeader{}, wire.NodeEndpoint{}, false
	}
	at, ok := node.Endpoint(l.Name)
	if !ok {
		return wire.CurrentLeader{}, wire.NodeEndpoint{}, false
	}
	endpoint := wire.NodeEndpoint{ID: node.ID, Host: at.Host, Port: int32(at.Port)}
	if node.Rack != nil {
		endpoint.Rack = *node.Rack
	}
	return wire.CurrentLeader{ID: state.Leader, Epoch: state.LeaderEpoch}, endpoint, true
}

// leaderCode says what is the matter with a partition's leader, seen from the listener of the call (W-8).
func leaderCode(im *metadata.Image, c *server.Call, p *metadata.Partition) moldau.Code {
	leader := im.Broker(p.Leader)
	if leader == nil || leader.Fenced {
		return moldau.LeaderNotAvailable
	}
	if _, ok := leader.Endpoint(c.Listener.Name); ok {
		return moldau.None
	}
	if c.Version < 6 {
		return moldau.LeaderNotAvailable
	}
	return moldau.ListenerNotFound
}
