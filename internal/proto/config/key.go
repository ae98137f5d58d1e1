// Package config knows every configuration key once: Kafka's name and type, the default, the range, where and when it may
// be set, which other keys stand in for it, one line of documentation, and whether it has an effect here.
//
// Files, environment and flags become Settings (Merge); Settings and the dynamic values of the cluster become Layers; Layers
// answer DescribeConfigs (Effective) and resolve into the typed Broker and Topic that the rest of the program reads.
package config

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is the kind of resource that a key belongs to. The values are those of the wire (C-30).
type Scope int8

// The scopes.
const (
	ScopeTopic         Scope = 2
	ScopeBroker        Scope = 4
	ScopeClientMetrics Scope = 16
	ScopeGroup         Scope = 32
)

func (s Scope) String() string {
	switch s {
	case ScopeTopic:
		return "topic"
	case ScopeBroker:
		return "broker"
	case ScopeClientMetrics:
		return "client metrics"
	case ScopeGroup:
		return "group"
	}
	return fmt.Sprintf("resource type %d", int8(s))
}

// Type is the type of a key's value. The values are those of DescribeConfigs.
type Type int8

// The types. TypeUnknown is that of a key which a broker stores without knowing it (C-33).
const (
	TypeUnknown Type = iota
	TypeBoolean
	TypeString
	TypeInt
	TypeShort
	TypeLong
	TypeDouble
	TypeList
	TypeClass
	TypePassword
)

var typeNames = [...]string{"UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}

func (t Type) String() string {
	if t < 0 || int(t) >= len(typeNames) {
		return fmt.Sprintf("type %d", int8(t))
	}
	return typeNames[t]
}

// Update says when a key may change.
type Update int8

// The update modes. UpdateStatic: only at start. UpdatePerBroker: for one broker while it runs. UpdateClusterWide: for one
// broker or for all, while they run; topics, groups and subscriptions only have this one.
const (
	UpdateStatic Update = iota
	UpdatePerBroker
	UpdateClusterWide
)

func (u Update) String() string {
	switch u {
	case UpdatePerBroker:
		return "per-broker"
	case UpdateClusterWide:
		return "cluster-wide"
	}
	return "static"
}

// Synonym names a broker key that stands in for a key where that is not set.
type Synonym struct {
	Name  string
	Scale int64 // the key's value is this many times that of the synonym: 3600000 for hours in place of milliseconds
}

// A Key is one configuration key. Keys are made once and never change.
type Key struct {
	Name      string
	Type      Type
	Default   string // as DescribeConfigs shows it
	NoDefault bool   // the default is null
	Scope     Scope
	Update    Update
	Effect    bool // false: understood, accepted, and without consequence here
	Doc       string
	// Synonyms are the broker keys that decide where the key itself is not set, in order of precedence (C-32). For a broker
	// key they are the whole family and include itself; other scopes have none or broker keys only.
	Synonyms []Synonym

	rule rule
}

// Sensitive reports whether the value must not be shown: it is a password or nobody knows what it is (C-38).
func (k *Key) Sensitive() bool { return k.Type == TypePassword || k.Type == TypeUnknown }

// ReadOnly reports whether the value cannot be changed while the broker runs.
func (k *Key) ReadOnly() bool { return k.Update == UpdateStatic }

// Valid describes the values that the key takes beyond its type, or is empty.
func (k *Key) Valid() string { return k.rule.text }

// Check says what is wrong with value, or nil. The error names the key and, where it is no secret, the value.
func (k *Key) Check(value string) error {
	_, err := k.Canonical(value)
	return err
}

// Canonical returns value as DescribeConfigs shows it: without space around it, "1.0" for a double written as 1, list
// elements once each and joined by bare commas. The error is that of Check.
func (k *Key) Canonical(value string) (string, error) {
	canonical, err := k.Type.canonical(value)
	if err == nil && k.rule.check != nil {
		err = k.rule.check(k.Type, canonical)
	}
	switch {
	case err != nil && k.Sensitive():
		return "", fmt.Errorf("%s: %w", k.Name, err)
	case err != nil:
		return "", fmt.Errorf("%s=%q: %w", k.Name, clip(value), err)
	}
	return canonical, nil
}

// CheckAlter says why the broker key cannot be altered at run time, or nil. perBroker: the change is for one broker, not
// for the default of all. C-33, C-34.
func (k *Key) CheckAlter(perBroker bool) error {
	switch {
	case k.Update == UpdateStatic:
		return fmt.Errorf("%s cannot be changed while the broker runs: set it in the configuration and start the broker again", k.Name)
	case k.Update == UpdatePerBroker && !perBroker:
		return fmt.Errorf("%s can only be changed for one broker, not for all: name the broker", k.Name)
	}
	return nil
}

// Lookup finds a key by its exact name, hidden ones included.
func Lookup(scope Scope, name string) (*Key, bool) {
	k, ok := tables[scope].byName[name]
	return k, ok
}

// Keys returns the keys of scope that DescribeConfigs lists, sorted by name. The slice is the caller's.
func Keys(scope Scope) []*Key {
	return slices.Clone(tables[scope].listed)
}

// Unknown returns a key for a name that scope does not know but a broker stores (C-33): sensitive and read-only.
func Unknown(scope Scope, name string) *Key {
	return &Key{Name: name, Type: TypeUnknown, NoDefault: true, Scope: scope}
}

// Nearest returns the known key of scope that is most like name, or "" when none is. A topic's key among those of a broker
// leads to the broker key that holds its default.
func Nearest(scope Scope, name string) string {
	if scope == ScopeBroker {
		if k, ok := Lookup(ScopeTopic, name); ok && len(k.Synonyms) > 0 {
			return k.Synonyms[0].Name
		}
	}
	name = strings.ToLower(name)
	best, bestDistance := "", max(2, len(name)/4)+1
	for _, k := range tables[scope].listed {
		if d := distance(name, k.Name, bestDistance); d < bestDistance {
			best, bestDistance = k.Name, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b, or limit when
// it is not less.
func distance(a, b string, limit int) int {
	if diff := len(a) - len(b); diff >= limit || -diff >= limit {
		return limit
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}

// clip shortens a value for a message: values come from clients and may be long.
func clip(value string) string {
	const most = 200
	if len(value) <= most {
		return value
	}
	return strings.ToValidUTF8(value[:most], "") + "…"
}
