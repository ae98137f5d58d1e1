package api

import (
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/coordinator"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/proto/wire"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// harness is a Broker over real partitions and a metadata log that commits at once, driven without sockets.
type harness struct {
	refusal error // of every change
	*Broker
	t        testing.TB
	dir      string
	auth     *recorder
	flusher  *partition.Flusher
	codecs   record.Codecs
	listener server.Listener
	settings func(topic string) *partition.Settings
	// holdOpening keeps logs of new partitions closed, as during recovery.
	holdOpening bool
	// withhold keeps markers back for which it is true.
	withhold func(*txn.Markers) bool
	held     []func()

	mu    sync.Mutex
	image *metadata.Image
}

// recorder allows what deny does not name, and remembers what it was asked.
type recorder struct {
	mu    sync.Mutex
	asked []access.Action
	deny  func(access.Action) bool
}

func (r *recorder) Allowed(a access.Action) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, a)
	return r.deny == nil || !r.deny(a)
}

func (r *recorder) take() []access.Action {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	static := map[string]string{"offsets.topic.num.partitions": "2", "transaction.state.log.num.partitions": "2"}
	broker, err := config.ResolveBroker(static)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	h := &harness{
		t: t, dir: t.TempDir(), auth: &recorder{}, flusher: partition.NewFlusher(env.Real(), logger, nil), image: metadata.Empty(),
		listener: server.Listener{Name: "PLAINTEXT", Kind: server.ForBrokers},
	}
	h.settings = func(string) *partition.Settings {
		return &partition.Settings{
			Log: commitlog.DefaultConfig(), MinInSync: 1, FlushMessages: 1 << 60, DeleteAllowed: true,
			Checks: record.Policy{MessageBytesMax: 1 << 20, TimestampBeforeMaxMs: 1 << 62, TimestampAfterMaxMs: 3600_000, Codecs: &h.codecs},
		}
	}
	e := env.Real()
	settings := group.Config{SessionTimeoutMax: time.Hour, MembersMax: 100, MetadataBytesMax: 4096, OffsetRetention: time.Hour, OffsetCheck: time.Hour}
	groups := coordinator.New(coordinator.Kind[*group.Groups, group.Record]{
		Name: "groups", New: func() *group.Groups { return group.New(settings) }, Encode: group.Encode, Decode: group.Decode,
		Within: group.Within, Marker: group.Marker,
	}, coordinator.Options{Env: e, Logger: logger, Loops: 2})
	transactions := coordinator.New(coordinator.Kind[*txn.Transactions, txn.Record]{
		Name: "transactions", Encode: txn.Encode, Decode: txn.Decode,
		New: func() *txn.Transactions {
			return txn.New(txn.Config{TimeoutMax: 15 * time.Minute, Expiration: time.Hour, Hold: 5 * time.Second})
		},
		Effect: func(index int32, epoch moldau.LeaderEpoch, effect any) {
			if h.withhold == nil || !h.withhold(effect.(*txn.Markers)) {
				h.WriteMarkers(index, epoch, effect.(*txn.Markers))
			}
		},
	}, coordinator.Options{Env: e, Logger: logger, Loops: 2})
	h.Broker = New(Options{
		Env: e, Logger: logger, Metadata: h, Partitions: partition.NewTable(), Groups: groups, Transactions: transactions, Authorizer: h.auth,
		Controllers: func() []config.Listener { return nil },
		LogDirs:     func() []LogDir { return []LogDir{{Path: h.dir, Total: 2, Free: 1}} }, MoveReplica: func(*partition.Partition, string) moldau.Code { return moldau.None }, SaveLogStarts: func() error { return nil }, NewUUID: func() moldau.UUID { return moldau.NewUUID(env.Real().Rand) },
		Config: Config{
			ClusterID: "test-cluster", Self: 1, Broker: &broker, Static: static, AutoCreateTopics: true,
			FetchMaxBytes: 50 << 20, FetchSessions: 10, PartitionsPerResponse: 2000, RequestTimeout: 10 * time.Second,
		},
	})
	registration := kmsg.NewPtrBrokerRegistrationRequest()
	registration.BrokerID, registration.ClusterID, registration.IncarnationID = 1, "test-cluster", moldau.NewUUID(env.Real().Rand)
	registration.PreviousBrokerEpoch = -1
	registration.Listeners = []kmsg.BrokerRegistrationRequestListener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}}
	registration.LogDirs = [][16]byte{moldau.NewUUID(env.Real().Rand)}
	for _, f := range controller.SupportedFeatures() {
		registration.Features = append(registration.Features, kmsg.BrokerRegistrationRequestFeature{
			Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max,
		})
	}
	h.commit(func(*metadata.Image) []schema.Record { return controller.Bootstrap() })
	h.commit(func(head *metadata.Image) []schema.Record {
		resp, recs := controller.RegisterBroker(head, registration, controller.Standing{}, h.command())
		if resp.ErrorCode != 0 {
			t.Fatalf("registration refused: %s", moldau.Code(resp.ErrorCode))
		}
		return recs
	})
	t.Cleanup(func() {
		transactions.Stop()
		groups.Stop()
		for _, p := range h.Partitions.All() {
			if log := p.Gone(); log != nil {
				_ = log.Close()
			}
		}
	})
	return h
}

