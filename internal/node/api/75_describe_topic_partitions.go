package api

// DescribeTopicPartitions (key 75), version 0
//
// Behaviour: topics sorted by name, page by page: at most min(limit of the request, max.request.partition.size.limit)
// partitions, and a cursor where there is more (KIP-966).

import (
	"iter"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/server"
)

func describeTopicPartitions(b *Broker, c *server.Call, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	im := b.Metadata.Image()
	from, first := "", int32(0)
	if req.Cursor != nil {
		if !isCursor(req) {
			return refusePage(req)
		}
		from, first = req.Cursor.Topic, req.Cursor.Partition
	}
	page := topicPage{b: b, c: c, im: im, resp: resp}
	page.left = min(max(int(req.ResponsePartitionLimit), 1), b.Config.PartitionsPerResponse)
	for name := range b.pagedTopics(c, im, req, from) {
		start := int32(0)
		if name == from {
			start = first
		}
		if !page.add(name, start) {
			break
		}
	}
	return resp
}

// isCursor reports whether the cursor is one that an answer to this request can have given: on one of its topics, where it
// names any.
func isCursor(req *kmsg.DescribeTopicPartitionsRequest) bool {
	return req.Cursor.Partition >= 0 && (len(req.Topics) == 0 ||
		slices.ContainsFunc(req.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return t.Topic == req.Cursor.Topic }))
}

func refusePage(req *kmsg.DescribeTopicPartitionsRequest) *kmsg.DescribeTopicPartitionsResponse {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	for _, t := range req.Topics {
		out := kmsg.NewDescribeTopicPartitionsResponseTopic()
		out.Topic, out.ErrorCode, out.AuthorizedOperations = &t.Topic, int16(moldau.InvalidRequest), noOperations
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// pagedTopics yields the names asked for from a name on, sorted: all that the caller may see where none is given.
func (b *Broker) pagedTopics(c *server.Call, im *metadata.Image, req *kmsg.DescribeTopicPartitionsRequest, from string) iter.Seq[string] {
	if len(req.Topics) == 0 {
		return func(yield func(string) bool) {
			for t := range im.TopicsFrom(from) {
				if b.allowedTopic(c, access.Describe, t.Name) && !yield(t.Name) {
					return
				}
			}
		}
	}
	var names []string
	for _, t := range req.Topics {
		if t.Topic >= from {
			names = append(names, t.Topic)
		}
	}
	return slices.Values(sortedNames(names))
}

// topicPage fills one response.
type topicPage struct {
	b    *Broker
	c    *server.Call
	im   *metadata.Image
	resp *kmsg.DescribeTopicPartitionsResponse
	left int
}

// add adds a topic from one of its partitions on; it reports false once the page is full and the cursor is set.
func (p *topicPage) add(name string, start int32) bool {
	if p.left == 0 {
		p.cursor(name, start)
		return false
	}
	topic := p.im.Topic(name)
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = &name
	out.IsInternal = moldau.IsInternalTopic(name)
	out.AuthorizedOperations = access.Operations(access.Topic)
	switch {
	case !p.b.allowedTopic(p.c, access.Describe, name):
		out.ErrorCode, out.AuthorizedOperations = int16(moldau.TopicAuthorizationFailed), noOperations
	case topic == nil && moldau.CheckTopicName(name) != nil:
		out.ErrorCode = int16(moldau.InvalidTopicException)
	case topic == nil:
		out.ErrorCode = int16(moldau.UnknownTopicOrPartition)
	default:
		out.TopicID = topic.ID
		end := min(int(start)+p.left, len(topic.Partitions))
		for i := int(start); i < end; i++ {
			out.Partitions = append(out.Partitions, p.describe(int32(i), topic.Partitions[i]))
		}
		p.left -= len(out.Partitions)
		p.resp.Topics = append(p.resp.Topics, out)
		if end < len(topic.Partitions) {
			p.cursor(name, int32(end))
			return false
		}
		return true
	}
	p.resp.Topics = append(p.resp.Topics, out)
	return true
}

func (p *topicPage) cursor(topic string, partition int32) {
	next := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	next.Topic, next.Partition = topic, partition
	p.resp.NextCursor = &next
}

func (p *topicPage) describe(index int32, state *metadata.Partition) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	return kmsg.DescribeTopicPartitionsResponseTopicPartition{
		ErrorCode: int16(leaderCode(p.im, p.c, state)), Partition: index, LeaderID: int32(state.Leader), LeaderEpoch: int32(state.LeaderEpoch),
		Replicas: ids(state.Replicas), ISR: ids(state.ISR), EligibleLeaderReplicas: ids(state.Exceptional().ELR),
		LastKnownELR: ids(state.Exceptional().LastKnownELR), OfflineReplicas: offline(p.im, state),
	}
}

// sortedNames returns the names once each, sorted.
func sortedNames(names []string) []string {
	names = slices.Clone(names)
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}
