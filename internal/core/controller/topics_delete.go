package controller

import (
	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteTopics removes topics, named by name or by id. What is deleted is gone from the metadata; its files follow, and
// whoever keeps something by topic drops it when the Delta tells (C-43).
func DeleteTopics(im *metadata.Image, req *kmsg.DeleteTopicsRequest, env Env) (*kmsg.DeleteTopicsResponse, []schema.Record) {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	doomed := victims(im, req)
	seen := map[victim]int{}
	for _, v := range doomed {
		seen[v]++
	}
	var recs []schema.Record
	for _, v := range doomed {
		times := seen[v]
		if times == 0 {
			continue // told with the first that meant the same
		}
		if v.malformed == 0 {
			seen[v] = 0
		}
		rt := kmsg.NewDeleteTopicsResponseTopic()
		no := v.check(im, times, req.Version, env)
		if v.named {
			rt.Topic = &v.name
		}
		rt.TopicID = v.id
		no.tell(&rt.ErrorCode, &rt.ErrorMessage)
		resp.Topics = append(resp.Topics, rt)
		if no == nil {
			recs = append(recs, &schema.RemoveTopic{TopicID: v.id})
		}
	}
	if len(recs) > operationRecordsMax {
		for i := range resp.Topics {
			tooLarge(len(recs), "records").tell(&resp.Topics[i].ErrorCode, &resp.Topics[i].ErrorMessage)
		}
		return resp, nil
	}
	return resp, recs
}

// victim is a topic that a request means: with both name and id where it exists.
type victim struct {
	name      string
	named     bool
	id        moldau.TopicID
	malformed int // place in the request, from 1, of one that is named by both or by neither
}

func victims(im *metadata.Image, req *kmsg.DeleteTopicsRequest) []victim {
	var all []victim
	for _, name := range req.TopicNames { // none in version 6 and later
		all = append(all, victimNamed(im, name))
	}
	for i, t := range req.Topics {
		id := moldau.TopicID(t.TopicID)
		switch topic := im.TopicByID(id); {
		case t.Topic != nil && !id.IsZero():
			all = append(all, victim{*t.Topic, true, id, i + 1})
		case t.Topic != nil:
			all = append(all, victimNamed(im, *t.Topic))
		case id.IsZero():
			all = append(all, victim{malformed: i + 1})
		case topic != nil:
			all = append(all, victim{topic.Name, true, id, 0})
		default:
			all = append(all, victim{id: id})
		}
	}
	return all
}

func victimNamed(im *metadata.Image, name string) victim {
	v := victim{name: name, named: true}
	if t := im.Topic(name); t != nil {
		v.id = t.ID
	}
	return v
}

func (v victim) check(im *metadata.Image, times int, version int16, env Env) *refusal {
	switch {
	case !env.Config.DeleteTopicEnable && version >= 3:
		return refuse(moldau.TopicDeletionDisabled, "topics cannot be deleted while delete.topic.enable=false")
	case !env.Config.DeleteTopicEnable:
		return refuse(moldau.InvalidRequest, "topics cannot be deleted while delete.topic.enable=false")
	case v.malformed > 0 && v.named:
		return refuse(moldau.InvalidRequest, "the topic is named by both name and id: name it by one of them")
	case v.malformed > 0:
		return refuse(moldau.InvalidRequest, "the topic is named by neither name nor id")
	case times > 1:
		return refuse(moldau.InvalidRequest, "the topic is in the request %d times", times)
	case !v.named:
		return refuse(moldau.UnknownTopicID, "there is no topic with the id %s", v.id)
	case im.TopicByID(v.id) == nil:
		return refuse(moldau.UnknownTopicOrPartition, "there is no topic %.260q", v.name)
	}
	return nil
}
