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

// IncrementalAlterConfigs changes single entries of configurations, each resource wholly or not at all (C-30 to C-37).
// Levels of loggers are no metadata: their broker sets them, and here they are refused.
func IncrementalAlterConfigs(im *metadata.Image, req *kmsg.IncrementalAlterConfigsRequest, env Env) (*kmsg.IncrementalAlterConfigsResponse, []schema.Record) {
	b := batch{im: im, env: env}
	for _, r := range req.Resources {
		b.add(r.ResourceType, r.ResourceName, func(a *alteration) *refusal { return a.incremental(r.Configs) })
	}
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	refusals, recs := b.run(req.ValidateOnly)
	for i, r := range req.Resources {
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		refusals[i].tell(&rr.ErrorCode, &rr.ErrorMessage)
		resp.Resources = append(resp.Resources, rr)
	}
	return resp, recs
}

// AlterConfigs replaces whole configurations: entries that are not listed go.
func AlterConfigs(im *metadata.Image, req *kmsg.AlterConfigsRequest, env Env) (*kmsg.AlterConfigsResponse, []schema.Record) {
	b := batch{im: im, env: env}
	for _, r := range req.Resources {
		b.add(r.ResourceType, r.ResourceName, func(a *alteration) *refusal { return a.whole(r.Configs) })
	}
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	refusals, recs := b.run(req.ValidateOnly)
	for i, r := range req.Resources {
		rr := kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		refusals[i].tell(&rr.ErrorCode, &rr.ErrorMessage)
		resp.Resources = append(resp.Resources, rr)
	}
	return resp, recs
}

func resource(t kmsg.ConfigResourceType, name string) metadata.Resource {
	return metadata.Resource{Type: schema.ResourceType(t), Name: name}
}

// batch is the alterations of one request.
type batch struct {
	im      *metadata.Image
	env     Env
	changes []change
}

// change is what a request asks of one resource: fill says what its configuration becomes.
type change struct {
	resource metadata.Resource
	fill     func(*alteration) *refusal
}

func (b *batch) add(t kmsg.ConfigResourceType, name string, fill func(*alteration) *refusal) {
	b.changes = append(b.changes, change{resource(t, name), fill})
}

// run alters each resource by itself. It returns a refusal or nil for each, and the records of those that were not refused;
// none where the request only asks whether it would be taken.
func (b *batch) run(validateOnly bool) (refusals []*refusal, recs []schema.Record) {
	times := map[metadata.Resource]int{}
	for _, c := range b.changes {
		times[c.resource]++
	}
	for _, c := range b.changes {
		var made []schema.Record
		no := refuse(moldau.InvalidRequest, "the resource is in the request %d times", times[c.resource])
		if times[c.resource] == 1 {
			made, no = b.alter(c)
		}
		refusals = append(refusals, no)
		recs = append(recs, made...)
	}
	if len(recs) > operationRecordsMax {
		for i := range refusals {
			refusals[i] = tooManyRecords(len(recs))
		}
		return refusals, nil
	}
	if validateOnly {
		return refusals, nil
	}
	return refusals, recs
}

// alteration is the change of one resource's configuration: its entries before and after.
type alteration struct {
	im     *metadata.Image
	env    Env
	res    metadata.Resource
	before map[string]string
	after  map[string]string
	set    []string // the keys that the request binds, to whatever value
}

// alter makes the configuration of one resource what c says and checks it.
func (b *batch) alter(c change) ([]schema.Record, *refusal) {
	a := &alteration{im: b.im, env: b.env, res: c.resource, before: b.im.Config(c.resource), after: map[string]string{}}
	if no := a.checkResource(); no != nil {
		return nil, no
	}
	if no := c.fill(a); no != nil {
		return nil, no
	}
	if no := a.check(); no != nil {
		return nil, no
	}
	return a.records(), nil
}

// records bind what is new or other and unbind what is gone. A broker's entries are written even where they are what they
// were: a key store of the same name may have another content, and setting it again loads it (C-34).
func (a *alteration) records() []schema.Record {
	var recs []schema.Record
	for _, key := range slices.Sorted(maps.Keys(a.before)) {
		if _, ok := a.after[key]; !ok {
			recs = append(recs, &schema.Config{ResourceType: a.res.Type, ResourceName: a.res.Name, Name: key})
		}
	}
	for _, key := range slices.Sorted(slices.Values(a.set)) {
		value := a.after[key]
		if before, ok := a.before[key]; ok && before == value && a.res.Type != schema.BrokerResource {
			continue
		}
		recs = append(recs, &schema.Config{ResourceType: a.res.Type, ResourceName: a.res.Name, Name: key, Value: &value})
	}
	return recs
}

