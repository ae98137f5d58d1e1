package api

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/wire"
)

// interested is one partition of a fetch: what the client asks of it, and what it has been told.
type interested struct {
	wire.FetchPartition
	name    []byte // as the client named the topic, empty from v13 on
	id      moldau.TopicID
	topicID moldau.TopicID // of the topic that was found, which may have been asked for by name
	topic   string

	part  *partition.Partition // nil while unresolved
	watch *partition.Watch

	toldHighWatermark, toldStart moldau.Offset
}

// plain makes every negative epoch the one that means none, as Kafka takes them in a Fetch.
func plain(p wire.FetchPartition) wire.FetchPartition {
	p.LeaderEpoch = max(p.LeaderEpoch, moldau.NoEpoch)
	p.LastFetchedEpoch = max(p.LastFetchedEpoch, moldau.NoEpoch)
	return p
}

func (e *interested) sameTopic(o *interested) bool {
	return e.id == o.id && bytes.Equal(e.name, o.name)
}

// told notes what the client knows after this response. After an error it knows nothing, so that the partition is named
// again once it is well (W-41).
func (e *interested) told(res *partition.ReadResult) {
	e.toldHighWatermark, e.toldStart = res.HighWatermark, res.Start
	if res.Code != moldau.None {
		e.toldHighWatermark, e.toldStart = -1, -1
	}
}

// interest is the partitions of a fetch, and the list of those with news.
type interest struct {
	ready partition.Ready
	byKey map[interestKey]*interested // nil for a sessionless fetch
	order []*interested
	on    bool // watched
}

type interestKey struct {
	name  string
	id    moldau.TopicID
	index int32
}

func newInterest() *interest { return &interest{} }

func (s *interest) add(t wire.FetchTopic, p wire.FetchPartition) *interested {
	e := &interested{FetchPartition: plain(p), name: bytes.Clone(t.Name), id: t.ID, toldHighWatermark: -1, toldStart: -1}
	e.watch = partition.NewWatch(&s.ready, e)
	s.order = append(s.order, e)
	return e
}

// watch registers every partition that was found; what happens from now on marks the list.
func (s *interest) watch() {
	if s.on {
		return
	}
	s.on = true
	for _, e := range s.order {
		if e.part != nil {
			e.part.Watch(e.watch)
		}
	}
}

func (s *interest) unwatch() {
	if !s.on {
		return
	}
	s.on = false
	for _, e := range s.order {
		if e.part != nil {
			e.part.Unwatch(e.watch)
		}
	}
}

// resolveInterest finds the partition behind an entry, again where it is gone meanwhile.
func (b *Broker) resolveInterest(f *fetch, e *interested) (*partition.Partition, moldau.Code) {
	if e.part != nil && !e.part.IsGone() {
		if !b.mayRead(f, e.topic) {
			return nil, moldau.TopicAuthorizationFailed
		}
		return e.part, moldau.None
	}
	if e.part != nil {
		e.part.Unwatch(e.watch)
		e.part = nil
	}
	im := b.Metadata.Image()
	topic, code := b.interestTopic(im, f, e)
	if code != moldau.None {
		return nil, code
	}
	p, code := b.lookup(topic, e.Index)
	if code != moldau.None {
		return nil, code
	}
	e.topicID, e.topic = topic.ID, topic.Name
	if f.replica >= 0 && !slices.Contains(topic.Partitions[e.Index].Replicas, f.replica) {
		if e.LeaderEpoch < 0 {
			return nil, moldau.NotLeaderOrFollower
		}
		return nil, moldau.UnknownLeaderEpoch // the epoch is right: this broker may not have heard yet of the assignment
	}
	e.part = p
	if f.set.on {
		p.Watch(e.watch)
	}
	return p, moldau.None
}

