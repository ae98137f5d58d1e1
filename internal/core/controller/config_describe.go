package controller

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeConfigs tells the configuration in effect, with where each value comes from (C-31). Entries are sorted by key.
// loggers are the levels of the broker's loggers by name. A request with a resource of an unknown type fails as a whole.
func DescribeConfigs(im *metadata.Image, req *kmsg.DescribeConfigsRequest, env Env, loggers map[string]string) *kmsg.DescribeConfigsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	d := description{im: im, env: env, loggers: loggers, synonyms: req.IncludeSynonyms, docs: req.IncludeDocumentation && req.Version >= 3}
	var unknown *refusal
	for _, r := range req.Resources {
		if d.entries(resource(r.ResourceType, r.ResourceName)) == nil {
			unknown = refuse(moldau.InvalidRequest, "there are no resources of type %d", r.ResourceType)
		}
	}
	for _, r := range req.Resources {
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		no := unknown
		if no == nil {
			rr.Configs, no = d.describe(resource(r.ResourceType, r.ResourceName), r.ConfigNames)
		}
		no.tell(&rr.ErrorCode, &rr.ErrorMessage)
		if no == nil {
			rr.ErrorMessage = new(string) // empty and not null, as Kafka has it
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return resp
}

type description struct {
	im             *metadata.Image
	env            Env
	loggers        map[string]string
	synonyms, docs bool
}

// entries is how to describe a resource of res's type, nil where there is no such type.
func (d description) entries(res metadata.Resource) func(metadata.Resource) ([]kmsg.DescribeConfigsResponseResourceConfig, *refusal) {
	switch res.Type {
	case schema.TopicResource:
		return d.topic
	case schema.BrokerResource:
		return d.broker
	case schema.BrokerLoggerResource:
		return d.logger
	case schema.ClientMetricsResource, schema.GroupResource:
		return d.named
	}
	return nil
}

// describe is the configuration of one resource, as far as only asks for it: all where that is empty.
func (d description) describe(res metadata.Resource, only []string) ([]kmsg.DescribeConfigsResponseResourceConfig, *refusal) {
	entries, no := d.entries(res)(res)
	if len(only) > 0 {
		entries = slices.DeleteFunc(entries, func(e kmsg.DescribeConfigsResponseResourceConfig) bool { return !slices.Contains(only, e.Name) })
	}
	return entries, no
}

func (d description) topic(res metadata.Resource) ([]kmsg.DescribeConfigsResponseResourceConfig, *refusal) {
	if no := checkTopic(d.im, res.Name, moldau.InvalidTopicException); no != nil {
		return nil, no
	}
	return d.keys(config.ScopeTopic, topicLayers(d.im, d.env, d.im.Config(res))), nil
}

// named describes a resource that need not exist: without entries of its own it has the defaults.
func (d description) named(res metadata.Resource) ([]kmsg.DescribeConfigsResponseResourceConfig, *refusal) {
	scope := config.Scope(res.Type)
	if res.Name == "" {
		return nil, refuse(moldau.InvalidRequest, "the %s resource has no name", scope)
	}
	return d.keys(scope, topicLayers(d.im, d.env, d.im.Config(res))), nil
}

func (d description) keys(scope config.Scope, layers config.Layers) []kmsg.DescribeConfigsResponseResourceConfig {
	var entries []kmsg.DescribeConfigsResponseResourceConfig
	for _, k := range config.Keys(scope) {
		entries = append(entries, d.entry(k, layers.Effective(k)))
	}
	return entries
}

// broker describes a broker with its static keys and what was set on it or on all, or without a name only the latter.
func (d description) broker(res metadata.Resource) ([]kmsg.DescribeConfigsResponseResourceConfig, *refusal) {
	if no := checkBroker(d.env, res.Name); no != nil {
		return nil, no
	}
	layers := BrokerConfig(d.im, d.env)
	var keys []*config.Key
	if res.Name == "" {
		layers = config.Layers{Default: layers.Default}
	} else {
		keys = config.Keys(config.ScopeBroker)
	}
	listed := map[string]bool{}
	for _, k := range keys {
		listed[k.Name] = true
	}
	for _, own := range []map[string]string{layers.Broker, layers.Default} {
		for _, name := range slices.Sorted(maps.Keys(own)) {
			if listed[name] {
				continue
			}
			listed[name] = true
			k, ok := config.Lookup(config.ScopeBroker, name)
			if !ok {
				k = config.Unknown(config.ScopeBroker, name)
			}
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b *config.Key) int { return strings.Compare(a.Name, b.Name) })
	var entries []kmsg.DescribeConfigsResponseResourceConfig
	for _, k := range keys {
		e := layers.Effective(k)
		if res.Name == "" { // the default of all brokers knows nothing of any one's file
			e.Synonyms = slices.DeleteFunc(e.Synonyms, func(c config.Contribution) bool { return c.Source != config.SourceDynamicDefaultBroker })
		}
		entries = append(entries, d.entry(k, e))
	}
	return entries, nil
}

func (d description) logger(res metadata.Resource) ([]kmsg.DescribeConfigsResponseResourceConfig, *refusal) {
	if res.Name == "" {
		return nil, refuse(moldau.InvalidRequest, "the loggers of which broker? The resource has no name")
	}
	if no := checkBroker(d.env, res.Name); no != nil {
		return nil, no
	}
	var entries []kmsg.DescribeConfigsResponseResourceConfig
	for _, name := range slices.Sorted(maps.Keys(d.loggers)) {
		level := d.loggers[name]
		e := kmsg.NewDescribeConfigsResponseResourceConfig()
		e.Name, e.Value, e.Source = name, &level, kmsg.ConfigSourceDynamicBrokerLoggerConfig
		if d.synonyms {
			e.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{{Name: name, Value: &level, Source: e.Source}}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (d description) entry(k *config.Key, e config.Entry) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.ReadOnly, c.IsSensitive = k.Name, k.ReadOnly(), k.Sensitive()
	c.Source, c.ConfigType, c.IsDefault = kmsg.ConfigSource(e.Source), kmsg.ConfigType(k.Type), e.Source == config.SourceDefault
	if !e.Null {
		c.Value = &e.Value
	}
	if d.docs {
		c.Documentation = &k.Doc
	}
	if !d.synonyms {
		return c
	}
	for _, s := range e.Synonyms {
		rs := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		rs.Name, rs.Source = s.Name, kmsg.ConfigSource(s.Source)
		if !s.Null {
			rs.Value = &s.Value
		}
		c.ConfigSynonyms = append(c.ConfigSynonyms, rs)
	}
	return c
}

// ListConfigResources tells the resources that can be described: all topics and brokers, and the metrics subscriptions and
// groups on which something was set. Version 0 is about subscriptions only.
func ListConfigResources(im *metadata.Image, req *kmsg.ListConfigResourcesRequest) *kmsg.ListConfigResourcesResponse {
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	all := []schema.ResourceType{schema.TopicResource, schema.BrokerResource, schema.BrokerLoggerResource, schema.ClientMetricsResource, schema.GroupResource}
	asked := all
	switch {
	case req.Version == 0:
		asked = []schema.ResourceType{schema.ClientMetricsResource}
	case len(req.ResourceTypes) > 0:
		asked = nil
		for _, n := range req.ResourceTypes {
			if !slices.Contains(all, schema.ResourceType(n)) {
				resp.ErrorCode = int16(moldau.UnsupportedVersion)
				return resp
			}
			asked = append(asked, schema.ResourceType(n))
		}
	}
	add := func(t schema.ResourceType, name string) {
		r := kmsg.NewListConfigResourcesResponseConfigResource()
		r.Name, r.Type = name, int8(t)
		resp.ConfigResources = append(resp.ConfigResources, r)
	}
	for _, t := range slices.Compact(slices.Sorted(slices.Values(asked))) {
		switch t {
		case schema.TopicResource:
			for topic := range im.Topics() {
				add(t, topic.Name)
			}
		case schema.BrokerResource, schema.BrokerLoggerResource:
			for b := range im.Brokers() {
				add(t, strconv.Itoa(int(b.ID)))
			}
		default:
			for r := range im.Resources(t) {
				add(t, r.Name)
			}
		}
	}
	return resp
}
