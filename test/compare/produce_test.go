package compare

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type (
	produceTopic     = kmsg.ProduceRequestTopic
	producePartition = kmsg.ProduceRequestTopicPartition
)

// forever keeps records of long ago from retention.
var forever = []string{"retention.ms", "-1"}

// writer sends batches to topics by the name that the script gave them, by id where the version wants it.
type writer struct {
	*run
	ids map[string][16]byte
}

func (w writer) topic(name string, partitions int32, config ...string) {
	w.Helper()
	w.ids[name] = w.create(name, partitions, append(config, forever...)...)
}

func (w writer) request(topic string, acks int16, ps ...producePartition) *kmsg.ProduceRequest {
	id, ok := w.ids[topic]
	if !ok {
		id = absentID
	}
	return &kmsg.ProduceRequest{Acks: acks, TimeoutMillis: 5000, Topics: []produceTopic{{Topic: topic, TopicID: id, Partitions: ps}}}
}

func to(partition int32, records []byte) producePartition {
	return producePartition{Partition: partition, Records: records}
}

// edges are the versions in which something about Produce changed.
var edges = []int16{3, 6, 7, 8, 9, 10, 12, 13}

func tellProduce(r *run) {
	w := writer{r, map[string][16]byte{}}
	w.topic("p", 2)
	w.topic("p-odd", 2)
	w.topic("p-mess", 1)   // for what only one of the brokers appends, so that offsets elsewhere stay the same
	w.topic("p-sealed", 1) // the same for compressed batches
	w.topic("p-compact", 1, "cleanup.policy", "compact")
	w.topic("p-now", 1, "message.timestamp.type", "LogAppendTime")
	w.topic("p-small", 1, "max.message.bytes", "500")
	w.topic("p-segment", 1, "max.message.bytes", "3000000", "segment.bytes", "1048576")
	w.topic("p-past", 1, "message.timestamp.before.max.ms", "3600000", "message.timestamp.after.max.ms", "60000")
	w.topic("p-past-now", 1, "message.timestamp.before.max.ms", "3600000", "message.timestamp.type", "LogAppendTime")
	for _, codec := range []string{"uncompressed", "gzip", "snappy", "lz4", "zstd"} {
		w.topic("p-"+codec, 1, "compression.type", codec)
	}
	tellRequests(w)
	tellBadBatches(w)
	tellTimes(w)
	tellCodecs(w)
	tellSizes(w)
	tellStored(w)
}

func tellRequests(w writer) {
	good := of("a", "b").bytes()
	for _, acks := range []int16{1, -1, 2, -2} {
		w.all(fmt.Sprintf("acks %d", acks), w.request("p", acks, to(0, good)), edges...)
	}
	w.topic("p-isr", 1, "min.insync.replicas", "2")
	w.all("acks -1 with fewer replicas than must be in sync", w.request("p-isr", -1, to(0, good)), 3, 13)
	w.shout("acks 0", 3, w.request("p", 0, to(0, good)))
	w.shout("acks 0, by id", 13, w.request("p", 0, to(0, good)))
	w.shout("acks 0, absent topic", 3, w.request("absent", 0, to(0, good)))
	w.shout("acks 0, bad batch", 9, w.request("p", 0, to(0, of("a").with(control).bytes())))
	w.all("absent topic", w.request("absent", 1, to(0, good), to(7, good)), edges...)
	w.all("absent partitions", w.request("p", 1, to(2, good), to(-1, good)), edges...)
	w.all("bad topic name", w.request("a/b", 1, to(0, good)), 3, 8, 12)
	w.all("good and bad partitions", w.request("p-odd", 1, to(0, good), to(9, good), to(1, of("x").with(control).bytes())), edges...)
	w.all("internal topic", w.request("__consumer_offsets", 1, to(0, good)), 3, 8, 12)
	w.all("nothing", &kmsg.ProduceRequest{Acks: 1, TimeoutMillis: 1000}, edges...)
	w.all("no partitions", w.request("p", 1), edges...)
	w.all("one partition twice", w.request("p-odd", 1, to(1, good), to(1, of("c").bytes())), 3, 9, 13)
	w.all("one topic twice", &kmsg.ProduceRequest{Acks: 1, TimeoutMillis: 1000, Topics: []produceTopic{
		{Topic: "p-odd", TopicID: w.ids["p-odd"], Partitions: []producePartition{to(0, good)}}, {Topic: "p-odd", TopicID: w.ids["p-odd"], Partitions: []producePartition{to(1, good)}}}}, 3, 9, 13)
	w.all("a time-out of 0", &kmsg.ProduceRequest{Acks: -1, Topics: []produceTopic{{Topic: "p", TopicID: w.ids["p"], Partitions: []producePartition{to(0, good)}}}}, 3, 13)
	w.all("a transactional id without a transaction", func() *kmsg.ProduceRequest {
		req := w.request("p", -1, to(0, good))
		req.TransactionID = ptr("t")
		return req
	}(), 3, 11)
	w.all("zero topic id", &kmsg.ProduceRequest{Acks: 1, TimeoutMillis: 1000, Topics: []produceTopic{{Partitions: []producePartition{to(0, good)}}}}, 13)
}

