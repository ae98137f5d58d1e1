package api

// Fetch (key 1), versions 4–18
//
// Behaviour: whole batches from the one that holds the offset, in the order of the partitions asked for, up to the
// limits; the first that has any may exceed them (KIP-74). With too few bytes it waits for more (W-45). The response
// names regions of files; their bytes move when they are sent.
// Version notes: v7 sessions (KIP-227); v11 rack (KIP-392); v12 diverging epochs (KIP-595); v13 topic ids (KIP-516); v16
// the leader to turn to (KIP-951); v17, v18 fields of followers.
// Differs from Apache: a fetch waits for a partition whose log is still being recovered after a start.

import (
	"fmt"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/wire"
)

func (b *Broker) fetch(c *server.Call) server.Pending {
	req, err := wire.ParseFetch(c.Version, c.Body)
	if err != nil {
		return server.HangUp(err)
	}
	if req.Replica >= 0 && !b.allowedCluster(c, access.ClusterAction) {
		return server.HangUp(fmt.Errorf("a Fetch as replica %d without CLUSTER_ACTION (CVE-2018-1288)", req.Replica))
	}
	f := &fetch{
		b: b, version: c.Version, caller: *c.Peer, clientID: c.ClientID, replica: req.Replica,
		committed: req.Isolation == 1, minBytes: int(req.MinBytes), arrived: c.Arrived,
		maxBytes: min(int(max(req.MaxBytes, 0)), b.Config.FetchMaxBytes),
		deadline: c.Arrived.Add(min(time.Duration(max(req.MaxWaitMs, 0))*time.Millisecond, maxWait)),
	}
	f.minBytes = min(f.minBytes, f.maxBytes)
	if code := f.begin(req); code != moldau.None {
		f.code = code
		return server.Now(f.write)
	}
	if f.collect(f.minBytes <= 0 || req.MaxWaitMs <= 0) {
		return server.Now(f.write)
	}
	return server.Poll(f.wait, f.write, f.abandon)
}

// fetch is one Fetch request under way.
type fetch struct {
	b         *Broker
	version   int16
	caller    server.Peer
	clientID  string
	replica   moldau.BrokerID
	committed bool
	minBytes  int
	maxBytes  int
	arrived   time.Time
	deadline  time.Time

	set     *interest
	session *session // nil: sessionless
	full    bool     // the response names every partition, not only those with news

	code    moldau.Code // of the whole request
	results []fetched
	bytes   int
	taken   []*partition.Watch
	loading []*interested // their logs are still being opened
	again   []unfinished
}

// unfinished is a partition that has more to say after this response: its watch must stay on the list of its session,
// since nothing may ever happen to it again.
type unfinished struct {
	of    *interested
	bytes int // of records that this response would carry
}

// fetched is what the response says of one partition.
type fetched struct {
	of  *interested
	res partition.ReadResult
}

// collect reads what there is for the response. Unless it is the last try, it reports false where the client would
// rather wait, and then leaves everything as if it had not looked.
func (f *fetch) collect(last bool) bool {
	f.results, f.bytes, f.loading, f.again = f.results[:0], 0, f.loading[:0], f.again[:0]
	if f.full {
		for _, e := range f.set.order {
			f.read(e, last)
		}
	} else {
		f.taken = f.set.ready.Take(f.taken)
		for i, w := range f.taken {
			if f.bytes >= f.maxBytes && f.bytes > 0 {
				for _, rest := range f.taken[i:] {
					rest.Mark(1) // there may be more, for the next response
				}
				break
			}
			f.read(w.Entry.(*interested), last)
		}
		if last {
			for _, e := range f.loading {
				f.read(e, true)
			}
		}
	}
	if last || f.bytes >= f.minBytes && f.bytes > 0 || f.failed() {
		f.tell()
		return true
	}
	f.drop()
	return false
}

// failed reports whether a partition has something to say that does not wait for bytes (W-45).
func (f *fetch) failed() bool {
	for i := range f.results {
		if r := &f.results[i].res; r.Code != moldau.None || r.Diverging {
			return true
		}
	}
	return false
}

// read asks one partition. In a full response every partition appears, otherwise those with news (W-41).
func (f *fetch) read(e *interested, last bool) {
	res, waits := f.readPartition(e)
	if waits && !last {
		if !f.full {
			f.loading = append(f.loading, e)
		}
		return
	}
	if waits {
		res = partition.Refused(moldau.NotLeaderOrFollower)
	}
	f.bytes += res.Region.Len
	// Records that the client has not asked beyond stay unread, those in this response too: it may not move on.
	if end := f.end(&res); res.Code != moldau.None || res.Diverging || e.Offset < end {
		f.again = append(f.again, unfinished{e, res.Region.Len})
	}
	news := res.Code != moldau.None || res.Diverging || res.Region.Len > 0 ||
		res.HighWatermark != e.toldHighWatermark || res.Start != e.toldStart
	if f.full || news {
		f.results = append(f.results, fetched{e, res})
	}
}

// end is how far the client may read.
func (f *fetch) end(res *partition.ReadResult) moldau.Offset {
	if f.committed {
		return res.Stable
	}
	return res.HighWatermark
}

