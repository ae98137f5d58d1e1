package compare

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

type resource = kmsg.DescribeConfigsRequestResource

// tellConfigs describes the configuration of everything that has one.
func tellConfigs(r *run) {
	r.create("conf", 1, "retention.ms", "5000", "cleanup.policy", "compact,delete")
	ask := func(step string, rs ...resource) {
		r.each(step, func(v int16) kmsg.Request {
			return &kmsg.DescribeConfigsRequest{Resources: rs, IncludeSynonyms: true, IncludeDocumentation: v >= 3}
		})
	}
	of := func(t kmsg.ConfigResourceType, name string, keys ...string) resource {
		return resource{ResourceType: t, ResourceName: name, ConfigNames: keys}
	}
	const (
		topics  = kmsg.ConfigResourceTypeTopic
		brokers = kmsg.ConfigResourceTypeBroker
		loggers = kmsg.ConfigResourceTypeBrokerLogger
		metrics = kmsg.ConfigResourceTypeClientMetrics
		groups  = kmsg.ConfigResourceTypeGroupConfig
	)
	r.all("a topic without synonyms", &kmsg.DescribeConfigsRequest{Resources: []resource{of(topics, "conf")}})
	ask("a topic", of(topics, "conf"))
	r.all("a broker", &kmsg.DescribeConfigsRequest{Resources: []resource{of(brokers, "1")}, IncludeSynonyms: true, IncludeDocumentation: true}, 4)
	r.all("a broker without synonyms", &kmsg.DescribeConfigsRequest{Resources: []resource{of(brokers, "1", "log.dirs", "num.partitions", "log.retention.hours")}})
	ask("brokers by default", of(brokers, ""))
	ask("a group", of(groups, "g"))
	ask("client metrics", of(metrics, "m"))
	ask("some keys", of(topics, "conf", "retention.ms", "segment.ms", "no.such.key"), of(brokers, "1", "log.retention.ms", "log.retention.hours", "no.such.key", "log.cleaner.threads"))
	r.all("no keys", &kmsg.DescribeConfigsRequest{Resources: []resource{{ResourceType: topics, ResourceName: "conf", ConfigNames: []string{}}}}, 4)
	ask("one key twice", of(topics, "conf", "retention.ms", "retention.ms"))
	ask("an absent topic", of(topics, "absent"))
	ask("a topic with a bad name", of(topics, "a/b"))
	ask("a topic without a name", of(topics, ""))
	ask("another broker", of(brokers, "77"))
	ask("a broker that is no number", of(brokers, "one"))
	ask("loggers of another broker", of(loggers, "77"))
	ask("loggers of no broker", of(loggers, ""))
	ask("a group without a name", of(groups, ""))
	ask("client metrics without a name", of(metrics, ""))
	ask("an unknown type", of(0, "a"))
	ask("a type of the future", of(77, "a"))
	ask("one topic twice", of(topics, "conf", "retention.ms"), of(topics, "conf", "segment.ms"))
	ask("nothing")
	r.all("list resources of null types", &kmsg.ListConfigResourcesRequest{}, 1)
	for _, types := range [][]int8{{}, {2}, {4}, {8}, {16}, {32}, {2, 4, 16}, {0}, {77}, {2, 2}} {
		r.all(fmt.Sprintf("list resources of types %v", types), &kmsg.ListConfigResourcesRequest{ResourceTypes: types}, 1)
	}
	r.all("list resources", &kmsg.ListConfigResourcesRequest{}, 0)
}

// alteration is one change of a configuration in both protocols.
type alteration struct {
	what  string
	of    kmsg.ConfigResourceType
	name  string
	op    kmsg.IncrementalAlterConfigOp // 0 set, 1 delete, 2 append, 3 subtract
	key   string
	value *string
}

