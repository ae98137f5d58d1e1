package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// describedGroup is what `group describe` shows of a group.
type describedGroup struct {
	Name         string            `json:"name"`
	State        string            `json:"state"`
	ProtocolType string            `json:"protocolType"`
	Protocol     string            `json:"protocol"`
	Coordinator  int32             `json:"coordinator"`
	Members      []describedMember `json:"members"`
	Partitions   []groupPartition  `json:"partitions"`
	LagRecords   int64             `json:"lagRecords"` // of the partitions that have one
}

type describedMember struct {
	ID         string `json:"id"`
	Instance   string `json:"instanceId,omitempty"`
	ClientID   string `json:"clientId"`
	Host       string `json:"host"`
	Partitions int    `json:"partitions"`
}

// groupPartition is how far a group is in a partition. What is not known is null.
type groupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    *int64 `json:"offset"` // committed
	End       *int64 `json:"endOffset"`
	Lag       *int64 `json:"lagRecords"`
	// LagSeconds is how long the next record that the group reads has been there.
	LagSeconds *float64 `json:"lagSeconds"`
	Member     string   `json:"member,omitempty"`
}

func newGroupDescribe(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show how far groups are, and who is in them",
		Long: `Show how far groups are, and who is in them.

LAG is the number of records between the committed offset and the end of the partition, and how long the
first of them has been there.`,
		Example: `  moldau group describe billing
  moldau group describe billing -o json`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			groups := []describedGroup{}
			var errs []error
			for _, name := range args {
				g, err := cl.describeGroup(cmd.Context(), name, c.now())
				if err != nil {
					errs = append(errs, err)
					continue
				}
				groups = append(groups, g)
			}
			err = c.print(groups, func(w io.Writer) {
				for i, g := range groups {
					if i > 0 {
						fmt.Fprintln(w)
					}
					g.write(w)
				}
			})
			return errors.Join(append(errs, err)...)
		},
	}
	return cmd
}

func (cl *client) describeGroup(ctx context.Context, name string, now time.Time) (describedGroup, error) {
	described, err := cl.admin.DescribeGroups(ctx, name)
	d := described[name]
	if err = cmp.Or(err, d.Err); err != nil {
		return describedGroup{}, groupError(name, err)
	}
	if d.State == "Dead" {
		return describedGroup{}, &failure{what: fmt.Sprintf("there is no group %s", name), try: "see what there is: moldau group list"}
	}
	g := describedGroup{Name: name, State: d.State, ProtocolType: d.ProtocolType, Protocol: d.Protocol, Coordinator: d.Coordinator.NodeID, Members: []describedMember{}}
	assigned := make(map[string]map[int32]string)
	for _, m := range d.Members {
		member := describedMember{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost}
		if m.InstanceID != nil {
			member.Instance = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				if assigned[t.Topic] == nil {
					assigned[t.Topic] = make(map[int32]string)
				}
				for _, p := range t.Partitions {
					assigned[t.Topic][p] = m.MemberID
					member.Partitions++
				}
			}
		}
		g.Members = append(g.Members, member)
	}
	err = cl.measureLag(ctx, &g, assigned, now)
	return g, err
}

// lag is the records that are left, of the partitions of which that is known.
func (g *describedGroup) lag() string {
	unknown := int64(0)
	for _, p := range g.Partitions {
		if p.Lag == nil {
			unknown++
		}
	}
	switch {
	case unknown == 0:
		return plural(g.LagRecords, "record")
	case unknown == int64(len(g.Partitions)):
		return "unknown, nothing is committed or no end is known"
	}
	return plural(g.LagRecords, "record") + ", not counting " + plural(unknown, "partition") + " without a committed offset or a known end"
}

