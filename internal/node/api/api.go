// Package api holds the request handlers of a broker, a file per key, named by the key's number.
//
// A handler decodes its request, authorizes it, resolves names against one Image, asks partitions or the controller,
// and turns what they answer into the protocol's words. routes.go is the table of contents.
package api

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/proto/wire"
)

// Metadata is the cluster's metadata as a handler meets it.
type Metadata interface {
	// Image is the newest committed metadata that this broker has applied.
	Image() *metadata.Image
	// Change has the controller decide a command against its newest state. done is called once what was decided is
	// committed and applied here, or with an error; it does not block.
	Change(decide func(head *metadata.Image) []schema.Record, done func(error))
	// Quorum is the state of the metadata quorum.
	Quorum() quorum.Status
}

// LogDir is one of the broker's log directories.
type LogDir struct {
	Path        string
	Total, Free int64 // bytes of its volume; -1 where that cannot be told
	Failure     error
	Futures     []FutureReplica // in the making here
}

// FutureReplica is a copy of a replica that is being moved to a log directory.
type FutureReplica struct {
	Partition moldau.TopicPartition
	Size, Lag int64 // bytes that it has, records that it lacks
}

// Config is what the handlers know of the broker's settings.
type Config struct {
	ClusterID             string
	Self                  moldau.BrokerID
	Broker                *config.Broker    // all of the broker's settings
	Static                map[string]string // those that were given, under Kafka's names
	AutoCreateTopics      bool
	FetchMaxBytes         int
	FetchSessions         int
	PartitionsPerResponse int // max.request.partition.size.limit
	RequestTimeout        time.Duration
}

// Options are the parts of a Broker.
type Options struct {
	Env        env.Env
	Logger     *slog.Logger
	Config     Config
	Metadata   Metadata
	Partitions *partition.Table
	Groups     *GroupCoordinator
	// Transactions does its effects by WriteMarkers.
	Transactions *TransactionCoordinator
	Authorizer   access.Authorizer
	LogDirs      func() []LogDir
	// Controllers is where this node serves the controller's keys; empty where no listener does.
	Controllers func() []config.Listener
	// MoveReplica has the log of a partition moved to another log directory, and returns before that is done. The directory is looked
	// at first, also for a partition that there is not (nil).
	MoveReplica func(p *partition.Partition, dir string) moldau.Code
	// SaveLogStarts makes the starts of logs durable that DeleteRecords has moved.
	SaveLogStarts func() error
	NewUUID       func() moldau.UUID
}

// Broker answers requests. It is a server.Router.
type Broker struct {
	Options
	routes    []Route
	byKey     [keyEnd]*Route
	served    [keyEnd]server.Route
	sessions  *sessions
	producers producerIDs
	asked     asked
}

// New returns a Broker.
func New(opt Options) *Broker {
	b := &Broker{Options: opt}
	b.sessions = newSessions(opt.Config.FetchSessions)
	b.bind(routes[:])
	return b
}

// allowed asks the authorizer whether the caller may do something (S-32).
func (b *Broker) allowed(c *server.Call, op access.Operation, r access.Resource, name string) bool {
	return b.Authorizer.Allowed(access.Action{
		Principal: c.Principal, Host: c.Remote, Listener: c.Listener.Name, Operation: op, Resource: r, Name: name,
	})
}

func (b *Broker) allowedCluster(c *server.Call, op access.Operation) bool {
	return b.allowed(c, op, access.Cluster, access.ClusterName)
}

func (b *Broker) allowedTopic(c *server.Call, op access.Operation, topic string) bool {
	return b.allowed(c, op, access.Topic, topic)
}

// handler is a handler of a route.
type handler func(*Broker, *server.Call) server.Pending

// typed decodes the request for a handler that answers it at once.
func typed[Q kmsg.Request](h func(*Broker, *server.Call, Q) kmsg.Response) handler {
	return deferred(func(b *Broker, c *server.Call, req Q) server.Pending { return answer(h(b, c, req), c.Version) })
}

// deferred decodes the request for a handler that may answer later.
func deferred[Q kmsg.Request](h func(*Broker, *server.Call, Q) server.Pending) handler {
	return func(b *Broker, c *server.Call) server.Pending {
		req, err := wire.Decode(c.Key, c.Version, c.Body, decodeBudget(len(c.Body)))
		if err != nil {
			return server.HangUp(fmt.Errorf("malformed %s request, version %d: %w", c.Key, c.Version, err))
		}
		return h(b, c, req.(Q))
	}
}

// decodeBudget is how many bytes of memory a request body of n bytes may become when decoded.
func decodeBudget(n int) int64 { return 64<<10 + 16*int64(n) }

// answer is a response that is complete.
func answer(resp kmsg.Response, version int16) server.Pending {
	resp.SetVersion(version)
	return server.Now(func(r *server.Reply) { encode(r, resp) })
}

// encode writes a response and counts the codes that it tells.
func encode(r *server.Reply, resp kmsg.Response) {
	r.Buf = resp.AppendTo(r.Buf)
	countOutcomes(r, reflect.ValueOf(resp).Elem())
}

// refuseAll makes every success that a response of a change tells a refusal, since the change has not been made. A response that
// only looks, and would have made something on the way, stays as it is.
func refuseAll(resp kmsg.Response, why error) {
	switch resp.(type) {
	case *lateMetadata, *kmsg.FindCoordinatorResponse:
	default:
		refuseEach(reflect.ValueOf(resp).Elem(), why.Error())
	}
}

