package controller

import (
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/script"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print as what they should print")

// TestScripts plays the stories in testdata: comments, then a command, dashes and what it prints, up to an empty line.
//
//	set KEY=VALUE            a static setting of the broker
//	Bootstrap                the first records of a cluster
//	RegisterBroker {…}       a BrokerRegistrationRequest; defaults fill what is not given; "fenced" or "former-live" may stand in front
//	UnfenceBroker ID, AllocateProducerIDs ID EPOCH, AutoTopic NAME
//	record TYPE {…}          applies a record that no command here makes
//	steps ID                 what the last records mean for that broker
//	partitions TOPIC         the partitions of a topic as they are
//	NAME [vN] {…}            a request; what it makes is applied
//
// Requests print their response, an element a line, and + for each record. Of the configuration in a CreateTopics response
// only what is not a default is printed, and the number of all.
func TestScripts(t *testing.T) {
	script.Play(t, *rewrite, func(t *testing.T) func([]string) string {
		s := newStage(t)
		return func(commands []string) string { return s.run(strings.Join(commands, "\n")) }
	})
}

// stage is a cluster on which a script plays.
type stage struct {
	t      *testing.T
	im     *metadata.Image
	delta  *metadata.Delta
	env    Env
	static map[string]string
	topics int
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, im: metadata.Empty(), static: map[string]string{"node.id": "1", "broker.id": "1"}}
	s.resolve()
	return s
}

func (s *stage) resolve() {
	broker, err := config.ResolveBroker(s.static)
	if err != nil {
		s.t.Fatal(err)
	}
	s.env = Env{ClusterID: "cluster", Config: &broker, Static: s.static, NewTopicID: func() moldau.TopicID {
		s.topics++
		return moldau.TopicID{15: byte(s.topics)}
	}}
}

// apply makes recs part of the stage's Image and prints them.
func (s *stage) apply(recs []schema.Record) string {
	if len(recs) == 0 {
		return ""
	}
	s.im, s.delta = s.im.Apply(s.im.Offset()+moldau.Offset(len(recs)), 1, recs)
	var out strings.Builder
	for i, r := range recs {
		if i == 12 && len(recs) > 15 {
			fmt.Fprintf(&out, "+ %d more\n", len(recs)-i)
			break
		}
		fmt.Fprintf(&out, "+ %s %s\n", reflect.TypeOf(r).Elem().Name(), formatLiteral(reflect.ValueOf(r)))
	}
	return out.String()
}

func (s *stage) run(command string) string {
	name, args, _ := strings.Cut(command, " ")
	number := func(text string) moldau.BrokerID {
		n, err := strconv.Atoi(text)
		if err != nil {
			s.t.Fatalf("%s: %v", command, err)
		}
		return moldau.BrokerID(n)
	}
	switch name {
	case "set":
		key, value, _ := strings.Cut(args, "=")
		s.static[key] = value
		s.resolve()
		return ""
	case "Bootstrap":
		return s.apply(Bootstrap())
	case "RegisterBroker":
		return s.register(args)
	case "UnfenceBroker":
		return s.apply(UnfenceBroker(s.im, number(args)))
	case "AllocateProducerIDs":
		id, epoch, _ := strings.Cut(args, " ")
		block, code, recs := AllocateProducerIDs(s.im, number(id), moldau.BrokerEpoch(number(epoch)))
		return fmt.Sprintln(code, formatLiteral(reflect.ValueOf(block))) + s.apply(recs)
	case "AutoTopic":
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics = []kmsg.CreateTopicsRequestTopic{AutoTopic(s.im, args, s.env)}
		resp, recs := CreateTopics(s.im, req, s.env)
		return respond(resp) + s.apply(recs)
	case "record":
		return s.record(args)
	case "steps":
		var out strings.Builder
		for _, step := range s.delta.Steps(number(args)) {
			fmt.Fprintf(&out, "%s %s\n", reflect.TypeOf(step).Name(), formatLiteral(reflect.ValueOf(step)))
		}
		return out.String()
	case "partitions":
		var out strings.Builder
		for i, p := range s.im.Topic(args).Partitions {
			fmt.Fprintf(&out, "%d %s\n", i, formatLiteral(reflect.ValueOf(p)))
		}
		return out.String()
	}
	return s.request(name, args)
}

