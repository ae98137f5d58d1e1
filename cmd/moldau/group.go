package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newConsumerGroup(c *cli) *cobra.Command {
	return newGroup("group", "List, describe, rewind and delete consumer groups", `  moldau group list
  moldau group describe billing
  moldau group seek billing --to @-1h --topic orders --dry-run`,
		newGroupList(c), newGroupDescribe(c), newGroupOffsets(c), newGroupSeek(c), newGroupDelete(c))
}

// listedGroup is what `group list` shows of a group.
type listedGroup struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	ProtocolType string `json:"protocolType"`
	Coordinator  int32  `json:"coordinator"`
}

func newGroupList(c *cli) *cobra.Command {
	var states []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List consumer groups",
		Example: `  moldau group list
  moldau group list --state Empty -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			listed, err := cl.admin.ListGroups(cmd.Context(), states...)
			if err != nil {
				return explain(err, "", "")
			}
			groups := []listedGroup{}
			for _, g := range listed.Sorted() {
				groups = append(groups, listedGroup{g.Group, g.State, g.ProtocolType, g.Coordinator})
			}
			return c.print(groups, func(w io.Writer) {
				if len(groups) == 0 {
					fmt.Fprintln(w, "no groups")
					return
				}
				var rows [][]string
				for _, g := range groups {
					rows = append(rows, []string{g.Name, g.State, orDash(g.ProtocolType), strconv.Itoa(int(g.Coordinator))})
				}
				table(w, []string{"GROUP", "STATE", "PROTOCOL", "COORDINATOR"}, rows)
			})
		},
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only groups in these states: Empty, PreparingRebalance, CompletingRebalance, Stable, Dead")
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newGroupDelete(c *cli) *cobra.Command {
	var topics []string
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete groups that nobody is in, or their offsets in some topics",
		Example: `  moldau group delete billing
  moldau group delete billing --topic orders`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			if len(topics) > 0 {
				return c.deleteOffsets(cmd.Context(), cl, args, topics)
			}
			responses, err := cl.admin.DeleteGroups(cmd.Context(), args...)
			if err != nil {
				return explain(err, "", "")
			}
			deleted := []string{}
			var errs []error
			for _, r := range responses.Sorted() {
				if r.Err != nil {
					errs = append(errs, groupError(r.Group, r.Err))
					continue
				}
				deleted = append(deleted, r.Group)
			}
			err = c.print(deleted, func(w io.Writer) {
				for _, name := range deleted {
					fmt.Fprintln(w, name, "deleted")
				}
			})
			return errors.Join(append(errs, err)...)
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topic", nil, "delete only the offsets in these topics, and keep the group")
	return cmd
}

// deleteOffsets has groups forget their offsets in topics.
func (c *cli) deleteOffsets(ctx context.Context, cl *client, groups, topics []string) error {
	var errs []error
	forgotten := []groupOffset{}
	for _, name := range groups {
		committed, err := cl.committed(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var partitions kadm.TopicsSet
		for _, topic := range topics {
			for p := range committed[topic] {
				partitions.Add(topic, p)
			}
		}
		responses, err := cl.admin.DeleteOffsets(ctx, name, partitions)
		if err != nil {
			errs = append(errs, groupError(name, err))
			continue
		}
		for _, topic := range sortedKeys(partitions) {
			for _, p := range sortedKeys(partitions[topic]) {
				if err := responses[topic][p]; err != nil {
					errs = append(errs, groupError(name, explain(err, topic, "")))
					continue
				}
				forgotten = append(forgotten, groupOffset{Group: name, Topic: topic, Partition: p, Offset: committed[topic][p]})
			}
		}
	}
	err := c.print(forgotten, func(w io.Writer) {
		for _, f := range forgotten {
			fmt.Fprintf(w, "%s: offset %d of %s-%d forgotten\n", f.Group, f.Offset, f.Topic, f.Partition)
		}
	})
	return errors.Join(append(errs, err)...)
}

// groupError says which group an error is about.
func groupError(name string, err error) error {
	err = explain(err, "", "")
	f := &failure{what: fmt.Sprintf("group %s: %v", name, err), err: err}
	var inner *failure
	if errors.As(err, &inner) {
		f.try = inner.try
	}
	return f
}

// committed are the offsets that a group has committed; none is an error.
func (cl *client) committed(ctx context.Context, name string) (offsets, error) {
	responses, err := cl.admin.FetchOffsets(ctx, name)
	if err != nil {
		return nil, groupError(name, err)
	}
	found := make(offsets)
	for topic, partitions := range responses {
		for p, r := range partitions {
			if r.Err != nil {
				return nil, groupError(name, explain(r.Err, topic, ""))
			}
			found.set(topic, p, r.At)
		}
	}
	if len(found) == 0 {
		return nil, &failure{what: fmt.Sprintf("group %s has committed no offsets", name), try: "see what groups there are: moldau group list"}
	}
	return found, nil
}

// completeGroups offers the names of groups.
func (c *cli) completeGroups(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	cl, err := c.connect(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cl.Close()
	listed, err := cl.admin.ListGroups(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return listed.Groups(), cobra.ShellCompDirectiveNoFileComp
}
