package api

// DeleteGroups (key 42), versions 0–2
//
// Behaviour: ends groups that nobody is in, with their offsets.

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func deleteGroups(b *Broker, c *server.Call, req *kmsg.DeleteGroupsRequest) server.Pending {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
	return inquire(len(req.Groups), func(i int, done func()) func() {
		out := &resp.Groups[i]
		out.Group = req.Groups[i]
		if code := b.groupAccess(c, access.Delete, out.Group); code != moldau.None {
			out.ErrorCode = int16(code)
			done()
			return nil
		}
		return askGroup(b, out.Group, func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
			return g.Delete(now, to, req.Groups[i])
		}, func(told, code moldau.Code) {
			if out.ErrorCode = int16(told); code != moldau.None {
				out.ErrorCode = int16(code)
			}
			done()
		})
	}).respond(c, func() kmsg.Response { return resp })
}
