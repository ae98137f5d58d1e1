package wire

import (
	"fmt"
	"iter"
	"math"

	"github.com/moldau/moldau"
)

// FetchVersions is what ParseFetch and FetchResponse know.
var FetchVersions = Range{4, 18}

// FetchRequest is a view of the body of a Fetch request (key 1): nothing is copied, and its byte slices are sub-slices
// of the frame. ParseFetch has checked all of it, so that iterating cannot fail. A field that the version lacks has the
// value that Kafka gives it.
type FetchRequest struct {
	// ClusterID is nil where the sender does not name its cluster: from version 12 on, in a fetch of the quorum.
	ClusterID []byte
	// Replica is NoBroker for a consumer, else the follower (or -2, a debugging consumer).
	Replica      moldau.BrokerID
	ReplicaEpoch moldau.BrokerEpoch // from version 15 on; -1: unknown. KIP-903.
	MaxWaitMs    int32
	MinBytes     int32
	MaxBytes     int32
	Isolation    int8  // 0 read_uncommitted, 1 read_committed
	SessionID    int32 // W-40
	SessionEpoch int32
	// TopicCount and ForgottenCount are the numbers of topics, PartitionCount that of the partitions to read.
	TopicCount, ForgottenCount, PartitionCount int
	Rack                                       []byte // empty: none. KIP-392.

	version           int16
	topics, forgotten []byte
}

// FetchTopic is one topic of a FetchRequest. Up to version 12 it has a Name, from 13 on an ID (KIP-516).
type FetchTopic struct {
	Name           []byte
	ID             moldau.TopicID
	PartitionCount int

	version    int16
	partitions []byte
}

// FetchPartition says from where one partition is read.
type FetchPartition struct {
	Index            int32
	LeaderEpoch      moldau.LeaderEpoch // what the sender takes for the current one, or NoEpoch
	Offset           moldau.Offset
	LastFetchedEpoch moldau.LeaderEpoch // of the record before Offset, or NoEpoch. KIP-595.
	LogStart         moldau.Offset      // of a follower; -1 from a consumer
	MaxBytes         int32
	DirectoryID      moldau.DirectoryID // of a follower, from version 17 on; else zero. KIP-853.
	HighWatermark    moldau.Offset      // of a follower, from version 18 on; else 2⁶³-1: not told. KIP-1166.
}

// ForgottenTopic names the partitions of a topic that leave the fetch session.
type ForgottenTopic struct {
	Name           []byte
	ID             moldau.TopicID
	PartitionCount int

	partitions []byte
}

// ParseFetch reads the body of a Fetch request of one of FetchVersions, without allocating.
// Errors: ErrUnknownVersion, ErrMalformed.
func ParseFetch(version int16, body []byte) (FetchRequest, error) {
	if !FetchVersions.Contains(version) {
		return FetchRequest{}, fmt.Errorf("%w: %s v%d, served are %d to %d", ErrUnknownVersion, Fetch, version,
			FetchVersions.Min, FetchVersions.Max)
	}
	r := reader{src: body, flexible: Fetch.Flexible(version)}
	q := FetchRequest{version: version, Replica: moldau.NoBroker, ReplicaEpoch: -1, SessionEpoch: -1}
	if version <= 14 {
		q.Replica = moldau.BrokerID(r.int32())
	}
	q.MaxWaitMs, q.MinBytes, q.MaxBytes, q.Isolation = r.int32(), r.int32(), r.int32(), r.int8()
	if version >= 7 {
		q.SessionID, q.SessionEpoch = r.int32(), r.int32()
	}
	q.readTopics(&r)
	if version >= 7 {
		q.readForgotten(&r)
	}
	if version >= 11 {
		q.Rack = r.string()
	}
	q.readTags(&r)
	if !r.ok() {
		return FetchRequest{}, fmt.Errorf("%w: %s v%d: at byte %d of the body: %s", ErrMalformed, Fetch, version, r.at,
			r.why)
	}
	return q, nil
}

