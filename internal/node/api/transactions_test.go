package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/proto/record"
)

// transactionalClient is a client with the transactional id x, and the broker that it speaks to.
type transactionalClient struct {
	*harness
	rsm.Producer
	sequences map[moldau.TopicPartition]moldau.Sequence
}

func newTransactional(t *testing.T) *transactionalClient {
	h := newHarness(t)
	h.createTopic("t", 2)
	x := &transactionalClient{harness: h, Producer: rsm.NoProducer()}
	x.find()
	return x
}

// find has the coordinators' topics made, and waits until they are loaded.
func (x *transactionalClient) find() {
	x.t.Helper()
	for _, kind := range []int8{txnCoordinator, groupCoordinator} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorType, req.CoordinatorKeys = kind, []string{"x"}
		if r := call[*kmsg.FindCoordinatorResponse](x.harness, req, 4); r.Coordinators[0].ErrorCode != 0 || r.Coordinators[0].NodeID != 1 {
			x.t.Fatalf("the coordinator of kind %d is %+v", kind, r.Coordinators[0])
		}
	}
	for x.Groups.Each(func(int32, *group.Groups) {})+x.Transactions.Each(func(int32, *txn.Transactions) {}) > 0 {
	}
}

// init begins anew, or goes on as a producer.
func (x *transactionalClient) init(expected rsm.Producer) moldau.Code {
	x.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr("x"), 60_000
	req.ProducerID, req.ProducerEpoch = int64(expected.ID), int16(expected.Epoch)
	r := retry(x.harness, req, 5, func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode })
	if r.ErrorCode == 0 {
		x.goOn(producerOf(r.ProducerID, r.ProducerEpoch))
	}
	return moldau.Code(r.ErrorCode)
}

func (x *transactionalClient) goOn(p rsm.Producer) {
	if p != x.Producer {
		x.sequences = map[moldau.TopicPartition]moldau.Sequence{}
	}
	x.Producer = p
}

func (x *transactionalClient) batch(index int32, value string) []byte {
	x.t.Helper()
	b := record.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.Transactional = x.ID, x.Epoch, true
	b.BaseSequence = x.sequences[moldau.TopicPartition{Topic: "t", Partition: index}]
	b.Add(record.Record{Timestamp: moldau.Timestamp(x.Env.Clock.Now().UnixMilli()), Value: []byte(value)})
	batch, err := b.Build(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return batch
}

// send produces a record to a partition of t.
func (x *transactionalClient) send(index int32, value string, version int16) moldau.Code {
	x.t.Helper()
	req := produceRequest("t", index, -1, x.batch(index, value))
	req.TransactionID = kmsg.StringPtr("x")
	p := call[*kmsg.ProduceResponse](x.harness, req, version).Topics[0].Partitions[0]
	if p.ErrorCode == 0 {
		x.sequences[moldau.TopicPartition{Topic: "t", Partition: index}]++
	}
	return moldau.Code(p.ErrorCode)
}

// join is AddPartitionsToTxn.
func (x *transactionalClient) join(version int16, partitions ...int32) []moldau.Code {
	x.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = "x", int64(x.ID), int16(x.Epoch)
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: partitions}}
	var codes []moldau.Code
	for _, p := range call[*kmsg.AddPartitionsToTxnResponse](x.harness, req, version).Topics[0].Partitions {
		codes = append(codes, moldau.Code(p.ErrorCode))
	}
	return codes
}

// end commits or aborts, and goes on as the answer says.
func (x *transactionalClient) end(commit bool, version int16) moldau.Code {
	x.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "x", int64(x.ID), int16(x.Epoch), commit
	r := call[*kmsg.EndTxnResponse](x.harness, req, version)
	if r.ErrorCode == 0 && version >= 5 {
		x.goOn(producerOf(r.ProducerID, r.ProducerEpoch))
	}
	return moldau.Code(r.ErrorCode)
}

// commit commits that the group g has read up to next in t-0.
func (x *transactionalClient) commit(next int64, version int16) moldau.Code {
	x.t.Helper()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = "x", "g", int64(x.ID), int16(x.Epoch), -1
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = next
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	code := func(r *kmsg.TxnOffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode }
	return moldau.Code(code(retry(x.harness, req, version, code)))
}

