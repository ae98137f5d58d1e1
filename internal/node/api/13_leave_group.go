package api

// LeaveGroup (key 13), versions 0–5
//
// Behaviour: members leave their classic group (G-7).
// Version notes: v3 several members, static ones by their instance id (KIP-345); v5 reasons (KIP-800).

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func leaveGroup(b *Broker, c *server.Call, req *kmsg.LeaveGroupRequest) server.Pending {
	refuse := func(code moldau.Code) *kmsg.LeaveGroupResponse {
		return &kmsg.LeaveGroupResponse{ErrorCode: int16(code)}
	}
	return groupRequest(b, c, req.Group, refuse, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
		return g.Leave(now, to, req)
	})
}
