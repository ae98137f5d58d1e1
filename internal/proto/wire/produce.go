package wire

import (
	"fmt"
	"iter"

	"github.com/moldau/moldau"
)

// ProduceVersions is what ParseProduce and ProduceResponse know: batches of format version 2 begin with 3.
var ProduceVersions = Range{3, 13}

// ProduceRequest is a view of the body of a Produce request (key 0): nothing is copied, and its byte slices are
// sub-slices of the frame. ParseProduce has checked all of it, so that iterating cannot fail.
type ProduceRequest struct {
	// TransactionalID is nil for a producer without transactions.
	TransactionalID []byte
	Acks            int16 // -1, 0 and 1 have a meaning; any value may stand here
	TimeoutMs       int32
	TopicCount      int
	PartitionCount  int // of all topics together

	version int16
	topics  []byte
}

// ProduceTopic is one topic of a ProduceRequest. Up to version 12 it has a Name, from 13 on an ID (KIP-516).
type ProduceTopic struct {
	Name           []byte
	ID             moldau.TopicID
	PartitionCount int

	version    int16
	partitions []byte
}

// ProducePartition is the records for one partition: nil where the client sent null. Nothing about them was checked.
type ProducePartition struct {
	Index   int32
	Records []byte
}

// ParseProduce reads the body of a Produce request of one of ProduceVersions, without allocating.
// Errors: ErrUnknownVersion, ErrMalformed.
func ParseProduce(version int16, body []byte) (ProduceRequest, error) {
	if !ProduceVersions.Contains(version) {
		return ProduceRequest{}, fmt.Errorf("%w: %s v%d, served are %d to %d", ErrUnknownVersion, Produce, version,
			ProduceVersions.Min, ProduceVersions.Max)
	}
	r := reader{src: body, flexible: Produce.Flexible(version)}
	q := ProduceRequest{version: version}
	q.TransactionalID = r.nullableString()
	q.Acks = r.int16()
	q.TimeoutMs = r.int32()
	q.TopicCount = r.array(false)
	from := r.at
	for n := q.TopicCount; n > 0 && r.ok(); n-- {
		t := readProduceTopic(&r, version)
		q.PartitionCount += t.PartitionCount
	}
	if r.ok() {
		q.topics = body[from:r.at:r.at]
	}
	r.skipTags()
	if !r.ok() {
		return ProduceRequest{}, fmt.Errorf("%w: %s v%d: at byte %d of the body: %s", ErrMalformed, Produce, version,
			r.at, r.why)
	}
	return q, nil
}

// readProduceTopic reads one topic and checks its partitions.
func readProduceTopic(r *reader, version int16) ProduceTopic {
	t := ProduceTopic{version: version}
	if version >= 13 {
		t.ID = r.uuid()
	} else {
		t.Name = r.string()
	}
	t.PartitionCount = r.array(false)
	from := r.at
	for n := t.PartitionCount; n > 0 && r.ok(); n-- {
		readProducePartition(r, version)
	}
	if r.ok() {
		t.partitions = r.src[from:r.at:r.at]
	}
	r.skipTags()
	return t
}

func readProducePartition(r *reader, _ int16) ProducePartition {
	p := ProducePartition{Index: r.int32(), Records: r.nullableBytes()}
	r.skipTags()
	return p
}

// Topics yields the topics in the order of the request. A topic may come twice.
func (q *ProduceRequest) Topics() iter.Seq[ProduceTopic] {
	return each(q.topics, Produce, q.version, readProduceTopic)
}

// Partitions yields the partitions of a topic in the order of the request. A partition may come twice.
func (t ProduceTopic) Partitions() iter.Seq[ProducePartition] {
	return each(t.partitions, Produce, t.version, readProducePartition)
}
