package api

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/quorum"
)

// While the metadata log has no space a change is answered, and none of it is told as done.
func TestChangeWithoutSpaceIsRefused(t *testing.T) {
	h := newHarness(t)
	h.createTopic("t", 1)
	h.refusal = quorum.ErrNoSpace
	create := kmsg.NewPtrCreateTopicsRequest()
	create.SetVersion(7)
	for _, name := range []string{"new", "t"} {
		create.Topics = append(create.Topics, kmsg.CreateTopicsRequestTopic{Topic: name, NumPartitions: 1, ReplicationFactor: 1})
	}
	made := h.finish(h.start(create), create).(*kmsg.CreateTopicsResponse)
	if got := moldau.Code(made.Topics[0].ErrorCode); got != moldau.KafkaStorageError || made.Topics[0].ErrorMessage == nil {
		t.Errorf("the new topic: %v", got)
	}
	if got := moldau.Code(made.Topics[1].ErrorCode); got != moldau.TopicAlreadyExists {
		t.Errorf("the topic that is there: %v", got)
	}
	id := kmsg.NewPtrInitProducerIDRequest()
	id.SetVersion(4)
	id.ProducerID, id.ProducerEpoch = -1, -1
	if got := moldau.Code(h.finish(h.start(id), id).(*kmsg.InitProducerIDResponse).ErrorCode); got != moldau.CoordinatorLoadInProgress {
		t.Errorf("a producer id: %v", got)
	}
	look := kmsg.NewPtrMetadataRequest()
	look.SetVersion(12)
	for _, name := range []string{"t", "auto"} {
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = kmsg.StringPtr(name)
		look.Topics = append(look.Topics, one)
	}
	look.AllowAutoTopicCreation = true
	seen := h.finish(h.start(look), look).(*kmsg.MetadataResponse)
	if got := moldau.Code(seen.Topics[0].ErrorCode); got != moldau.None {
		t.Errorf("metadata of a topic that is there: %v", got)
	}
	if got := moldau.Code(seen.Topics[1].ErrorCode); got == moldau.None {
		t.Errorf("metadata of a topic that could not be made: %v", got)
	}
}
