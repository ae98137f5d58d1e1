package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

const (
	// knownIDVersion is the JoinGroup version from which a new member is first given an id and has to come back with it
	// (KIP-394), so that a client which gives up waiting leaves no member behind.
	knownIDVersion = 4
	// skipVersion is the version from which a leader can be told that the assignment stands (KIP-814).
	skipVersion = 9
	// freshSession is how long a member that joined for the first time is kept while it waits. It does not know its id
	// yet, and so can neither send a heartbeat nor leave.
	freshSession = 5 * time.Minute
)

// Join is JoinGroup (G-1 to G-4). unique makes the id of a new member one that no other has.
func (s *Groups) Join(now time.Time, to rsm.Ticket, c Client, req *kmsg.JoinGroupRequest, unique string) Output {
	session := millis(req.SessionTimeoutMillis)
	refuse := func(code moldau.Code) Output {
		return Output{After: noOffset, Replies: []rsm.Reply{{To: to, Response: &kmsg.JoinGroupResponse{
			ErrorCode: int16(code), MemberID: req.MemberID, Generation: -1}}}}
	}
	if session < s.cfg.SessionTimeoutMin || session > s.cfg.SessionTimeoutMax {
		return refuse(moldau.InvalidSessionTimeout)
	}
	g := s.find(req.Group)
	if req.MemberID != "" && !g.exists() {
		return refuse(moldau.UnknownMemberID)
	}
	return s.step(g, now, func(t *turn) {
		j := join{turn: t, to: to, client: c, req: req, protocols: protocolsOf(req)}
		if code := j.run(unique); code != moldau.None {
			t.reply(to, &kmsg.JoinGroupResponse{ErrorCode: int16(code), MemberID: req.MemberID, Generation: -1})
		}
	})
}

// join is a JoinGroup on its way.
type join struct {
	*turn
	to        rsm.Ticket
	client    Client
	req       *kmsg.JoinGroupRequest
	protocols []protocol
}

func (j *join) run(unique string) moldau.Code {
	if !j.room() {
		j.breakPromise(j.req.MemberID)
		if m := j.member(j.req.MemberID); m != nil {
			j.remove(m, moldau.GroupMaxSizeReached)
		}
		return moldau.GroupMaxSizeReached
	}
	if !j.supports(j.req.ProtocolType, j.protocols) {
		return moldau.InconsistentGroupProtocol
	}
	if j.req.MemberID != "" {
		return j.known()
	}
	prefix := j.client.ID
	if j.req.InstanceID != nil {
		prefix = *j.req.InstanceID
		if old := j.instance(prefix); old != nil {
			j.replace(old, prefix+"-"+unique)
			return moldau.None
		}
	} else if j.req.Version >= knownIDVersion {
		id := prefix + "-" + unique
		j.promised = append(j.promised, promise{id, j.now.Add(millis(j.req.SessionTimeoutMillis))})
		j.reply(j.to, &kmsg.JoinGroupResponse{ErrorCode: int16(moldau.MemberIDRequired), MemberID: id, Generation: -1})
		return moldau.None
	}
	j.enter(prefix + "-" + unique)
	return moldau.None
}

// room reports whether the group may take who asks. While members join, those who came first have the places; else the
// members that are there have them.
func (j *join) room() bool {
	m := j.member(j.req.MemberID)
	switch j.state {
	case Preparing:
		awaited := 0
		for _, o := range j.members {
			if o.joining != rsm.NoTicket {
				awaited++
			}
		}
		return m != nil && m.joining != rsm.NoTicket || awaited < j.cfg.MembersMax
	case Empty:
		return true
	}
	return m != nil || len(j.members) < j.cfg.MembersMax
}

// known is a JoinGroup with the id of a member.
func (j *join) known() moldau.Code {
	id := j.req.MemberID
	if j.breakPromise(id) {
		j.enter(id)
		return moldau.None
	}
	m, code := j.check(id, j.req.InstanceID)
	if code != moldau.None {
		return code
	}
	same := equalProtocols(m.protocols, j.protocols)
	switch {
	case j.state == Empty:
		return moldau.UnknownMemberID
	case j.state == Completing && same, j.state == Stable && same && m.id != j.leader:
		// Its answer was lost, or it asks for no reason: it hears once more of the generation that is (G-4).
		m.alive(j.now)
		j.reply(j.to, j.joined(m, j.state == Completing && m.id == j.leader))
		return moldau.None
	}
	m.take(j.client, j.req)
	j.wait(m)
	j.rebalanceOrGoOn()
	return moldau.None
}

// enter makes a new member.
func (j *join) enter(id string) {
	m := &member{id: id, instance: j.req.InstanceID, fresh: true}
	m.take(j.client, j.req)
	m.expires = j.now.Add(freshSession)
	if len(j.members) == 0 {
		j.protocolType = j.req.ProtocolType
	}
	j.members = append(j.members, m)
	if j.leader == "" {
		j.leader = id
	}
	j.arrived = true
	j.wait(m)
	j.rebalanceOrGoOn()
}

// wait keeps the answer back until all have joined. A client that asks again does so since it gave up the request before.
func (j *join) wait(m *member) {
	j.answerJoin(m, &kmsg.JoinGroupResponse{ErrorCode: int16(moldau.RebalanceInProgress), MemberID: m.id, Generation: -1})
	m.joining, m.joinsAs = j.to, j.req.Version
}

