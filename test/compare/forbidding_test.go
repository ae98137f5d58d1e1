package compare

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tellForbidding talks to a broker that neither creates topics by itself nor deletes any, and has defaults of its own.
func tellForbidding(r *run) {
	w := writer{r, map[string][16]byte{}}
	r.each("a topic that is not created", func(int16) kmsg.Request {
		return &kmsg.MetadataRequest{Topics: named("absent", "a/b"), AllowAutoTopicCreation: true}
	})
	r.all("a topic by default", &kmsg.CreateTopicsRequest{TimeoutMillis: 10000, ValidateOnly: true,
		Topics: []newTopic{topic("validated", -1, -1), topic("validated-too", -1, -1, set("compression.type", "producer"))}}, 4, 5, 6, 7)
	w.topic("kept", 3)
	r.each("not deleted", func(int16) kmsg.Request {
		kept := []kmsg.DeleteTopicsRequestTopic{{Topic: ptr("kept")}, {Topic: ptr("absent")}, {TopicID: absentID}}
		return &kmsg.DeleteTopicsRequest{TimeoutMillis: 10000, TopicNames: []string{"kept", "absent"}, Topics: kept}
	})
	r.all("described", &kmsg.DescribeConfigsRequest{IncludeSynonyms: true, Resources: []resource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "kept"}}}, 4)
	r.all("keys of the broker", &kmsg.DescribeConfigsRequest{IncludeSynonyms: true, Resources: []resource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1",
		ConfigNames: []string{"auto.create.topics.enable", "delete.topic.enable", "num.partitions", "compression.type", "log.message.timestamp.type",
			"message.max.bytes", "max.request.partition.size.limit", "log.cleanup.policy"}}}}, 4)
	pages := &kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 1000, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "kept"}}}
	r.all("a page as large as the broker allows", pages)
	good := of("water", "water")
	for codec := int16(0); codec <= zstded; codec++ {
		r.each("stamped and compressed, codec "+string('0'+rune(codec)), func(int16) kmsg.Request {
			time.Sleep(3 * time.Millisecond) // a millisecond for each batch: the last has the highest time
			return w.request("kept", -1, to(0, good.with(codec).bytes()))
		}, 7, 13)
	}
	r.all("too large", w.request("kept", -1, to(0, of(strings.Repeat("x", 2100)).bytes())), 7, 13)
	r.all("stored", fetchAll(w.ids["kept"], 0), 13)
	r.all("by time", listOf("kept", at(0, longAgo)), 7)
	r.all("by the highest time", listOf("kept", at(0, -3)), 7)
}