// measureLag fills in how far the group is in the partitions that it has committed or been assigned.
func (cl *client) measureLag(ctx context.Context, g *describedGroup, assigned map[string]map[int32]string, now time.Time) error {
	responses, err := cl.admin.FetchOffsets(ctx, g.Name)
	if err != nil {
		return groupError(g.Name, err)
	}
	partitions := make(map[string][]int32)
	for _, topic := range slices.Sorted(maps.Keys(union(responses, assigned))) {
		both := union(responses[topic], assigned[topic])
		partitions[topic] = slices.Sorted(maps.Keys(both))
	}
	ends, err := cl.listOffsets(ctx, partitions, timestampLatest, readUncommitted)
	if err != nil && len(ends) == 0 {
		return err
	}
	g.Partitions = []groupPartition{}
	for _, topic := range sortedKeys(partitions) {
		for _, p := range partitions[topic] {
			at := groupPartition{Topic: topic, Partition: p, End: ends.lookup(topic, p), Member: assigned[topic][p]}
			if r, ok := responses.Lookup(topic, p); ok && r.Err == nil && r.At >= 0 {
				at.Offset = &r.At
			}
			if at.Offset != nil && at.End != nil {
				lag := max(*at.End-*at.Offset, 0)
				at.Lag = &lag
				g.LagRecords += lag
				at.LagSeconds = cl.lagSeconds(ctx, at, now)
			}
			g.Partitions = append(g.Partitions, at)
		}
	}
	return nil
}

// union is the keys of two maps.
func union[K comparable, A, B any](a map[K]A, b map[K]B) map[K]bool {
	both := make(map[K]bool, len(a)+len(b))
	for k := range a {
		both[k] = true
	}
	for k := range b {
		both[k] = true
	}
	return both
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// lagSeconds is how long the record at the committed offset has been there; nil where that cannot be told.
func (cl *client) lagSeconds(ctx context.Context, at groupPartition, now time.Time) *float64 {
	seconds := 0.0
	if *at.Lag == 0 {
		return &seconds
	}
	record, _, err := cl.firstRecord(ctx, at.Topic, at.Partition, *at.Offset, readUncommitted)
	if err != nil || record == nil {
		return nil // it was deleted meanwhile, or there is no leader: the lag in records says enough
	}
	seconds = max(now.Sub(record.Timestamp).Seconds(), 0)
	return &seconds
}

func (g describedGroup) write(w io.Writer) {
	fields(w,
		"group", g.Name,
		"state", g.State,
		"protocol", orDash(g.Protocol),
		"coordinator", strconv.Itoa(int(g.Coordinator)),
		"members", strconv.Itoa(len(g.Members)),
		"lag", g.lag(),
	)
	if len(g.Partitions) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for _, p := range g.Partitions {
			lag := "-"
			if p.LagSeconds != nil {
				lag = (time.Duration(*p.LagSeconds * float64(time.Second))).Round(time.Millisecond).String()
			}
			rows = append(rows, []string{p.Topic, strconv.Itoa(int(p.Partition)), optional(p.Offset), optional(p.End), optional(p.Lag), lag, orDash(p.Member)})
		}
		table(w, []string{"TOPIC", "PARTITION", "OFFSET", "END", "LAG", "LAG TIME", "MEMBER"}, rows)
	}
	if len(g.Members) > 0 {
		fmt.Fprintln(w)
		var rows [][]string
		for _, m := range g.Members {
			rows = append(rows, []string{m.ID, orDash(m.Instance), m.ClientID, m.Host, strconv.Itoa(m.Partitions)})
		}
		table(w, []string{"MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"}, rows)
	}
}

// groupOffset is an offset that a group has committed.
type groupOffset struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func newGroupOffsets(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "offsets NAME",
		Short: "Print the offsets that a group has committed, in the form that seek --file reads",
		Example: `  moldau group offsets billing >billing.csv
  moldau group offsets billing -o json`,
		Args:              takes(1, 1),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			committed, err := cl.committed(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list := committed.list(args[0])
			return c.print(list, func(w io.Writer) {
				for _, o := range list {
					fmt.Fprintf(w, "%s,%d,%d\n", o.Topic, o.Partition, o.Offset)
				}
			})
		},
	}
}

// list is the offsets of a group by topic and partition.
func (o offsets) list(group string) []groupOffset {
	list := []groupOffset{}
	for _, topic := range sortedKeys(o) {
		for _, p := range sortedKeys(o[topic]) {
			list = append(list, groupOffset{group, topic, p, o[topic][p]})
		}
	}
	return list
}

// committable is the form in which kadm takes offsets to commit.
func (o offsets) committable() kadm.Offsets {
	var out kadm.Offsets
	for topic, partitions := range o {
		for p, at := range partitions {
			out.AddOffset(topic, p, at, -1)
		}
	}
	return out
}
