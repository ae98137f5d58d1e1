package config

import (
	"math"
	"strconv"
)

// Source says which layer a value comes from. The values are those of DescribeConfigs (C-31).
type Source int8

// The sources.
const (
	SourceUnknown              Source = 0
	SourceTopic                Source = 1
	SourceDynamicBroker        Source = 2
	SourceDynamicDefaultBroker Source = 3
	SourceStaticBroker         Source = 4
	SourceDefault              Source = 5
	SourceBrokerLogger         Source = 6
	SourceClientMetrics        Source = 7
	SourceGroup                Source = 8
)

var sourceNames = [...]string{"unknown", "topic", "dynamic broker", "dynamic default broker", "static broker", "default",
	"broker logger", "client metrics", "group"}

func (s Source) String() string {
	if s < 0 || int(s) >= len(sourceNames) {
		return "source " + strconv.Itoa(int(s))
	}
	return sourceNames[s]
}

// Layers are the values that somebody set, by key, the highest precedence first. A nil map is an empty layer.
type Layers struct {
	Resource map[string]string // overrides of one topic, group or subscription; not looked at for broker keys
	Broker   map[string]string // dynamic, for this broker
	Default  map[string]string // dynamic, for all brokers
	Static   map[string]string // file, environment and flags: Settings.Static
}

// An Entry is the effective value of a key.
type Entry struct {
	Value    string
	Null     bool // there is no value, or it must not be shown
	Source   Source
	Synonyms []Contribution
}

// A Contribution is one value that was considered for an entry.
type Contribution struct {
	Name   string
	Value  string
	Null   bool // the value must not be shown
	Source Source
}

// Effective returns the value of k with all that was considered for it, as DescribeConfigs shows it: the highest precedence
// first, with sensitive values hidden.
//
// Kafka lists broker synonyms from the first one of the main name on, so retention.ms shows neither the source nor the
// synonyms of a log.retention.hours in the file. Here a value that somebody set always shows; only defaults under another
// name are left out where they stand alone. C-31, C-32, C-38.
func (l Layers) Effective(k *Key) Entry {
	var e Entry
	e.Value, e.Null, e.Source = l.value(k)
	if v, ok := l.Resource[k.Name]; ok && k.Scope != ScopeBroker {
		e.Synonyms = append(e.Synonyms, Contribution{Name: k.Name, Value: shown(k, v), Source: e.Source})
	}
	e.Synonyms = append(e.Synonyms, l.contributions(k)...)
	if k.Sensitive() {
		e.Value, e.Null = "", true
		for i := range e.Synonyms {
			e.Synonyms[i].Value, e.Synonyms[i].Null = "", true
		}
	}
	return e
}

// A layer is one of the broker's maps with its source.
type layer struct {
	values map[string]string
	source Source
}

func (l Layers) brokerLayers() [3]layer {
	return [3]layer{{l.Broker, SourceDynamicBroker}, {l.Default, SourceDynamicDefaultBroker}, {l.Static, SourceStaticBroker}}
}

// value finds the value of k, sensitive or not. A layer counts before the order of synonyms: a dynamic synonym of lower rank
// displaces a static one of higher rank. A broker key is only what its own name says; its family decides for topics.
func (l Layers) value(k *Key) (value string, isNull bool, source Source) {
	if k.Scope == ScopeBroker {
		for _, layer := range l.brokerLayers() {
			if v, ok := layer.values[k.Name]; ok {
				return shown(k, v), false, layer.source
			}
		}
		return k.Default, k.NoDefault, SourceDefault
	}
	if v, ok := l.Resource[k.Name]; ok {
		return shown(k, v), false, k.resourceSource()
	}
	for _, layer := range l.brokerLayers() {
		for _, s := range k.Synonyms {
			if v, ok := layer.values[s.Name]; ok {
				return s.convert(brokerShown(s.Name, v)), false, layer.source
			}
		}
	}
	return k.Default, k.NoDefault, SourceDefault
}

// contributions lists what the broker's layers and defaults say about k.
func (l Layers) contributions(k *Key) []Contribution {
	var set, defaults []Contribution
	for _, layer := range l.brokerLayers() {
		for _, s := range k.Synonyms {
			if v, ok := layer.values[s.Name]; ok {
				set = append(set, Contribution{Name: s.Name, Value: brokerShown(s.Name, v), Source: layer.source})
			}
		}
	}
	for _, s := range k.Synonyms {
		if b, ok := Lookup(ScopeBroker, s.Name); ok && !b.NoDefault {
			defaults = append(defaults, Contribution{Name: s.Name, Value: b.Default, Source: SourceDefault})
		}
	}
	all := append(set, defaults...)
	switch {
	case k.Scope == ScopeGroup && len(k.Synonyms) == 0:
		return []Contribution{{Name: k.Name, Value: k.Default, Null: k.NoDefault, Source: SourceDefault}}
	case k.Scope == ScopeBroker:
		for i, c := range all {
			if c.Name == k.Name {
				return all[i:]
			}
		}
		if k.Type == TypeUnknown {
			return l.unknown(k.Name)
		}
		return nil
	case len(set) == 0 && len(defaults) > 0 && defaults[0].Name != k.Synonyms[0].Name:
		return nil
	}
	return all
}

// unknown lists the layers that hold a name which is no key (C-33).
func (l Layers) unknown(name string) []Contribution {
	var all []Contribution
	for _, layer := range l.brokerLayers() {
		if v, ok := layer.values[name]; ok {
			all = append(all, Contribution{Name: name, Value: v, Source: layer.source})
		}
	}
	return all
}

// resourceSource is the source of an override on the resource itself.
func (k *Key) resourceSource() Source {
	switch k.Scope {
	case ScopeTopic:
		return SourceTopic
	case ScopeGroup:
		return SourceGroup
	case ScopeClientMetrics:
		return SourceClientMetrics
	}
	return SourceUnknown
}

// shown is the canonical form of v, or v itself where a layer holds what k does not take.
func shown(k *Key, v string) string {
	if canonical, err := k.Canonical(v); err == nil {
		return canonical
	}
	return v
}

func brokerShown(name, v string) string {
	if k, ok := Lookup(ScopeBroker, name); ok {
		return shown(k, v)
	}
	return v
}

// convert turns a value of the synonym into one of the key: 24 hours into 86400000 milliseconds. Negative values mean
// "no limit" and become -1; what would not fit becomes the largest number.
func (s Synonym) convert(v string) string {
	if s.Scale == 1 {
		return v
	}
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case err != nil:
		return v
	case n < 0:
		return "-1"
	case n > math.MaxInt64/s.Scale:
		return strconv.FormatInt(math.MaxInt64, 10)
	}
	return strconv.FormatInt(n*s.Scale, 10)
}
