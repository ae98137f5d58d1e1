package traps

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

// sarama sends partition_leader_epoch 0 and Java -1: neither is looked at, and the log has the broker's.
func TestX20LeaderEpochOfTheClientIsOverwritten(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	b.Kill() // so that the epoch is not 0
	b.Restart(t)
	c := dial(t, b.Address)
	epoch := epochOf(c, topic)
	if epoch <= 0 {
		t.Fatalf("the leader epoch after kill -9 is %d", epoch)
	}
	for _, claimed := range []int32{0, -1, 7, math.MaxInt32, math.MinInt32} {
		at := written(c, topic, batch{values: []string{"x"}, leaderEpoch: claimed})
		stored := batches(c, fetch(c, topic, at).RecordBatches)
		equal(t, fmt.Sprintf("stored epoch where %d was sent", claimed), stored[0].PartitionLeaderEpoch, epoch)
	}
}

// newProducer asks for a producer id.
func newProducer(c *client) int64 {
	c.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = -1, -1, 60_000
	resp := ask[*kmsg.InitProducerIDResponse](c, 4, req)
	if resp.ErrorCode != 0 || resp.ProducerID < 0 || resp.ProducerEpoch != 0 {
		c.t.Fatalf("InitProducerId: %+v", resp)
	}
	return resp.ProducerID
}

// of is a batch of n records of an idempotent producer.
func of(producer int64, epoch int16, sequence int32, n int) batch {
	b := batch{idempotent: true, producer: producer, epoch: epoch, sequence: sequence, at: 1_700_000_000_000}
	for i := range n {
		b.values = append(b.values, fmt.Sprint("value ", i))
	}
	return b
}