func tellBadBatches(w writer) {
	short := func(n int) []byte { b := of("a").bytes(); return b[:n] }
	set16 := func(at int, v uint16) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint16(b[at:], v) } }
	set32 := func(at int, v uint32) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) } }
	rewritten := func(b batch, f func([]byte)) []byte { b.rewrite = f; return b.bytes() }
	spoilt := func(b batch, f func([]byte)) []byte { b.spoil = f; return b.bytes() }
	two := of("a")
	two.grow = of("b").bytes()
	trailing := of("a")
	trailing.grow = []byte{1, 2, 3}
	old := func(magic int8) []byte { b := of("a", "b"); b.magic = magic; return b.bytes() }
	keyless := of("a", "b", "c")
	keyless.noKeys = true
	gap := of("a", "b", "c")
	gap.deltas = func(i int) int32 { return int32(2 * i) }
	back := of("a", "b")
	back.deltas = func(i int) int32 { return int32(1 - i) }
	base := of("a", "b")
	base.base = 5
	for _, c := range []struct {
		what  string
		bytes []byte
	}{
		{"null records", nil}, {"no records", []byte{}}, {"a batch of no records", of().bytes()}, {"half a header", short(30)}, {"a size alone", short(12)},
		{"half a batch", short(65)}, {"a crc that does not match", spoilt(of("a"), set32(17, 7))}, {"a broken byte", spoilt(of("abc"), func(b []byte) { b[len(b)-2] ^= 1 })},
		{"a negative size", spoilt(of("a"), set32(8, 0xffffffff))}, {"a size too small", spoilt(of("a"), set32(8, 10))}, {"a size too large", spoilt(of("a"), set32(8, 1000))},
		{"two batches", two.bytes()}, {"bytes after the batch", trailing.bytes()}, {"magic 0", old(0)}, {"magic 1", old(1)}, {"magic 3", rewritten(of("a"), func(b []byte) { b[16] = 3 })},
		{"a base offset", base.bytes()}, {"a leader epoch", spoilt(of("a"), set32(12, 9))}, {"a control batch", of("a").with(control).bytes()},
		{"a transactional batch without a producer", of("a").with(transactional).bytes()}, {"a transactional batch", of("a").with(transactional).by(1234, 0, 0).bytes()},
		{"a count too large", rewritten(of("a", "b"), set32(57, 3))}, {"a count too small", rewritten(of("a", "b"), set32(57, 1))}, {"a negative count", rewritten(of("a"), set32(57, 0xffffffff))},
		{"a last offset too large", rewritten(of("a", "b"), set32(23, 5))}, {"a last offset too small", rewritten(of("a", "b"), set32(23, 0))}, {"a negative last offset", rewritten(of("a"), set32(23, 0xffffffff))},
		{"count and last offset too large", rewritten(rewriteTwo(of("a", "b"), 2, 3))}, {"count and last offset too small", rewritten(rewriteTwo(of("a", "b"), 0, 1))},
		{"offset deltas with gaps", gap.bytes()}, {"offset deltas backwards", back.bytes()},
		{"a producer without a sequence", of("a").by(5, 0, -1).bytes()}, {"a producer without an epoch", of("a").by(5, -1, 0).bytes()}, {"an epoch without a producer", of("a").by(-1, 3, -1).bytes()},
		{"a sequence without a producer", of("a").by(-1, -1, 3).bytes()}, {"a negative producer", of("a").by(-7, 0, 0).bytes()},
		{"an unknown codec", rewritten(of("a"), set16(21, 5))}, {"all codec bits", rewritten(of("a"), set16(21, 7))}, {"a delete horizon", rewritten(of("a"), set16(21, 0x40))},
		{"unused attributes", rewritten(of("a"), set16(21, 0x80))}, {"records that are no records", rewritten(of("abcdef"), func(b []byte) { copy(b[61:], "\xff\xff\xff\xff\xff\xff") })},
		{"a record too long", rewritten(of("abc"), func(b []byte) { b[61] += 20 })}, {"a record too short", rewritten(of("abc"), func(b []byte) { b[61] -= 4 })},
		{"a header without a key", rewritten(of("abc"), func(b []byte) { b[len(b)-1] = 2 })},
	} {
		name := "p-odd"
		if c.what == "a producer without an epoch" {
			name = "p-mess"
		}
		w.all(c.what, w.request(name, 1, to(0, c.bytes)), 3, 7, 8, 13)
	}
	for _, codec := range []int16{0, gzipped} {
		w.all(fmt.Sprintf("no keys on a compacted topic, codec %d", codec), w.request("p-compact", 1, to(0, keyless.with(codec).bytes())), 3, 8, 13)
	}
	w.all("keys on a compacted topic", w.request("p-compact", 1, to(0, of("a", "b").bytes())), 3, 13)
}

