package api

// Produce (key 0), versions 3–13 (0–2 are advertised and refused, X-3)
//
// Behaviour: one v2 batch for each partition, checked outside any lock and appended in the order of arrival; acks=all is
// answered once the high watermark passes it, acks=1 at once, acks=0 never: an error closes the connection (W-7).
// The first batch of a transaction on a partition is appended once its coordinator has said that the partition has joined (L-23).
// Version notes: v7 zstd; v8 the records that failed (KIP-467); v10 leader and endpoint to turn to (KIP-951); v11
// TRANSACTION_ABORTABLE; v12 partitions join the transaction with their first batch (KIP-890); v13 topic ids (KIP-516).
// Differs from Apache: a transaction that begins while the markers of the one before are being written waits for them, up to 5 s, not
// 0.1 s (T-9). Clients never write to internal topics (L-11). A compressed batch is opened only where something
// inside has to be known (L-4). On a disk that is nearly full the answer tells to wait; on a full one it is
// NOT_ENOUGH_REPLICAS, which every client retries, with a message (v8) that says which directory and what to do.

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/wire"
	"github.com/moldau/moldau/internal/store/commitlog"
)

const (
	acksNone = 0
	acksOne  = 1
	acksAll  = -1
)

func (b *Broker) produce(c *server.Call) server.Pending {
	req, err := wire.ParseProduce(c.Version, c.Body)
	if err != nil {
		return server.HangUp(err)
	}
	p := newProduction(b, c, req)
	p.refusal = p.refusalOfAll(&req)
	for t := range req.Topics() {
		topic, code := p.resolve(t)
		p.topics = append(p.topics, producedTopic{name: slices.Clone(t.Name), id: t.ID, partitions: t.PartitionCount})
		for part := range t.Partitions() {
			p.append(topic, code, part)
		}
	}
	p.joinTransaction(c)
	if req.Acks == acksNone {
		failed := p.failure()
		p.recycle()
		if failed != nil {
			return server.HangUp(failed)
		}
		return server.Nothing()
	}
	if len(p.parked) == 0 {
		return server.Now(p.reply)
	}
	return p.wait()
}

// production is one Produce request under way.
type production struct {
	b         *Broker
	im        *metadata.Image
	version   int16
	acks      int16
	txnID     []byte
	listener  *server.Listener
	call      *server.Call // only until the handler returns
	deadline  time.Time
	refusal   moldau.Code // of the whole request
	prepared  bool        // partitions that were never written have been asked to get ready
	topics    []producedTopic
	results   []wire.ProduceResult
	endpoints []wire.NodeEndpoint
	joining   []joiningBatch
	throttle  time.Duration       // for which the client is to wait, since the disk is nearly full
	reply     func(*server.Reply) // writes the response; bound once

	// Appends that wait for the high watermark report through Committed, on goroutines of others.
	parked []int        // indexes of their results
	left   atomic.Int32 // appends without an outcome, and one for the handler itself
	ready  chan struct{}
	done   sync.Once // closes ready
	mu     sync.Mutex
	// Guarded by mu.
	outcomes []outcome
	closed   bool // the response was made: outcomes do not matter any more
}

type outcome struct {
	index int
	code  moldau.Code
}

type producedTopic struct {
	name       []byte // a copy: a response may queue behind others, and the frame is released before
	id         moldau.TopicID
	partitions int
}

var productions sync.Pool // of *production

func newProduction(b *Broker, c *server.Call, req wire.ProduceRequest) *production {
	p, ok := productions.Get().(*production)
	if !ok {
		p = new(production)
		p.reply = p.write
	}
	p.b, p.im, p.call, p.version, p.acks, p.txnID = b, b.Metadata.Image(), c, c.Version, req.Acks, req.TransactionalID
	p.listener = c.Listener
	p.left.Store(1)
	wait := min(time.Duration(max(req.TimeoutMs, 0))*time.Millisecond, maxWait)
	p.deadline = c.Arrived.Add(wait)
	p.results = slices.Grow(p.results[:0], req.PartitionCount) // parked appends hold indexes, never pointers
	return p
}

// maxWait bounds every time-out that a client may ask for.
const maxWait = 10 * time.Minute

// recycle gives the production back; nobody else may hold it.
func (p *production) recycle() {
	clear(p.topics)
	clear(p.results)
	*p = production{topics: p.topics[:0], results: p.results[:0], endpoints: p.endpoints[:0], joining: p.joining[:0], reply: p.reply}
	productions.Put(p)
}

