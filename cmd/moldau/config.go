package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/internal/proto/config"
)

// resourceTypes are the things that bear configurations, by the word for them on the command line.
var resourceTypes = map[string]kmsg.ConfigResourceType{
	"topic":          kmsg.ConfigResourceTypeTopic,
	"broker":         kmsg.ConfigResourceTypeBroker,
	"broker-logger":  kmsg.ConfigResourceTypeBrokerLogger,
	"client-metrics": kmsg.ConfigResourceTypeClientMetrics,
	"group":          kmsg.ConfigResourceTypeGroupConfig,
}

const resourceTopic = kmsg.ConfigResourceTypeTopic

// sourceNames say where a value comes from.
var sourceNames = map[kmsg.ConfigSource]string{
	kmsg.ConfigSourceDynamicTopicConfig:         "topic",
	kmsg.ConfigSourceDynamicBrokerConfig:        "broker",
	kmsg.ConfigSourceDynamicDefaultBrokerConfig: "cluster",
	kmsg.ConfigSourceStaticBrokerConfig:         "file",
	kmsg.ConfigSourceDefaultConfig:              "default",
	kmsg.ConfigSourceDynamicBrokerLoggerConfig:  "logger",
	kmsg.ConfigSourceClientMetricsConfig:        "client-metrics",
	kmsg.ConfigSourceGroupConfig:                "group",
}

// describedConfig is one configuration of a topic, a broker or the like.
type describedConfig struct {
	Key       string  `json:"key"`
	Value     *string `json:"value"`
	Source    string  `json:"source"`
	ReadOnly  bool    `json:"readOnly"`
	Sensitive bool    `json:"sensitive"`
}

// configOp is what is done to a key; the numbers are those of IncrementalAlterConfigs (KIP-339).
type configOp = kmsg.IncrementalAlterConfigOp

const (
	opSet      = kmsg.IncrementalAlterConfigOpSet
	opDelete   = kmsg.IncrementalAlterConfigOpDelete
	opAppend   = kmsg.IncrementalAlterConfigOpAppend
	opSubtract = kmsg.IncrementalAlterConfigOpSubtract
)

type configChange struct {
	key, value string
	op         configOp
}

// parseConfigChange reads key=value, key+=value (add to a list) and key-=value (take out of a list).
func parseConfigChange(s string) (configChange, error) {
	key, value, ok := strings.Cut(s, "=")
	change := configChange{key: key, value: value, op: opSet}
	if k, found := strings.CutSuffix(key, "+"); found {
		change.key, change.op = k, opAppend
	} else if k, found := strings.CutSuffix(key, "-"); found {
		change.key, change.op = k, opSubtract
	}
	if !ok || change.key == "" {
		return configChange{}, usagef("%q is not of the form key=value, key+=value or key-=value", s)
	}
	return change, nil
}