// rewriteTwo sets last offset delta and count of a batch.
func rewriteTwo(b batch, last, count uint32) (batch, func([]byte)) {
	return b, func(raw []byte) {
		binary.BigEndian.PutUint32(raw[23:], last)
		binary.BigEndian.PutUint32(raw[57:], count)
	}
}

func tellTimes(w writer) {
	now := time.Now().UnixMilli()
	at := func(ms int64) batch { b := of("a", "b"); b.timestamp = ms; return b }
	lying := of("a", "b")
	lying.maxTime = now + 7200_000
	modest := of("a", "b")
	modest.maxTime = longAgo - 1000
	for _, c := range []struct {
		what string
		b    batch
	}{
		{"no time", at(-1)}, {"a negative time", at(-2)}, {"time 0", at(0)}, {"long ago", at(longAgo)}, {"half an hour ahead", at(now + 1800_000)}, {"two hours ahead", at(now + 7200_000)},
		{"a highest time that lies ahead", lying}, {"a highest time that is too low", modest}, {"log append time set by the client", at(longAgo).with(logAppendTime)},
		{"a minute ago", at(now - 60_000)},
	} {
		for _, name := range []string{"p", "p-now", "p-past", "p-past-now"} {
			if name == "p" && c.b.attributes != 0 {
				name = "p-mess"
			}
			w.all(c.what+" to "+name, w.request(name, 1, to(0, c.b.bytes())), 3, 8, 13)
			w.all(c.what+", gzip, to "+name, w.request(name, 1, to(0, c.b.with(gzipped).bytes())), 3, 8, 13)
		}
	}
}