// whole makes the configuration just what is listed.
func (a *alteration) whole(entries []kmsg.AlterConfigsRequestResourceConfig) *refusal {
	for _, e := range entries {
		if _, ok := a.after[e.Name]; ok {
			return refuse(moldau.InvalidRequest, "the key %.100q is in the request more than once", e.Name)
		}
		if e.Value == nil {
			return refuse(moldau.InvalidRequest, "the key %.100q has no value", e.Name)
		}
		a.after[e.Name] = *e.Value
		a.set = append(a.set, e.Name)
	}
	return nil
}

// incremental changes what is listed and leaves the rest.
func (a *alteration) incremental(entries []kmsg.IncrementalAlterConfigsRequestResourceConfig) *refusal {
	maps.Copy(a.after, a.before)
	seen := map[string]bool{}
	for _, e := range entries {
		if seen[e.Name] {
			return refuse(moldau.InvalidRequest, "the key %.100q is in the request more than once", e.Name)
		}
		seen[e.Name] = true
		if e.Op == kmsg.IncrementalAlterConfigOpDelete {
			delete(a.after, e.Name)
			continue
		}
		if e.Value == nil {
			return refuse(moldau.InvalidRequest, "the key %.100q has no value", e.Name)
		}
		value := *e.Value
		switch e.Op {
		case kmsg.IncrementalAlterConfigOpSet:
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			var no *refusal
			if value, no = a.merge(e.Name, value, e.Op); no != nil {
				return no
			}
		default:
			return refuse(moldau.InvalidRequest, "there is no operation %d: 0 sets, 1 deletes, 2 appends, 3 subtracts", e.Op)
		}
		a.after[e.Name] = value
		a.set = append(a.set, e.Name)
	}
	return nil
}

// merge adds elements to a list or takes them out, beginning with the value in effect where the resource has none of its
// own.
func (a *alteration) merge(key, elements string, op kmsg.IncrementalAlterConfigOp) (string, *refusal) {
	scope := config.Scope(a.res.Type)
	k, ok := config.Lookup(scope, key)
	if !ok {
		return "", refuse(moldau.InvalidConfig, "unknown %s key %.100q", scope, key)
	}
	if k.Type != config.TypeList {
		return "", refuse(moldau.InvalidConfig, "%s is no list, so nothing can be appended to it or subtracted from it", key)
	}
	value, ok := a.before[key]
	if !ok {
		value = a.layers(a.before).Effective(k).Value
	}
	list, given := split(value), split(elements)
	for _, e := range given {
		i := slices.Index(list, e)
		switch {
		case op == kmsg.IncrementalAlterConfigOpAppend && i < 0:
			list = append(list, e)
		case op == kmsg.IncrementalAlterConfigOpSubtract && i >= 0:
			list = slices.DeleteFunc(list, func(o string) bool { return o == e })
		}
	}
	return strings.Join(list, ","), nil
}

// layers are those of the resource with own as its entries.
func (a *alteration) layers(own map[string]string) config.Layers {
	l := topicLayers(a.im, a.env, own)
	if a.res.Type != schema.BrokerResource {
		return l
	}
	l.Resource = nil
	if a.res.Name == "" {
		l.Default = own
	} else {
		l.Broker = own
	}
	return l
}

func split(list string) []string {
	var elements []string
	for e := range strings.SplitSeq(list, ",") {
		if e = strings.TrimSpace(e); e != "" {
			elements = append(elements, e)
		}
	}
	return elements
}

// checkResource refuses resources that are not there or have no configuration here.
func (a *alteration) checkResource() *refusal {
	switch name := a.res.Name; a.res.Type {
	case schema.TopicResource:
		return checkTopic(a.im, name, moldau.InvalidRequest)
	case schema.BrokerResource:
		return checkBroker(a.env, name)
	case schema.ClientMetricsResource, schema.GroupResource:
		if name == "" {
			return refuse(moldau.InvalidRequest, "the %s resource has no name, and there is none for all", config.Scope(a.res.Type))
		}
	default:
		return refuse(moldau.InvalidRequest, "resources of type %d have no configuration that could be altered", a.res.Type)
	}
	return nil
}

// checkTopic refuses a topic that is not there; nameless is the code of one without a name.
func checkTopic(im *metadata.Image, name string, nameless moldau.Code) *refusal {
	if name == "" {
		return refuse(nameless, "the topic has no name, and there is no resource for all topics")
	}
	if err := moldau.CheckTopicName(name); err != nil {
		return refuse(moldau.InvalidTopicException, "%v", err)
	}
	if im.Topic(name) == nil {
		return refuse(moldau.UnknownTopicOrPartition, "there is no topic %q", name)
	}
	return nil
}

// checkBroker refuses the resource of another broker than the one asked; no name means all brokers.
func checkBroker(env Env, name string) *refusal {
	if name == "" {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	switch {
	case err != nil:
		return refuse(moldau.InvalidRequest, "%.100q is no broker id", name)
	case moldau.BrokerID(id) != env.Config.NodeID:
		return refuse(moldau.InvalidRequest, "this is broker %d: send what concerns broker %d to that broker", env.Config.NodeID, id)
	}
	return nil
}
