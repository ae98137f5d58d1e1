package wire

import (
	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/must"
)

// Cut is a hole in the buffer of a FetchResponse: Len bytes of records, more than 0, go out before the byte at At.
type Cut struct{ At, Len int }

// AbortedTransaction is a transaction that readers of committed records must skip, from its first offset to its marker.
type AbortedTransaction struct {
	ProducerID  moldau.ProducerID
	FirstOffset moldau.Offset
}

// EpochEndOffset is where the log of a leader epoch ends.
type EpochEndOffset struct {
	Epoch     moldau.LeaderEpoch
	EndOffset moldau.Offset
}

// FetchResult is the answer for one partition without its records. What its version cannot say is left out.
type FetchResult struct {
	Index         int32
	Code          moldau.Code
	HighWatermark moldau.Offset
	// LastStable is always filled (L-29); LogStart from version 5 on. Both are -1 with an error.
	LastStable moldau.Offset
	LogStart   moldau.Offset
	// Aborted is nil for a reader of uncommitted records, and not nil for the others (L-29).
	Aborted []AbortedTransaction
	// PreferredReplica is NoBroker, or from version 11 on the broker to read from, with no records. KIP-392.
	PreferredReplica moldau.BrokerID

	// What follows exists from version 12 on, and is nil otherwise and mostly.
	Diverging *EpochEndOffset // where the reader's log leaves the leader's. KIP-595.
	Leader    *CurrentLeader  // whom to turn to
	Snapshot  *EpochEndOffset // of the metadata log, to be fetched instead
}

// FetchResponse appends the body of a response to a Fetch request to Buf, piece by piece, and leaves the records out:
// Cuts tells where they belong, in ascending order, so that a server can send them straight from their files.
//
//	w.Begin(dst, version, throttle, code, session, topics)
//	for each topic: w.Topic(name, id, partitions), then w.Partition for each partition
//	w.End(endpoints)
//
// The counts that were announced must be kept; FetchResponse checks that. A FetchResponse can be used again and keeps
// its Cuts' memory.
type FetchResponse struct {
	Cuts []Cut
	// Omitted is the number of bytes that all cuts stand for.
	Omitted int

	appender
	nesting
}

// Begin begins a response with topics topics at the end of dst. version is one of FetchVersions; code and session are
// told from version 7 on.
func (w *FetchResponse) Begin(dst []byte, version int16, throttleMs int32, code moldau.Code, session int32,
	topics int) {
	must.True(FetchVersions.Contains(version), "a Fetch response of version %d", version)
	w.appender = appender{buf: dst, version: version, flexible: Fetch.Flexible(version)}
	w.nesting = nesting{topics: topics}
	w.Cuts, w.Omitted = w.Cuts[:0], 0
	w.int32(throttleMs)
	if version >= 7 {
		w.int16(int16(code))
		w.int32(session)
	}
	w.count(topics)
}

// Topic begins the next topic, which has this many partitions. Up to version 12 the name counts, from 13 on the id.
func (w *FetchResponse) Topic(name []byte, id moldau.TopicID, partitions int) {
	w.topic(&w.appender, w.version >= 13, name, id, partitions)
}

// Partition appends the answer for the next partition of the topic, with a cut for records bytes of records.
func (w *FetchResponse) Partition(p FetchResult, records int) {
	w.int32(p.Index)
	w.int16(int16(p.Code))
	w.int64(int64(p.HighWatermark))
	w.int64(int64(p.LastStable))
	if w.version >= 5 {
		w.int64(int64(p.LogStart))
	}
	w.aborted(p.Aborted)
	if w.version >= 11 {
		w.int32(int32(p.PreferredReplica))
	}
	w.count(records)
	if records > 0 {
		w.Cuts = append(w.Cuts, Cut{At: len(w.buf), Len: records})
		w.Omitted += records
	}
	if w.flexible {
		w.partitionTags(&p)
	}
	w.partition(&w.appender)
}

func (w *FetchResponse) aborted(list []AbortedTransaction) {
	if list == nil {
		w.count(-1)
		return
	}
	w.count(len(list))
	for _, t := range list {
		w.int64(int64(t.ProducerID))
		w.int64(int64(t.FirstOffset))
		w.tagCount(0)
	}
}

func (w *FetchResponse) partitionTags(p *FetchResult) {
	n := 0
	for _, set := range [...]bool{p.Diverging != nil, p.Leader != nil, p.Snapshot != nil} {
		if set {
			n++
		}
	}
	w.tagCount(n)
	if d := p.Diverging; d != nil {
		w.tag(0, 4+8+1)
		w.int32(int32(d.Epoch))
		w.int64(int64(d.EndOffset))
		w.tagCount(0)
	}
	if p.Leader != nil {
		w.leader(1, *p.Leader)
	}
	if s := p.Snapshot; s != nil {
		w.tag(2, 8+4+1)
		w.int64(int64(s.EndOffset))
		w.int32(int32(s.Epoch))
		w.tagCount(0)
	}
}

// End appends what follows the topics and returns the buffer, which with the cuts is the whole response. The endpoints
// are those of the leaders that partitions named; they exist from version 16 on.
func (w *FetchResponse) End(nodes []NodeEndpoint) []byte {
	must.True(w.topics == 0 && w.partitions == 0, "a Fetch response lacks %d topics and %d partitions", w.topics,
		w.partitions)
	w.endpoints(w.version >= 16, nodes)
	return w.buf
}