func tellCodecs(w writer) {
	names := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	for codec := int16(0); codec <= zstded; codec++ {
		good := of("water", "water", "water").with(codec)
		for _, name := range []string{"p", "p-uncompressed", "p-gzip", "p-snappy", "p-lz4", "p-zstd", "p-now"} {
			w.all(names[codec]+" to "+name, w.request(name, 1, to(0, good.bytes())), 3, 6, 7, 8, 13)
		}
		if codec == 0 {
			continue
		}
		bad := func(what string, change func([]byte) []byte) {
			b := good
			b.payload = change
			raw := b.bytes()
			for _, name := range []string{"p-sealed", "p-uncompressed", "p-compact"} {
				w.all(names[codec]+" with "+what+" to "+name, w.request(name, 1, to(0, raw)), 7, 8, 13)
			}
		}
		bad("garbage", func([]byte) []byte { return []byte("this is not compressed at all") })
		bad("nothing inside", func([]byte) []byte { return compress(codec, nil) })
		bad("no bytes", func([]byte) []byte { return nil })
		bad("half of its bytes", func(plain []byte) []byte { c := compress(codec, plain); return c[:len(c)/2] })
		bad("a record less", func(plain []byte) []byte { return compress(codec, of("water", "water").plain()) })
		bad("a record more", func(plain []byte) []byte { return compress(codec, of("a", "b", "c", "d").plain()) })
		bad("a broken record", func(plain []byte) []byte { return compress(codec, append([]byte{0x7f}, plain...)) })
		gaps := of("a", "b", "c")
		gaps.deltas = func(i int) int32 { return int32(i * 2) }
		gaps = gaps.with(codec)
		w.all(names[codec]+" with gaps in its offsets to p-sealed", w.request("p-sealed", 1, to(0, gaps.bytes())), 7, 8, 13)
	}
}

func tellSizes(w writer) {
	big := func(n int) []byte { return of(strings.Repeat("x", n)).bytes() }
	w.all("a batch as large as may be", w.request("p-small", 1, to(0, big(500-61-11))), 3, 13)
	for extra := 1; extra <= 3; extra++ {
		w.all(fmt.Sprintf("a batch too large by %d", extra), w.request("p-small", 1, to(0, big(500-61-11+extra))), 3, 8, 13)
	}
	w.all("a batch far too large", w.request("p-small", 1, to(0, big(2000))), 3, 8, 13)
	w.all("a compressed batch that fits", w.request("p-small", 1, to(0, of(strings.Repeat("x", 2000)).with(gzipped).bytes())), 3, 13)
	w.all("a batch larger than the default", w.request("p", 1, to(0, big(1100000))), 3, 13)
	w.all("a batch larger than a segment", w.request("p-segment", 1, to(0, big(1100000))), 3, 8, 13)
}

// tellStored reads everything back.
func tellStored(w writer) {
	for _, name := range []string{"p", "p-compact", "p-now", "p-small", "p-odd", "p-past", "p-past-now", "p-uncompressed", "p-gzip", "p-snappy", "p-lz4", "p-zstd"} {
		w.all("stored in "+name, fetchAll(w.ids[name], 0), 13)
	}
	w.all("stored in the other partition", fetchAll(w.ids["p"], 1), 13)
}

