package api

// DescribeGroups (key 15), versions 0–6
//
// Behaviour: classic groups with their members; what members said and were assigned only while the group is stable. A
// group that is not there is Dead without an error, from v6 on with GROUP_ID_NOT_FOUND.
// Version notes: v3 authorized operations; v4 instance ids (KIP-345); v6 messages (KIP-1043).

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func describeGroups(b *Broker, c *server.Call, req *kmsg.DescribeGroupsRequest) server.Pending {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(req.Groups))
	version := c.Version
	return inquire(len(req.Groups), func(i int, done func()) func() {
		out := &resp.Groups[i]
		refuse := func(code moldau.Code) {
			*out = kmsg.NewDescribeGroupsResponseGroup()
			out.Group, out.ErrorCode = req.Groups[i], int16(code)
		}
		if code := b.groupAccess(c, access.Describe, req.Groups[i]); code != moldau.None {
			refuse(code)
			done()
			return nil
		}
		operations := int32(noOperations)
		if req.IncludeAuthorizedOperations {
			operations = access.Operations(access.Group)
		}
		return askGroup(b, req.Groups[i], func(g *group.Groups, now time.Time, to rsm.Ticket) group.Output {
			return g.Describe(now, to, req.Groups[i], version)
		}, func(r kmsg.DescribeGroupsResponseGroup, code moldau.Code) {
			if *out = r; code != moldau.None {
				refuse(code)
			}
			if out.ErrorCode == 0 {
				out.AuthorizedOperations = operations
			}
			done()
		})
	}).respond(c, func() kmsg.Response { return resp })
}