// readPartition reads from one partition; waits says that its log is still being opened.
func (f *fetch) readPartition(e *interested) (res partition.ReadResult, waits bool) {
	p, code := f.b.resolveInterest(f, e)
	if code != moldau.None {
		return partition.Refused(code), false
	}
	if p.Loading() {
		return res, true
	}
	return p.Read(partition.ReadRequest{
		At: e.Offset, Epoch: e.LeaderEpoch, LastRead: e.LastFetchedEpoch,
		MaxBytes:   min(int(max(e.MaxBytes, 0)), max(f.maxBytes-f.bytes, 0)),
		WholeBatch: f.bytes == 0, Committed: f.committed,
	}), false
}

// tell makes what was read the response: the session remembers what the client will know, and partitions that have more
// to say stay on the list.
func (f *fetch) tell() {
	for i := range f.results {
		f.results[i].of.told(&f.results[i].res)
	}
	if f.session == nil {
		f.set.unwatch()
		return
	}
	for _, u := range f.again {
		u.of.watch.Mark(u.bytes)
	}
}

// drop gives back what was read for a response that is not made yet.
func (f *fetch) drop() {
	for i := range f.results {
		f.results[i].res.Region.Release()
	}
	clear(f.results)
	f.results = f.results[:0]
	if !f.full {
		for _, u := range f.again {
			u.of.watch.Mark(u.bytes)
		}
	}
}

// wait runs until the response can be made, or the connection is closed.
func (f *fetch) wait(closed <-chan struct{}) {
	timer := f.b.Env.Clock.NewTimer(f.deadline.Sub(f.b.Env.Clock.Now()))
	defer timer.Stop()
	f.set.watch() // from here on nothing is missed; a session's are watched already
	for {
		want := f.minBytes // what is there already is on the list again
		if f.full {
			f.taken = f.set.ready.Take(f.taken) // the order is that of the request, not of the marks
		}
		if f.collect(false) {
			return
		}
		if f.full {
			want -= f.bytes
		}
		if wake := f.set.ready.Wait(want); wake != nil {
			select {
			case <-wake:
			case <-timer.C():
				f.collect(true)
				return
			case <-closed:
				return
			}
		}
		if !f.b.Env.Clock.Now().Before(f.deadline) {
			f.collect(true)
			return
		}
	}
}

// abandon forgets a request whose connection has ended.
func (f *fetch) abandon() {
	f.drop()
	if f.session == nil {
		f.set.unwatch()
	} else {
		f.session.finish()
	}
}

// write encodes the response.
func (f *fetch) write(r *server.Reply) {
	var w wire.FetchResponse
	sessionID := int32(0)
	if f.session != nil {
		sessionID = f.session.id
	}
	w.Begin(r.Buf, f.version, 0, f.code, sessionID, countTopics(f.results))
	var endpoints []wire.NodeEndpoint
	for i := 0; i < len(f.results); {
		n := 1
		for i+n < len(f.results) && f.results[i+n].of.sameTopic(f.results[i].of) {
			n++
		}
		w.Topic(f.results[i].of.name, f.results[i].of.id, n)
		for _, one := range f.results[i : i+n] {
			r.Outcome(one.res.Code)
			endpoints = f.writePartition(&w, one, endpoints)
		}
		i += n
	}
	r.Buf = w.End(endpoints)
	cut := 0
	for i := range f.results {
		region := f.results[i].res.Region
		if region.Len == 0 {
			continue
		}
		r.SpliceAt(w.Cuts[cut].At, server.Region{
			File: region.File(), Pos: region.Pos, Len: region.Len, Traces: region.Traces(), Release: region.Release,
		})
		cut++
	}
	if f.session != nil {
		f.session.finish()
	}
}

func countTopics(results []fetched) int {
	n := 0
	for i := range results {
		if i == 0 || !results[i].of.sameTopic(results[i-1].of) {
			n++
		}
	}
	return n
}

func (f *fetch) writePartition(w *wire.FetchResponse, r fetched, endpoints []wire.NodeEndpoint) []wire.NodeEndpoint {
	out := wire.FetchResult{
		Index: r.of.Index, Code: r.res.Code, HighWatermark: r.res.HighWatermark, LastStable: r.res.Stable,
		LogStart: r.res.Start, PreferredReplica: moldau.NoBroker,
	}
	if f.committed && r.res.Code == moldau.None {
		out.Aborted = make([]wire.AbortedTransaction, len(r.res.Aborted)) // empty, not null (L-29)
		for i, a := range r.res.Aborted {
			out.Aborted[i] = wire.AbortedTransaction{ProducerID: a.Producer, FirstOffset: a.First}
		}
	}
	if r.res.Diverging {
		out.Diverging = &wire.EpochEndOffset{Epoch: r.res.DivergeEpoch, EndOffset: r.res.DivergeEnd}
	}
	if r.of.part != nil {
		stats := r.of.part.Stats()
		stats.FetchRequests.Add(1)
		stats.BytesOut.Add(int64(r.res.Region.Len))
		if r.res.Code != moldau.None {
			stats.FailedFetch.Add(1)
		}
	}
	if (r.res.Code == moldau.NotLeaderOrFollower || r.res.Code == moldau.FencedLeaderEpoch) && f.version >= 16 {
		im := f.b.Metadata.Image()
		if leader, node, ok := leaderOf(im, f.caller.Listener, im.TopicByID(r.of.topicID), r.of.Index); ok {
			out.Leader = &leader
			if !slices.ContainsFunc(endpoints, func(n wire.NodeEndpoint) bool { return n.ID == node.ID }) {
				endpoints = append(endpoints, node)
			}
		}
	}
	w.Partition(out, r.res.Region.Len)
	return endpoints
}