// fetchAll is a sessionless fetch of a whole partition.
func fetchAll(id [16]byte, partition int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes = 1 << 25
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.PartitionMaxBytes = partition, 1<<25
	req.Topics = []kmsg.FetchRequestTopic{{TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// awaitProducerIDs waits until the broker has producer ids: Apache Kafka fetches a block when it is first asked.
func (r *run) awaitProducerIDs() {
	r.Helper()
	for begun := time.Now(); time.Since(begun) < preparedTimeout; time.Sleep(10 * time.Millisecond) {
		req := &kmsg.InitProducerIDRequest{TransactionTimeoutMillis: 60000, ProducerID: -1, ProducerEpoch: -1}
		if r.quiet(4, req).(*kmsg.InitProducerIDResponse).ErrorCode == 0 {
			return
		}
	}
	r.Fatal("the broker has no producer ids")
}

// tellIdempotence sends batches of idempotent producers in and out of order.
func tellIdempotence(r *run) {
	w := writer{r, map[string][16]byte{}}
	r.awaitProducerIDs()
	r.all("producer id", &kmsg.InitProducerIDRequest{TransactionTimeoutMillis: 60000, ProducerID: -1, ProducerEpoch: -1})
	r.all("producer id for one that has one", &kmsg.InitProducerIDRequest{TransactionTimeoutMillis: 60000, ProducerID: 5, ProducerEpoch: 1}, 3, 4, 5)
	r.all("producer id with an id alone", &kmsg.InitProducerIDRequest{ProducerID: 5, ProducerEpoch: -1}, 3, 4, 5)
	r.all("producer id with an epoch alone", &kmsg.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: 1}, 3, 4, 5)
	r.all("producer id with a time-out of 0", &kmsg.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	r.all("producer id for an empty transaction", &kmsg.InitProducerIDRequest{TransactionalID: ptr(""), TransactionTimeoutMillis: 60000, ProducerID: -1, ProducerEpoch: -1})
	const one, two, three, four, five = 100001, 100002, 100003, 100004, 100005
	for _, v := range []int16{3, 8, 13} {
		name := fmt.Sprintf("i-%d", v)
		w.topic(name, 1)
		at := func(step string, producer int64, epoch int16, sequence int32, values ...string) {
			w.all(step, w.request(name, -1, to(0, of(values...).by(producer, epoch, sequence).bytes())), v)
		}
		at("first", one, 0, 0, "a", "b")
		at("second", one, 0, 2, "c")
		at("first again", one, 0, 0, "a", "b")
		at("second again", one, 0, 2, "c")
		at("a part of the first", one, 0, 0, "a")
		at("a part of both", one, 0, 1, "b", "c")
		at("one left out", one, 0, 4, "e")
		at("third", one, 0, 3, "d")
		at("fourth", one, 0, 4, "e")
		at("fifth", one, 0, 5, "f")
		at("second again while it is known", one, 0, 2, "c")
		at("sixth", one, 0, 6, "g")
		at("second of five again", one, 0, 3, "d")
		at("first after the window moved", one, 0, 0, "a", "b")
		at("second after the window moved", one, 0, 2, "c")
		at("new epoch out of order", one, 1, 5, "h")
		at("new epoch", one, 1, 0, "h")
		at("new epoch again", one, 1, 0, "h")
		at("old epoch", one, 0, 7, "i")
		at("old epoch from the start", one, 0, 0, "a", "b")
		at("epoch far ahead", one, 30000, 0, "j")
		at("unknown producer in the middle", two, 5, 17, "a")
		at("unknown producer goes on", two, 5, 18, "b")
		at("just before the end of sequences", three, 0, 2147483646, "a", "b")
		at("after the end of sequences", three, 0, 0, "c")
		at("over the end of sequences", four, 0, 2147483647, "a", "b", "c")
		at("over the end of sequences again", four, 0, 2147483647, "a", "b", "c")
		at("on after it", four, 0, 2, "d")
		w.all("good and bad in one request", w.request(name, -1, to(0, of("a").by(five, 0, 0).bytes()), to(3, of("a").by(five, 0, 0).bytes())), v)
		w.all("without a producer meanwhile", w.request(name, -1, to(0, of("a").bytes())), v)
		r.all("producers of "+name, &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: name, Partitions: []int32{0}}}})
		r.all("stored in "+name, fetchAll(w.ids[name], 0), 13)
	}
	w.topic("i-now", 1, "message.timestamp.type", "LogAppendTime")
	again := of("a", "b").by(one, 0, 0).bytes()
	w.all("on log append time, and again", w.request("i-now", -1, to(0, again)), 3, 8, 13)
	type t = kmsg.DescribeProducersRequestTopic
	r.all("producers of absent ones", &kmsg.DescribeProducersRequest{Topics: []t{{Topic: "absent", Partitions: []int32{0}}, {Topic: "i-3", Partitions: []int32{7, -1}}, {Topic: "a/b", Partitions: []int32{0}}}})
	r.all("producers of none", &kmsg.DescribeProducersRequest{})
	r.all("producers of no partition", &kmsg.DescribeProducersRequest{Topics: []t{{Topic: "i-3"}}})
	r.all("producers where there are none", &kmsg.DescribeProducersRequest{Topics: []t{{Topic: "p", Partitions: []int32{1}}}})
}