// committed is the position of the group g in t-0.
func (x *transactionalClient) committed(stable bool) (int64, moldau.Code) {
	x.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = stable
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0}}}
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	p := call[*kmsg.OffsetFetchResponse](x.harness, req, 9).Groups[0].Topics[0].Partitions[0]
	return p.Offset, moldau.Code(p.ErrorCode)
}

// read is what a reader of committed records reads of a partition: values, without those of aborted transactions.
func (x *transactionalClient) read(index int32) (values []string, stable int64) {
	x.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.IsolationLevel, req.SessionEpoch = 1<<20, 1, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.PartitionMaxBytes = index, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	r := call[*kmsg.FetchResponse](x.harness, req, 11).Topics[0].Partitions[0]
	if r.ErrorCode != 0 || r.AbortedTransactions == nil {
		x.t.Fatalf("the fetch is answered %+v", r)
	}
	ended := map[int64]int64{} // first offset of what is aborted
	for _, a := range r.AbortedTransactions {
		ended[a.ProducerID] = a.FirstOffset
	}
	rest := r.RecordBatches
	for len(rest) > 0 {
		b, after, err := record.Split(rest)
		if err != nil {
			x.t.Fatal(err)
		}
		rest = after
		first, aborted := ended[int64(b.ProducerID())]
		if b.IsControl() {
			if aborted && int64(b.BaseOffset()) > first {
				delete(ended, int64(b.ProducerID()))
			}
			continue
		}
		if aborted && int64(b.BaseOffset()) >= first {
			continue
		}
		for rec, err := range b.Records(&x.codecs, 1<<20) {
			if err != nil {
				x.t.Fatal(err)
			}
			values = append(values, string(rec.Value))
		}
	}
	return values, r.LastStableOffset
}

func (x *transactionalClient) described() kmsg.DescribeTransactionsResponseTransactionState {
	x.t.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{"x"}
	return call[*kmsg.DescribeTransactionsResponse](x.harness, req, 0).TransactionStates[0]
}

