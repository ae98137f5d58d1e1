package compare

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactions tells of transactional ids. Producer ids are each broker's own; epochs are compared.
type transactions struct {
	*run
	w writer
}

// producer is what a broker has given to a transactional id.
type producer struct {
	id    int64
	epoch int16
}

// tellTransactions comes behind the coordinators, which make the topic that it needs.
func tellTransactions(r *run) {
	x := transactions{r, writer{r, map[string][16]byte{}}}
	x.awaitCoordinator()
	x.w.topic("x", 3)
	x.inits()
	x.adds()
	x.ends()
	x.records()
	x.groupOffsets()
	x.markers()
	x.looks()
}

// awaitCoordinator waits until transactional ids are served.
func (x transactions) awaitCoordinator() {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		x.quiet(4, &kmsg.FindCoordinatorRequest{CoordinatorType: 1, CoordinatorKeys: []string{"any"}})
		served := true
		for i := range 60 { // so many names that every partition has some
			d := x.quiet(0, &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{fmt.Sprint("name-", i)}}).(*kmsg.DescribeTransactionsResponse)
			served = served && d.TransactionStates[0].ErrorCode == 105
		}
		if served {
			return
		}
		if time.Since(begun) > preparedTimeout {
			x.Fatal("the broker does not coordinate transactions")
		}
	}
}

// settled waits until the markers of an id are written.
func (x transactions) settled(id string) {
	for begun := time.Now(); time.Since(begun) < preparedTimeout; time.Sleep(5 * time.Millisecond) {
		d := x.quiet(0, &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{id}}).(*kmsg.DescribeTransactionsResponse)
		if !strings.HasPrefix(d.TransactionStates[0].State, "Prepare") {
			return
		}
	}
	x.Fatalf("the transaction of %s does not end", id)
}

func initOf(id string, p producer) *kmsg.InitProducerIDRequest {
	return &kmsg.InitProducerIDRequest{TransactionalID: &id, TransactionTimeoutMillis: 60_000, ProducerID: p.id, ProducerEpoch: p.epoch}
}

var nobody = producer{-1, -1}

// begin gets a producer for a transactional id.
func (x transactions) begin(id string) producer {
	r := x.quiet(5, initOf(id, nobody)).(*kmsg.InitProducerIDResponse)
	if r.ErrorCode != 0 {
		x.Fatalf("init of %s: code %d", id, r.ErrorCode)
	}
	return producer{r.ProducerID, r.ProducerEpoch}
}

func (p producer) next() producer { return producer{p.id, p.epoch + 1} }

func (x transactions) inits() {
	for _, v := range versions(kmsg.InitProducerID) {
		id := fmt.Sprint("init-", v)
		x.ask("init", v, initOf(id, nobody))
		x.ask("init anew", v, initOf(id, nobody))
	}
	for _, timeout := range []int32{0, -1, 900_000, 900_001} {
		req := initOf("timed", nobody)
		req.TransactionTimeoutMillis = timeout
		x.all(fmt.Sprint("init with a time-out of ", timeout), req)
	}
	x.all("init as a producer of an unknown id", initOf("unheard-of", producer{123456, 3}), 3, 5)
	p := x.begin("going-on")
	x.all("init with an id alone", initOf("going-on", producer{p.id, -1}), 3, 5)
	x.all("init with an epoch alone", initOf("going-on", producer{-1, p.epoch}), 3, 5)
	x.all("init as the current producer", initOf("going-on", p), 5)
	x.all("init as the current producer, again", initOf("going-on", p), 5)
	x.all("init as a later epoch", initOf("going-on", producer{p.id, 7}), 3, 4, 5)
	x.all("init as another producer", initOf("going-on", producer{p.id + 5000, 0}), 3, 4, 5)
	x.all("init as nobody", initOf("going-on", nobody), 5)
	x.all("init as the producer before", initOf("going-on", p), 3, 4, 5)
}

func addOf(id string, p producer, topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	return &kmsg.AddPartitionsToTxnRequest{
		TransactionalID: id, ProducerID: p.id, ProducerEpoch: p.epoch, Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}},
		Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{{
			TransactionalID: id, ProducerID: p.id, ProducerEpoch: p.epoch, Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: partitions}},
		}},
	}
}

func verifyOf(id string, p producer, topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	req := addOf(id, p, topic, partitions...)
	req.Transactions[0].VerifyOnly = true
	return req
}

