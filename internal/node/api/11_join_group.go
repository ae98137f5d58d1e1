package api

// JoinGroup (key 11), versions 0–9
//
// Behaviour: a member joins its classic group, and hears of the generation once all have joined (G-1 to G-4).
// Version notes: v1 rebalance time-out; v4 a new member is first told its id (KIP-394); v5 static members (KIP-345);
// v9 a leader that comes back may be told that the assignment stands (KIP-814). Versions 0 and 1 are served for old
// clients.

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func joinGroup(b *Broker, c *server.Call, req *kmsg.JoinGroupRequest) server.Pending {
	for i := range req.Protocols {
		req.Protocols[i].Metadata = bytes.Clone(req.Protocols[i].Metadata) // the group outlives the frame
	}
	client := clientOf(c)
	unique := b.NewUUID().String()
	refuse := func(code moldau.Code) *kmsg.JoinGroupResponse {
		return &kmsg.JoinGroupResponse{ErrorCode: int16(code), MemberID: req.MemberID, Generation: -1}
	}
	return groupRequest(b, c, req.Group, refuse, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
		return g.Join(now, to, client, req, unique)
	})
}

// clientOf is who sends a request, as descriptions of groups tell it; Kafka writes addresses with a slash before.
func clientOf(c *server.Call) group.Client { return group.Client{ID: c.ClientID, Host: "/" + c.Remote} }
