package controller

import (
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Standing is what the controller knows of a broker beside the Image when it registers.
type Standing struct {
	Fenced     bool // it registers out of service, to be unfenced when it has caught up
	FormerLive bool // its former incarnation still has a session
}

// RegisterBroker makes a broker known, with a new epoch for a new incarnation. The epoch is the offset behind the
// Image: larger than that of any registration before, since records of the cluster came in between.
func RegisterBroker(im *metadata.Image, req *kmsg.BrokerRegistrationRequest, s Standing, env Env) (*kmsg.BrokerRegistrationResponse, []schema.Record) {
	resp := req.ResponseKind().(*kmsg.BrokerRegistrationResponse)
	resp.BrokerEpoch = -1
	if code := checkRegistration(im, req, s, env); code != moldau.None {
		resp.ErrorCode = int16(code)
		return resp, nil
	}
	rec := &schema.RegisterBroker{
		Broker: moldau.BrokerID(req.BrokerID), Incarnation: req.IncarnationID, Epoch: moldau.BrokerEpoch(im.Offset() + 1), Fenced: s.Fenced,
	}
	if before := im.Broker(rec.Broker); before != nil && before.Incarnation == rec.Incarnation {
		rec.Epoch = before.Epoch // asked again
	}
	for _, l := range req.Listeners {
		rec.Endpoints = append(rec.Endpoints, schema.Endpoint{Name: l.Name, Host: l.Host, Port: l.Port, SecurityProtocol: l.SecurityProtocol})
	}
	for _, f := range req.Features {
		rec.Features = append(rec.Features, schema.Feature{Name: f.Name, Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion})
	}
	slices.SortFunc(rec.Features, func(a, b schema.Feature) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range req.LogDirs {
		rec.LogDirs = append(rec.LogDirs, d)
	}
	if req.Rack != nil && *req.Rack != "" {
		rec.Rack = req.Rack
	}
	resp.BrokerEpoch = int64(rec.Epoch)
	return resp, withElections(im, rec)
}

// withElections is rec and the elections that it makes possible.
func withElections(im *metadata.Image, rec schema.Record) []schema.Record {
	recs := []schema.Record{rec}
	next, _ := im.Apply(im.Offset(), im.Epoch(), recs)
	return append(recs, electLeaderless(next)...)
}

func checkRegistration(im *metadata.Image, req *kmsg.BrokerRegistrationRequest, s Standing, env Env) moldau.Code {
	if req.ClusterID != env.ClusterID {
		return moldau.InconsistentClusterID
	}
	if req.BrokerID < 0 || len(req.LogDirs) == 0 {
		return moldau.InvalidRegistration
	}
	self := moldau.BrokerID(req.BrokerID)
	before := im.Broker(self)
	if before != nil && s.FormerLive && before.Incarnation != req.IncarnationID && !before.ShuttingDown {
		return moldau.DuplicateBrokerRegistration
	}
	for i, dir := range req.LogDirs {
		if reserved(dir) || slices.Contains(req.LogDirs[:i], dir) {
			return moldau.InvalidRegistration
		}
	}
	for b := range im.Brokers() {
		if b.ID != self && slices.ContainsFunc(req.LogDirs, func(d [16]byte) bool { return slices.Contains(b.LogDirs, d) }) {
			return moldau.InvalidRegistration
		}
	}
	for name, level := range im.Features() {
		ok := slices.ContainsFunc(req.Features, func(f kmsg.BrokerRegistrationRequestFeature) bool {
			return f.Name == name && f.MinSupportedVersion <= level && level <= f.MaxSupportedVersion
		})
		if !ok {
			return moldau.UnsupportedVersion
		}
	}
	return moldau.None
}

// reserved reports whether id is one of the first hundred, to which Kafka gives meanings of their own.
func reserved(id moldau.DirectoryID) bool {
	last := id[len(id)-1]
	id[len(id)-1] = 0
	return id.IsZero() && last < 100
}

// UnfenceBroker takes a registered broker into service, and makes it lead what only waited for it. It makes nothing of a
// broker that is not fenced.
func UnfenceBroker(im *metadata.Image, id moldau.BrokerID) []schema.Record {
	b := im.Broker(id)
	if b == nil || !b.Fenced {
		return nil
	}
	return withElections(im, &schema.UnfenceBroker{Broker: id, Epoch: b.Epoch})
}

// LogDirsOnline notes which log directories a registered broker can use, so that new replicas go to no other. It makes nothing of
// an outdated registration, of no directory at all, or where that is known.
func LogDirsOnline(im *metadata.Image, id moldau.BrokerID, epoch moldau.BrokerEpoch, dirs []moldau.DirectoryID) []schema.Record {
	b := im.Broker(id)
	if b == nil || b.Epoch != epoch || len(dirs) == 0 || slices.Equal(b.LogDirs, dirs) {
		return nil
	}
	return []schema.Record{&schema.BrokerRegistrationChange{Broker: id, Epoch: epoch, LogDirs: dirs}}
}

// AssignDirectory notes in which of its log directories a broker keeps a replica. It makes nothing of a replica that is not
// there, or where that is known.
func AssignDirectory(im *metadata.Image, broker moldau.BrokerID, topic moldau.TopicID, partition int32, dir moldau.DirectoryID) []schema.Record {
	t := im.TopicByID(topic)
	if t == nil || partition < 0 || int(partition) >= len(t.Partitions) {
		return nil
	}
	p := t.Partitions[partition]
	i := slices.Index(p.Replicas, broker)
	if i < 0 || p.Directory(broker) == dir {
		return nil
	}
	dirs := make([]moldau.DirectoryID, len(p.Replicas))
	copy(dirs, p.Directories)
	dirs[i] = dir
	return []schema.Record{&schema.PartitionChange{
		Partition: partition, TopicID: topic, Leader: schema.NoLeaderChange, Recovering: schema.NoRecoveryChange, Directories: dirs,
	}}
}

// producerIDBlock is how many producer ids a broker gets at a time.
const producerIDBlock = 1000

// ProducerIDBlock are producer ids that belong to one broker: Count of them from First on.
type ProducerIDBlock struct {
	First moldau.ProducerID
	Count int32
}

// AllocateProducerIDs gives a broker the next block of producer ids. Codes: STALE_BROKER_EPOCH where the registration is
// not the current one, UNKNOWN_SERVER_ERROR where no ids are left.
func AllocateProducerIDs(im *metadata.Image, broker moldau.BrokerID, epoch moldau.BrokerEpoch) (ProducerIDBlock, moldau.Code, []schema.Record) {
	b := im.Broker(broker)
	if b == nil || b.Epoch != epoch {
		return ProducerIDBlock{}, moldau.StaleBrokerEpoch, nil
	}
	first := im.NextProducerID()
	if first > 1<<63-1-producerIDBlock {
		return ProducerIDBlock{}, moldau.UnknownServerError, nil
	}
	rec := &schema.ProducerIDs{Broker: broker, Epoch: epoch, Next: first + producerIDBlock}
	return ProducerIDBlock{first, producerIDBlock}, moldau.None, []schema.Record{rec}
}