// appends out of the order of arrival, or a window of fewer than five batches, give a pipelining producer
// OUT_OF_ORDER_SEQUENCE.
func TestX21FiveBatchesInFlightAndTheirRetries(t *testing.T) {
	topic := subject.Topic(t, subject.Address(t), 1)
	c := shared(t)
	producer := newProducer(c)
	var ids []int32
	sequence := int32(0)
	for range 50 { // far more than any client has in flight
		ids = append(ids, c.send(9, produceOf(topic, of(producer, 0, sequence, 2).bytes())))
		sequence += 2
	}
	for i, id := range ids {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(9)
		p := c.receive(id, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != int64(2*i) {
			t.Fatalf("batch %d in flight: error %d, base offset %d", i, p.ErrorCode, p.BaseOffset)
		}
	}
	for i := range int32(5) { // a client that saw none of the last five answers sends them again
		first := sequence - 10 + 2*i
		equal(t, fmt.Sprintf("offset of the retry of sequence %d", first), written(c, topic, of(producer, 0, first, 2)), int64(first))
	}
	equal(t, "high watermark after retries", fetch(c, topic, 0).HighWatermark, int64(sequence))
	switch p := produce(c, topic, of(producer, 0, sequence-12, 2)); p.ErrorCode {
	case outOfOrderSequence, duplicateSequence:
	default:
		t.Errorf("a retry of the sixth batch from the end: error %d", p.ErrorCode)
	}
	equal(t, "error of a gap", produce(c, topic, of(producer, 0, sequence+2, 2)).ErrorCode, outOfOrderSequence)
	equal(t, "offset after all that", written(c, topic, of(producer, 0, sequence, 2)), int64(sequence))
}

// a producer that the broker does not know, as after retention, may begin anywhere; sequences wrap; a new epoch
// begins at 0.
func TestX21FirstSequenceWrapAndEpoch(t *testing.T) {
	topic := subject.Topic(t, subject.Address(t), 1)
	c := shared(t)
	producer := newProducer(c)
	written(c, topic, of(producer, 0, math.MaxInt32-2, 3))
	written(c, topic, of(producer, 0, 0, 1)) // after int32's end
	across := newProducer(c)
	written(c, topic, of(across, 0, math.MaxInt32-1, 4))
	written(c, topic, of(across, 0, 2, 1))
	equal(t, "error of a new epoch that does not begin at 0", produce(c, topic, of(across, 1, 3, 1)).ErrorCode, outOfOrderSequence)
	written(c, topic, of(across, 1, 0, 1))
	equal(t, "error of the epoch before", produce(c, topic, of(across, 0, 3, 1)).ErrorCode, invalidProducerEpoch)
}

// where producer state is lost, every later batch fails with OUT_OF_ORDER_SEQUENCE, or a retry is written twice.
// It survives clean stops and kills, snapshots of it or not.
func TestX22ProducerStateSurvivesRestarts(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	producer, sequence := int64(-1), int32(0)
	restarts(t, b, func(c *client, _ bool) {
		if producer < 0 {
			producer = newProducer(c)
		}
		for first := max(sequence-10, 0); first < sequence; first += 2 {
			equal(t, fmt.Sprintf("offset of the retry of sequence %d", first), written(c, topic, of(producer, 0, first, 2)), int64(first))
		}
		equal(t, "error of a gap", gapError(c, topic, producer, sequence), outOfOrderSequence)
		for range 3 {
			equal(t, "offset", written(c, topic, of(producer, 0, sequence, 2)), int64(sequence))
			sequence += 2
		}
		equal(t, "high watermark", fetch(c, topic, 0).HighWatermark, int64(sequence))
	})
}

// gapError is the error for a batch that leaves one out; before the first there is no gap to be seen.
func gapError(c *client, topic string, producer int64, sequence int32) int16 {
	if sequence == 0 {
		return outOfOrderSequence
	}
	return produce(c, topic, of(producer, 0, sequence+2, 2)).ErrorCode
}

// librdkafka takes OUT_OF_ORDER_SEQUENCE after a change of the leader as fatal: batches in flight when the leader
// epoch moves can be sent again, known or not, and each is in the log once.
func TestX23RetryAfterTheLeaderEpochMoved(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	topic := subject.Topic(t, b.Address, 1)
	c := dial(t, b.Address)
	producer := newProducer(c)
	written(c, topic, of(producer, 0, 0, 1))
	before := epochOf(c, topic)
	for i := range int32(4) { // their answers are lost
		c.send(9, produceOf(topic, of(producer, 0, 1+i, 1).bytes()))
	}
	b.Kill()
	b.Restart(t)
	c = dial(t, b.Address)
	if epoch := epochOf(c, topic); epoch <= before {
		t.Errorf("the leader epoch is %d, after it was %d", epoch, before)
	}
	for i := range int32(4) {
		equal(t, fmt.Sprintf("offset of sequence %d", 1+i), written(c, topic, of(producer, 0, 1+i, 1)), int64(1+i))
	}
	equal(t, "high watermark", fetch(c, topic, 0).HighWatermark, 5)
}

// Java is idempotent from 3.0 on: InitProducerId must be there in every version, and no id is given twice, not
// even after a kill.
func TestX24ProducerIDsAreNeverGivenTwice(t *testing.T) {
	b := subject.Start(t, t.TempDir())
	seen := make(map[int64]bool)
	restarts(t, b, func(c *client, _ bool) {
		for v := range int16(6) {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = -1, -1, 60_000
			resp := ask[*kmsg.InitProducerIDResponse](c, v, req)
			if resp.ErrorCode != 0 || resp.ProducerID < 0 || resp.ProducerEpoch != 0 || seen[resp.ProducerID] {
				t.Errorf("InitProducerId v%d: %+v, given before: %v", v, resp, seen[resp.ProducerID])
			}
			seen[resp.ProducerID] = true
		}
	})
}

// a producer that was idle for longer than its state is kept goes on with its id and its sequence.
func TestX24IdleProducerGoesOnAfterItsStateExpired(t *testing.T) {
	b := subject.Start(t, t.TempDir(), "producer.id.expiration.ms=100", "producer.id.expiration.check.interval.ms=20")
	topic := subject.Topic(t, b.Address, 1)
	c := dial(t, b.Address)
	producer := newProducer(c)
	live := of(producer, 0, 0, 3)
	live.at = 0
	written(c, topic, live)
	describe := kmsg.NewPtrDescribeProducersRequest()
	describe.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	within(t, answerTimeout, func() string {
		p := ask[*kmsg.DescribeProducersResponse](c, 0, describe).Topics[0].Partitions[0]
		if len(p.ActiveProducers) > 0 {
			return fmt.Sprintf("the producer is still known: %+v", p.ActiveProducers)
		}
		return ""
	})
	equal(t, "offset after the state expired", written(c, topic, of(producer, 0, 3, 2)), 3)
}

// since 4.0 a record more than an hour ahead is refused, which surprises replays; the topic's setting allows it.
func TestX25TimestampsMoreThanAnHourAhead(t *testing.T) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 1)
	c := shared(t)
	ahead := func(d time.Duration) batch {
		return batch{values: []string{"a", "b"}, at: time.Now().Add(d).UnixMilli()}
	}
	written(c, topic, ahead(59*time.Minute))
	written(c, topic, ahead(-50*365*24*time.Hour))
	p := produce(c, topic, ahead(61*time.Minute))
	equal(t, "error of a batch 61 minutes ahead", p.ErrorCode, invalidTimestamp)
	equal(t, "records that failed", len(p.ErrorRecords), 2)
	for v := range int16(14) {
		if v < 3 {
			continue
		}
		req := produceOf(topic, ahead(2*time.Hour).bytes())
		req.Topics[0].TopicID = topicOf(c, topic).TopicID
		resp := ask[*kmsg.ProduceResponse](c, v, req).Topics[0].Partitions[0]
		if resp.ErrorCode != invalidTimestamp || resp.BaseOffset != -1 {
			t.Errorf("Produce v%d of a batch two hours ahead: error %d, offset %d", v, resp.ErrorCode, resp.BaseOffset)
		}
	}
	lenient := subject.Topic(t, address, 1, "message.timestamp.after.max.ms=9223372036854775807")
	written(c, lenient, ahead(1000*time.Hour))
	server := subject.Topic(t, address, 1, "message.timestamp.type=LogAppendTime")
	written(c, server, ahead(1000*time.Hour)) // the client's time is not used
}

