package api

// Heartbeat (key 12), versions 0–4
//
// Behaviour: a member of a classic group says that it lives, and hears whether the group rebalances.
// Version notes: v3 static members (KIP-345).

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func heartbeat(b *Broker, c *server.Call, req *kmsg.HeartbeatRequest) server.Pending {
	refuse := func(code moldau.Code) *kmsg.HeartbeatResponse { return &kmsg.HeartbeatResponse{ErrorCode: int16(code)} }
	return groupRequest(b, c, req.Group, refuse, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
		return g.Heartbeat(now, to, req)
	})
}
