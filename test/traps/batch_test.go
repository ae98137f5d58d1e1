package traps

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Error codes that the tests expect.
const (
	offsetOutOfRange       = 1
	unknownTopicOrPart     = 3
	leaderNotAvailable     = 5
	notLeader              = 6
	invalidConfig          = 40
	invalidTimestamp       = 32
	invalidTopic           = 17
	illegalSaslState       = 34
	unsupportedVersion     = 35
	policyViolation        = 44
	outOfOrderSequence     = 45
	invalidProducerEpoch   = 47
	duplicateSequence      = 46
	securityDisabled       = 54
	unknownTopicID         = 100
	inconsistentTopicID    = 103
	unsupportedCompression = 76
	fencedLeaderEpoch      = 74
	unknownLeaderEpoch     = 75
)

// batch describes a record batch of magic 2; zero values are those of a client without idempotence.
type batch struct {
	values      []string
	codec       int16
	compressed  func(plain []byte) []byte // must be given with a codec
	at          int64                     // timestamp of all records in ms; 0: now
	leaderEpoch int32                     // what the client claims
	idempotent  bool
	producer    int64
	epoch       int16
	sequence    int32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bytes is the batch on the wire, with a good checksum.
func (b batch) bytes() []byte {
	if b.at == 0 {
		b.at = time.Now().UnixMilli()
	}
	var records []byte
	for i, v := range b.values {
		r := kmsg.Record{OffsetDelta: int32(i), Key: []byte("key"), Value: []byte(v)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // a length of 0 takes one byte
		records = r.AppendTo(records)
	}
	if b.codec != 0 {
		records = b.compressed(records)
	}
	rb := kmsg.RecordBatch{
		Length: int32(49 + len(records)), PartitionLeaderEpoch: b.leaderEpoch, Magic: 2, Attributes: b.codec,
		LastOffsetDelta: int32(len(b.values) - 1), FirstTimestamp: b.at, MaxTimestamp: b.at,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(b.values)), Records: records,
	}
	if b.idempotent {
		rb.ProducerID, rb.ProducerEpoch, rb.FirstSequence = b.producer, b.epoch, b.sequence
	}
	raw := rb.AppendTo(nil)
	seal(raw)
	return raw
}

// seal puts the checksum into a batch.
func seal(raw []byte) { binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli)) }

// produceOf is a Produce request with one batch for partition 0 of the topic, by name.
func produceOf(topic string, raw []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: raw}}}}
	return req
}

// produce writes a batch in a version that names topics, and returns what is said of it.
func produce(c *client, topic string, b batch) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	return ask[*kmsg.ProduceResponse](c, 9, produceOf(topic, b.bytes())).Topics[0].Partitions[0]
}

// written writes a batch, which must succeed, and returns its base offset.
func written(c *client, topic string, b batch) int64 {
	c.t.Helper()
	p := produce(c, topic, b)
	if p.ErrorCode != 0 {
		c.t.Fatalf("Produce: error %d %s", p.ErrorCode, orNothing(p.ErrorMessage))
	}
	return p.BaseOffset
}

func orNothing(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// fetchOf is a sessionless Fetch by name that does not wait, of partition 0 from an offset.
func fetchOf(topic string, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 50<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, 1<<20, -1
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// fetch reads from an offset in a version that names topics. It does not wait for records, but for the log to be open.
func fetch(c *client, topic string, offset int64) (p kmsg.FetchResponseTopicPartition) {
	c.t.Helper()
	within(c.t, answerTimeout, func() string {
		p = ask[*kmsg.FetchResponse](c, 12, fetchOf(topic, offset)).Topics[0].Partitions[0]
		return map[bool]string{true: "the partition has no leader"}[p.ErrorCode == notLeader]
	})
	return p
}

// batches are the record batches in the bytes that a fetch returned; a cut last one fails the test.
func batches(c *client, raw []byte) []kmsg.RecordBatch {
	c.t.Helper()
	var out []kmsg.RecordBatch
	for len(raw) > 0 {
		if len(raw) < 61 || len(raw) < 12+int(binary.BigEndian.Uint32(raw[8:])) {
			c.t.Fatalf("a fetch returned a part of a batch: %d bytes", len(raw))
		}
		size := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw[:size]); err != nil {
			c.t.Fatal(err)
		}
		if crc32.Checksum(raw[21:size], castagnoli) != uint32(b.CRC) {
			c.t.Fatalf("the batch at offset %d has a wrong checksum", b.FirstOffset)
		}
		out, raw = append(out, b), raw[size:]
	}
	return out
}
