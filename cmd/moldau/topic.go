package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/moldau/moldau"
)

func newTopic(c *cli) *cobra.Command {
	return newGroup("topic", "Create, list, describe, alter and delete topics", `  moldau topic create orders -p 6 -c retention.ms=86400000
  moldau topic list
  moldau topic describe orders`,
		newTopicCreate(c), newTopicList(c), newTopicDescribe(c), newTopicAlter(c), newTopicDelete(c))
}

// createdTopic is what `topic create` reports of one topic.
type createdTopic struct {
	Name        string `json:"name"`
	ID          string `json:"id,omitempty"`
	Partitions  int32  `json:"partitions"`
	Replication int16  `json:"replicationFactor"`
	Existed     bool   `json:"existed"`
}

func newTopicCreate(c *cli) *cobra.Command {
	var (
		partitions  int32
		replication int16
		configs     []string
		ifNotExists bool
	)
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create topics",
		Example: `  moldau topic create orders
  moldau topic create orders payments -p 6 -r 3 -c retention.ms=86400000 -c compression.type=zstd
  moldau topic create orders --if-not-exists`,
		Args: takes(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := topicSettings(configs)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := moldau.CheckTopicName(name); err != nil {
					return &failure{what: err.Error(), err: err}
				}
			}
			return c.createTopics(cmd.Context(), args, partitions, replication, settings, ifNotExists)
		},
	}
	cmd.Flags().Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 is the brokers' num.partitions")
	cmd.Flags().Int16VarP(&replication, "replication-factor", "r", -1, "replicas of each partition; -1 is the brokers' default.replication.factor")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "a configuration as key=value; may be repeated")
	cmd.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "a topic that exists already is no error")
	return cmd
}

// topicSettings reads the configurations of a topic that is to be created.
func topicSettings(configs []string) (map[string]*string, error) {
	settings := make(map[string]*string, len(configs))
	for _, kv := range configs {
		change, err := parseConfigChange(kv)
		if err != nil || change.op != opSet {
			return nil, usagef("--config %q is not of the form key=value", kv)
		}
		settings[change.key] = &change.value
	}
	return settings, nil
}

// asNamed returns responses in the order in which the topics were named, each once.
func asNamed[M ~map[string]R, R any](responses M, names []string) (ordered []R) {
	for i, name := range names {
		if r, ok := responses[name]; ok && !slices.Contains(names[:i], name) {
			ordered = append(ordered, r)
		}
	}
	return ordered
}

func (c *cli) createTopics(ctx context.Context, names []string, partitions int32, replication int16, configs map[string]*string, ifNotExists bool) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	responses, err := cl.admin.CreateTopics(ctx, partitions, replication, configs, names...)
	if err != nil {
		return explain(err, names[0], "")
	}
	created := []createdTopic{}
	var errs []error
	for _, r := range asNamed(responses, names) {
		existed := errors.Is(r.Err, kerr.TopicAlreadyExists)
		if r.Err != nil && !(existed && ifNotExists) {
			message := r.ErrMessage
			if existed {
				message = "" // it says the same again
			}
			errs = append(errs, explain(r.Err, r.Topic, message))
			continue
		}
		t := createdTopic{Name: r.Topic, Partitions: r.NumPartitions, Replication: r.ReplicationFactor, Existed: existed}
		detail, err := cl.awaitTopic(ctx, r.Topic, c.timeout)
		if err != nil {
			errs = append(errs, fmt.Errorf("topic %s is created, but the brokers do not show it: %w", r.Topic, err))
			continue
		}
		t.ID = moldau.TopicID(detail.ID).String()
		t.Partitions = int32(len(detail.Partitions))
		t.Replication = int16(detail.Partitions.NumReplicas())
		created = append(created, t)
	}
	err = c.print(created, func(w io.Writer) {
		for _, t := range created {
			verb := "created"
			if t.Existed {
				verb = "exists already"
			}
			fmt.Fprintf(w, "%s %s: %s, replication factor %d\n", t.Name, verb, plural(int64(t.Partitions), "partition"), t.Replication)
		}
	})
	return errors.Join(append(errs, err)...)
}

// awaitTopic waits until the metadata shows the topic with a leader for every partition, so that the command that the
// user types next finds it. The controller answers before the brokers have heard of the topic.
func (cl *client) awaitTopic(ctx context.Context, name string, patience time.Duration) (kadm.TopicDetail, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		details, err := cl.topicDetails(ctx, name)
		if d := details[name]; err == nil && allLed(d.Partitions) {
			return d, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("not every partition of %s has a leader: %w", name, ctx.Err())
			}
			return kadm.TopicDetail{}, err
		}
	}
}

func allLed(partitions kadm.PartitionDetails) bool {
	for _, p := range partitions {
		if p.Leader < 0 || p.Err != nil {
			return false
		}
	}
	return len(partitions) > 0
}

// listedTopic is a line of `topic list`.
type listedTopic struct {
	Name            string `json:"name"`
	ID              string `json:"id"`
	Partitions      int    `json:"partitions"`
	Replication     int    `json:"replicationFactor"`
	Internal        bool   `json:"internal"`
	UnderReplicated int    `json:"underReplicatedPartitions"`
	Offline         int    `json:"offlinePartitions"`
}

