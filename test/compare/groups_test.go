package compare

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groups tells of groups: what their members have been called goes by words, since each broker makes ids of its own.
type groups struct {
	*run
	topic [16]byte
}

// tellGroups comes behind the coordinators, which make the topic that it needs.
func tellGroups(r *run) {
	g := groups{r, r.create("grouped", 2)}
	g.awaitCoordinator()
	g.joins()
	g.lives()
	g.statics()
	g.offsets()
	g.strangers()
	g.lists()
}

// awaitCoordinator waits until groups are served.
func (g groups) awaitCoordinator() {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		g.quiet(4, &kmsg.FindCoordinatorRequest{CoordinatorKeys: []string{"any"}})
		served := true
		for i := range 60 { // so many names that every partition has some
			d := g.quiet(5, &kmsg.DescribeGroupsRequest{Groups: []string{fmt.Sprint("name-", i)}}).(*kmsg.DescribeGroupsResponse)
			served = served && d.Groups[0].ErrorCode == 0
		}
		if served {
			return
		}
		if time.Since(begun) > preparedTimeout {
			g.Fatal("the broker does not coordinate groups")
		}
	}
}

func joinOf(id, member string, more ...func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = id, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 300_000, 300_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("one")}, {Name: "roundrobin", Metadata: []byte("two")}}
	for _, change := range more {
		change(req)
	}
	return req
}

func static(instance string) func(*kmsg.JoinGroupRequest) {
	return func(r *kmsg.JoinGroupRequest) { r.InstanceID = &instance }
}

// join sends a JoinGroup and calls the member that comes of it by a word.
func (g groups) join(step, word string, v int16, req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	resp, err := g.exchange(v, req, answerTimeout)
	if err != nil {
		g.Fatalf("%s v%d: %v", step, v, err)
	}
	r := resp.(*kmsg.JoinGroupResponse)
	if r.MemberID != "" && r.MemberID != req.MemberID {
		g.known.names[r.MemberID] = word
	}
	g.note(step, v, req, read(&g.known, resp))
	return r
}

// member joins in a version, with a second request where the first only gives an id, and returns the id and generation.
func (g groups) member(step, id string, v int16, more ...func(*kmsg.JoinGroupRequest)) (member string, generation int32) {
	r := g.join(step+", first", id+"'s", v, joinOf(id, "", more...))
	if r.ErrorCode == 79 {
		r = g.join(step+", with its id", id+"'s", v, joinOf(id, r.MemberID, more...))
	}
	return r.MemberID, r.Generation
}

func syncOf(id, member string, generation int32, instance *string, assign ...string) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation, req.InstanceID = id, member, generation, instance
	req.ProtocolType, req.Protocol = ptr("consumer"), ptr("range")
	for _, a := range assign {
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: a, MemberAssignment: []byte("assigned")})
	}
	return req
}