func (x transactions) adds() {
	p := x.begin("adding")
	x.all("add to an unknown id", addOf("unheard-of", p, "x", 0))
	x.all("add to an id without a name", addOf("", p, "x", 0))
	x.all("add as another producer", addOf("adding", producer{p.id + 5000, 0}, "x", 0))
	x.all("add with a later epoch", addOf("adding", p.next(), "x", 0))
	x.all("add an unknown topic", addOf("adding", p, "unheard-of", 0), 0, 3)
	x.all("add an unknown partition", addOf("adding", p, "x", 0, 7), 0, 3)
	x.all("verify before the transaction", verifyOf("adding", p, "x", 0), 4, 5)
	x.all("add", addOf("adding", p, "x", 0, 1))
	x.all("verify", verifyOf("adding", p, "x", 0, 2), 4, 5)
	x.all("verify as another producer", verifyOf("adding", producer{p.id + 5000, 0}, "x", 0), 4, 5)
	x.all("verify with a later epoch", verifyOf("adding", p.next(), "x", 0), 4, 5)
	x.all("verify an unknown id", verifyOf("unheard-of", p, "x", 0), 4, 5)
	offsets := func(step, id string, p producer, vs ...int16) {
		x.all(step, &kmsg.AddOffsetsToTxnRequest{TransactionalID: id, ProducerID: p.id, ProducerEpoch: p.epoch, Group: "g"}, vs...)
	}
	offsets("add offsets to an unknown id", "unheard-of", p)
	offsets("add offsets to an id without a name", "", p)
	offsets("add offsets as another producer", "adding", producer{p.id + 5000, 0})
	offsets("add offsets with a later epoch", "adding", p.next())
	offsets("add offsets", "adding", p)
}

func endOf(id string, p producer, commit bool) *kmsg.EndTxnRequest {
	return &kmsg.EndTxnRequest{TransactionalID: id, ProducerID: p.id, ProducerEpoch: p.epoch, Commit: commit}
}

// both asks for a commit and for an abort.
func (x transactions) both(step, id string, p producer, vs ...int16) {
	for _, commit := range []bool{true, false} {
		x.all(fmt.Sprintf("%s, commit %t", step, commit), endOf(id, p, commit), vs...)
	}
}

func (x transactions) ends() {
	x.both("end an unknown id", "unheard-of", producer{5, 0})
	x.both("end an id without a name", "", producer{5, 0})
	for _, v := range []int16{0, 2, 4} { // the epoch stays
		id := fmt.Sprint("ending-", v)
		p := x.begin(id)
		x.both("end nothing", id, p, v)
		x.both("end as another producer", id, producer{p.id + 5000, 0}, v)
		x.both("end with a later epoch", id, p.next(), v)
		for _, commit := range []bool{true, false} {
			x.quiet(3, addOf(id, p, "x", 0))
			x.ask(fmt.Sprintf("end, %t", commit), v, endOf(id, p, commit))
			x.settled(id)
			x.both(fmt.Sprintf("end after an end, %t", commit), id, p, v)
		}
	}
	id := "ending-5"
	p := x.begin(id)
	x.both("end an old epoch of nothing", id, producer{p.id, -1}, 5)
	x.all("commit nothing", endOf(id, p, true), 5)
	x.all("abort nothing", endOf(id, p, false), 5)
	x.settled(id)
	for _, commit := range []bool{true, false} {
		p = x.begin(id)
		x.quiet(3, addOf(id, p, "x", 0))
		before := fmt.Sprintf("before an end, %t: ", commit)
		x.both(before+"a later epoch", id, p.next(), 5)
		x.both(before+"an old epoch", id, producer{p.id, p.epoch - 1}, 5)
		x.both(before+"another producer", id, producer{p.id + 5000, 0}, 5)
		x.all(fmt.Sprintf("end, %t", commit), endOf(id, p, commit), 5)
		x.settled(id)
		x.both(fmt.Sprintf("end again after an end, %t", commit), id, p, 5)
		x.all(fmt.Sprintf("commit the next after an end, %t", commit), endOf(id, p.next(), true), 5)
		x.all(fmt.Sprintf("abort the next after an end, %t", commit), endOf(id, p.next(), false), 5)
		x.settled(id)
	}
}

// produced is a batch of a transaction for a partition of x.
func (x transactions) produced(id string, partition int32, p producer, sequence int32, values ...string) *kmsg.ProduceRequest {
	req := x.w.request("x", -1, to(partition, of(values...).with(transactional).by(p.id, p.epoch, sequence).bytes()))
	req.TransactionID = &id
	return req
}