// replace gives the place of a static member to its next incarnation, which gets another id. Who still uses the old one
// is fenced. In a stable group whose protocol stays nothing else changes (KIP-345).
func (j *join) replace(m *member, id string) {
	old, wasLeader := m.id, j.leader == m.id
	j.answerJoin(m, &kmsg.JoinGroupResponse{ErrorCode: int16(moldau.FencedInstanceID), MemberID: old, Generation: -1})
	j.answerSync(m, moldau.FencedInstanceID)
	m.id = id
	if wasLeader {
		j.leader = id
	}
	m.take(j.client, j.req)
	m.alive(j.now)
	if j.state != Stable || j.choose() != j.protocol {
		m.joining, m.joinsAs = j.to, j.req.Version
		j.rebalanceOrGoOn()
		return
	}
	assignments := map[string][]byte{}
	for _, o := range j.members {
		assignments[o.id] = o.assignment
	}
	j.store(assignments)
	r := j.joined(m, wasLeader && j.req.Version >= skipVersion)
	if wasLeader && j.req.Version >= skipVersion {
		r.SkipAssignment = true
	} else if wasLeader {
		r.LeaderID = old // so that it does not take itself for the leader and assign anew
	}
	j.reply(j.to, r)
}

// joined is what a member is told of the generation that is; asLeader adds who the others are.
func (t *turn) joined(m *member, asLeader bool) *kmsg.JoinGroupResponse {
	r := &kmsg.JoinGroupResponse{
		Generation: t.generation, ProtocolType: &t.protocolType, Protocol: &t.protocol, LeaderID: t.leader, MemberID: m.id,
	}
	if asLeader {
		for _, o := range t.members {
			r.Members = append(r.Members, kmsg.JoinGroupResponseMember{MemberID: o.id, InstanceID: o.instance, ProtocolMetadata: o.metadata(t.protocol)})
		}
	}
	return r
}

// breakPromise forgets an id that was given out and reports whether there was one.
func (t *turn) breakPromise(id string) bool {
	n := len(t.promised)
	t.promised = slices.DeleteFunc(t.promised, func(p promise) bool { return p.id == id })
	return len(t.promised) < n
}

// rebalanceOrGoOn begins a rebalance, or sees whether the one under way has everybody.
func (t *turn) rebalanceOrGoOn() {
	if t.state == Preparing {
		t.goOn()
		return
	}
	for _, m := range t.members {
		t.answerSync(m, moldau.RebalanceInProgress)
		m.owing = false
	}
	t.syncBy = time.Time{}
	t.initial = t.state == Empty
	t.state = Preparing
	if t.initial {
		longest := t.rebalanceTimeout()
		t.joinBy = t.now.Add(t.cfg.InitialDelay)
		t.gather = max(longest-t.cfg.InitialDelay, 0)
		t.arrived = false
		if t.cfg.InitialDelay > 0 {
			return
		}
	} else {
		t.joinBy = t.now.Add(t.rebalanceTimeout())
	}
	t.goOn()
}

// goOn ends the joining if everybody is there. An initial rebalance waits out its delay, for there is no telling who else
// is to come.
func (t *turn) goOn() {
	if t.initial && t.now.Before(t.joinBy) || len(t.promised) > 0 {
		return
	}
	for _, m := range t.members {
		if m.joining == rsm.NoTicket {
			return
		}
	}
	t.complete()
}

// joinTimeout is due when the time to join is up.
func (t *turn) joinTimeout() {
	if t.initial && t.arrived && t.gather > 0 { // somebody came: perhaps more come
		delay := min(t.cfg.InitialDelay, t.gather)
		t.gather -= delay
		t.joinBy, t.arrived = t.now.Add(delay), false
		return
	}
	t.complete()
}

// complete begins the next generation with those who have joined. Dynamic members that have not are out; static ones stay.
func (t *turn) complete() {
	for _, m := range slices.Clone(t.members) {
		if m.joining == rsm.NoTicket && !m.static() {
			t.remove(m, moldau.UnknownMemberID)
		}
	}
	if !t.elect() {
		t.joinBy = t.now.Add(t.rebalanceTimeout()) // only static members, and none is back yet
		t.initial = false
		return
	}
	t.joinBy, t.initial, t.gather, t.arrived = time.Time{}, false, 0, false
	t.generation++
	if len(t.members) == 0 {
		t.state, t.protocol, t.leader, t.since = Empty, "", "", t.now
		t.store(nil)
		return
	}
	t.state, t.protocol = Completing, t.choose()
	t.syncBy = t.now.Add(t.rebalanceTimeout())
	for _, m := range t.members {
		m.owing = true
		m.fresh = false
		m.alive(t.now)
		t.answerJoin(m, t.joined(m, m.id == t.leader))
	}
}

// elect sees to it that the leader is one who has joined; false where nobody has and members are left.
func (t *turn) elect() bool {
	if m := t.member(t.leader); len(t.members) == 0 || m != nil && m.joining != rsm.NoTicket {
		return true
	}
	for _, m := range t.members {
		if m.joining != rsm.NoTicket {
			t.leader = m.id
			return true
		}
	}
	return false
}
