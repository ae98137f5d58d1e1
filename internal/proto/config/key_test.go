package config

import (
	"bufio"
	"bytes"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var scopes = []Scope{ScopeBroker, ScopeTopic, ScopeGroup, ScopeClientMetrics}

func TestEveryKeyHasDocAndTakesItsDefault(t *testing.T) {
	for _, scope := range scopes {
		for name, k := range tables[scope].byName {
			if len(k.Doc) > 160 || !strings.HasSuffix(k.Doc, ".") || strings.ToUpper(k.Doc[:1]) != k.Doc[:1] {
				t.Errorf("%s: the documentation is not one sentence of at most 160 characters: %q", name, k.Doc)
			}
			if k.NoDefault {
				continue
			}
			if got, err := k.Canonical(k.Default); err != nil || got != k.Default {
				t.Errorf("%s: default %q becomes %q, %v", name, k.Default, got, err)
			}
		}
	}
}

func TestKeysAreSortedAndUnique(t *testing.T) {
	rows := len(logKeys) + len(networkKeys) + len(securityKeys) + len(clusterKeys) + len(groupCoordinatorKeys) + len(tierKeys)
	if keys := Keys(ScopeBroker); len(keys) != rows || len(tables[ScopeBroker].byName) != rows+len(hiddenKeys) {
		t.Errorf("%d rows became %d listed keys and %d names: a name stands twice", rows, len(keys), len(tables[ScopeBroker].byName))
	}
	for _, scope := range scopes {
		keys := Keys(scope)
		for i := 1; i < len(keys); i++ {
			if keys[i-1].Name >= keys[i].Name {
				t.Errorf("%s stands before %s", keys[i-1].Name, keys[i].Name)
			}
		}
	}
}

// ours are the broker keys that differ from Kafka's on purpose.
var ours = map[string]string{
	"log.dirs": "no data under /tmp", "log.dir": "no data under /tmp", "listeners": "not open to the network by default",
	"process.roles": "required by Kafka", "node.id": "required by Kafka", "controller.listener.names": "required by Kafka",
	"socket.receive.buffer.bytes": "the system's own tuning took an eighth off the CPU per GB produced; a fixed send buffer helps as in Kafka",
}

// TestTablesAgreeWithKafka compares the tables with what a running Apache Kafka 4.3.1 has (contract section 9).
func TestTablesAgreeWithKafka(t *testing.T) {
	file, err := os.Open("testdata/kafka-4.3.1.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	scopeOf := map[string]Scope{"broker": ScopeBroker, "topic": ScopeTopic, "group": ScopeGroup, "client": ScopeClientMetrics}
	seen := map[Scope]int{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		f := strings.Split(lines.Text(), "\t")
		scope, name := scopeOf[f[0]], f[1]
		seen[scope]++
		k, ok := Lookup(scope, name)
		if !ok {
			t.Errorf("%s key %s is missing", f[0], name)
			continue
		}
		if k.Type.String() != f[2] {
			t.Errorf("%s: type %s, Kafka has %s", name, k.Type, f[2])
		}
		if _, differs := ours[name]; !differs && (k.NoDefault != (f[3] == `\N`) || !k.NoDefault && k.Default != f[3]) {
			t.Errorf("%s: default %q (null %v), Kafka has %q", name, k.Default, k.NoDefault, f[3])
		}
		if mode := strings.Replace(f[5], "read-only", "static", 1); k.Update.String() != mode {
			t.Errorf("%s: update mode %s, Kafka has %s", name, k.Update, mode)
		}
		checkBounds(t, k, f[4])
	}
	for _, scope := range scopes {
		for _, k := range Keys(scope) {
			if !strings.HasPrefix(k.Name, "moldau.") {
				seen[scope]--
			}
		}
		if seen[scope] != 0 {
			t.Errorf("%s: Kafka has %d keys more than the tables", scope, seen[scope])
		}
	}
}

var bounds = regexp.MustCompile(`^\[(-?\d+),\.\.\.(?:,(-?\d+))?\]$`)

// checkBounds tries the numbers at and next to Kafka's bounds.
func checkBounds(t *testing.T, k *Key, valid string) {
	t.Helper()
	m := bounds.FindStringSubmatch(valid)
	if m == nil || k.Type == TypeDouble {
		return
	}
	least, _ := strconv.ParseInt(m[1], 10, 64)
	if k.Check(m[1]) != nil || k.Check(strconv.FormatInt(least-1, 10)) == nil {
		t.Errorf("%s: does not begin at %d", k.Name, least)
	}
	if m[2] == "" {
		return
	}
	most, _ := strconv.ParseInt(m[2], 10, 64)
	if k.Check(m[2]) != nil || k.Check(strconv.FormatInt(most+1, 10)) == nil {
		t.Errorf("%s: does not end at %d", k.Name, most)
	}
}

func TestCheckAndCanonical(t *testing.T) {
	for _, c := range []struct {
		scope             Scope
		key, value, canon string
		err               string // part of the message; empty: no error
	}{
		{ScopeTopic, "retention.ms", " 7 ", "7", ""},
		{ScopeTopic, "retention.ms", "-1", "-1", ""},
		{ScopeTopic, "retention.ms", "-2", "", `retention.ms="-2": must be at least -1`},
		{ScopeTopic, "retention.ms", "abc", "", "must be a whole number"},
		{ScopeTopic, "retention.ms", "", "", "must be a whole number"},
		{ScopeTopic, "segment.bytes", "99999999999", "", "must be a whole number from -2147483648 to 2147483647"},
		{ScopeTopic, "min.cleanable.dirty.ratio", "1", "1.0", ""},
		{ScopeTopic, "min.cleanable.dirty.ratio", "2", "", "must be 0 to 1"},
		{ScopeTopic, "min.cleanable.dirty.ratio", "NaN", "", "must be a number"},
		{ScopeTopic, "preallocate", "TRUE", "true", ""},
		{ScopeTopic, "preallocate", "maybe", "", "must be true or false"},
		{ScopeTopic, "cleanup.policy", "compact , delete, compact", "compact,delete", ""},
		{ScopeTopic, "cleanup.policy", "", "", ""},
		{ScopeTopic, "cleanup.policy", "none", "", `"none" is none of: compact, delete`},
		{ScopeTopic, "compression.gzip.level", "0", "", "must be -1 or 1 to 9"},
		{ScopeTopic, "message.timestamp.type", "createtime", "", "is none of: CreateTime, LogAppendTime"},
		{ScopeTopic, "follower.replication.throttled.replicas", "1:1, 0:1", "1:1,0:1", ""},
		{ScopeTopic, "follower.replication.throttled.replicas", "*", "*", ""},
		{ScopeTopic, "follower.replication.throttled.replicas", "1-2", "", "not of the form partition:broker"},
		{ScopeGroup, "share.auto.offset.reset", "by_duration:P1DT2H", "by_duration:P1DT2H", ""},
		{ScopeGroup, "share.auto.offset.reset", "by_duration:P1X", "", "ISO 8601"},
		{ScopeGroup, "share.auto.offset.reset", "by_duration:PT", "", "ISO 8601"},
		{ScopeClientMetrics, "interval.ms", "10", "", "must be 100 to 3600000"},
		{ScopeClientMetrics, "match", "client_id=a.*,client_source_port=1", "client_id=a.*,client_source_port=1", ""},
		{ScopeClientMetrics, "match", "foo=bar", "", `"foo" is none of`},
		{ScopeClientMetrics, "match", "client_id=(", "", "client_id"},
		{ScopeBroker, "listeners", "a://:1, B://[::1]:2", "a://:1,B://[::1]:2", ""},
		{ScopeBroker, "listeners", "PLAINTEXT:9092", "", "NAME://host:port"},
		{ScopeBroker, "listeners", "A://h:70000", "", "port"},
		{ScopeBroker, "log.retention.hours", "0", "", "-1 or at least 1"},
		{ScopeBroker, "log.cleaner.io.max.bytes.per.second", "12345678", "1.2345678E7", ""},
		{ScopeBroker, "max.connections.per.ip.overrides", "10.0.0.1:3,::1:4", "10.0.0.1:3,::1:4", ""},
		{ScopeBroker, "max.connections.per.ip.overrides", "10.0.0.1", "", "address:count"},
		{ScopeBroker, "max.connections.per.ip.overrides", "host:3", "", "no IP address"},
		{ScopeBroker, "group.consumer.migration.policy", "Upgrade", "Upgrade", ""},
	} {
		k, ok := Lookup(c.scope, c.key)
		if !ok {
			t.Fatalf("no key %s", c.key)
		}
		got, err := k.Canonical(c.value)
		switch {
		case c.err == "" && (err != nil || got != c.canon):
			t.Errorf("%s=%q: got %q, %v; want %q", c.key, c.value, got, err, c.canon)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.key)):
			t.Errorf("%s=%q: got error %v; want one with %q", c.key, c.value, err, c.err)
		}
	}
}

