package wire

import (
	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/must"
)

// NodeEndpoint tells a client where a leader is that it does not know yet: the advertised address on the listener of
// the request (W-8, KIP-951). An empty Rack is none.
type NodeEndpoint struct {
	ID   moldau.BrokerID
	Host string
	Port int32
	Rack string
}

// CurrentLeader is the leader that a client should turn to, in an answer of NotLeaderOrFollower or FencedLeaderEpoch.
type CurrentLeader struct {
	ID    moldau.BrokerID
	Epoch moldau.LeaderEpoch
}

// RecordError names one record for which a batch was refused, counted from 0 within the batch. KIP-467.
type RecordError struct {
	BatchIndex int32
	Message    string // empty: none
}

// ProduceResult is the outcome for one partition. What its version cannot say is left out.
type ProduceResult struct {
	Index      int32
	Code       moldau.Code
	BaseOffset moldau.Offset // -1 with an error
	// LogAppendTime is NoTimestamp unless the topic stamps records itself.
	LogAppendTime moldau.Timestamp
	LogStart      moldau.Offset // from version 5 on; -1 with an error
	RecordErrors  []RecordError // from version 8 on
	ErrorMessage  string        // from version 8 on; empty: none
	// Leader is the leader to turn to, or nil. From version 10 on, and only with NotLeaderOrFollower.
	Leader *CurrentLeader
}

// ProduceResponse appends the body of a response to a Produce request piece by piece:
//
//	w := NewProduceResponse(dst, version, topics)
//	for each topic: w.Topic(name, id, partitions), then w.Partition for each partition
//	dst = w.End(throttle, endpoints)
//
// The counts that were announced must be kept; ProduceResponse checks that.
type ProduceResponse struct {
	appender
	nesting
}

// nesting counts what a response has announced and not yet delivered.
type nesting struct{ topics, partitions int }

// NewProduceResponse begins a response with topics topics at the end of dst. version is one of ProduceVersions.
func NewProduceResponse(dst []byte, version int16, topics int) ProduceResponse {
	must.True(ProduceVersions.Contains(version), "a Produce response of version %d", version)
	w := ProduceResponse{appender: appender{buf: dst, version: version, flexible: Produce.Flexible(version)}}
	w.count(topics)
	w.nesting.topics = topics
	return w
}

// topic begins a topic in the appender, by id if byID, else by name.
func (n *nesting) topic(a *appender, byID bool, name []byte, id moldau.TopicID, partitions int) {
	must.True(n.topics > 0 && n.partitions == 0, "a topic too many, or %d partitions missing before it", n.partitions)
	n.topics--
	n.partitions = partitions
	if byID {
		a.uuid(id)
	} else {
		a.stringLen(len(name))
		a.buf = append(a.buf, name...)
	}
	a.count(partitions)
	if partitions == 0 {
		a.tagCount(0)
	}
}

// partition counts a partition that has been written, and ends its topic after the last.
func (n *nesting) partition(a *appender) {
	must.True(n.partitions > 0, "a partition too many in a response")
	if n.partitions--; n.partitions == 0 {
		a.tagCount(0)
	}
}

// Topic begins the next topic, which has this many partitions. Up to version 12 the name counts, from 13 on the id.
func (w *ProduceResponse) Topic(name []byte, id moldau.TopicID, partitions int) {
	w.topic(&w.appender, w.version >= 13, name, id, partitions)
}

// Partition appends the outcome for the next partition of the topic.
func (w *ProduceResponse) Partition(p ProduceResult) {
	w.int32(p.Index)
	w.int16(int16(p.Code))
	w.int64(int64(p.BaseOffset))
	w.int64(int64(p.LogAppendTime))
	if w.version >= 5 {
		w.int64(int64(p.LogStart))
	}
	if w.version >= 8 {
		w.count(len(p.RecordErrors))
		for _, e := range p.RecordErrors {
			w.int32(e.BatchIndex)
			w.nullableString(e.Message)
			w.tagCount(0)
		}
		w.nullableString(p.ErrorMessage)
	}
	if w.version >= 10 && p.Leader != nil {
		w.tagCount(1)
		w.leader(0, *p.Leader)
	} else {
		w.tagCount(0)
	}
	w.partition(&w.appender)
}

// leader appends a tagged CurrentLeader.
func (a *appender) leader(tag uint32, l CurrentLeader) {
	a.tag(tag, 4+4+1)
	a.int32(int32(l.ID))
	a.int32(int32(l.Epoch))
	a.tagCount(0)
}

// endpoints appends the tagged fields that end a Produce or Fetch response: the endpoints under tag 0, if there are
// any.
func (a *appender) endpoints(known bool, nodes []NodeEndpoint) {
	if !known || len(nodes) == 0 {
		a.tagCount(0)
		return
	}
	size := uvarintLen(uint32(len(nodes) + 1))
	for _, n := range nodes {
		size += 4 + compactLen(n.Host) + 4 + compactLen(n.Rack) + 1
	}
	a.tagCount(1)
	a.tag(0, size)
	a.count(len(nodes))
	for _, n := range nodes {
		a.int32(int32(n.ID))
		a.string(n.Host)
		a.int32(n.Port)
		a.nullableString(n.Rack)
		a.tagCount(0)
	}
}

// End appends what follows the topics and returns the whole buffer. The endpoints are those of the leaders that
// partitions named; they exist from version 10 on.
func (w *ProduceResponse) End(throttleMs int32, nodes []NodeEndpoint) []byte {
	must.True(w.topics == 0 && w.partitions == 0, "a Produce response lacks %d topics and %d partitions", w.topics,
		w.partitions)
	w.int32(throttleMs)
	w.endpoints(w.version >= 10, nodes)
	return w.buf
}
