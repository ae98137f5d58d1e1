package config

import (
	"slices"
	"strings"
)

// A row is one line of the tables in keys_*.go.
type row struct {
	name   string
	typ    Type
	def    string // null where the default is null
	valid  rule
	update Update
	effect bool
	doc    string
}

// Short names for the tables.
const (
	null        = "\x00null"
	effect      = true
	inert       = false
	static      = UpdateStatic
	perBroker   = UpdatePerBroker
	clusterWide = UpdateClusterWide
)

// A table holds the keys of one scope.
type table struct {
	listed []*Key // sorted by name, without the hidden ones
	byName map[string]*Key
}

// tables are all keys. They are built once and never change.
var tables = map[Scope]table{
	ScopeBroker: newTable(ScopeBroker,
		slices.Concat(logKeys, networkKeys, securityKeys, clusterKeys, groupCoordinatorKeys, tierKeys), hiddenKeys),
	ScopeTopic:         newTable(ScopeTopic, topicKeys, nil),
	ScopeGroup:         newTable(ScopeGroup, groupKeys, nil),
	ScopeClientMetrics: newTable(ScopeClientMetrics, clientMetricsKeys, nil),
}

func newTable(scope Scope, listed, hidden []row) table {
	t := table{byName: make(map[string]*Key, len(listed)+len(hidden))}
	for _, r := range listed {
		t.listed = append(t.listed, t.add(scope, r))
	}
	for _, r := range hidden {
		t.add(scope, r)
	}
	slices.SortFunc(t.listed, func(a, b *Key) int { return strings.Compare(a.Name, b.Name) })
	return t
}

func (t table) add(scope Scope, r row) *Key {
	k := &Key{Name: r.name, Type: r.typ, Default: r.def, Scope: scope, Update: r.update, Effect: r.effect, Doc: r.doc,
		Synonyms: synonyms(scope, r.name), rule: r.valid}
	if r.def == null {
		k.Default, k.NoDefault = "", true
	}
	t.byName[r.name] = k
	return k
}

const (
	perMinute = 60_000
	perHour   = 60 * perMinute
)

// families are broker keys that mean the same in different units, the first to be obeyed in front.
var families = [][]Synonym{
	{{"log.retention.ms", 1}, {"log.retention.minutes", perMinute}, {"log.retention.hours", perHour}},
	{{"log.roll.ms", 1}, {"log.roll.hours", perHour}},
	{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", perHour}},
	{{"log.flush.interval.ms", 1}, {"log.flush.scheduler.interval.ms", 1}},
}

// topicSynonyms name the broker key behind each topic key that has one; its family stands behind it too.
var topicSynonyms = map[string]string{
	"cleanup.policy":                  "log.cleanup.policy",
	"compression.gzip.level":          "compression.gzip.level",
	"compression.lz4.level":           "compression.lz4.level",
	"compression.type":                "compression.type",
	"compression.zstd.level":          "compression.zstd.level",
	"delete.retention.ms":             "log.cleaner.delete.retention.ms",
	"file.delete.delay.ms":            "log.segment.delete.delay.ms",
	"flush.messages":                  "log.flush.interval.messages",
	"flush.ms":                        "log.flush.interval.ms",
	"index.interval.bytes":            "log.index.interval.bytes",
	"local.retention.bytes":           "log.local.retention.bytes",
	"local.retention.ms":              "log.local.retention.ms",
	"max.compaction.lag.ms":           "log.cleaner.max.compaction.lag.ms",
	"max.message.bytes":               "message.max.bytes",
	"message.timestamp.after.max.ms":  "log.message.timestamp.after.max.ms",
	"message.timestamp.before.max.ms": "log.message.timestamp.before.max.ms",
	"message.timestamp.type":          "log.message.timestamp.type",
	"min.cleanable.dirty.ratio":       "log.cleaner.min.cleanable.ratio",
	"min.compaction.lag.ms":           "log.cleaner.min.compaction.lag.ms",
	"min.insync.replicas":             "min.insync.replicas",
	"preallocate":                     "log.preallocate",
	"retention.bytes":                 "log.retention.bytes",
	"retention.ms":                    "log.retention.ms",
	"segment.bytes":                   "log.segment.bytes",
	"segment.index.bytes":             "log.index.size.max.bytes",
	"segment.jitter.ms":               "log.roll.jitter.ms",
	"segment.ms":                      "log.roll.ms",
	"unclean.leader.election.enable":  "unclean.leader.election.enable",
}

// groupKeysAlone are the group keys without a broker key behind them.
var groupKeysAlone = []string{"share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable"}

// synonyms returns the broker keys that decide for a key, in order of precedence. A broker key's own family includes it.
func synonyms(scope Scope, name string) []Synonym {
	switch scope {
	case ScopeTopic:
		broker, ok := topicSynonyms[name]
		if !ok {
			return nil
		}
		name = broker
	case ScopeGroup:
		if slices.Contains(groupKeysAlone, name) {
			return nil
		}
		name = "group." + name
	case ScopeClientMetrics:
		return nil
	}
	for _, family := range families {
		if slices.ContainsFunc(family, func(s Synonym) bool { return s.Name == name }) {
			return family
		}
	}
	return []Synonym{{name, 1}}
}