func parseConfigChanges(sets, deletes []string) ([]configChange, error) {
	var changes []configChange
	for _, s := range sets {
		change, err := parseConfigChange(s)
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	for _, key := range deletes {
		changes = append(changes, configChange{key: key, op: opDelete})
	}
	return changes, nil
}

func newConfig(c *cli) *cobra.Command {
	return newGroup("config", "Show, set and explain configurations", `  moldau config describe broker 1
  moldau config set topic orders retention.ms=3600000
  moldau config docs retention.ms`,
		newConfigDescribe(c), newConfigSet(c), newConfigDocs(c))
}

// parseResource reads the words TYPE [NAME].
func parseResource(args []string) (kmsg.ConfigResourceType, string, error) {
	kind, ok := resourceTypes[args[0]]
	if !ok {
		return 0, "", usagef("%q bears no configurations; it is one of %s", args[0], strings.Join(resourceWords(), ", "))
	}
	if len(args) > 1 {
		return kind, args[1], nil
	}
	if kind != kmsg.ConfigResourceTypeBroker {
		return 0, "", usagef("the name of the %s is missing", args[0])
	}
	return kind, "", nil
}

func resourceWords() []string {
	words := make([]string, 0, len(resourceTypes))
	for word := range resourceTypes {
		words = append(words, word)
	}
	slices.Sort(words)
	return words
}

func newConfigDescribe(c *cli) *cobra.Command {
	var (
		all  bool
		keys []string
	)
	cmd := &cobra.Command{
		Use:   "describe TYPE [NAME]",
		Short: "Show what is configured for a topic, a broker, …",
		Long: `Show what is configured, and where each value comes from: the topic or broker itself, the cluster
(dynamic defaults of all brokers), the broker's file, or the default.

TYPE is topic, broker, broker-logger, client-metrics or group. A broker without a NAME (its id)
stands for the dynamic defaults of all brokers.`,
		Example: `  moldau config describe topic orders
  moldau config describe broker 1 --all
  moldau config describe broker
  moldau config describe topic orders --key retention.ms`,
		Args:              takes(1, 2),
		ValidArgsFunction: c.completeResource,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := parseResource(args)
			if err != nil {
				return err
			}
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			configs, err := cl.describeConfigs(cmd.Context(), kind, name, keys, all || len(keys) > 0)
			if err != nil {
				return err
			}
			return c.print(configs, func(w io.Writer) { writeConfigs(w, configs) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show defaults too")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "only this key; may be repeated")
	return cmd
}

func newConfigSet(c *cli) *cobra.Command {
	var deletes []string
	cmd := &cobra.Command{
		Use:   "set TYPE [NAME] key=value...",
		Short: "Change what is configured for a topic, a broker, …",
		Long: `Change configurations. key+=value and key-=value add to and take from a list; --delete sets a key
back to what it would be without.

TYPE is topic, broker, broker-logger, client-metrics or group. A broker without a NAME (its id)
stands for all brokers.`,
		Example: `  moldau config set topic orders retention.ms=3600000 cleanup.policy+=compact
  moldau config set topic orders --delete retention.ms
  moldau config set broker log.cleaner.threads=2`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeSet,
		RunE: func(cmd *cobra.Command, args []string) error {
			words := 1
			if len(args) > 1 && !strings.Contains(args[1], "=") {
				words = 2
			}
			kind, name, err := parseResource(args[:words])
			if err != nil {
				return err
			}
			changes, err := parseConfigChanges(args[words:], deletes)
			if err != nil {
				return err
			}
			if len(changes) == 0 {
				return usagef("there is nothing to set: give key=value or --delete key")
			}
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if err := cl.alterConfigs(cmd.Context(), kind, []string{name}, changes); err != nil {
				return err
			}
			return c.print(map[string]any{"type": args[0], "name": name, "changed": len(changes)}, func(w io.Writer) {
				for _, done := range []struct {
					n    int
					verb string
				}{{len(changes) - len(deletes), "set"}, {len(deletes), "set back"}} {
					if done.n > 0 {
						fmt.Fprintf(w, "%s %s for %s\n", plural(int64(done.n), "configuration"), done.verb, strings.Join(args[:words], " "))
					}
				}
			})
		},
	}
	cmd.Flags().StringArrayVar(&deletes, "delete", nil, "a key to set back; may be repeated")
	return cmd
}

// describeConfigs returns the configurations of one resource in the order of their keys: those of keys (nil for every
// one), and without defaults unless all is set.
func (cl *client) describeConfigs(ctx context.Context, kind kmsg.ConfigResourceType, name string, keys []string, all bool) ([]describedConfig, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kind, name, keys
	req.Resources = append(req.Resources, resource)
	resp, err := req.RequestWith(ctx, cl.Client)
	if err != nil {
		return nil, explain(err, name, "")
	}
	configs := []describedConfig{}
	for _, r := range resp.Resources {
		if err := explainConfig(r.ErrorCode, r.ErrorMessage, kind, name); err != nil {
			return nil, err
		}
		for _, entry := range r.Configs {
			if entry.Source == kmsg.ConfigSourceDefaultConfig && !all {
				continue
			}
			source, ok := sourceNames[entry.Source]
			if !ok {
				source = strconv.Itoa(int(entry.Source))
			}
			configs = append(configs, describedConfig{entry.Name, entry.Value, source, entry.ReadOnly, entry.IsSensitive})
		}
	}
	slices.SortFunc(configs, func(a, b describedConfig) int { return strings.Compare(a.Key, b.Key) })
	for _, key := range keys {
		if !slices.ContainsFunc(configs, func(c describedConfig) bool { return c.Key == key }) {
			return nil, &failure{what: fmt.Sprintf("there is no configuration %q of this kind", key), try: nearKey(kind, key)}
		}
	}
	return configs, nil
}

// scopes are the kinds of keys that the things have, where Moldau documents them.
var scopes = map[kmsg.ConfigResourceType]config.Scope{
	kmsg.ConfigResourceTypeTopic:         config.ScopeTopic,
	kmsg.ConfigResourceTypeBroker:        config.ScopeBroker,
	kmsg.ConfigResourceTypeClientMetrics: config.ScopeClientMetrics,
	kmsg.ConfigResourceTypeGroupConfig:   config.ScopeGroup,
}

// nearKey advises after a key that does not exist.
func nearKey(kind kmsg.ConfigResourceType, key string) string {
	if scope, ok := scopes[kind]; ok {
		if near := config.Nearest(scope, key); near != "" && near != key {
			return "did you mean " + near + "? Every key: moldau config docs"
		}
	}
	return "every key: moldau config docs"
}

// alterConfigs makes the same changes to every named resource of a kind.
func (cl *client) alterConfigs(ctx context.Context, kind kmsg.ConfigResourceType, names []string, changes []configChange) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, name := range names {
		resource := kmsg.NewIncrementalAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kind, name
		for _, change := range changes {
			entry := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			entry.Name, entry.Op = change.key, change.op
			if change.op != opDelete {
				entry.Value = kmsg.StringPtr(change.value)
			}
			resource.Configs = append(resource.Configs, entry)
		}
		req.Resources = append(req.Resources, resource)
	}
	resp, err := req.RequestWith(ctx, cl.Client)
	if err != nil {
		return explain(err, names[0], "")
	}
	var errs []error
	for _, r := range resp.Resources {
		errs = append(errs, explainConfig(r.ErrorCode, r.ErrorMessage, kind, r.ResourceName))
	}
	return errors.Join(errs...)
}

// explainConfig puts the outcome for one resource into words. The sentences about topics fit topics only.
func explainConfig(code int16, message *string, kind kmsg.ConfigResourceType, name string) error {
	err := kerr.ErrorForCode(code)
	said := ""
	if message != nil {
		said = *message
	}
	if err == nil || kind == resourceTopic {
		return explain(err, name, said)
	}
	if said == "" {
		said = kerr.TypedErrorForCode(code).Description
	}
	return &failure{
		what: fmt.Sprintf("%s (%s)", strings.TrimSuffix(said, "."), kerr.TypedErrorForCode(code).Message),
		try:  "see what there is: moldau cluster info; every key: moldau config docs",
		err:  err,
	}
}

func writeConfigs(w io.Writer, configs []describedConfig) {
	var rows [][]string
	for _, c := range configs {
		value := ""
		switch {
		case c.Sensitive:
			value = "(hidden)"
		case c.Value != nil:
			value = *c.Value
		}
		rows = append(rows, []string{c.Key, value, c.Source})
	}
	table(w, []string{"CONFIG", "VALUE", "SOURCE"}, rows)
}
