package api

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
)

// findGroup makes __consumer_offsets and expects this broker to coordinate the group.
func (h *harness) findGroup(id string) {
	h.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKeys = []string{id}
	resp := call[*kmsg.FindCoordinatorResponse](h, req, 6)
	if c := resp.Coordinators[0]; c.ErrorCode != 0 || c.NodeID != 1 || c.Host != "127.0.0.1" || c.Port != 9092 {
		h.t.Fatalf("the coordinator of %s is %+v", id, c)
	}
}

// retry sends a request again while its coordinator is loading.
func retry[R kmsg.Response](h *harness, req kmsg.Request, version int16, code func(R) int16) R {
	h.t.Helper()
	for {
		resp := call[R](h, req, version)
		if moldau.Code(code(resp)) != moldau.CoordinatorLoadInProgress {
			return resp
		}
	}
}

func (h *harness) join(id, member string, version int16) *kmsg.JoinGroupResponse {
	h.t.Helper()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = id, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("metadata")}}
	return retry(h, req, version, func(r *kmsg.JoinGroupResponse) int16 { return r.ErrorCode })
}

// member joins a group alone and takes its assignment.
func (h *harness) member(id string) (member string, generation int32) {
	h.t.Helper()
	first := h.join(id, "", 9)
	if moldau.Code(first.ErrorCode) != moldau.MemberIDRequired {
		h.t.Fatalf("first join: %+v", first)
	}
	joined := h.join(id, first.MemberID, 9)
	if joined.ErrorCode != 0 || len(joined.Members) != 1 || string(joined.Members[0].ProtocolMetadata) != "metadata" {
		h.t.Fatalf("join: %+v", joined)
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = id, joined.MemberID, joined.Generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: []byte("mine")}}
	synced := call[*kmsg.SyncGroupResponse](h, req, 5)
	if synced.ErrorCode != 0 || string(synced.MemberAssignment) != "mine" || *synced.Protocol != "range" {
		h.t.Fatalf("sync: %+v", synced)
	}
	return joined.MemberID, joined.Generation
}

func (h *harness) commitOffset(id, member string, generation int32, topic string, partition int32, at int64, version int16) moldau.Code {
	h.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = id, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	if im := h.Image().Topic(topic); im != nil {
		t.TopicID = im.ID
	}
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, at, 3, kmsg.StringPtr("note")
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp := retry(h, req, version, func(r *kmsg.OffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return moldau.Code(resp.Topics[0].Partitions[0].ErrorCode)
}

// TestGroupLives goes through the life of a group of one member: G-1, G-5, G-8, G-9.
func TestGroupLives(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 2)
	h.findGroup("g")
	member, generation := h.member("g")

	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID, beat.Generation = "g", member, generation
	if resp := call[*kmsg.HeartbeatResponse](h, beat, 4); resp.ErrorCode != 0 {
		t.Error(moldau.Code(resp.ErrorCode))
	}
	for version := int16(2); version <= 10; version++ {
		if code := h.commitOffset("g", member, generation, "t", 1, int64(version), version); code != moldau.None {
			t.Errorf("commit v%d: %s", version, code)
		}
	}
	if code := h.commitOffset("g", member, generation, "nowhere", 0, 1, 9); code != moldau.UnknownTopicOrPartition {
		t.Errorf("commit for a topic that is not there: %s", code)
	}
	if code := h.commitOffset("g", member, generation, "nowhere", 0, 1, 10); code != moldau.UnknownTopicID {
		t.Errorf("commit for an id that is not there: %s", code)
	}
	if code := h.commitOffset("g", member, generation, "t", 2, 1, 9); code != moldau.UnknownTopicOrPartition {
		t.Errorf("commit for a partition that is not there: %s", code)
	}

	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups, describe.IncludeAuthorizedOperations = []string{"g", "none"}, true
	told := call[*kmsg.DescribeGroupsResponse](h, describe, 6)
	if g := told.Groups[0]; g.State != "Stable" || g.Members[0].ClientHost != "/127.0.0.1" || g.AuthorizedOperations == noOperations {
		t.Errorf("described as %+v", g)
	}
	if g := told.Groups[1]; moldau.Code(g.ErrorCode) != moldau.GroupIDNotFound {
		t.Errorf("a group that is not there is described as %+v", g)
	}

	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{"g"}
	if resp := call[*kmsg.DeleteGroupsResponse](h, remove, 2); moldau.Code(resp.Groups[0].ErrorCode) != moldau.NonEmptyGroup {
		t.Errorf("delete with a member: %+v", resp)
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.Members = "g", []kmsg.LeaveGroupRequestMember{{MemberID: member}}
	if resp := call[*kmsg.LeaveGroupResponse](h, leave, 5); resp.Members[0].ErrorCode != 0 {
		t.Errorf("leave: %+v", resp)
	}
	list := kmsg.NewPtrListGroupsRequest()
	list.StatesFilter = []string{"empty"}
	if resp := retry(h, list, 5, func(r *kmsg.ListGroupsResponse) int16 { return r.ErrorCode }); len(resp.Groups) != 1 || resp.Groups[0].GroupState != "Empty" {
		t.Errorf("listed as %+v", resp)
	}
	if resp := call[*kmsg.DeleteGroupsResponse](h, remove, 2); resp.Groups[0].ErrorCode != 0 {
		t.Errorf("delete: %+v", resp)
	}
}

// TestOffsetsAreFetched in every version: one group or several, named partitions or all, by name or by id.
func TestOffsetsAreFetched(t *testing.T) {
	h := newHarness(t)
	id := h.createTopic("t", 2)
	h.findGroup("g")
	if code := h.commitOffset("g", "", -1, "t", 1, 42, 9); code != moldau.None {
		t.Fatal(code)
	}
	for version := int16(1); version <= 10; version++ {
		for _, all := range []bool{false, true} {
			if all && version < 2 {
				continue
			}
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Group, req.RequireStable = "g", true
			group := kmsg.NewOffsetFetchRequestGroup()
			group.Group = "g"
			if !all {
				req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}
				group.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: id, Partitions: []int32{0, 1}}}
			}
			req.Groups = append(req.Groups, group)
			got := offsetsOf(retry(h, req, version, func(r *kmsg.OffsetFetchResponse) int16 {
				if version >= 8 {
					return r.Groups[0].ErrorCode
				}
				return r.ErrorCode
			}))
			if got[1] != 42 || len(got) != map[bool]int{true: 1, false: 2}[all] || !all && got[0] != -1 {
				t.Errorf("v%d, all %t: %v", version, all, got)
			}
		}
	}
}

