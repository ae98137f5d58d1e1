package api

// ListGroups (key 16), versions 0–5
//
// Behaviour: the groups that this broker coordinates and the caller may describe.
// Version notes: v4 filter by state (KIP-518); v5 by type (KIP-848).

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/node/server"
)

func listGroups(b *Broker, c *server.Call, req *kmsg.ListGroupsRequest) server.Pending {
	filter := group.Filter{States: req.StatesFilter, Types: req.TypesFilter}
	mine := b.ledPartitions(b.Metadata.Image().Topic(moldau.OffsetsTopic))
	lists := make([][]kmsg.ListGroupsResponseGroup, len(mine))
	codes := make([]moldau.Code, len(mine))
	all := b.allowedCluster(c, access.Describe)
	caller := *c // what is asked of the authorizer after the handler has returned
	return inquire(len(mine), func(i int, done func()) func() {
		return b.askPartition(mine[i], func(g *group.Groups, _ time.Time, to rsm.Ticket) group.Output {
			return g.List(to, filter)
		}, func(response any, err error) {
			if err != nil {
				codes[i] = coordinatorCode(err)
			} else {
				lists[i] = response.([]kmsg.ListGroupsResponseGroup)
			}
			done()
		})
	}).respond(c, func() kmsg.Response {
		resp := kmsg.NewPtrListGroupsResponse()
		for i, list := range lists {
			if codes[i] != moldau.None && codes[i] != moldau.NotCoordinator {
				resp.ErrorCode = int16(codes[i])
			}
			for _, g := range list {
				if all || b.allowed(&caller, access.Describe, access.Group, g.Group) {
					resp.Groups = append(resp.Groups, g)
				}
			}
		}
		slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) })
		return resp
	})
}

// ledPartitions are the partitions of a topic that this broker leads; none of a topic that is not there.
func (b *Broker) ledPartitions(topic *metadata.Topic) (mine []int32) {
	if topic == nil {
		return nil
	}
	for i, p := range topic.Partitions {
		if p.Leader == b.Config.Self {
			mine = append(mine, int32(i))
		}
	}
	return mine
}