// interestTopic finds the topic of an entry (W-43).
func (b *Broker) interestTopic(im *metadata.Image, f *fetch, e *interested) (*metadata.Topic, moldau.Code) {
	if f.version >= 13 {
		topic := im.TopicByID(e.id)
		switch {
		case topic == nil:
			return nil, e.vanished(im)
		case !b.mayRead(f, topic.Name):
			return nil, moldau.TopicAuthorizationFailed
		}
		return topic, moldau.None
	}
	if !b.mayRead(f, string(e.name)) {
		return nil, moldau.TopicAuthorizationFailed
	}
	return im.Topic(string(e.name)), moldau.None
}

// vanished says why the id of an entry does not resolve: it never did, or its topic was deleted, or made anew.
func (e *interested) vanished(im *metadata.Image) moldau.Code {
	switch {
	case e.topic == "":
		return moldau.UnknownTopicID
	case im.Topic(e.topic) == nil:
		return moldau.UnknownTopicOrPartition
	}
	return moldau.InconsistentTopicID
}

func (b *Broker) mayRead(f *fetch, topic string) bool {
	return f.replica >= 0 || b.Authorizer.Allowed(access.Action{
		Principal: f.caller.Principal, Host: f.caller.Remote, Listener: f.caller.Listener.Name,
		Operation: access.Read, Resource: access.Topic, Name: topic,
	})
}

// session is a fetch session (KIP-227): the partitions of a client that asks again and again, kept here so that neither
// request nor response names what has not changed.
type session struct {
	id    int32
	ids   bool // made with topic ids (v13 on)
	set   *interest
	table *sessions

	// Guarded by table.mu.
	epoch   int32 // that the next request must bear
	busy    bool  // a request is under way
	dead    bool  // closed or evicted while one was
	usedAt  int64 // Unix nanoseconds
	madeAt  int64
	replica bool
}

// sessions is the table of fetch sessions, bounded by max.incremental.fetch.session.cache.slots.
type sessions struct {
	slots int
	mu    sync.Mutex
	byID  map[int32]*session
	// Evictions counts sessions that had to make room.
	evictions int64
}

func newSessions(slots int) *sessions {
	return &sessions{slots: slots, byID: make(map[int32]*session)}
}

// evictionAge is how long a session must have been idle, or been there, before another may take its place (W-42), in
// nanoseconds.
const evictionAge = int64(2 * time.Minute)

// begin finds or makes the session that a request belongs to, and applies the request to it (W-40).
func (f *fetch) begin(req wire.FetchRequest) moldau.Code {
	table := f.b.sessions
	if req.SessionEpoch != 0 && req.SessionEpoch != -1 { // any other is that of a session, negative ones too
		return f.resume(table, req)
	}
	if req.SessionID != 0 {
		table.close(req.SessionID)
	}
	f.full = true
	f.set = newInterest()
	for t := range req.Topics() {
		for p := range t.Partitions() {
			f.set.add(t, p)
		}
	}
	if req.SessionEpoch == -1 || f.version < 7 || len(f.set.order) == 0 {
		f.resolveAll()
		return moldau.None
	}
	f.session = table.open(f.b.Env.Rand, f.set, f.version >= 13, f.replica >= 0, f.arrived.UnixNano())
	if f.session == nil {
		f.resolveAll()
		return moldau.None
	}
	f.set.on = true
	f.set.byKey = make(map[interestKey]*interested, len(f.set.order))
	kept := f.set.order[:0]
	for _, e := range f.set.order {
		k := interestKey{string(e.name), e.id, e.Index}
		if f.set.byKey[k] == nil {
			f.set.byKey[k] = e
			kept = append(kept, e)
		}
	}
	f.set.order = kept
	f.resolveAll()
	return moldau.None
}

// resolveAll finds the partitions, so that they can be watched. Those that are not there answer for themselves when read.
func (f *fetch) resolveAll() {
	for _, e := range f.set.order {
		_, _ = f.b.resolveInterest(f, e)
	}
}