func refuseEach(v reflect.Value, why string) {
	code, message := v.FieldByName("ErrorCode"), v.FieldByName("ErrorMessage")
	if code.IsValid() && code.Int() == 0 {
		code.SetInt(int64(moldau.KafkaStorageError))
		if message.IsValid() {
			message.Set(reflect.ValueOf(&why))
		}
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
			for j := range f.Len() {
				refuseEach(f.Index(j), why)
			}
		}
	}
}

// countOutcomes counts the error codes of a response: its own, and those of the things it lists.
func countOutcomes(r *server.Reply, v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.Int16 && v.Type().Field(i).Name == "ErrorCode":
			r.Outcome(moldau.Code(f.Int()))
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			for j := range f.Len() {
				countOutcomes(r, f.Index(j))
			}
		}
	}
}

// change has the controller run a command and answers with its response once that is committed.
func change[R kmsg.Response](b *Broker, c *server.Call, command func(head *metadata.Image) (R, []schema.Record)) server.Pending {
	return changeThen(b, c, command, nil)
}

// changeThen is change with something to wait for after the commit; then gets the response, and a channel that is closed
// where nobody waits for it any more.
func changeThen[R kmsg.Response](b *Broker, c *server.Call, command func(head *metadata.Image) (R, []schema.Record), then func(R, <-chan struct{})) server.Pending {
	var resp R
	var failure error
	version := c.Version
	ready := make(chan struct{})
	b.Metadata.Change(func(head *metadata.Image) (recs []schema.Record) {
		resp, recs = command(head)
		return recs
	}, func(err error) {
		failure = err
		close(ready)
	})
	write := func(r *server.Reply) {
		if errors.Is(failure, quorum.ErrNoSpace) && !errors.Is(failure, quorum.ErrUnknownOutcome) {
			resp, _ = command(b.Metadata.Image()) // what it would have been
			refuseAll(resp, failure)
			failure = nil
		}
		if failure != nil {
			r.Fail(fmt.Errorf("the metadata quorum did not take the request: %w", failure))
			return
		}
		resp.SetVersion(version)
		encode(r, resp)
	}
	if then == nil {
		return server.Later(ready, write, nil)
	}
	return server.Poll(func(closed <-chan struct{}) {
		select {
		case <-ready:
		case <-closed:
			return
		}
		if failure == nil {
			then(resp, closed)
		}
	}, write, nil)
}

// changeNow is change for a caller that needs the outcome before it goes on; it waits for the commit.
func (b *Broker) changeNow(closed <-chan struct{}, command func(head *metadata.Image) []schema.Record) error {
	done := make(chan error, 1)
	b.Metadata.Change(command, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-closed:
		return net.ErrClosed
	}
}

// awaitOpen waits until the logs of topics that were just made are open, so that who is told of a topic can use it. It
// gives up at the deadline: requests for the partitions wait for themselves then.
func (b *Broker) awaitOpen(topics []string, deadline time.Time, closed <-chan struct{}) {
	im := b.Metadata.Image()
	timer := b.Env.Clock.NewTimer(deadline.Sub(b.Env.Clock.Now()))
	defer timer.Stop()
	for _, name := range topics {
		topic := im.Topic(name)
		if topic == nil {
			continue
		}
		for i := range topic.Partitions {
			p := b.Partitions.Get(topic.ID, int32(i))
			if p == nil {
				continue
			}
			select {
			case <-p.Settled():
			case <-timer.C():
				return
			case <-closed:
				return
			}
		}
	}
}

// openWait bounds how long the answer to a change waits for the logs that it made necessary.
const openWait = 10 * time.Second

// command is what the controller's functions need to know of this broker.
func (b *Broker) command() controller.Env {
	var seed [8]byte
	b.Env.Rand(seed[:])
	return controller.Env{
		ClusterID: b.Config.ClusterID, Config: b.Config.Broker, Static: b.Config.Static, NewTopicID: b.NewUUID,
		Seed: binary.LittleEndian.Uint64(seed[:]),
	}
}

// lookup finds the partition that a request names in im: the replica on this broker, or why there is none. The topic
// may be nil.
func (b *Broker) lookup(topic *metadata.Topic, index int32) (*partition.Partition, moldau.Code) {
	if topic == nil || index < 0 || int(index) >= len(topic.Partitions) {
		return nil, moldau.UnknownTopicOrPartition
	}
	p := b.Partitions.Get(topic.ID, index)
	if p == nil || topic.Partitions[index].Leader != b.Config.Self {
		return nil, moldau.NotLeaderOrFollower
	}
	return p, moldau.None
}

// settled waits until the partition's log was opened, at most until the deadline, and reports whether it was.
func (b *Broker) settled(c *server.Call, p *partition.Partition, deadline time.Time) bool {
	return !p.Loading() || b.closes(c, p.Settled(), deadline)
}

// closes waits until the channel is closed, at most until the deadline, and reports whether it was.
func (b *Broker) closes(c *server.Call, what <-chan struct{}, deadline time.Time) bool {
	select {
	case <-what:
		return true
	default:
	}
	t := b.Env.Clock.NewTimer(deadline.Sub(b.Env.Clock.Now()))
	defer t.Stop()
	select {
	case <-what:
		return true
	case <-t.C():
		return false
	case <-c.Waits():
		return false
	}
}

// text is a message for a nullable field.
func text(format string, args ...any) *string {
	s := fmt.Sprintf(format, args...)
	return &s
}
