package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// Sync is SyncGroup: the leader brings the assignment, which is written down before anybody is told his part (G-5).
func (s *Groups) Sync(now time.Time, to rsm.Ticket, req *kmsg.SyncGroupRequest) Output {
	return s.step(s.find(req.Group), now, func(t *turn) {
		if code := t.sync(to, req); code != moldau.None {
			t.reply(to, &kmsg.SyncGroupResponse{ErrorCode: int16(code)})
		}
	})
}

func (t *turn) sync(to rsm.Ticket, req *kmsg.SyncGroupRequest) moldau.Code {
	m, code := t.check(req.MemberID, req.InstanceID)
	switch {
	case code != moldau.None:
		return code
	case req.Generation != t.generation:
		return moldau.IllegalGeneration
	case req.ProtocolType != nil && *req.ProtocolType != t.protocolType, req.Protocol != nil && *req.Protocol != t.protocol:
		return moldau.InconsistentGroupProtocol
	}
	switch t.state {
	case Preparing:
		return moldau.RebalanceInProgress
	case Stable:
		t.synced(m)
		m.alive(t.now)
		t.reply(to, t.assigned(m.assignment))
		return moldau.None
	case Completing:
		t.answerSync(m, moldau.RebalanceInProgress) // a request that the client has given up
		m.syncing = to
		t.synced(m)
		if m.id == t.leader {
			t.assign(req.GroupAssignment)
		}
		return moldau.None
	}
	return moldau.UnknownMemberID
}

// synced notes that a member has sent its SyncGroup of this generation.
func (t *turn) synced(m *member) {
	m.owing = false
	if !slices.ContainsFunc(t.members, func(o *member) bool { return o.owing }) {
		t.syncBy = time.Time{}
	}
}

// assign records the generation with the leader's assignment, and answers those who wait for it.
func (t *turn) assign(list []kmsg.SyncGroupRequestGroupAssignment) {
	assignments := map[string][]byte{}
	for _, a := range list {
		assignments[a.MemberID] = a.MemberAssignment
	}
	t.store(assignments)
	for _, m := range t.members {
		if m.syncing == rsm.NoTicket {
			continue
		}
		m.alive(t.now)
		t.reply(m.syncing, t.assigned(assignments[m.id]))
		m.syncing = rsm.NoTicket
	}
}

func (t *turn) assigned(assignment []byte) *kmsg.SyncGroupResponse {
	return &kmsg.SyncGroupResponse{ProtocolType: &t.protocolType, Protocol: &t.protocol, MemberAssignment: assignment}
}

func (t *turn) answerSync(m *member, code moldau.Code) {
	to := m.syncing
	m.syncing = rsm.NoTicket
	t.reply(to, &kmsg.SyncGroupResponse{ErrorCode: int16(code)})
}

// Heartbeat is Heartbeat: a member says that it lives, and hears whether it has to join again.
func (s *Groups) Heartbeat(now time.Time, to rsm.Ticket, req *kmsg.HeartbeatRequest) Output {
	return s.step(s.find(req.Group), now, func(t *turn) {
		t.reply(to, &kmsg.HeartbeatResponse{ErrorCode: int16(t.heartbeat(req))})
	})
}

func (t *turn) heartbeat(req *kmsg.HeartbeatRequest) moldau.Code {
	m, code := t.check(req.MemberID, req.InstanceID)
	switch {
	case code != moldau.None:
		return code
	case req.Generation != t.generation:
		return moldau.IllegalGeneration
	case t.state == Empty:
		return moldau.UnknownMemberID
	}
	m.alive(t.now)
	if t.state == Preparing {
		return moldau.RebalanceInProgress
	}
	return moldau.None
}

// Leave is LeaveGroup: members go, each by its id or, where an administrator says so, by its instance id alone (G-7).
func (s *Groups) Leave(now time.Time, to rsm.Ticket, req *kmsg.LeaveGroupRequest) Output {
	return s.step(s.find(req.Group), now, func(t *turn) {
		r := &kmsg.LeaveGroupResponse{}
		if req.Version < 3 {
			r.ErrorCode = int16(t.leave(req.MemberID, nil))
		}
		for _, m := range req.Members {
			lm := kmsg.NewLeaveGroupResponseMember()
			lm.MemberID, lm.InstanceID = m.MemberID, m.InstanceID
			lm.ErrorCode = int16(t.leave(m.MemberID, m.InstanceID))
			r.Members = append(r.Members, lm)
		}
		t.reply(to, r)
	})
}

func (t *turn) leave(id string, instance *string) moldau.Code {
	if id != "" && instance == nil && t.breakPromise(id) {
		t.afterRemoval()
		return moldau.None
	}
	if id == "" && instance != nil {
		if m := t.instance(*instance); m != nil {
			id = m.id
		}
	}
	m, code := t.check(id, instance)
	if code != moldau.None {
		return code
	}
	t.drop(m)
	return moldau.None
}

// drop takes out a member that has left or is given up.
func (t *turn) drop(m *member) {
	t.remove(m, moldau.UnknownMemberID)
	t.afterRemoval()
}

// afterRemoval begins a rebalance where the group lost a member, or lets the one under way go on without it.
func (t *turn) afterRemoval() {
	if t.state == Stable || t.state == Completing || t.state == Preparing {
		t.rebalanceOrGoOn()
	}
}

// expire does what is due: ids that nobody came back with, members that were not heard of, the ends of joining and of
// waiting for SyncGroup, offsets that nobody has needed for long.
func (t *turn) expire() {
	for _, p := range slices.Clone(t.promised) {
		if !t.now.Before(p.expires) && t.breakPromise(p.id) {
			t.afterRemoval()
		}
	}
	for _, m := range slices.Clone(t.members) {
		if (!m.waits() || m.fresh) && !t.now.Before(m.expires) {
			t.drop(m)
		}
	}
	if !t.joinBy.IsZero() && !t.now.Before(t.joinBy) {
		t.joinTimeout()
	}
	if !t.syncBy.IsZero() && !t.now.Before(t.syncBy) {
		t.syncBy = time.Time{}
		for _, m := range slices.Clone(t.members) {
			if m.owing && m.syncing == rsm.NoTicket {
				t.remove(m, moldau.UnknownMemberID)
			}
		}
		t.rebalanceOrGoOn()
	}
	if !t.sweepAt.IsZero() && !t.now.Before(t.sweepAt) {
		t.sweepAt = time.Time{}
		t.sweepOffsets()
	}
}