func TestCheckAlter(t *testing.T) {
	for _, c := range []struct {
		key       string
		perBroker bool
		err       string
	}{
		{"num.partitions", true, "while the broker runs"}, {"log.retention.ms", false, ""}, {"log.retention.ms", true, ""},
		{"listeners", true, ""}, {"listeners", false, "one broker"},
	} {
		k, _ := Lookup(ScopeBroker, c.key)
		if err := k.CheckAlter(c.perBroker); (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, one broker %v: %v; want %q", c.key, c.perBroker, err, c.err)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		scope      Scope
		name, want string
	}{
		{ScopeBroker, "log.retention.sm", "log.retention.ms"},
		{ScopeBroker, "log.retntion.ms", "log.retention.ms"},
		{ScopeBroker, "LOG.DIRS", "log.dirs"},
		{ScopeBroker, "listener", "listeners"},
		{ScopeBroker, "retention.ms", "log.retention.ms"},
		{ScopeBroker, "max.message.bytes", "message.max.bytes"},
		{ScopeTopic, "retention.m", "retention.ms"},
		{ScopeTopic, "cleanup.polcy", "cleanup.policy"},
		{ScopeBroker, "the.answer.is.fortytwo", ""},
		{ScopeBroker, "", ""},
	} {
		if got := Nearest(c.scope, c.name); got != c.want {
			t.Errorf("Nearest(%s, %q) = %q; want %q", c.scope, c.name, got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}, {"a", "bcdefghijkl", 9}} {
		if got := distance(c.a, c.b, 9); got != c.want {
			t.Errorf("distance(%q, %q) = %d; want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestWriteMarkdown(t *testing.T) {
	var first, second bytes.Buffer
	if WriteMarkdown(&first) != nil || WriteMarkdown(&second) != nil || first.String() != second.String() {
		t.Fatal("the output is not the same twice")
	}
	for _, scope := range scopes {
		for _, k := range Keys(scope) {
			if !strings.Contains(first.String(), "| `"+k.Name+"` | ") || !strings.Contains(first.String(), k.Doc) {
				t.Errorf("%s is not in the documentation", k.Name)
			}
		}
	}
}