// refusalOfAll is the code with which the request as a whole is refused.
func (p *production) refusalOfAll(req *wire.ProduceRequest) moldau.Code {
	if p.acks != acksNone && p.acks != acksOne && p.acks != acksAll {
		return moldau.InvalidRequiredAcks
	}
	if p.txnID != nil && !p.b.allowed(p.call, access.Write, access.TransactionalID, string(p.txnID)) {
		return moldau.TransactionalIDAuthorizationFailed
	}
	switch producers := transactional(req); {
	case producers > 0 && p.txnID == nil:
		return moldau.TransactionalIDAuthorizationFailed // as for an id that may not be used: there is none
	case producers > 1:
		return moldau.InvalidProducerIDMapping // L-25
	}
	return moldau.None
}

// transactional counts the producers whose transactions batches of the request belong to: 0, 1 or more.
func transactional(req *wire.ProduceRequest) (producers int) {
	first := moldau.NoProducer
	for t := range req.Topics() {
		for part := range t.Partitions() {
			if len(part.Records) < record.HeaderLen {
				continue
			}
			if b := record.Batch(part.Records); b.IsTransactional() && (producers == 0 || b.ProducerID() != first) {
				first = b.ProducerID()
				producers++
			}
		}
	}
	return producers
}

// resolve finds the topic that a part of the request is for, or says why nothing can be appended to it.
func (p *production) resolve(t wire.ProduceTopic) (*metadata.Topic, moldau.Code) {
	if p.refusal != moldau.None {
		return nil, p.refusal
	}
	var topic *metadata.Topic
	if p.version >= 13 {
		if topic = p.im.TopicByID(t.ID); topic == nil {
			return nil, moldau.UnknownTopicID
		}
	} else {
		topic = p.im.Topic(string(t.Name))
	}
	name := string(t.Name)
	if topic != nil {
		name = topic.Name
	}
	switch {
	case !p.b.allowedTopic(p.call, access.Write, name):
		return nil, moldau.TopicAuthorizationFailed
	case moldau.IsInternalTopic(name):
		return nil, moldau.InvalidTopicException
	case topic == nil:
		return nil, moldau.UnknownTopicOrPartition
	}
	return topic, moldau.None
}

// append checks and appends the records for one partition, and notes the outcome.
func (p *production) append(topic *metadata.Topic, code moldau.Code, req wire.ProducePartition) {
	p.results = append(p.results, wire.ProduceResult{
		Index: req.Index, Code: code, BaseOffset: -1, LogAppendTime: moldau.NoTimestamp, LogStart: -1,
	})
	res := &p.results[len(p.results)-1]
	if code != moldau.None {
		if p.refusal == moldau.InvalidProducerIDMapping {
			res.ErrorMessage = "the request has batches of the transactions of several producers"
		}
		return
	}
	part, code := p.b.lookup(topic, req.Index)
	if code != moldau.None {
		p.refuse(res, topic, code, "")
		return
	}
	stats := part.Stats()
	stats.ProduceRequests.Add(1)
	if !p.b.settled(p.call, part, p.deadline) {
		p.refuse(res, topic, moldau.NotLeaderOrFollower, "the partition is being recovered, see /readyz")
		stats.FailedProduce.Add(1)
		return
	}
	switch space := part.Home().Space(); {
	case space.Level == partition.Refusing:
		p.throttle = max(p.throttle, space.Delay)
		p.refuse(res, topic, moldau.NotEnoughReplicas, part.Home().Full())
		stats.FailedProduce.Add(1)
		return
	case space.Level == partition.Throttled:
		p.throttle = max(p.throttle, space.Delay)
	}
	if !p.b.closes(p.call, p.writable(part), p.deadline) {
		p.refuse(res, topic, moldau.NotLeaderOrFollower, "the partition's files are being made")
		stats.FailedProduce.Add(1)
		return
	}
	batch, refusal := record.Validate(req.Records, moldau.Timestamp(p.call.Arrived.UnixMilli()), p.version, &part.Settings().Checks)
	if refusal != nil {
		p.refuseBatch(res, refusal)
		stats.Rejected(refusal, len(req.Records))
		return
	}
	if batch.IsTransactional() {
		if guard, needed := part.Enter(batch, p.version >= implicitJoin); needed {
			p.joining = append(p.joining, joiningBatch{len(p.results) - 1, topic, part, batch, guard})
			return
		}
	}
	p.appendBatch(len(p.results)-1, topic, part, batch, partition.NoGuard)
}

// writable is closed once part takes records. With the first of the request's partitions that has to wait for that all of them
// are asked, so that they wait together.
func (p *production) writable(part *partition.Partition) <-chan struct{} {
	if log := part.Log(); log != nil && log.Unwritten() && !p.prepared {
		p.prepared = true
		req, _ := wire.ParseProduce(p.version, p.call.Body) // it was parsed before
		for t := range req.Topics() {
			topic, _ := p.resolve(t)
			for each := range t.Partitions() {
				if other, code := p.b.lookup(topic, each.Index); code == moldau.None {
					other.Writable()
				}
			}
		}
	}
	return part.Writable()
}