func (x transactions) records() {
	id := "producing"
	p := x.begin(id)
	x.all("produce outside of a transaction", x.produced(id, 0, p, 0, "a"), 3, 10, 11)
	x.all("produce for an unknown id", x.produced("unheard-of", 0, p, 0, "a"), 3, 11, 12, 13)
	x.all("produce with a later epoch", x.produced(id, 0, p.next(), 0, "a"), 3, 11, 12, 13)
	x.all("produce as another producer", x.produced(id, 0, producer{p.id + 5000, 0}, 0, "a"), 3, 11, 12, 13)
	x.quiet(3, addOf(id, p, "x", 0))
	x.all("produce", x.produced(id, 0, p, 0, "a"), 11)
	x.all("produce again", x.produced(id, 0, p, 0, "a"), 11)
	x.all("produce with a gap", x.produced(id, 0, p, 5, "a"), 11)
	x.all("produce to a partition that has not joined", x.produced(id, 1, p, 0, "a"), 9, 11)
	x.all("produce to one that joins", x.produced(id, 2, p, 0, "b"), 12)
	x.read("while it is open")
	x.all("abort", endOf(id, p, false), 5)
	x.settled(id)
	x.read("after the abort")
	x.all("produce with the epoch before", x.produced(id, 0, p, 1, "late"), 9, 11, 12, 13)
	p = p.next()
	x.all("produce with a first sequence above 0", x.produced(id, 0, p, 3, "c"), 12, 13)
	x.all("produce in the next", x.produced(id, 0, p, 0, "c"), 12)
	x.all("commit", endOf(id, p, true), 5)
	x.settled(id)
	x.read("after the commit")
	two := x.w.request("x", -1, to(0, of("d").with(transactional).by(p.id, p.epoch+1, 0).bytes()), to(1, of("d").with(transactional).by(p.id+1, 0, 0).bytes()))
	two.TransactionID = &id
	x.all("produce as two producers", two, 3, 12, 13)
	plain := x.w.request("x", -1, to(0, of("plain").bytes()))
	plain.TransactionID = &id
	x.all("produce a plain batch with an id", plain, 12)
}

// read fetches what is committed, and where it ends.
func (x transactions) read(when string) {
	for partition := range int32(3) {
		req := fetchAll(x.w.ids["x"], partition)
		req.Topics[0].Topic, req.IsolationLevel = "x", 1
		x.all(fmt.Sprintf("fetch %d %s", partition, when), req, 4, 11, 12, 13, 18)
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = partition, -1
		x.all(fmt.Sprintf("end of %d %s", partition, when), &kmsg.ListOffsetsRequest{ReplicaID: -1, IsolationLevel: 1,
			Topics: []kmsg.ListOffsetsRequestTopic{{Topic: "x", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}}, 2, 6, 11)
	}
}

func commitOf(id, group string, p producer, generation int32, topic string, partition int32) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = id, group, p.id, p.epoch, generation
	o := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	o.Partition, o.Offset, o.Metadata = partition, 5, ptr("note")
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{o}}}
	return req
}

func (x transactions) groupOffsets() {
	id := "committing"
	p := x.begin(id)
	x.all("offsets outside of a transaction", commitOf(id, "xg", p, -1, "x", 0), 0, 1, 2, 3, 4)
	x.all("offsets for an unknown id", commitOf("unheard-of", "xg", p, -1, "x", 0))
	x.all("offsets for an id without a name", commitOf("", "xg", p, -1, "x", 0))
	x.all("offsets for a group without a name", commitOf(id, "", p, -1, "x", 0))
	x.all("offsets as another producer", commitOf(id, "xg", producer{p.id + 5000, 0}, -1, "x", 0))
	x.all("offsets with a later epoch", commitOf(id, "xg", p.next(), -1, "x", 0))
	x.all("offsets in an unknown topic", commitOf(id, "xg", p, -1, "unheard-of", 0))
	x.all("offsets in an unknown partition", commitOf(id, "xg", p, -1, "x", 9))
	x.quiet(3, &kmsg.AddOffsetsToTxnRequest{TransactionalID: id, ProducerID: p.id, ProducerEpoch: p.epoch, Group: "xg"})
	x.all("offsets", commitOf(id, "xg", p, -1, "x", 0))
	x.all("offsets of a generation that is not there", commitOf(id, "xg", p, 3, "x", 0), 3, 4, 5)
	x.all("offsets of a group that is not there", commitOf(id, "xg-other", p, 3, "x", 0), 3, 5)
	fetch := func(when string) {
		x.each("fetch offsets "+when, func(v int16) kmsg.Request {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.RequireStable, req.Group = v%2 == 1, "xg"
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "x", Partitions: []int32{0, 1}}}
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.Topics = "xg", []kmsg.OffsetFetchRequestGroupTopic{{Topic: "x", Partitions: []int32{0, 1}}}
			req.Groups = []kmsg.OffsetFetchRequestGroup{g}
			return req
		}, 6, 7, 8, 9)
	}
	fetch("while it is open")
	x.all("commit the offsets", endOf(id, p, true), 5)
	x.settled(id)
	fetch("after the commit")
	x.all("offsets of the next transaction, not announced", commitOf(id, "xg", p.next(), -1, "x", 1), 5)
	fetch("in the next transaction")
	x.all("abort the offsets", endOf(id, p.next(), false), 5)
	x.settled(id)
	fetch("after the abort")
	x.all("offsets with the epoch before", commitOf(id, "xg", p, -1, "x", 0), 3, 4, 5)
}