func newTopicList(c *cli) *cobra.Command {
	var internal, underReplicated, offline bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Example: `  moldau topic list
  moldau topic list --internal -o json
  moldau topic list --under-replicated`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			details, err := cl.admin.ListTopicsWithInternal(cmd.Context())
			if err != nil {
				return explain(err, "", "")
			}
			topics := []listedTopic{}
			for _, d := range details.Sorted() {
				t := summarize(d)
				if t.Internal && !internal || underReplicated && t.UnderReplicated == 0 || offline && t.Offline == 0 {
					continue
				}
				topics = append(topics, t)
			}
			return c.print(topics, func(w io.Writer) {
				var rows [][]string
				for _, t := range topics {
					rows = append(rows, []string{t.Name, strconv.Itoa(t.Partitions), strconv.Itoa(t.Replication), t.health()})
				}
				table(w, []string{"TOPIC", "PARTITIONS", "REPLICATION", "HEALTH"}, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "list internal topics too")
	cmd.Flags().BoolVar(&underReplicated, "under-replicated", false, "only topics with a partition that lacks in-sync replicas")
	cmd.Flags().BoolVar(&offline, "offline", false, "only topics with a partition without a leader")
	return cmd
}

func summarize(d kadm.TopicDetail) listedTopic {
	t := listedTopic{
		Name:        d.Topic,
		ID:          moldau.TopicID(d.ID).String(),
		Partitions:  len(d.Partitions),
		Replication: d.Partitions.NumReplicas(),
		Internal:    d.IsInternal,
	}
	for _, p := range d.Partitions {
		if p.Leader < 0 {
			t.Offline++
		}
		if len(p.ISR) < len(p.Replicas) {
			t.UnderReplicated++
		}
	}
	return t
}

func (t listedTopic) health() string {
	switch {
	case t.Offline > 0:
		return fmt.Sprintf("%d offline", t.Offline)
	case t.UnderReplicated > 0:
		return fmt.Sprintf("%d under-replicated", t.UnderReplicated)
	}
	return "ok"
}

func newTopicAlter(c *cli) *cobra.Command {
	var (
		partitions int
		configs    []string
		deletes    []string
	)
	cmd := &cobra.Command{
		Use:   "alter NAME...",
		Short: "Add partitions to topics, or change their configuration",
		Long: `Add partitions to topics, or change their configuration.

Records keep their partition; with more partitions, new records of a key may go to another one than before.`,
		Example: `  moldau topic alter orders --partitions 12
  moldau topic alter orders -c retention.ms=3600000 -c cleanup.policy+=compact
  moldau topic alter orders --delete-config retention.ms`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := parseConfigChanges(configs, deletes)
			if err != nil {
				return err
			}
			if len(changes) == 0 && !cmd.Flags().Changed("partitions") {
				return usagef("there is nothing to alter: give --partitions, --config or --delete-config")
			}
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if len(changes) > 0 {
				if err := cl.alterConfigs(cmd.Context(), resourceTopic, args, changes); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("partitions") {
				if err := cl.setPartitions(cmd.Context(), partitions, args); err != nil {
					return err
				}
			}
			return c.print(map[string][]string{"altered": args}, func(w io.Writer) {
				for _, name := range args {
					fmt.Fprintf(w, "%s altered\n", name)
				}
			})
		},
	}
	cmd.Flags().IntVarP(&partitions, "partitions", "p", 0, "the number of partitions to reach")
	cmd.Flags().StringArrayVarP(&configs, "config", "c", nil, "key=value, or key+=value and key-=value for lists; may be repeated")
	cmd.Flags().StringArrayVar(&deletes, "delete-config", nil, "a key to set back to its default; may be repeated")
	return cmd
}

func (cl *client) setPartitions(ctx context.Context, n int, topics []string) error {
	responses, err := cl.admin.UpdatePartitions(ctx, n, topics...)
	if err != nil {
		return explain(err, topics[0], "")
	}
	var errs []error
	for _, r := range responses.Sorted() {
		errs = append(errs, explain(r.Err, r.Topic, r.ErrMessage))
	}
	return errors.Join(errs...)
}

func newTopicDelete(c *cli) *cobra.Command {
	var ifExists bool
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete topics and all their records, without asking",
		Example: `  moldau topic delete orders
  moldau topic delete orders payments --if-exists`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			responses, err := cl.admin.DeleteTopics(cmd.Context(), args...)
			if err != nil {
				return explain(err, args[0], "")
			}
			deleted := []string{}
			var errs []error
			for _, r := range asNamed(responses, args) {
				switch {
				case r.Err == nil:
					deleted = append(deleted, r.Topic)
				case ifExists && errors.Is(r.Err, kerr.UnknownTopicOrPartition):
				case errors.Is(r.Err, kerr.UnknownTopicOrPartition):
					errs = append(errs, &failure{
						what: fmt.Sprintf("topic %s does not exist (%s)", r.Topic, kerr.UnknownTopicOrPartition.Message),
						try:  "see what there is: moldau topic list (--if-exists makes this no error)",
						err:  r.Err,
					})
				default:
					errs = append(errs, explain(r.Err, r.Topic, r.ErrMessage))
				}
			}
			err = c.print(map[string][]string{"deleted": deleted}, func(w io.Writer) {
				for _, name := range deleted {
					fmt.Fprintf(w, "%s deleted\n", name)
				}
			})
			return errors.Join(append(errs, err)...)
		},
	}
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "a topic that does not exist is no error")
	return cmd
}

// completeTopics offers the names of the cluster's topics to the shell; it gives up after a second.
func (c *cli) completeTopics(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	cl, err := c.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer cl.Close()
	details, err := cl.admin.ListTopics(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return details.Names(), cobra.ShellCompDirectiveNoFileComp
}
