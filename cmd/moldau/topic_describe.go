package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/moldau/moldau"
)

// describedTopic is what `topic describe` shows of a topic.
type describedTopic struct {
	Name        string               `json:"name"`
	ID          string               `json:"id"`
	Internal    bool                 `json:"internal"`
	Replication int                  `json:"replicationFactor"`
	Partitions  []describedPartition `json:"partitions"`
	Configs     []describedConfig    `json:"configs"`
}

// describedPartition is one partition. What could not be learnt is null: offsets without a leader, the size where the
// broker does not tell.
type describedPartition struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leaderEpoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       *int64  `json:"startOffset"`
	End         *int64  `json:"endOffset"`
	Bytes       *int64  `json:"bytes"`
}

func newTopicDescribe(c *cli) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show the partitions of topics and what is configured for them",
		Long: `Show the partitions of topics and what is configured for them.

START and END are the first offset and the one after the last that consumers can read; SIZE
is the log of the leader on its disk. Of the configurations those are shown that are not defaults.`,
		Example: `  moldau topic describe orders
  moldau topic describe orders --all-configs -o json`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			details, errs := cl.topicDetails(cmd.Context(), args...)
			topics := []describedTopic{}
			for _, name := range args {
				if d, ok := details[name]; ok && d.Err == nil {
					t, err := cl.describeTopic(cmd.Context(), d, all)
					if err != nil {
						return err
					}
					topics = append(topics, t)
				}
			}
			err = c.print(topics, func(w io.Writer) {
				for i, t := range topics {
					if i > 0 {
						fmt.Fprintln(w)
					}
					t.write(w)
				}
			})
			return errors.Join(errs, err)
		},
	}
	cmd.Flags().BoolVar(&all, "all-configs", false, "show the configurations that are defaults too")
	return cmd
}

// describeTopic gathers what the brokers know of a topic.
func (cl *client) describeTopic(ctx context.Context, d kadm.TopicDetail, allConfigs bool) (describedTopic, error) {
	t := describedTopic{
		Name:        d.Topic,
		ID:          moldau.TopicID(d.ID).String(),
		Internal:    d.IsInternal,
		Replication: d.Partitions.NumReplicas(),
	}
	led := make(map[string][]int32, 1)
	for _, p := range d.Partitions.Sorted() {
		if p.Leader >= 0 {
			led[d.Topic] = append(led[d.Topic], p.Partition)
		}
	}
	starts, err := cl.listOffsets(ctx, led, timestampEarliest, readUncommitted)
	if err != nil {
		return t, err
	}
	ends, err := cl.listOffsets(ctx, led, timestampLatest, readUncommitted)
	if err != nil {
		return t, err
	}
	sizes := cl.logSizes(ctx, d)
	for _, p := range d.Partitions.Sorted() {
		described := describedPartition{
			Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
			Start: starts.lookup(d.Topic, p.Partition), End: ends.lookup(d.Topic, p.Partition),
		}
		if size, ok := sizes[p.Partition]; ok {
			described.Bytes = &size
		}
		t.Partitions = append(t.Partitions, described)
	}
	t.Configs, err = cl.describeConfigs(ctx, resourceTopic, d.Topic, nil, allConfigs)
	return t, err
}

// logSizes returns the bytes of each partition's log at its leader, without those that could not be learnt: the log
// directories are secondary here, and reading them is a permission of its own.
func (cl *client) logSizes(ctx context.Context, d kadm.TopicDetail) map[int32]int64 {
	sizes := make(map[int32]int64)
	var topic kadm.TopicsSet
	topic.Add(d.Topic, d.Partitions.Numbers()...)
	brokers, _ := cl.admin.DescribeAllLogDirs(ctx, topic) // what answered counts
	for _, dir := range brokers.Sorted() {
		for _, p := range dir.Topics[d.Topic] {
			if !p.IsFuture && d.Partitions[p.Partition].Leader == p.Broker {
				sizes[p.Partition] = p.Size
			}
		}
	}
	return sizes
}

func (t describedTopic) write(w io.Writer) {
	fields(w,
		"topic", t.Name,
		"id", t.ID,
		"partitions", strconv.Itoa(len(t.Partitions)),
		"replication", strconv.Itoa(t.Replication),
	)
	fmt.Fprintln(w)
	var rows [][]string
	for _, p := range t.Partitions {
		leader, size := "none", "-"
		if p.Leader >= 0 {
			leader = strconv.Itoa(int(p.Leader))
		}
		if p.Bytes != nil {
			size = byteSize(float64(*p.Bytes))
		}
		rows = append(rows, []string{
			strconv.Itoa(int(p.Partition)), leader, strconv.Itoa(int(p.LeaderEpoch)), ints(p.Replicas), ints(p.ISR),
			optional(p.Start), optional(p.End), size,
		})
	}
	table(w, []string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "SIZE"}, rows)
	if len(t.Configs) > 0 {
		fmt.Fprintln(w)
		writeConfigs(w, t.Configs)
	}
}