func (q *FetchRequest) readTopics(r *reader) {
	q.TopicCount = r.array(false)
	from := r.at
	for n := q.TopicCount; n > 0 && r.ok(); n-- {
		t := readFetchTopic(r, q.version)
		q.PartitionCount += t.PartitionCount
	}
	if r.ok() {
		q.topics = r.src[from:r.at:r.at]
	}
}

func (q *FetchRequest) readForgotten(r *reader) {
	q.ForgottenCount = r.array(false)
	from := r.at
	for n := q.ForgottenCount; n > 0 && r.ok(); n-- {
		readForgottenTopic(r, q.version)
	}
	if r.ok() {
		q.forgotten = r.src[from:r.at:r.at]
	}
}

func (q *FetchRequest) readTags(r *reader) {
	for n := r.tagCount(); n > 0 && r.ok(); n-- {
		tag, outer := r.openTag()
		switch tag {
		case 0:
			q.ClusterID = r.nullableString()
		case 1:
			q.Replica, q.ReplicaEpoch = moldau.BrokerID(r.int32()), moldau.BrokerEpoch(r.int64())
			r.skipTags()
		}
		r.closeTag(outer, tag <= 1)
	}
}

// readFetchTopic reads one topic and checks its partitions.
func readFetchTopic(r *reader, version int16) FetchTopic {
	t := FetchTopic{version: version}
	if version >= 13 {
		t.ID = r.uuid()
	} else {
		t.Name = r.string()
	}
	t.PartitionCount = r.array(false)
	from := r.at
	for n := t.PartitionCount; n > 0 && r.ok(); n-- {
		readFetchPartition(r, version)
	}
	if r.ok() {
		t.partitions = r.src[from:r.at:r.at]
	}
	r.skipTags()
	return t
}

func readFetchPartition(r *reader, version int16) FetchPartition {
	p := FetchPartition{
		Index: r.int32(), LeaderEpoch: moldau.NoEpoch, LastFetchedEpoch: moldau.NoEpoch, LogStart: -1,
		HighWatermark: math.MaxInt64,
	}
	if version >= 9 {
		p.LeaderEpoch = moldau.LeaderEpoch(r.int32())
	}
	p.Offset = moldau.Offset(r.int64())
	if version >= 12 {
		p.LastFetchedEpoch = moldau.LeaderEpoch(r.int32())
	}
	if version >= 5 {
		p.LogStart = moldau.Offset(r.int64())
	}
	p.MaxBytes = r.int32()
	for n := r.tagCount(); n > 0 && r.ok(); n-- {
		tag, outer := r.openTag()
		switch tag {
		case 0:
			p.DirectoryID = r.uuid()
		case 1:
			p.HighWatermark = moldau.Offset(r.int64())
		}
		r.closeTag(outer, tag <= 1)
	}
	return p
}

func readForgottenTopic(r *reader, version int16) ForgottenTopic {
	var t ForgottenTopic
	if version >= 13 {
		t.ID = r.uuid()
	} else {
		t.Name = r.string()
	}
	t.PartitionCount = r.array(false)
	t.partitions = r.span(4 * t.PartitionCount)
	r.skipTags()
	return t
}

// Topics yields the topics in the order of the request, in which their bytes are counted. A topic may come twice.
func (q *FetchRequest) Topics() iter.Seq[FetchTopic] {
	return each(q.topics, Fetch, q.version, readFetchTopic)
}

// Partitions yields the partitions of a topic in the order of the request. A partition may come twice.
func (t FetchTopic) Partitions() iter.Seq[FetchPartition] {
	return each(t.partitions, Fetch, t.version, readFetchPartition)
}

// Forgotten yields the topics with partitions that leave the session. The id may be zero: that is a topic which is not
// in the session.
func (q *FetchRequest) Forgotten() iter.Seq[ForgottenTopic] {
	return each(q.forgotten, Fetch, q.version, readForgottenTopic)
}

// Partitions yields the indexes of the partitions that leave.
func (t ForgottenTopic) Partitions() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		r := reader{src: t.partitions}
		for r.left() > 0 && yield(r.int32()) {
		}
	}
}
