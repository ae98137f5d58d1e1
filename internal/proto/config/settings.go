package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Origin is the kind of place that a setting comes from. A later one has precedence over an earlier one.
type Origin int8

// The origins.
const (
	FromDefault Origin = iota
	FromFile
	FromEnvironment
	FromFlag
)

// A Setting is one key that somebody set.
type Setting struct {
	Key      string
	Value    string
	From     Origin
	File     string // of FromFile
	Line     int    // of FromFile, counted from 1
	Variable string // of FromEnvironment
}

// Where says in words where the setting stands.
func (s Setting) Where() string {
	switch s.From {
	case FromFile:
		return fmt.Sprintf("%s:%d", s.File, s.Line)
	case FromEnvironment:
		return "environment " + s.Variable
	case FromFlag:
		return "flag --set"
	}
	return "default"
}

// Settings are the broker keys that file, environment and flags set, checked one by one.
type Settings struct {
	byKey    map[string]Setting
	warnings []string
}

// Explicit returns the setting that decides for a key, and whether anybody set it.
func (s *Settings) Explicit(key string) (Setting, bool) {
	set, ok := s.byKey[key]
	return set, ok
}

// All returns the settings that decide, sorted by key.
func (s *Settings) All() []Setting {
	all := make([]Setting, 0, len(s.byKey))
	for _, key := range slices.Sorted(maps.Keys(s.byKey)) {
		all = append(all, s.byKey[key])
	}
	return all
}

// Static returns the values by key, for Layers.Static and ResolveBroker. The map is the caller's. As in Kafka, a node.id
// also shows as broker.id.
func (s *Settings) Static() map[string]string {
	values := make(map[string]string, len(s.byKey)+1)
	for key, set := range s.byKey {
		values[key] = set.Value
	}
	mirror(values, "node.id", "broker.id")
	mirror(values, "broker.id", "node.id")
	return values
}

func mirror(values map[string]string, from, to string) {
	v, ok := values[from]
	if _, has := values[to]; ok && !has {
		values[to] = v
	}
}

// Warnings returns what a person should know about settings that have no effect, one line each.
func (s *Settings) Warnings() []string { return slices.Clone(s.warnings) }

// removed are keys that Kafka 4 no longer has; files still bear them. A trailing dot stands for all keys that begin so.
var removed = []string{"message.format.version", "message.downconversion.enable", "log.message.format.version",
	"log.message.downconversion.enable", "log.message.timestamp.difference.max.ms", "offsets.commit.required.acks",
	"delegation.token.master.key", "zookeeper.", "inter.broker.protocol.version", "leader.imbalance.per.broker.percentage",
	"control.plane.listener.name", "broker.id.generation.enable", "reserved.broker.max.id"}

// pluginPrefixes begin the keys of plug-ins and of single listeners, which nobody can list.
var pluginPrefixes = []string{"listener.name.", "log4j", "metrics.", "kafka.metrics.", "config.providers.", "rsm.config.",
	"rlmm.config.", "client.quota.callback.", "confluent.", "cruise.control."}

func isRemoved(key string) bool {
	return slices.ContainsFunc(removed, func(r string) bool {
		return key == r || strings.HasSuffix(r, ".") && strings.HasPrefix(key, r)
	})
}

func isPlugin(key string) bool {
	return slices.ContainsFunc(pluginPrefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// Merge combines the settings of files with the environment (NAME=value, as from os.Environ) and with flags (key=value, the
// arguments of --set). A flag comes before the environment, that before a file; within one, the last one counts. Every key
// and value is checked and all errors are returned together, with their places. What has no effect is a warning.
func Merge(file []Setting, environ, flags []string) (*Settings, error) {
	m := merger{settings: &Settings{byKey: make(map[string]Setting)}}
	for _, s := range file {
		m.add(s)
	}
	for _, pair := range environ {
		m.addVariable(pair)
	}
	for _, flag := range flags {
		key, value, ok := strings.Cut(flag, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			m.fail(fmt.Errorf("flag --set: %q is not of the form key=value", clip(flag)))
			continue
		}
		m.add(Setting{Key: key, Value: value, From: FromFlag})
	}
	for _, s := range m.settings.All() {
		if k, ok := Lookup(ScopeBroker, s.Key); ok && !k.Effect {
			m.warn("%s: %s has no effect here", s.Where(), s.Key)
		}
	}
	if err := errors.Join(m.errs...); err != nil {
		return nil, err
	}
	return m.settings, nil
}

// A merger gathers what Merge finds.
type merger struct {
	settings *Settings
	errs     []error
}

func (m *merger) fail(err error) { m.errs = append(m.errs, err) }

func (m *merger) warn(format string, args ...any) {
	m.settings.warnings = append(m.settings.warnings, fmt.Sprintf(format, args...))
}

// add checks s and lets it decide for its key.
func (m *merger) add(s Setting) {
	k, ok := Lookup(ScopeBroker, s.Key)
	if !ok {
		m.addUnknown(s)
		return
	}
	if err := k.Check(s.Value); err != nil {
		m.fail(fmt.Errorf("%s: %w", s.Where(), err))
		return
	}
	if before, ok := m.settings.byKey[s.Key]; ok && before.From == s.From && before.Value != s.Value {
		m.warn("%s: %s was set before (%s); this one counts", s.Where(), s.Key, before.Where())
	}
	m.settings.byKey[s.Key] = s
}

// addUnknown tolerates in files what no longer exists or belongs to a plug-in, and refuses the rest.
func (m *merger) addUnknown(s Setting) {
	switch {
	case s.From == FromFile && isRemoved(s.Key):
		m.warn("%s: %s no longer exists in Kafka 4 and is ignored", s.Where(), s.Key)
	case isRemoved(s.Key):
		m.fail(fmt.Errorf("%s: %s no longer exists in Kafka 4", s.Where(), s.Key))
	case s.From == FromFile && isPlugin(s.Key):
		m.warn("%s: %s belongs to a plug-in or a single listener and is ignored", s.Where(), s.Key)
	default:
		m.fail(fmt.Errorf("%s: unknown key %q%s", s.Where(), clip(s.Key), suggestion(s.Key)))
	}
}

func suggestion(key string) string {
	if near := Nearest(ScopeBroker, key); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	return "; `moldau config docs` lists all keys"
}

// variablePrefix begins the environment variables that set broker keys.
const variablePrefix = "MOLDAU_"

// addVariable takes MOLDAU_LOG_RETENTION_MS=1000 for log.retention.ms=1000. Variables of the command line itself, and those
// without the prefix, are none of ours. A key of our own may do without its second "moldau".
func (m *merger) addVariable(pair string) {
	variable, value, ok := strings.Cut(pair, "=")
	rest, ours := strings.CutPrefix(variable, variablePrefix)
	if !ok || !ours || rest == "BOOTSTRAP" || rest == "CONTEXT" || strings.HasPrefix(rest, "CONFIG") {
		return
	}
	key := strings.ToLower(strings.ReplaceAll(rest, "_", "."))
	if _, known := Lookup(ScopeBroker, "moldau."+key); known {
		key = "moldau." + key
	}
	m.add(Setting{Key: key, Value: value, From: FromEnvironment, Variable: variable})
}
