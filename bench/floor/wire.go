package main

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceRequest is a Produce request of one topic, versions 3 to 12: views into the frame.
type produceRequest struct {
	topic   []byte
	batches []sentBatch
	answer  kmsg.ProduceResponse
}

type sentBatch struct {
	partition int32
	bytes     []byte
	base      int64 // offset, once appended
}

var errShort = errors.New("a Produce request ends early, or has more than one topic")

// reader takes primitives off a body; what is missing sets bad and reads as zero.
type reader struct {
	b        []byte
	flexible bool // since version 9: compact lengths, tags
	bad      bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad = true
		return make([]byte, 8)[:max(min(n, 8), 0)]
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) i16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) i32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }

// length reads the length of an array, of bytes, or (short) of a string.
func (r *reader) length(short bool) int {
	switch {
	case r.flexible:
		n, k := binary.Uvarint(r.b)
		r.take(k)
		if k <= 0 {
			r.bad = true
			return 0
		}
		return int(n) - 1
	case short:
		return int(r.i16())
	}
	return int(r.i32())
}

// tags skips the tagged fields, of which a Produce request has none.
func (r *reader) tags() {
	if r.flexible && r.take(1)[0] != 0 {
		r.bad = true
	}
}

func (p *produceRequest) parse(version int16, body []byte) error {
	r := reader{b: body, flexible: version >= 9}
	if n := r.length(true); n > 0 { // transactional id
		r.take(n)
	}
	r.i16() // acks: all are answered alike
	r.i32() // time-out
	topics := r.length(false)
	p.topic = r.take(r.length(true))
	n := r.length(false)
	p.batches = p.batches[:0]
	for i := 0; i < n && !r.bad; i++ {
		b := sentBatch{partition: r.i32()}
		b.bytes = r.take(r.length(false))
		r.tags()
		p.batches = append(p.batches, b)
	}
	if r.bad || topics != 1 {
		return errShort
	}
	return nil
}

func (p *produceRequest) appendAnswer(dst []byte, version int16) []byte {
	a := &p.answer
	if a.Topics == nil {
		a.Default()
		a.Topics = []kmsg.ProduceResponseTopic{kmsg.NewProduceResponseTopic()}
	}
	a.Version = version
	t := &a.Topics[0]
	if t.Topic != string(p.topic) {
		t.Topic = string(p.topic)
	}
	for len(t.Partitions) < len(p.batches) {
		t.Partitions = append(t.Partitions, kmsg.NewProduceResponseTopicPartition())
	}
	t.Partitions = t.Partitions[:len(p.batches)]
	for i, b := range p.batches {
		t.Partitions[i].Partition, t.Partitions[i].BaseOffset = b.partition, b.base
	}
	return a.AppendTo(dst)
}

// mark stands for the records of a partition while a Fetch answer is encoded, so that it can be cut there.
const mark = "\xf1records\x8e"

// splitFetch encodes the answer and cuts it where the records of each partition belong: the last part is what follows
// the last of them. A part ends before the length of the records.
func splitFetch(a *kmsg.FetchResponse) [][]byte {
	t := &a.Topics[0]
	for i := range t.Partitions {
		t.Partitions[i].RecordBatches = []byte(mark)
	}
	all := a.AppendTo(nil)
	lengthLen := 4
	if a.Version >= 12 {
		lengthLen = 1
	}
	var parts [][]byte
	from := 0
	for i := 0; i+len(mark) <= len(all); i++ {
		if string(all[i:i+len(mark)]) == mark {
			parts = append(parts, all[from:i-lengthLen:i-lengthLen])
			from = i + len(mark)
			i = from - 1
		}
	}
	return append(parts, all[from:])
}

// appendLength appends the length of a partition's records.
func appendLength(b []byte, version int16, n int64) []byte {
	if version >= 12 {
		return binary.AppendUvarint(b, uint64(n)+1)
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}
