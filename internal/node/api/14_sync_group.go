package api

// SyncGroup (key 14), versions 0–5
//
// Behaviour: the leader of a generation brings the assignment, and every member hears its part once that is on the log
// (G-5).
// Version notes: v3 static members (KIP-345); v5 names the protocol, which must be the group's (KIP-559).

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func syncGroup(b *Broker, c *server.Call, req *kmsg.SyncGroupRequest) server.Pending {
	for i := range req.GroupAssignment {
		a := &req.GroupAssignment[i].MemberAssignment
		*a = bytes.Clone(*a) // the group outlives the frame
	}
	refuse := func(code moldau.Code) *kmsg.SyncGroupResponse { return &kmsg.SyncGroupResponse{ErrorCode: int16(code)} }
	if c.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		return answer(refuse(moldau.InconsistentGroupProtocol), c.Version)
	}
	return groupRequest(b, c, req.Group, refuse, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
		return g.Sync(now, to, req)
	})
}