// joins has members join alone in every version, and be refused.
func (g groups) joins() {
	for _, v := range versions(kmsg.JoinGroup) {
		g.member("join", fmt.Sprint("joined-", v), v)
	}
	g.each("join with a session time-out that is too short", func(v int16) kmsg.Request {
		return joinOf("refused", "", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 })
	})
	g.each("join with a session time-out that is too long", func(v int16) kmsg.Request {
		return joinOf("refused", "", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1800001 })
	})
	g.all("join as a stranger", joinOf("refused", "stranger"))
	g.all("join a group without a name", joinOf("", ""))
	g.all("join without protocols", joinOf("refused", "", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }))
	g.all("join without a type", joinOf("refused", "", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }))
	g.all("join with another type", joinOf("joined-9", "", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" }))
	g.all("join with other protocols", joinOf("joined-9", "", func(r *kmsg.JoinGroupRequest) { r.Protocols = r.Protocols[:1]; r.Protocols[0].Name = "other" }))
	g.all("join a group that has members as a stranger", joinOf("joined-9", "stranger"))
	g.all("join as an unknown instance with an id", joinOf("joined-9", "stranger", static("nobody")), 5, 9)
}

// lives goes through a generation of a group of one in every version of what belongs to it.
func (g groups) lives() {
	member, generation := g.member("live", "lively", 9)
	g.all("describe while the assignment is missing", &kmsg.DescribeGroupsRequest{Groups: []string{"lively"}})
	g.all("heartbeat before the assignment", &kmsg.HeartbeatRequest{Group: "lively", MemberID: member, Generation: generation})
	g.all("commit before the assignment", g.commitOf("lively", member, generation, 0, 1))
	g.all("sync with another protocol", func() kmsg.Request {
		r := syncOf("lively", member, generation, nil, member)
		r.Protocol = ptr("roundrobin")
		return r
	}(), 5)
	g.all("sync without a protocol", func() kmsg.Request {
		r := syncOf("lively", member, generation, nil, member)
		r.Protocol, r.ProtocolType = nil, nil
		return r
	}(), 5)
	g.all("sync", syncOf("lively", member, generation, nil, member))
	g.all("sync with another generation", syncOf("lively", member, generation+1, nil, member))
	g.all("sync as a stranger", syncOf("lively", "stranger", generation, nil))
	g.all("heartbeat", &kmsg.HeartbeatRequest{Group: "lively", MemberID: member, Generation: generation})
	g.all("heartbeat with another generation", &kmsg.HeartbeatRequest{Group: "lively", MemberID: member, Generation: generation + 1})
	g.all("heartbeat as a stranger", &kmsg.HeartbeatRequest{Group: "lively", MemberID: "stranger", Generation: generation})
	g.all("describe", &kmsg.DescribeGroupsRequest{Groups: []string{"lively", "nobody's"}, IncludeAuthorizedOperations: true})
	g.all("commit", g.commitOf("lively", member, generation, 0, 5))
	g.all("commit with another generation", g.commitOf("lively", member, generation+1, 0, 6))
	g.all("commit as a stranger", g.commitOf("lively", "stranger", generation, 0, 6))
	g.all("commit as nobody", g.commitOf("lively", "", -1, 0, 6))
	g.all("delete while there are members", &kmsg.DeleteGroupsRequest{Groups: []string{"lively", "nobody's", ""}})
	g.all("delete offsets while there are members", &kmsg.OffsetDeleteRequest{Group: "lively", Topics: []kmsg.OffsetDeleteRequestTopic{
		{Topic: "grouped", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}})
	g.all("leave as a stranger", leaveOf("lively", "stranger", nil))
	g.ask("leave", 5, leaveOf("lively", member, nil))
	g.all("leave once more", leaveOf("lively", member, nil))
	g.all("describe an empty group", &kmsg.DescribeGroupsRequest{Groups: []string{"lively"}})
	g.all("heartbeat in an empty group", &kmsg.HeartbeatRequest{Group: "lively", MemberID: member, Generation: generation})
	g.all("sync in an empty group", syncOf("lively", member, generation, nil))
	g.all("join an empty group with an old id", joinOf("lively", member))
	g.ask("delete", 2, &kmsg.DeleteGroupsRequest{Groups: []string{"lively"}})
	g.all("offsets of a group that was deleted", g.fetchOf("lively"))
	for _, v := range versions(kmsg.LeaveGroup) {
		id := fmt.Sprint("left-", v)
		member, _ := g.member(fmt.Sprint("to leave in version ", v), id, 9)
		g.ask("leave in each version", v, leaveOf(id, member, nil))
	}
}

func leaveOf(id, member string, instance *string) *kmsg.LeaveGroupRequest {
	return &kmsg.LeaveGroupRequest{Group: id, MemberID: member, Members: []kmsg.LeaveGroupRequestMember{{MemberID: member, InstanceID: instance}}}
}

// statics has static members come back.
func (g groups) statics() {
	one := "one"
	first, generation := g.member("static", "settled", 9, static(one))
	g.ask("static: sync", 5, syncOf("settled", first, generation, &one, first))
	for _, v := range []int16{5, 8, 9} {
		g.join("static: comes back", "settled's after "+fmt.Sprint(v), v, joinOf("settled", "", static(one)))
	}
	g.all("static: heartbeat with an old id", &kmsg.HeartbeatRequest{Group: "settled", MemberID: first, Generation: generation, InstanceID: &one}, 3, 4)
	g.all("static: heartbeat as another instance", &kmsg.HeartbeatRequest{Group: "settled", MemberID: first, Generation: generation, InstanceID: ptr("two")}, 3, 4)
	g.all("static: describe", &kmsg.DescribeGroupsRequest{Groups: []string{"settled"}})
	g.all("static: remove an unknown instance", leaveOf("settled", "", ptr("two")), 3, 4, 5)
	g.ask("static: remove", 5, leaveOf("settled", "", &one))
	g.all("static: describe without members", &kmsg.DescribeGroupsRequest{Groups: []string{"settled"}}, 6)
}

func (g groups) commitOf(id, member string, generation int32, partition int32, at int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = id, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.TopicID = "grouped", g.topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, at, 0, ptr("metadata")
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetchOf asks for the offsets of groups in partitions 0 and 1.
func (g groups) fetchOf(ids ...string) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = ids[0]
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "grouped", Partitions: []int32{0, 1}}}
	for _, id := range ids {
		one := kmsg.NewOffsetFetchRequestGroup()
		one.Group = id
		one.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "grouped", TopicID: g.topic, Partitions: []int32{0, 1}}}
		req.Groups = append(req.Groups, one)
	}
	return req
}