var alterations = []alteration{
	{"set", 2, "alt", 0, "retention.ms", ptr("7000")},
	{"set a list", 2, "alt", 0, "cleanup.policy", ptr("compact,delete")},
	{"set a list with a repetition", 2, "alt", 0, "cleanup.policy", ptr("compact,compact")},
	{"set an empty list", 2, "alt", 0, "cleanup.policy", ptr("")},
	{"set null", 2, "alt", 0, "retention.ms", nil},
	{"set what is no number", 2, "alt", 0, "retention.ms", ptr("soon")},
	{"set out of range", 2, "alt", 0, "retention.ms", ptr("-5")},
	{"set an unknown key", 2, "alt", 0, "no.such.key", ptr("1")},
	{"set a key of brokers", 2, "alt", 0, "log.retention.ms", ptr("1")},
	{"set a key of old", 2, "alt", 0, "message.format.version", ptr("2.8")},
	{"set an empty key", 2, "alt", 0, "", ptr("1")},
	{"set on an absent topic", 2, "absent", 0, "retention.ms", ptr("1")},
	{"set on a bad topic", 2, "a/b", 0, "retention.ms", ptr("1")},
	{"set on a topic without name", 2, "", 0, "retention.ms", ptr("1")},
	{"set on an internal topic", 2, "__cluster_metadata", 0, "retention.ms", ptr("1")},
	{"set with spaces", 2, "alt", 0, "segment.ms", ptr(" 60000 ")},
	{"set throttled replicas", 2, "alt", 0, "leader.replication.throttled.replicas", ptr("0:1,1:1")},
	{"set min insync replicas", 2, "alt", 0, "min.insync.replicas", ptr("2")},
	{"set remote storage", 2, "alt", 0, "remote.storage.enable", ptr("true")},
	{"set local retention above retention", 2, "alt", 0, "local.retention.bytes", ptr("100")},
	{"set on a broker", 4, "1", 0, "log.cleaner.threads", ptr("2")},
	{"set far off on a broker", 4, "1", 0, "log.cleaner.threads", ptr("50")},
	{"set for all brokers", 4, "", 0, "log.retention.ms", ptr("700000")},
	{"set a static key on a broker", 4, "1", 0, "node.id", ptr("5")},
	{"set a static key for all brokers", 4, "", 0, "num.partitions", ptr("5")},
	{"set an unknown key on a broker", 4, "1", 0, "no.such.key", ptr("5")},
	{"set an unknown key for all brokers", 4, "", 0, "no.such.key", ptr("5")},
	{"set what is no number on a broker", 4, "1", 0, "log.cleaner.threads", ptr("many")},
	{"set a key of one broker for all", 4, "", 0, "advertised.listeners", ptr("PLAINTEXT://a:1")},
	{"set a password for all", 4, "", 0, "ssl.key.password", ptr("x")},
	{"set on another broker", 4, "77", 0, "log.cleaner.threads", ptr("2")},
	{"set on a broker that is no number", 4, "one", 0, "log.cleaner.threads", ptr("2")},
	{"set on a group", 32, "g", 0, "consumer.session.timeout.ms", ptr("50000")},
	{"set out of range on a group", 32, "g", 0, "consumer.session.timeout.ms", ptr("5")},
	{"set an unknown key on a group", 32, "g", 0, "no.such.key", ptr("5")},
	{"set on a group without name", 32, "", 0, "consumer.session.timeout.ms", ptr("50000")},
	{"set on client metrics", 16, "m", 0, "interval.ms", ptr("1000")},
	{"set out of range on client metrics", 16, "m", 0, "interval.ms", ptr("1")},
	{"set a bad match on client metrics", 16, "m", 0, "match", ptr("x")},
	{"set an unknown key on client metrics", 16, "m", 0, "no.such.key", ptr("5")},
	{"set on client metrics without name", 16, "", 0, "interval.ms", ptr("1000")},
	{"set on an unknown type", 0, "a", 0, "a", ptr("1")},
	{"set on a type of the future", 77, "a", 0, "a", ptr("1")},
	{"append", 2, "alt", 2, "cleanup.policy", ptr("delete")},
	{"append what is there", 2, "alt", 2, "cleanup.policy", ptr("delete")},
	{"append what is not allowed", 2, "alt", 2, "cleanup.policy", ptr("shred")},
	{"append to what is no list", 2, "alt", 2, "retention.ms", ptr("1")},
	{"append null", 2, "alt", 2, "cleanup.policy", nil},
	{"subtract", 2, "alt", 3, "cleanup.policy", ptr("compact")},
	{"subtract what is not there", 2, "alt", 3, "cleanup.policy", ptr("shred")},
	{"subtract from what is no list", 2, "alt", 3, "retention.ms", ptr("1")},
	{"delete", 2, "alt", 1, "retention.ms", nil},
	{"delete what is not set", 2, "alt", 1, "flush.ms", nil},
	{"delete an unknown key", 2, "alt", 1, "no.such.key", nil},
	{"delete with a value", 2, "alt", 1, "segment.ms", ptr("1")},
	{"delete for all brokers", 4, "", 1, "log.retention.ms", nil},
	{"delete on a group", 32, "g", 1, "consumer.session.timeout.ms", nil},
	{"an unknown operation", 2, "alt", 9, "retention.ms", ptr("1")},
	{"an operation below all", 2, "alt", -1, "retention.ms", ptr("1")},
}

// tellAlterConfigs changes configurations and looks at what became of them.
func tellAlterConfigs(r *run) {
	r.create("alt", 1, "max.message.bytes", "5000")
	look := func(step string) {
		r.settle()
		var rs []resource
		for _, x := range []struct {
			t    kmsg.ConfigResourceType
			name string
		}{{2, "alt"}, {4, ""}, {32, "g"}, {16, "m"}} {
			rs = append(rs, resource{ResourceType: x.t, ResourceName: x.name})
		}
		resp := r.quiet(4, &kmsg.DescribeConfigsRequest{Resources: rs}).(*kmsg.DescribeConfigsResponse)
		var changed []field // what is not set says nothing new
		for _, f := range read(&r.known, resp) {
			if strings.HasPrefix(f.name, "Value") || f.name == "Source" {
				changed = append(changed, f)
			}
		}
		r.note(step+", then", 4, new(kmsg.DescribeConfigsRequest), onlySet(resp, changed))
	}
	tellIncremental(r, look)
	tellReplacing(r, look)
}

