package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// LeftOut is something of the source that the target does not get.
type LeftOut struct {
	Kind string `json:"kind"` // topic, directory, acl, scram, quota, token, config, feature
	Name string `json:"name"`
	Why  string `json:"why"`
}

const (
	noSecurity = "this version has no authentication and no authorization: everybody who reaches the port may do everything"
	noQuotas   = "this version has no quotas"
)

// leftOut lists what the metadata has and an Image has no place for.
func (c *cluster) leftOut() []LeftOut {
	var list []LeftOut
	for _, a := range c.access {
		list = append(list, LeftOut{"acl", accessName(a), noSecurity})
	}
	for s := range c.scram {
		list = append(list, LeftOut{"scram", fmt.Sprintf("user %s, %s", s.User, word(mechanisms, s.Mechanism)), noSecurity})
	}
	for _, t := range c.tokens {
		list = append(list, LeftOut{"token", fmt.Sprintf("delegation token %s of %s", t.ID, t.Owner), noSecurity})
	}
	for name := range c.quotas {
		list = append(list, LeftOut{"quota", name, noQuotas})
	}
	for name, level := range c.image.Features() {
		if !slices.ContainsFunc(controller.SupportedFeatures(), func(f schema.Feature) bool { return f.Name == name }) {
			list = append(list, LeftOut{"feature", fmt.Sprintf("%s=%d", name, level), "clients would rely on what this version does not have"})
		}
	}
	slices.SortFunc(list, func(a, b LeftOut) int { return strings.Compare(a.Kind+" "+a.Name, b.Kind+" "+b.Name) })
	return list
}

var (
	mechanisms    = []string{"", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	resourceTypes = []string{"", "any", "topic", "group", "cluster", "transactional id", "delegation token", "user"}
	operations    = []string{"", "any", "All", "Read", "Write", "Create", "Delete", "Alter", "Describe", "ClusterAction", "DescribeConfigs",
		"AlterConfigs", "IdempotentWrite", "CreateTokens", "DescribeTokens", "TwoPhaseCommit"}
)

func word(words []string, n int8) string {
	if n > 0 && int(n) < len(words) {
		return words[n]
	}
	return fmt.Sprintf("number %d", n)
}

// accessName tells an access control in words: "User:alice from * may Read topic orders".
func accessName(a *schema.AccessControl) string {
	const denies, prefixed = 2, 4
	may, resource := "may", a.Resource
	if a.Permission == denies {
		may = "may not"
	}
	if a.Pattern == prefixed {
		resource += "…"
	}
	return fmt.Sprintf("%s from %s %s %s %s %s", a.Principal, a.Host, may, word(operations, a.Operation), word(resourceTypes, a.ResourceType), resource)
}

// quotaName tells whom and what a quota is for: "user alice, client-id <default>: producer_byte_rate".
func quotaName(q *schema.ClientQuota) string {
	var parts []string
	for _, e := range q.Entity {
		name := "<default>"
		if e.Name != nil {
			name = *e.Name
		}
		parts = append(parts, e.Type+" "+name)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ") + ": " + q.Key
}

// configs splits what is set on r into what this version takes and what it does not.
func (c *cluster) configs(r metadata.Resource) (taken map[string]string, left []LeftOut) {
	taken = make(map[string]string)
	set := c.image.Config(r)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if why := refuseConfig(config.Scope(r.Type), name, set[name]); why != "" {
			left = append(left, LeftOut{"config", strings.TrimPrefix(resourceName(r)+" "+name+"="+set[name], " "), why})
			continue
		}
		taken[name] = set[name]
	}
	return taken, left
}

func refuseConfig(scope config.Scope, name, value string) string {
	k, ok := config.Lookup(scope, name)
	switch {
	case !ok:
		return "this version does not know the key"
	case name == "remote.storage.enable" && value == "true":
		return "this version has no tiered storage; records that are only there are left behind"
	}
	if err := k.Check(value); err != nil {
		return err.Error()
	}
	return ""
}

func resourceName(r metadata.Resource) string {
	switch {
	case r.Type == schema.BrokerResource && r.Name == "":
		return "all brokers"
	default:
		return fmt.Sprintf("%s %s", config.Scope(r.Type), r.Name)
	}
}

// unclaimed is why a partition's directory that the metadata does not know is left out.
func unclaimed(found commitlog.PartitionDir, t *metadata.Topic) string {
	switch {
	case found.Err != nil:
		return found.Err.Error()
	case t == nil:
		return "the metadata has no such topic"
	case found.TopicID != t.ID && found.TopicID != moldau.TopicID{}:
		return fmt.Sprintf("it is of topic id %v, and the topic of that name has id %v", found.TopicID, t.ID)
	}
	return "the topic has no such partition"
}