// xerial is snappy in the blocks with which snappy-java frames it.
func xerial(plain []byte) []byte {
	out := append([]byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}, 0, 0, 0, 1, 0, 0, 0, 1)
	for len(plain) > 0 {
		n := min(len(plain), 512) // several blocks
		block := snappy.Encode(nil, plain[:n])
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
		plain = plain[n:]
	}
	return out
}

func lz4Frame(options ...lz4.Option) func([]byte) []byte {
	return func(plain []byte) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		for _, o := range options {
			must(w.Apply(o))
		}
		_, err := w.Write(plain)
		must(err)
		must(w.Close())
		return out.Bytes()
	}
}

func gzipped(plain []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(plain)
	must(err)
	must(w.Close())
	return out.Bytes()
}

func zstandard(plain []byte) []byte {
	w, err := zstd.NewWriter(nil)
	must(err)
	return w.EncodeAll(plain, nil)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Filebeat and others report no more than a failure where a codec is refused: all are taken, in every form that
// clients write, kept as sent, and opened where the topic asks for it.
func TestX26EveryFormOfCompression(t *testing.T) {
	address := subject.Address(t)
	kept := subject.Topic(t, address, 1)
	opened := subject.Topic(t, address, 1, "cleanup.policy=compact") // keys must be seen
	changed := subject.Topic(t, address, 1, "compression.type=uncompressed")
	c := shared(t)
	forms := []struct {
		name     string
		codec    int16
		compress func([]byte) []byte
	}{
		{"gzip", 1, gzipped},
		{"snappy, bare", 2, func(p []byte) []byte { return snappy.Encode(nil, p) }},
		{"snappy, xerial", 2, xerial},
		{"lz4, blocks of 64 KiB without checksums", 3, lz4Frame(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false))},
		{"lz4, blocks of 4 MiB with the content's checksum", 3, lz4Frame(lz4.BlockSizeOption(lz4.Block4Mb), lz4.ChecksumOption(true))},
		{"lz4, with block checksums", 3, lz4Frame(lz4.BlockSizeOption(lz4.Block256Kb), lz4.BlockChecksumOption(true))},
		{"zstd", 4, zstandard},
	}
	values := []string{strings.Repeat("compressible ", 500), "short", strings.Repeat("x", 70_000)}
	for _, f := range forms {
		b := batch{values: values, codec: f.codec, compressed: f.compress}
		raw := b.bytes()
		at := written(c, kept, b)
		stored := fetch(c, kept, at).RecordBatches
		if i := bytes.Index(stored, raw[61:]); i != 61 {
			t.Errorf("%s: the records were not kept as sent", f.name)
		}
		written(c, opened, b)
		at = written(c, changed, b)
		plain := batches(c, fetch(c, changed, at).RecordBatches)
		if len(plain) != 1 || plain[0].Attributes&7 != 0 || !bytes.Contains(plain[0].Records, []byte(values[2])) {
			t.Errorf("%s: the batch was not stored uncompressed", f.name)
		}
	}
	old := produceOf(kept, batch{values: values, codec: 4, compressed: zstandard}.bytes())
	equal(t, "error of zstd in Produce v6", ask[*kmsg.ProduceResponse](c, 6, old).Topics[0].Partitions[0].ErrorCode, unsupportedCompression)
}