func markerOf(p producer, commit bool, epoch int32, version int8, topic string, partitions ...int32) *kmsg.WriteTxnMarkersRequest {
	return &kmsg.WriteTxnMarkersRequest{Markers: []kmsg.WriteTxnMarkersRequestMarker{{
		ProducerID: p.id, ProducerEpoch: p.epoch, Committed: commit, CoordinatorEpoch: epoch, TransactionVersion: version,
		Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: topic, Partitions: partitions}},
	}}}
}

func (x transactions) markers() {
	x.w.topic("x-marked", 2)
	x.all("markers for an unknown topic", markerOf(producer{200001, 0}, true, 0, 0, "unheard-of", 0))
	x.all("markers for an unknown partition", markerOf(producer{200001, 0}, true, 0, 0, "x-marked", 0, 7))
	x.all("no markers", &kmsg.WriteTxnMarkersRequest{})
	x.all("markers for nothing", markerOf(producer{200001, 0}, false, 3, 0, "x-marked"))
	x.all("a marker of a producer that nobody knows", markerOf(producer{200001, 4}, false, 3, 0, "x-marked", 0))
	x.all("a marker of a coordinator before", markerOf(producer{200001, 4}, false, 2, 0, "x-marked", 0))
	x.all("a marker with an older epoch", markerOf(producer{200001, 3}, false, 3, 0, "x-marked", 0))
	x.all("a marker again, of version 2", markerOf(producer{200001, 4}, false, 3, 2, "x-marked", 0), 2)
	x.all("producers after the markers", &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: "x-marked", Partitions: []int32{0, 1}}}})
}

func (x transactions) looks() {
	p := x.begin("looked-at")
	describe := func(when string) {
		x.all("describe "+when, &kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{"looked-at", "unheard-of", ""}})
	}
	describe("before the transaction")
	x.quiet(3, addOf("looked-at", p, "x", 0, 2))
	describe("in the transaction")
	list := func(step string, change func(*kmsg.ListTransactionsRequest), vs ...int16) {
		req := kmsg.NewPtrListTransactionsRequest()
		change(req)
		x.all(step, req, vs...)
	}
	list("list", func(*kmsg.ListTransactionsRequest) {})
	list("list what is open", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing"} })
	list("list an unknown state", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Nonsense"} })
	list("list a state in small letters", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"ongoing"} })
	list("list a dead state", func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Dead", "PrepareEpochFence"} })
	list("list by producer", func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{p.id, 999_999_999} })
	list("list what is open for an hour", func(r *kmsg.ListTransactionsRequest) {
		r.StateFilters, r.DurationFilterMillis = []string{"Ongoing"}, 3_600_000
	})
	list("list what is open for 0 ms", func(r *kmsg.ListTransactionsRequest) { r.StateFilters, r.DurationFilterMillis = []string{"Ongoing"}, 0 })
	for _, pattern := range []string{"looked.*", "looked", "", "("} {
		list(fmt.Sprintf("list by the pattern %q", pattern), func(r *kmsg.ListTransactionsRequest) {
			r.StateFilters, r.TransactionalIDPattern = []string{"Ongoing"}, &pattern
		}, 2)
	}
	x.quiet(5, endOf("looked-at", p, true))
	x.settled("looked-at")
	describe("after the transaction")
}