// offsets commits for groups without members, and asks for what is there.
func (g groups) offsets() {
	g.each("commit alone", func(v int16) kmsg.Request { return g.commitOf("simple", "", -1, 0, int64(10+v)) })
	g.all("commit for an unknown partition", g.commitOf("simple", "", -1, 7, 1))
	g.all("commit for a negative partition", g.commitOf("simple", "", -1, -1, 1))
	g.each("commit for an unknown topic", func(v int16) kmsg.Request {
		req := g.commitOf("simple", "", -1, 0, 1)
		req.Topics[0].Topic, req.Topics[0].TopicID = "absent", absentID
		return req
	})
	g.all("commit with too much to say", func() kmsg.Request {
		req := g.commitOf("simple", "", -1, 0, 1)
		req.Topics[0].Partitions[0].Metadata = ptr(strings.Repeat("m", 4097))
		return req
	}())
	g.all("commit with nothing to say", func() kmsg.Request {
		req := g.commitOf("simple", "", -1, 1, 3)
		req.Topics[0].Partitions[0].Metadata = nil
		return req
	}())
	g.all("commit nothing", &kmsg.OffsetCommitRequest{Group: "simple", Generation: -1})
	g.all("commit with a generation for a group that is not there", g.commitOf("absent", "m", 3, 0, 1))
	g.all("commit for a group without a name", g.commitOf("", "", -1, 0, 1))
	g.all("offsets", g.fetchOf("simple"))
	g.all("offsets of two groups", g.fetchOf("simple", "absent"), 8, 9, 10)
	g.all("offsets of no group", &kmsg.OffsetFetchRequest{}, 8, 9, 10)
	g.all("all offsets", &kmsg.OffsetFetchRequest{Group: "simple", Groups: []kmsg.OffsetFetchRequestGroup{{Group: "simple", MemberEpoch: -1}}}, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	g.all("all offsets of a group that is not there", &kmsg.OffsetFetchRequest{Group: "absent", Groups: []kmsg.OffsetFetchRequestGroup{{Group: "absent", MemberEpoch: -1}}}, 2, 7, 8, 9, 10)
	g.each("offsets of absent ones", func(v int16) kmsg.Request {
		req := g.fetchOf("simple")
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "absent", Partitions: []int32{0}}, {Topic: "grouped", Partitions: []int32{9}}}
		req.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "absent", TopicID: absentID, Partitions: []int32{0}}, {Topic: "grouped", TopicID: g.topic, Partitions: []int32{9}}}
		return req
	})
	for _, member := range []string{"", "m"} {
		g.each(fmt.Sprintf("offsets as member %q of an epoch", member), func(v int16) kmsg.Request {
			req := g.fetchOf("simple", "absent")
			for i := range req.Groups {
				req.Groups[i].MemberID, req.Groups[i].MemberEpoch = &member, 3
			}
			return req
		}, 9, 10)
	}
	type p = kmsg.OffsetDeleteRequestTopicPartition
	g.all("delete offsets", &kmsg.OffsetDeleteRequest{Group: "simple", Topics: []kmsg.OffsetDeleteRequestTopic{
		{Topic: "grouped", Partitions: []p{{Partition: 0}, {Partition: 9}}}, {Topic: "absent", Partitions: []p{{Partition: 0}}}}})
	g.all("delete offsets of a group that is not there", &kmsg.OffsetDeleteRequest{Group: "absent", Topics: []kmsg.OffsetDeleteRequestTopic{
		{Topic: "grouped", Partitions: []p{{Partition: 0}}}}})
	g.all("offsets that are left", g.fetchOf("simple"), 9)
	g.all("describe a group of offsets", &kmsg.DescribeGroupsRequest{Groups: []string{"simple"}})
}

// strangers asks for what is not there.
func (g groups) strangers() {
	g.all("heartbeat in a group that is not there", &kmsg.HeartbeatRequest{Group: "absent", MemberID: "m", Generation: 1})
	g.all("heartbeat in a group without a name", &kmsg.HeartbeatRequest{MemberID: "m", Generation: 1})
	g.all("sync in a group that is not there", syncOf("absent", "m", 1, nil))
	g.all("sync in a group without a name", syncOf("", "m", 1, nil))
	g.all("leave a group that is not there", leaveOf("absent", "m", nil))
	g.all("leave a group without a name", leaveOf("", "m", nil))
	g.all("leave as nobody", &kmsg.LeaveGroupRequest{Group: "absent"})
	g.all("describe groups that are not there", &kmsg.DescribeGroupsRequest{Groups: []string{"absent", ""}})
	g.all("describe no group", &kmsg.DescribeGroupsRequest{})
	g.all("delete no group", &kmsg.DeleteGroupsRequest{})
}

// lists lists groups by what they are.
func (g groups) lists() {
	g.all("list", &kmsg.ListGroupsRequest{})
	for _, states := range [][]string{{"Empty"}, {"stable"}, {"CompletingRebalance", "Empty"}, {"Dead"}, {"nonsense"}} {
		g.all("list those that are "+strings.Join(states, " or "), &kmsg.ListGroupsRequest{StatesFilter: states}, 4, 5)
	}
	for _, types := range [][]string{{"classic"}, {"Consumer"}, {"share", "streams"}, {"nonsense"}} {
		g.all("list those of type "+strings.Join(types, " or "), &kmsg.ListGroupsRequest{TypesFilter: types}, 5)
	}
}
