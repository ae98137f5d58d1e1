package compare

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type metadataTopic = kmsg.MetadataRequestTopic

func named(names ...string) []metadataTopic {
	ts := []metadataTopic{}
	for _, n := range names {
		ts = append(ts, metadataTopic{Topic: ptr(n)})
	}
	return ts
}

// tellMetadata asks for topics by name, by id and by page.
func tellMetadata(r *run) {
	id := r.create("meta", 3)
	r.create("meta-b", 1)
	ask := func(step string, ts []metadataTopic, vs ...int16) {
		r.each(step, func(v int16) kmsg.Request {
			return &kmsg.MetadataRequest{Topics: ts, AllowAutoTopicCreation: false, IncludeTopicAuthorizedOperations: v >= 8, IncludeClusterAuthorizedOperations: v >= 8 && v <= 10}
		}, vs...)
	}
	r.each("without operations", func(v int16) kmsg.Request { return &kmsg.MetadataRequest{Topics: named("meta")} })
	ask("of one", named("meta"))
	ask("of all", nil, 1, 5, 7, 9, 12, 13)
	ask("of all in version 0", []metadataTopic{}, 0)
	ask("of none", []metadataTopic{}, 1, 4, 8, 9, 10, 12, 13)
	quietly := []int16{4, 7, 9, 10, 12, 13} // which can forbid to create what is absent
	ask("of an absent one", named("absent"), quietly...)
	ask("of bad names", named("", ".", "a/b", "ä"), quietly...)
	ask("of one twice", named("meta", "meta-b", "meta", "absent", "absent"), quietly...)
	ask("of an internal one", named("__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"), quietly...)
	ask("by id", []metadataTopic{{TopicID: id}}, 10, 11, 12, 13)
	ask("by name and id", []metadataTopic{{Topic: ptr("meta"), TopicID: id}}, 10, 11, 12, 13)
	ask("by name and another id", []metadataTopic{{Topic: ptr("meta"), TopicID: absentID}}, 10, 11, 12, 13)
	ask("by an absent id", []metadataTopic{{TopicID: absentID}}, 12, 13)
	ask("by id twice", []metadataTopic{{TopicID: id}, {TopicID: id}}, 12, 13)
	ask("by id and by name", append(named("meta-b"), metadataTopic{TopicID: id}), 12, 13)
	ask("by a null name without id", []metadataTopic{{}}, 10, 11, 12, 13)
	r.each("that may be created", func(v int16) kmsg.Request {
		return &kmsg.MetadataRequest{Topics: named(fmt.Sprintf("auto-%d", v)), AllowAutoTopicCreation: true}
	}, 0, 1, 4, 8, 13)
	r.settle()
	r.each("that was created", func(v int16) kmsg.Request {
		return &kmsg.MetadataRequest{Topics: named(fmt.Sprintf("auto-%d", v))}
	}, 4, 8, 13)
	r.each("that may be created and collides", func(v int16) kmsg.Request {
		return &kmsg.MetadataRequest{Topics: named("col_li_ding"), AllowAutoTopicCreation: true}
	}, 13)
	r.each("bad names that may be created", func(v int16) kmsg.Request {
		return &kmsg.MetadataRequest{Topics: named("", "..", "a b"), AllowAutoTopicCreation: true}
	}, 0, 1, 4, 13)
	tellPages(r)
}

func tellPages(r *run) {
	type cursor = kmsg.DescribeTopicPartitionsRequestCursor
	ask := func(step string, names []string, limit int32, c *cursor) {
		req := &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: limit, Cursor: c}
		for _, n := range names {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
		}
		r.all("pages, "+step, req)
	}
	two := []string{"meta-b", "meta"}
	ask("two topics", two, 2000, nil)
	ask("all topics, a few", nil, 4, nil)
	ask("all topics from one", nil, 4, &cursor{Topic: "meta", Partition: 1})
	ask("one partition", two, 1, nil)
	ask("as many as there are", two, 3, nil)
	ask("all of them", two, 4, nil)
	ask("a cursor inside", two, 2000, &cursor{Topic: "meta", Partition: 2})
	ask("a cursor at the end of a topic", two, 2000, &cursor{Topic: "meta", Partition: 3})
	ask("a cursor past the end of a topic", two, 2000, &cursor{Topic: "meta", Partition: 9})
	ask("a cursor past all topics", two, 2000, &cursor{Topic: "zzz"})
	ask("a cursor before all topics", two, 2000, &cursor{Topic: "a"})
	ask("a cursor on an absent topic", two, 2000, &cursor{Topic: "meta-a", Partition: 1})
	ask("a negative cursor", two, 2000, &cursor{Topic: "meta", Partition: -1})
	ask("a limit of 0", two, 0, nil)
	ask("a negative limit", two, -1, nil)
	ask("absent ones", []string{"absent", "meta-b", "also-absent"}, 2000, nil)
	ask("an absent one twice", []string{"absent", "absent"}, 2000, nil)
	ask("a bad name", []string{"a/b", "meta-b"}, 2000, nil)
	ask("an empty name", []string{"", "meta-b"}, 2000, nil)
	ask("absent ones behind the limit", []string{"meta", "meta-absent", "zzz"}, 3, nil)
	ask("one twice", []string{"meta-b", "meta-b"}, 2000, nil)
	ask("internal ones", []string{"__consumer_offsets", "__cluster_metadata"}, 2000, nil)
}