func (x *transactionalClient) want(what string, got, want moldau.Code) {
	x.t.Helper()
	if got != want {
		x.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// TestTransactionsOfVersion2: partitions join with their first record, each end raises the epoch, and the next transaction begins
// at once (T-6, T-7, T-9).
func TestTransactionsOfVersion2(t *testing.T) {
	x := newTransactional(t)
	x.want("init", x.init(rsm.NoProducer()), moldau.None)
	begun := x.Producer
	for round, commit := range []bool{true, false, true} {
		for index := range int32(2) {
			x.want("produce", x.send(index, string(rune('a'+round)), 12), moldau.None)
		}
		x.want("produce again", x.send(0, string(rune('A'+round)), 12), moldau.None)
		if _, stable := x.read(0); stable != int64(3*round) {
			t.Errorf("in transaction %d the last stable offset is %d", round, stable)
		}
		x.want("end", x.end(commit, 5), moldau.None)
	}
	if want := (rsm.Producer{ID: begun.ID, Epoch: begun.Epoch + 3}); x.Producer != want {
		t.Errorf("after three ends the producer is %v, want %v", x.Producer, want)
	}
	x.want("the next transaction", x.send(0, "open", 12), moldau.None) // and so the markers are there
	if values, stable := x.read(0); !slices.Equal(values, []string{"a", "A", "c", "C"}) || stable != 9 {
		t.Errorf("committed is %q up to %d", values, stable)
	}
	if values, _ := x.read(1); !slices.Equal(values, []string{"a", "c"}) {
		t.Errorf("committed in the other partition is %q", values)
	}
}

// TestTransactionsOfVersion1: partitions are added by name, and a record for another is refused (L-23).
func TestTransactionsOfVersion1(t *testing.T) {
	x := newTransactional(t)
	x.want("init", x.init(rsm.NoProducer()), moldau.None)
	if codes := x.join(3, 0, 7); !slices.Equal(codes, []moldau.Code{moldau.OperationNotAttempted, moldau.UnknownTopicOrPartition}) {
		t.Errorf("a partition that does not exist: %s", codes)
	}
	if codes := x.join(3, 0); codes[0] != moldau.None {
		t.Errorf("the partition joins: %s", codes)
	}
	x.want("produce", x.send(0, "a", 11), moldau.None)
	x.want("to a partition that has not joined", x.send(1, "a", 11), moldau.TransactionAbortable)
	x.want("the same, of an older client", x.send(1, "a", 9), moldau.InvalidTxnState)
	x.want("commit", x.end(true, 4), moldau.None)
	if codes := x.join(3, 1); codes[0] != moldau.None { // waits for the markers
		t.Errorf("the next transaction begins: %s", codes)
	}
	x.want("to the partition of the transaction before", x.send(0, "late", 11), moldau.TransactionAbortable)
	x.want("abort", x.end(false, 4), moldau.None)
	x.want("commit what was aborted", x.end(true, 4), moldau.InvalidTxnState)
	if values, _ := x.read(0); !slices.Equal(values, []string{"a"}) {
		t.Errorf("committed is %q", values)
	}
}

// TestOffsetsWithinTransactions (T-10, T-11): they count with the commit, whatever the client speaks.
func TestOffsetsWithinTransactions(t *testing.T) {
	x := newTransactional(t)
	x.want("init", x.init(rsm.NoProducer()), moldau.None)
	expect := func(next int64, code moldau.Code) {
		t.Helper()
		if n, c := x.committed(true); n != next || c != code {
			t.Errorf("the stable position is %d, %s; want %d, %s", n, c, next, code)
		}
	}
	x.want("offsets", x.commit(5, 5), moldau.None)
	expect(-1, moldau.UnstableOffsetCommit)
	if n, c := x.committed(false); n != -1 || c != moldau.None {
		t.Errorf("the position is %d, %s", n, c)
	}
	x.want("end", x.end(true, 5), moldau.None)
	x.want("offsets of the next transaction", x.commit(6, 5), moldau.None)
	if n, _ := x.committed(false); n != 5 {
		t.Errorf("the position is %d after the commit", n)
	}
	x.want("end", x.end(false, 5), moldau.None)

	for strings.HasPrefix(x.described().State, "Prepare") { // until the markers are written
	}
	x.want("offsets that were not announced", x.commit(7, 3), moldau.InvalidTxnState)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.Group, add.ProducerID, add.ProducerEpoch = "x", "g", int64(x.ID), int16(x.Epoch)
	x.want("announce", moldau.Code(call[*kmsg.AddOffsetsToTxnResponse](x.harness, add, 3).ErrorCode), moldau.None)
	expect(5, moldau.None)
	x.want("offsets", x.commit(7, 3), moldau.None)
	x.want("end", x.end(true, 4), moldau.None)
	x.want("announce again", moldau.Code(call[*kmsg.AddOffsetsToTxnResponse](x.harness, add, 3).ErrorCode), moldau.None)
	expect(7, moldau.None)
	x.want("end", x.end(true, 4), moldau.None)
}

// TestFencing (T-3, T4): who begins anew with the id ends the transaction of who had it.
func TestFencing(t *testing.T) {
	x := newTransactional(t)
	x.want("init", x.init(rsm.NoProducer()), moldau.None)
	x.want("produce", x.send(0, "lost", 12), moldau.None)
	old := *x
	x.want("init", x.init(rsm.NoProducer()), moldau.None) // it waits for the abort
	old.want("produce of who was fenced", old.send(0, "late", 12), moldau.InvalidProducerEpoch)
	old.want("to another partition", old.send(1, "late", 12), moldau.InvalidProducerEpoch)
	old.want("its end", old.end(true, 5), moldau.ProducerFenced)
	old.want("its end, in the words of old clients", old.end(true, 1), moldau.InvalidProducerEpoch)
	old.want("its offsets", old.commit(1, 5), moldau.InvalidProducerEpoch)
	if codes := old.join(3, 0); codes[0] != moldau.ProducerFenced {
		t.Errorf("its partitions: %s", codes)
	}
	x.want("produce of the new owner", x.send(0, "a", 12), moldau.None)
	x.want("end", x.end(true, 5), moldau.None)
	x.want("the next", x.send(0, "b", 12), moldau.None)
	if values, _ := x.read(0); !slices.Equal(values, []string{"a"}) {
		t.Errorf("committed is %q", values)
	}
}

// TestOperators see a transaction that hangs, and end it in a partition (T-14).
func TestOperators(t *testing.T) {
	x := newTransactional(t)
	x.withhold = func(*txn.Markers) bool { return true }
	x.want("init", x.init(rsm.NoProducer()), moldau.None)
	x.want("produce", x.send(0, "a", 12), moldau.None)
	if d := x.described(); d.State != "Ongoing" || len(d.Topics) != 1 || d.ProducerID != int64(x.ID) || d.TimeoutMillis != 60_000 {
		t.Errorf("described as %+v", d)
	}
	x.want("end", x.end(true, 5), moldau.None)
	if d := x.described(); d.State != "PrepareCommit" {
		t.Errorf("described as %+v", d)
	}
	listed := func(pattern string, states ...string) int {
		req := kmsg.NewPtrListTransactionsRequest()
		req.StateFilters, req.TransactionalIDPattern = states, &pattern
		r := call[*kmsg.ListTransactionsResponse](x.harness, req, 2)
		if r.ErrorCode != 0 {
			return -int(r.ErrorCode)
		}
		return len(r.TransactionStates)
	}
	for _, c := range []struct {
		pattern string
		states  []string
		want    int
	}{
		{"", nil, 1}, {"x|y", nil, 1}, {"y", nil, 0}, {"(", nil, -int(moldau.InvalidRegularExpression)},
		{"", []string{"PrepareCommit"}, 1}, {"", []string{"Ongoing"}, 0}, {"", []string{"Nonsense"}, 0},
	} {
		if got := listed(c.pattern, c.states...); got != c.want {
			t.Errorf("listed with %q %q: %d, want %d", c.pattern, c.states, got, c.want)
		}
	}
	mark := func(coordinatorEpoch int32) moldau.Code {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
			ProducerID: int64(x.ID), ProducerEpoch: int16(x.Epoch), CoordinatorEpoch: coordinatorEpoch, TransactionVersion: 2,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: []int32{0}}},
		}}
		return moldau.Code(call[*kmsg.WriteTxnMarkersResponse](x.harness, req, 2).Markers[0].Topics[0].Partitions[0].ErrorCode)
	}
	x.want("the marker of an operator", mark(5), moldau.None)
	x.want("a marker of a coordinator before", mark(4), moldau.TransactionCoordinatorFenced)
	if values, stable := x.read(0); len(values) != 0 || stable != 2 {
		t.Errorf("after the abort of the operator %q is committed up to %d", values, stable)
	}
}

// TestHeldRequestsEnd: a client that begins the next transaction while the markers cannot be written waits, and goes on with
// them.
func TestHeldRequestsEnd(t *testing.T) {
	x := newTransactional(t)
	withheld := make(chan *txn.Markers, 1)
	x.withhold = func(m *txn.Markers) bool { withheld <- m; return true }
	x.want("init", x.init(rsm.NoProducer()), moldau.None)
	x.want("produce", x.send(0, "a", 12), moldau.None)
	x.want("end", x.end(true, 5), moldau.None)
	m := <-withheld
	next := make(chan moldau.Code)
	go func() { next <- x.send(0, "b", 12) }() // ends with the answer
	index, _ := x.coordinatorPartition(moldau.TransactionTopic, "x")
	for held := 0; held == 0; { // until the request is there
		x.Transactions.Each(func(_ int32, s *txn.Transactions) { held += s.Count().Held })
	}
	x.WriteMarkers(index, 0, m)
	x.want("the next transaction", <-next, moldau.None)
	if values, _ := x.read(0); !slices.Equal(values, []string{"a"}) {
		t.Errorf("committed is %q", values)
	}
}