// onlySet keeps the fields of configurations that are set for the resource itself.
func onlySet(resp *kmsg.DescribeConfigsResponse, fs []field) []field {
	var out []field
	for _, res := range resp.Resources {
		out = append(out, field{fmt.Sprintf("Resources[%v %s]", res.ResourceType, res.ResourceName), "ResourceType", res.ResourceType.String()})
		for _, c := range res.Configs {
			if c.Source == kmsg.ConfigSourceDefaultConfig || c.Source == kmsg.ConfigSourceStaticBrokerConfig {
				continue
			}
			at := fmt.Sprintf("Resources[%v %s].Configs[%s]", res.ResourceType, res.ResourceName, c.Name)
			for _, f := range fs {
				if f.at == at {
					out = append(out, f)
				}
			}
		}
	}
	return out
}

func tellIncremental(r *run, look func(string)) {
	type item = kmsg.IncrementalAlterConfigsRequestResource
	type change = kmsg.IncrementalAlterConfigsRequestResourceConfig
	for _, a := range alterations {
		rs := []item{{ResourceType: a.of, ResourceName: a.name, Configs: []change{{Name: a.key, Op: a.op, Value: a.value}}}}
		r.all(a.what+", only validated", &kmsg.IncrementalAlterConfigsRequest{Resources: rs, ValidateOnly: true})
		r.all(a.what, &kmsg.IncrementalAlterConfigsRequest{Resources: rs})
		if a.of != 8 {
			look(a.what)
		}
	}
	ask := func(step string, rs ...item) {
		r.all(step, &kmsg.IncrementalAlterConfigsRequest{Resources: rs})
		look(step)
	}
	ask("one key twice", item{ResourceType: 2, ResourceName: "alt", Configs: []change{{Name: "retention.ms", Value: ptr("1")}, {Name: "retention.ms", Value: ptr("2")}}})
	ask("one resource twice", item{ResourceType: 2, ResourceName: "alt", Configs: []change{{Name: "retention.ms", Value: ptr("1")}}},
		item{ResourceType: 2, ResourceName: "alt", Configs: []change{{Name: "segment.ms", Value: ptr("2")}}})
	ask("a resource without changes", item{ResourceType: 2, ResourceName: "alt"})
	ask("an absent resource without changes", item{ResourceType: 2, ResourceName: "absent"})
	ask("nothing")
	ask("a good and a bad key", item{ResourceType: 2, ResourceName: "alt", Configs: []change{{Name: "flush.ms", Value: ptr("99")}, {Name: "no.such.key", Value: ptr("2")}}})
	ask("a good and a bad resource", item{ResourceType: 2, ResourceName: "alt", Configs: []change{{Name: "flush.ms", Value: ptr("98")}}},
		item{ResourceType: 2, ResourceName: "absent", Configs: []change{{Name: "flush.ms", Value: ptr("2")}}})
}

func tellReplacing(r *run, look func(string)) {
	type item = kmsg.AlterConfigsRequestResource
	type change = kmsg.AlterConfigsRequestResourceConfig
	for _, a := range alterations {
		if a.op != 0 {
			continue
		}
		rs := []item{{ResourceType: a.of, ResourceName: a.name, Configs: []change{{Name: a.key, Value: a.value}}}}
		if a.of == kmsg.ConfigResourceTypeBroker && a.name == "" { // which Apache Kafka does not let go
			rs[0].Configs = append(rs[0].Configs, change{Name: "min.insync.replicas", Value: ptr("1")})
		}
		r.all("replace: "+a.what+", only validated", &kmsg.AlterConfigsRequest{Resources: rs, ValidateOnly: true})
		r.all("replace: "+a.what, &kmsg.AlterConfigsRequest{Resources: rs})
		look("replace: " + a.what)
	}
	ask := func(step string, rs ...item) {
		r.all("replace: "+step, &kmsg.AlterConfigsRequest{Resources: rs})
		look("replace: " + step)
	}
	ask("one key twice", item{ResourceType: 2, ResourceName: "alt", Configs: []change{{Name: "retention.ms", Value: ptr("1")}, {Name: "retention.ms", Value: ptr("2")}}})
	ask("one resource twice", item{ResourceType: 2, ResourceName: "alt"}, item{ResourceType: 2, ResourceName: "alt"})
	ask("for all brokers by what must stay", item{ResourceType: 4, Configs: []change{{Name: "min.insync.replicas", Value: ptr("1")}}})
	for _, of := range []item{{ResourceType: 2, ResourceName: "alt"}, {ResourceType: 4, ResourceName: "1"}, {ResourceType: 16, ResourceName: "m"}, {ResourceType: 32, ResourceName: "g"}} {
		ask(fmt.Sprintf("%v %q by nothing", of.ResourceType, of.ResourceName), of)
	}
}
