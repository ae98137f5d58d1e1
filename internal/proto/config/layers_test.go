package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestEffective has what a running Apache Kafka 4.3.1 shows for the same values, but for the rows that say otherwise.
func TestEffective(t *testing.T) {
	type m = map[string]string
	const day = "86400000"
	for _, c := range []struct {
		name   string
		scope  Scope
		key    string
		layers Layers
		want   string // source:value; synonyms as source:name=value
	}{
		{"topic default", ScopeTopic, "cleanup.policy", Layers{}, "5:delete; 5:log.cleanup.policy=delete"},
		{"default under another name", ScopeTopic, "retention.ms", Layers{}, "5:604800000;"},
		{"flush.ms default", ScopeTopic, "flush.ms", Layers{}, "5:9223372036854775807;"},
		{"no synonym", ScopeTopic, "remote.storage.enable", Layers{}, "5:false;"},
		{"override alone", ScopeTopic, "segment.ms", Layers{Resource: m{"segment.ms": " 7 "}}, "1:7; 1:segment.ms=7"},
		{"override", ScopeTopic, "cleanup.policy", Layers{Resource: m{"cleanup.policy": "compact"}},
			"1:compact; 1:cleanup.policy=compact 5:log.cleanup.policy=delete"},
		{"every layer", ScopeTopic, "retention.ms", Layers{m{"retention.ms": "3000000"}, m{"log.retention.ms": "5000000"}, m{"log.retention.ms": "4000000"},
			m{"log.retention.hours": "24", "log.retention.minutes": "100"}},
			"1:3000000; 1:retention.ms=3000000 2:log.retention.ms=5000000 3:log.retention.ms=4000000 4:log.retention.minutes=100 4:log.retention.hours=24 5:log.retention.hours=168"},
		{"dynamic default", ScopeTopic, "segment.bytes", Layers{Default: m{"log.segment.bytes": "2222222"}},
			"3:2222222; 3:log.segment.bytes=2222222 5:log.segment.bytes=1073741824"},
		{"hours in the file (Kafka shows 5 and nothing)", ScopeTopic, "retention.ms", Layers{Static: m{"log.retention.hours": "24"}},
			"4:" + day + "; 4:log.retention.hours=24 5:log.retention.hours=168"},
		{"minutes before hours", ScopeTopic, "retention.ms", Layers{Static: m{"log.retention.hours": "24", "log.retention.minutes": "2"}},
			"4:120000; 4:log.retention.minutes=2 4:log.retention.hours=24 5:log.retention.hours=168"},
		{"no limit in hours", ScopeTopic, "retention.ms", Layers{Static: m{"log.retention.hours": "-1"}},
			"4:-1; 4:log.retention.hours=-1 5:log.retention.hours=168"},
		{"roll hours", ScopeTopic, "segment.ms", Layers{Static: m{"log.roll.hours": "3"}}, "4:10800000; 4:log.roll.hours=3 5:log.roll.hours=168"},
		{"broker default", ScopeBroker, "num.io.threads", Layers{}, "5:8; 5:num.io.threads=8"},
		{"broker null", ScopeBroker, "log.retention.ms", Layers{}, "5:null;"},
		{"broker null beside hours", ScopeBroker, "log.retention.ms", Layers{Static: m{"log.retention.hours": "24"}}, "5:null;"},
		{"broker family", ScopeBroker, "log.retention.ms", Layers{Broker: m{"log.retention.ms": "1"}, Static: m{"log.retention.minutes": "100"}},
			"2:1; 2:log.retention.ms=1 4:log.retention.minutes=100 5:log.retention.hours=168"},
		{"broker hours", ScopeBroker, "log.retention.hours", Layers{Static: m{"log.retention.hours": "24", "log.retention.minutes": "100"}},
			"4:24; 4:log.retention.hours=24 5:log.retention.hours=168"},
		{"broker layers", ScopeBroker, "num.io.threads", Layers{Broker: m{"num.io.threads": "9"}, Default: m{"num.io.threads": "7"}},
			"2:9; 2:num.io.threads=9 3:num.io.threads=7 5:num.io.threads=8"},
		{"password", ScopeBroker, "ssl.key.password", Layers{Static: m{"ssl.key.password": "abc"}}, "4:null; 4:ssl.key.password=null"},
		{"group default", ScopeGroup, "consumer.session.timeout.ms", Layers{}, "5:45000; 5:group.consumer.session.timeout.ms=45000"},
		{"group override", ScopeGroup, "consumer.session.timeout.ms", Layers{Resource: m{"consumer.session.timeout.ms": "50000"}},
			"8:50000; 8:consumer.session.timeout.ms=50000 5:group.consumer.session.timeout.ms=45000"},
		{"group override without broker key", ScopeGroup, "share.auto.offset.reset", Layers{Resource: m{"share.auto.offset.reset": "earliest"}},
			"8:earliest; 8:share.auto.offset.reset=earliest 5:share.auto.offset.reset=latest"},
		{"client metrics default", ScopeClientMetrics, "interval.ms", Layers{}, "5:300000;"},
		{"client metrics", ScopeClientMetrics, "interval.ms", Layers{Resource: m{"interval.ms": "1000"}}, "7:1000; 7:interval.ms=1000"},
	} {
		k, ok := Lookup(c.scope, c.key)
		if !ok {
			t.Fatalf("no key %s", c.key)
		}
		if got := text(c.layers.Effective(k)); got != c.want {
			t.Errorf("%s: %s is\n %s; want\n %s", c.name, c.key, got, c.want)
		}
	}
	unknown := Layers{Broker: m{"custom.x": "3"}}.Effective(Unknown(ScopeBroker, "custom.x"))
	if got := text(unknown); got != "2:null; 2:custom.x=null" {
		t.Errorf("an unknown key is %s", got)
	}
}

func text(e Entry) string {
	value := func(v string, isNull bool) string {
		if isNull {
			return "null"
		}
		return v
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%s;", e.Source, value(e.Value, e.Null))
	for _, s := range e.Synonyms {
		fmt.Fprintf(&b, " %d:%s=%s", s.Source, s.Name, value(s.Value, s.Null))
	}
	return b.String()
}

func TestSynonymsAreKeys(t *testing.T) {
	for _, scope := range scopes {
		for _, k := range Keys(scope) {
			for _, s := range k.Synonyms {
				if _, ok := Lookup(ScopeBroker, s.Name); !ok {
					t.Errorf("%s: the synonym %s is no broker key", k.Name, s.Name)
				}
			}
			// The default of a topic key is the one that its broker keys lead to.
			for _, s := range k.Synonyms {
				if b, _ := Lookup(ScopeBroker, s.Name); scope != ScopeBroker && !b.NoDefault && s.convert(b.Default) != k.Default {
					t.Errorf("%s has the default %s, its synonym %s has %s", k.Name, k.Default, s.Name, s.convert(b.Default))
				}
			}
		}
	}
	if got := (Synonym{"log.retention.hours", perHour}).convert("9223372036854775807"); got != "9223372036854775807" {
		t.Errorf("hours overflow to %s", got)
	}
}