func (s *stage) register(args string) string {
	var standing Standing
	for {
		word, rest, _ := strings.Cut(args, " ")
		if word == "fenced" {
			standing.Fenced = true
		} else if word == "former-live" {
			standing.FormerLive = true
		} else {
			break
		}
		args = rest
	}
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.ClusterID = "cluster"
	for _, f := range SupportedFeatures() {
		req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
	}
	s.parse(args, req)
	if req.LogDirs == nil {
		req.LogDirs = [][16]byte{{0: 0xd1, 15: byte(req.BrokerID)}}
	}
	resp, recs := RegisterBroker(s.im, req, standing, s.env)
	return respond(resp) + s.apply(recs)
}

func (s *stage) record(args string) string {
	name, text, _ := strings.Cut(args, " ")
	for _, r := range []schema.Record{new(schema.FenceBroker), schema.NewPartitionChange(), new(schema.BrokerRegistrationChange), new(schema.FeatureLevel)} {
		if reflect.TypeOf(r).Elem().Name() == name {
			s.parse(text, r)
			return s.apply([]schema.Record{r})
		}
	}
	s.t.Fatalf("no record %q", name)
	return ""
}

func (s *stage) parse(text string, into any) {
	if err := parseLiteral(text, reflect.ValueOf(into).Elem()); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
}

func (s *stage) request(name, args string) string {
	var req kmsg.Request
	for key := range int16(100) {
		if kmsg.NameForKey(key) == name {
			req = kmsg.RequestForKey(key)
		}
	}
	if req == nil {
		s.t.Fatalf("no command %q", name)
	}
	req.(interface{ Default() }).Default()
	req.SetVersion(req.MaxVersion())
	if rest, ok := strings.CutPrefix(args, "v"); ok {
		v, body, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(v)
		if err != nil {
			s.t.Fatal(err)
		}
		req.SetVersion(int16(n))
		args = body
	}
	s.parse(args, req)
	var resp kmsg.Response
	var recs []schema.Record
	before := s.im
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		resp, recs = CreateTopics(s.im, req, s.env)
	case *kmsg.DeleteTopicsRequest:
		resp, recs = DeleteTopics(s.im, req, s.env)
	case *kmsg.CreatePartitionsRequest:
		resp, recs = CreatePartitions(s.im, req, s.env)
	case *kmsg.ElectLeadersRequest:
		resp, recs = ElectLeaders(s.im, req)
	case *kmsg.ListPartitionReassignmentsRequest:
		resp = ListPartitionReassignments(s.im, req)
	case *kmsg.UpdateFeaturesRequest:
		resp, recs = UpdateFeatures(s.im, req)
	case *kmsg.IncrementalAlterConfigsRequest:
		resp, recs = IncrementalAlterConfigs(s.im, req, s.env)
	case *kmsg.AlterConfigsRequest:
		resp, recs = AlterConfigs(s.im, req, s.env)
	case *kmsg.DescribeConfigsRequest:
		resp = DescribeConfigs(s.im, req, s.env, map[string]string{"root": "INFO"})
	case *kmsg.ListConfigResourcesRequest:
		resp = ListConfigResources(s.im, req)
	default:
		s.t.Fatalf("no command %q", name)
	}
	must(s.t, before == s.im, "a command changed the image")
	must(s.t, resp.GetVersion() == req.GetVersion(), "the response has another version than the request")
	return respond(resp) + s.apply(recs)
}

func must(t *testing.T, ok bool, why string) {
	t.Helper()
	if !ok {
		t.Fatal(why)
	}
}

// respond prints a response: its scalars on one line, its elements on one each.
func respond(resp kmsg.Response) string {
	if c, ok := resp.(*kmsg.CreateTopicsResponse); ok {
		return respondCreate(c)
	}
	var out strings.Builder
	v := reflect.ValueOf(resp).Elem()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case f.IsZero() || name == "Version" || name == "UnknownTags":
		case f.Kind() == reflect.Slice:
			for j := range f.Len() {
				out.WriteString(formatLiteral(f.Index(j)) + "\n")
			}
		default:
			one := reflect.New(reflect.StructOf([]reflect.StructField{v.Type().Field(i)})).Elem()
			one.Field(0).Set(f)
			out.WriteString(formatLiteral(one) + "\n")
		}
	}
	return out.String()
}

func respondCreate(resp *kmsg.CreateTopicsResponse) string {
	var out strings.Builder
	for _, t := range resp.Topics {
		n := len(t.Configs)
		t.Configs = slices.DeleteFunc(slices.Clone(t.Configs), func(c kmsg.CreateTopicsResponseTopicConfig) bool { return c.Source == int8(config.SourceDefault) })
		out.WriteString(formatLiteral(reflect.ValueOf(t)))
		if n > 0 {
			fmt.Fprintf(&out, " of %d keys", n)
		}
		out.WriteString("\n")
	}
	return out.String()
}
