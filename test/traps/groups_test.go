package traps

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// coordinated makes the broker coordinate a group that no other test has, and returns its name.
func coordinated(t *testing.T, c *client) string {
	t.Helper()
	id := fresh(t)
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = id, []string{id}
	for {
		r := ask[*kmsg.FindCoordinatorResponse](c, 4, req).Coordinators[0]
		if r.ErrorCode == 0 {
			break
		}
		if r.ErrorCode != 15 {
			t.Fatalf("FindCoordinator: error %d", r.ErrorCode)
		}
	}
	return id
}

// whileLoading asks again while the answer is COORDINATOR_LOAD_IN_PROGRESS.
func whileLoading[R kmsg.Response](c *client, v int16, req kmsg.Request, code func(R) int16) R {
	for {
		if r := ask[R](c, v, req); code(r) != 14 {
			return r
		}
	}
}

func joining(id, member string, instance *string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.ProtocolType = id, member, instance, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("subscription")}}
	return req
}

// stable makes the group stable with one member and returns the member's id.
func stable(c *client, id string, instance *string) string {
	c.t.Helper()
	code := func(r *kmsg.JoinGroupResponse) int16 { return r.ErrorCode }
	joined := whileLoading(c, 9, joining(id, "", instance), code)
	if joined.ErrorCode == 79 {
		joined = ask[*kmsg.JoinGroupResponse](c, 9, joining(id, joined.MemberID, instance))
	}
	if joined.ErrorCode != 0 {
		c.t.Fatalf("JoinGroup: error %d", joined.ErrorCode)
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = id, joined.MemberID, instance, joined.Generation
	req.ProtocolType, req.Protocol = joined.ProtocolType, joined.Protocol
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: []byte("assignment")}}
	if r := ask[*kmsg.SyncGroupResponse](c, 5, req); r.ErrorCode != 0 || string(r.MemberAssignment) != "assignment" {
		c.t.Fatalf("SyncGroup: %+v", r)
	}
	return joined.MemberID
}

// kafka-go, kafka_ex and brod send JoinGroup 0 and 1, which know no member ids before joining.
func TestX4JoinGroupZeroAndOneAreServed(t *testing.T) {
	c := shared(t)
	for v := int16(0); v <= 1; v++ {
		id := coordinated(t, c)
		r := whileLoading(c, v, joining(id, "", nil), func(r *kmsg.JoinGroupResponse) int16 { return r.ErrorCode })
		if r.ErrorCode != 0 || r.MemberID == "" || r.LeaderID != r.MemberID || len(r.Members) != 1 || string(r.Members[0].ProtocolMetadata) != "subscription" {
			t.Errorf("JoinGroup v%d: %+v", v, r)
		}
	}
}

// kafka-exporter describes groups in version 0, also those with static members, whose instance ids it cannot tell.
func TestX40DescribeGroupsZeroWithStaticMembers(t *testing.T) {
	c := shared(t)
	id := coordinated(t, c)
	instance := "one"
	member := stable(c, id, &instance)
	for v := int16(0); v <= 6; v++ {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = []string{id}
		g := ask[*kmsg.DescribeGroupsResponse](c, v, req).Groups[0]
		if g.ErrorCode != 0 || g.State != "Stable" || len(g.Members) != 1 || g.Members[0].MemberID != member {
			t.Errorf("v%d: %+v", v, g)
		}
		if (g.Members[0].InstanceID != nil) != (v >= 4) {
			t.Errorf("v%d tells the instance id %v", v, g.Members[0].InstanceID)
		}
	}
}

// admin clients try ConsumerGroupDescribe first. Where it is not advertised they describe as before, and a group that is
// not there is Dead, from version 6 on with GROUP_ID_NOT_FOUND.
func TestX41GroupDescriptionsFallBack(t *testing.T) {
	c := shared(t)
	coordinated(t, c)
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{"nobody made this"}
	for v := int16(0); v <= 6; v++ {
		g := whileLoading(c, v, req, func(r *kmsg.DescribeGroupsResponse) int16 { return r.Groups[0].ErrorCode }).Groups[0]
		want := int16(0)
		if v >= 6 {
			want = 69
		}
		if g.State != "Dead" || g.ErrorCode != want {
			t.Errorf("v%d: state %q, error %d", v, g.State, g.ErrorCode)
		}
	}
}