// offsetsOf are the offsets in a response by partition; codes count below -1.
func offsetsOf(r *kmsg.OffsetFetchResponse) map[int32]int64 {
	got := map[int32]int64{}
	note := func(partition int32, offset int64, code int16) {
		if got[partition] = offset; code != 0 {
			got[partition] = -1000 - int64(code)
		}
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			note(p.Partition, p.Offset, p.ErrorCode)
		}
	}
	for _, g := range r.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				note(p.Partition, p.Offset, p.ErrorCode)
			}
		}
	}
	return got
}

// TestUnknownGroups has the answers for groups that nobody made, and before there is a topic for them.
func TestUnknownGroups(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 1)
	if r := h.join("g", "", 9); moldau.Code(r.ErrorCode) != moldau.CoordinatorNotAvailable {
		t.Errorf("before there is a topic: %s", moldau.Code(r.ErrorCode))
	}
	h.findGroup("g")
	if r := h.join("", "", 9); moldau.Code(r.ErrorCode) != moldau.InvalidGroupID {
		t.Errorf("a group without a name: %s", moldau.Code(r.ErrorCode))
	}
	if r := h.join("g", "stranger", 9); moldau.Code(r.ErrorCode) != moldau.UnknownMemberID {
		t.Errorf("a member that nobody knows: %s", moldau.Code(r.ErrorCode))
	}
	if code := h.commitOffset("g", "m", 3, "t", 0, 1, 8); code != moldau.IllegalGeneration {
		t.Errorf("a generation of a group that is not there: %s", code)
	}
	forget := kmsg.NewPtrOffsetDeleteRequest()
	forget.Group = "g"
	if r := call[*kmsg.OffsetDeleteResponse](h, forget, 0); moldau.Code(r.ErrorCode) != moldau.GroupIDNotFound {
		t.Errorf("offsets of a group that is not there: %s", moldau.Code(r.ErrorCode))
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group = "g"
	if r := call[*kmsg.SyncGroupResponse](h, sync, 5); moldau.Code(r.ErrorCode) != moldau.InconsistentGroupProtocol {
		t.Errorf("a SyncGroup without a protocol: %s", moldau.Code(r.ErrorCode))
	}
}

// TestOffsetsGoWithForgottenPartitions: OffsetDelete forgets what it names.
func TestOffsetsGoWithForgottenPartitions(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 2)
	h.findGroup("g")
	for p := range int32(2) {
		if code := h.commitOffset("g", "", -1, "t", p, 5, 9); code != moldau.None {
			t.Fatal(code)
		}
	}
	forget := kmsg.NewPtrOffsetDeleteRequest()
	forget.Group = "g"
	forget.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 7}}}}
	r := call[*kmsg.OffsetDeleteResponse](h, forget, 0)
	if p := r.Topics[0].Partitions; r.ErrorCode != 0 || p[0].ErrorCode != 0 || moldau.Code(p[1].ErrorCode) != moldau.UnknownTopicOrPartition {
		t.Errorf("%+v", r)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}}
	if got := offsetsOf(call[*kmsg.OffsetFetchResponse](h, req, 9)); len(got) != 1 || got[1] != 5 {
		t.Errorf("left are %v", got)
	}
}

// TestPartitionOfGroup is Java's String.hashCode: tools reckon the partition of a group themselves.
func TestPartitionOfGroup(t *testing.T) {
	for key, want := range map[string]int32{"": 0, "g": 3, "my-group": 36, "größe": 7, "😀": 49, strings.Repeat("z", 40): 30} {
		if got := partitionOf(key, 50); got != want {
			t.Errorf("group %q is in partition %d, want %d", key, got, want)
		}
	}
}