// resume continues a session with an incremental request.
func (f *fetch) resume(table *sessions, req wire.FetchRequest) moldau.Code {
	s, code := table.take(req.SessionID, req.SessionEpoch, f.version >= 13, f.arrived.UnixNano())
	if code != moldau.None {
		return code
	}
	f.session, f.set = s, s.set
	for t := range req.Topics() {
		for p := range t.Partitions() {
			k := interestKey{string(t.Name), t.ID, p.Index}
			e := s.set.byKey[k]
			if e == nil {
				e = s.set.add(t, p)
				s.set.byKey[k] = e
				_, _ = f.b.resolveInterest(f, e)
			}
			e.FetchPartition = plain(p)
			e.watch.Mark(0)
		}
	}
	if req.ForgottenCount > 0 {
		s.forget(req)
	}
	if len(s.set.order) == 0 { // W-44
		table.close(s.id)
		f.session, f.full = nil, true
	}
	return moldau.None
}

func (s *session) forget(req wire.FetchRequest) {
	for t := range req.Forgotten() {
		for index := range t.Partitions() {
			k := interestKey{string(t.Name), t.ID, index}
			e := s.set.byKey[k] // one that is not in the session is no error
			if e == nil {
				continue
			}
			delete(s.set.byKey, k)
			if e.part != nil {
				e.part.Unwatch(e.watch)
			}
			s.set.order = slices.DeleteFunc(s.set.order, func(o *interested) bool { return o == e })
			s.set.ready.Forget(e.watch)
		}
	}
}

// open makes a session, or returns nil where there is no slot and none can be freed.
func (t *sessions) open(random func([]byte), set *interest, ids, replica bool, now int64) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.slots && !t.evictLocked(len(set.order), replica, now) {
		return nil
	}
	s := &session{ids: ids, set: set, table: t, epoch: 1, busy: true, usedAt: now, madeAt: now, replica: replica}
	for s.id == 0 || t.byID[s.id] != nil {
		var raw [4]byte
		random(raw[:])
		s.id = int32(raw[0])<<23 | int32(raw[1])<<15 | int32(raw[2])<<7 | int32(raw[3])>>1
	}
	t.byID[s.id] = s
	return s
}

// evictLocked frees a slot: a session idle for long, else an older and smaller one; those of followers last.
func (t *sessions) evictLocked(size int, replica bool, now int64) bool {
	var idle, small *session
	for _, s := range t.byID {
		if s.replica && !replica {
			continue
		}
		if now-s.usedAt > evictionAge && (idle == nil || s.usedAt < idle.usedAt) {
			idle = s
		}
		if now-s.madeAt > evictionAge && len(s.set.order) < size && (small == nil || len(s.set.order) < len(small.set.order)) {
			small = s
		}
	}
	victim := idle
	if victim == nil {
		victim = small
	}
	if victim == nil {
		return false
	}
	t.evictions++
	t.removeLocked(victim)
	return true
}

// take begins a request of a session.
func (t *sessions) take(id, epoch int32, ids bool, now int64) (*session, moldau.Code) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[id]
	switch {
	case s == nil:
		return nil, moldau.FetchSessionIDNotFound
	case s.ids != ids:
		return nil, moldau.FetchSessionTopicIDError
	case s.epoch != epoch || s.busy:
		return nil, moldau.InvalidFetchSessionEpoch
	}
	s.busy, s.usedAt = true, now
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	return s, moldau.None
}

// finish ends a request of the session.
func (s *session) finish() {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.busy = false
	if s.dead {
		s.set.unwatch()
	}
}

// close ends a session; one that does not exist is none.
func (t *sessions) close(id int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byID[id]; s != nil {
		t.removeLocked(s)
	}
}

func (t *sessions) removeLocked(s *session) {
	delete(t.byID, s.id)
	s.dead = true
	if !s.busy {
		s.set.unwatch()
	}
}

// FetchSessions is the number of fetch sessions, the partitions in them, and how many had to make room.
func (b *Broker) FetchSessions() (count, partitions int, evictions int64) {
	t := b.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byID {
		partitions += len(s.set.order)
	}
	return len(t.byID), partitions, t.evictions
}

var _ server.Router = (*Broker)(nil)