func (h *harness) commit(decide func(*metadata.Image) []schema.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	recs := decide(h.image)
	next, delta := h.image.Apply(h.image.Offset()+1, 1, recs)
	h.image = next
	for _, step := range delta.Steps(1) {
		switch s := step.(type) {
		case metadata.BecomeLeader:
			h.lead(s)
		case metadata.Delete:
			if s.Topic == moldau.OffsetsTopic {
				h.Groups.Resign(s.Partition)
			}
			if p := h.Partitions.Remove(s.TopicID, s.Partition); p != nil {
				if log := p.Gone(); log != nil {
					_ = log.Close()
				}
			}
		}
	}
}

// durable gives topics made from now on flush.messages=1.
func (h *harness) durable() {
	usual := h.settings
	h.settings = func(topic string) *partition.Settings {
		s := usual(topic)
		s.FlushMessages = 1
		return s
	}
}

func (h *harness) lead(s metadata.BecomeLeader) {
	tp := moldau.TopicPartition{Topic: s.Topic, Partition: s.Partition}
	p := h.Partitions.Get(s.TopicID, s.Partition)
	if p == nil {
		p = partition.New(tp, s.TopicID, partition.NewDirectory(h.dir), h.flusher, new(partition.TopicStats), h.settings(s.Topic))
		h.Partitions.Add(p)
	}
	if err := p.Lead(partition.Leadership{Self: 1, Epoch: s.LeaderEpoch, Replicas: s.Replicas, InSync: s.ISR}); err != nil {
		h.t.Error(err)
	}
	switch s.Topic {
	case moldau.OffsetsTopic:
		h.Groups.Lead(p)
	case moldau.TransactionTopic:
		h.Transactions.Lead(p)
	}
	if !p.Loading() {
		return
	}
	open := func() {
		log, err := commitlog.Open(commitlog.Options{
			FS: h.Env.FS, Now: h.Env.Clock.Now, Dir: h.dir + "/" + tp.String() + "." + s.TopicID.String(), Partition: tp, TopicID: s.TopicID,
			Config: p.Settings().Log, Clean: true,
		})
		if err != nil {
			h.t.Error(err)
			return
		}
		if err := p.Opened(log, 0); err != nil {
			h.t.Error(err)
		}
	}
	if h.holdOpening {
		h.held = append(h.held, open)
		return
	}
	open()
}

// Image implements Metadata.
func (h *harness) Image() *metadata.Image {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.image
}

// Change implements Metadata.
func (h *harness) Change(decide func(*metadata.Image) []schema.Record, done func(error)) {
	if h.refusal != nil {
		done(h.refusal)
		return
	}
	h.commit(decide)
	done(nil)
}

// Quorum implements Metadata.
func (h *harness) Quorum() quorum.Status {
	self := quorum.Voter{ID: 1}
	return quorum.Status{Leader: &self, Epoch: 1, Leading: true, Voters: []quorum.VoterStatus{{Voter: self, End: 5}}}
}

// start hands a request to its handler.
func (h *harness) start(req kmsg.Request) server.Pending {
	h.t.Helper()
	key, version := wire.Key(req.Key()), req.GetVersion()
	route, err := h.Route(key, version, h.listener.Kind)
	if err != nil {
		h.t.Fatal(err)
	}
	return route.Handle(&server.Call{
		Key: key, Version: version, ClientID: "test", Body: req.AppendTo(nil), Arrived: h.Env.Clock.Now(),
		Peer: &server.Peer{Listener: &h.listener, Remote: "127.0.0.1", Principal: "User:ANONYMOUS"},
	})
}

// finish waits for a response and decodes it into resp's type.
func (h *harness) finish(p server.Pending, req kmsg.Request) kmsg.Response {
	h.t.Helper()
	body, err := p.Await(h.t.Context().Done())
	if err != nil {
		h.t.Fatalf("%s v%d: %v", wire.Key(req.Key()), req.GetVersion(), err)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		h.t.Fatalf("%s v%d: the response cannot be decoded: %v", wire.Key(req.Key()), req.GetVersion(), err)
	}
	return resp
}

// call sends a request in a version and returns its response.
func call[R kmsg.Response](h *harness, req kmsg.Request, version int16) R {
	h.t.Helper()
	req.SetVersion(version)
	return h.finish(h.start(req), req).(R)
}

func (h *harness) createTopic(name string, partitions int32) moldau.TopicID {
	h.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, topic)
	if h.holdOpening {
		req.TimeoutMillis = 0 // the answer does not wait for the logs
	}
	resp := call[*kmsg.CreateTopicsResponse](h, req, 7)
	if code := resp.Topics[0].ErrorCode; code != 0 {
		h.t.Fatalf("create %s: %s", name, moldau.Code(code))
	}
	return resp.Topics[0].TopicID
}

func batchOf(t testing.TB, values ...string) []byte {
	t.Helper()
	b := record.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = moldau.NoProducer, -1, -1
	for _, v := range values {
		b.Add(record.Record{Timestamp: moldau.Timestamp(time.Now().UnixMilli()), Value: []byte(v)})
	}
	batch, err := b.Build(new(record.Codecs))
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func produceRequest(topic string, partition int32, acks int16, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 5000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func (h *harness) produce(topic string, partition int32, values ...string) moldau.Offset {
	h.t.Helper()
	resp := call[*kmsg.ProduceResponse](h, produceRequest(topic, partition, -1, batchOf(h.t, values...)), 9)
	p := resp.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		h.t.Fatalf("produce to %s-%d: %s", topic, partition, moldau.Code(p.ErrorCode))
	}
	return moldau.Offset(p.BaseOffset)
}