// appendBatch appends the batch whose result has this index.
func (p *production) appendBatch(index int, topic *metadata.Topic, part *partition.Partition, batch record.Batch, guard partition.Guard) {
	res := &p.results[index]
	stats := part.Stats()
	all := p.acks == acksAll
	if all {
		p.left.Add(1) // before the append: its outcome may come before Append returns
	}
	at, code, err := part.AppendWith(partition.Leave{Guard: guard}, batch, all, p, index)
	if all && !at.Parked {
		p.left.Add(-1)
	}
	if code != moldau.None {
		message := ""
		if err != nil && (code != moldau.KafkaStorageError || errors.Is(err, commitlog.ErrDamaged)) { // other causes are for the operator
			message = err.Error()
		}
		if errors.Is(err, commitlog.ErrNoSpace) {
			message = part.Home().Full()
		}
		p.refuse(res, topic, code, message)
		stats.Failed(code)
		return
	}
	stats.MessagesIn.Add(int64(batch.Count()))
	stats.BytesIn.Add(int64(len(batch)))
	res.BaseOffset, res.LogAppendTime, res.LogStart = at.Base, at.Timestamp, at.LogStart
	if at.Parked {
		p.parked = append(p.parked, index)
	}
}

// Committed implements partition.Waiter: a parked append has its outcome.
func (p *production) Committed(index int, code moldau.Code) {
	p.mu.Lock()
	if !p.closed {
		p.outcomes = append(p.outcomes, outcome{index, code})
	}
	p.mu.Unlock()
	if p.left.Add(-1) == 0 {
		p.done.Do(func() { close(p.ready) })
	}
}

// wait answers once every parked append has its outcome, or the client's time is up.
func (p *production) wait() server.Pending {
	p.call = nil
	p.ready = make(chan struct{})
	if p.left.Add(-1) == 0 { // the handler's own share
		return server.Now(p.write)
	}
	timer := p.b.Env.Clock.AfterFunc(p.deadline.Sub(p.b.Env.Clock.Now()), func() {
		p.done.Do(func() { close(p.ready) })
	})
	return server.Later(p.ready, func(r *server.Reply) {
		timer.Stop()
		p.write(r)
	}, func() { timer.Stop() })
}

// settle puts the outcomes of parked appends into the results. What has none by now has timed out: it may be committed
// later all the same, and the client must treat it as unknown.
func (p *production) settle() {
	if len(p.parked) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	known := make(map[int]moldau.Code, len(p.outcomes))
	for _, o := range p.outcomes {
		known[o.index] = o.code
	}
	for _, i := range p.parked {
		r := &p.results[i]
		if code, ok := known[i]; !ok {
			r.Code = moldau.RequestTimedOut
		} else if code != moldau.None {
			r.Code, r.BaseOffset, r.LogAppendTime, r.LogStart = code, -1, moldau.NoTimestamp, -1
		}
	}
}

// write encodes the response. A production that never waited goes back to the pool: nobody else knows it.
func (p *production) write(r *server.Reply) {
	p.settle()
	w := wire.NewProduceResponse(r.Buf, p.version, len(p.topics))
	results := p.results
	for _, t := range p.topics {
		w.Topic(t.name, t.id, t.partitions)
		for _, res := range results[:t.partitions] {
			r.Outcome(res.Code)
			w.Partition(res)
		}
		results = results[t.partitions:]
	}
	r.Mute(p.throttle)
	r.Buf = w.End(int32(p.throttle.Milliseconds()), p.endpoints)
	if len(p.parked) == 0 {
		p.recycle()
	}
}

// refuse notes that nothing was appended. From v10 on a client that came to the wrong broker is told the right one.
func (p *production) refuse(res *wire.ProduceResult, topic *metadata.Topic, code moldau.Code, message string) {
	res.Code, res.ErrorMessage = code, message
	if code != moldau.NotLeaderOrFollower || p.version < 10 {
		return
	}
	leader, node, ok := leaderOf(p.im, p.listener, topic, res.Index)
	if !ok {
		return
	}
	res.Leader = &leader
	if !slices.ContainsFunc(p.endpoints, func(n wire.NodeEndpoint) bool { return n.ID == node.ID }) {
		p.endpoints = append(p.endpoints, node)
	}
}

func (p *production) refuseBatch(res *wire.ProduceResult, why *record.Refusal) {
	res.Code, res.ErrorMessage = why.Code, why.Message
	for _, r := range why.Records {
		res.RecordErrors = append(res.RecordErrors, wire.RecordError{BatchIndex: r.Index, Message: r.Message})
	}
}

// failure is the first error of the request, for a client that gets no response.
func (p *production) failure() error {
	for _, r := range p.results {
		if r.Code != moldau.None {
			return fmt.Errorf("a Produce request with acks=0 failed for partition %d: %s %s", r.Index, r.Code, r.ErrorMessage)
		}
	}
	return nil
}
