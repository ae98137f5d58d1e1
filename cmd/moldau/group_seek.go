package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// seekOptions are the flags of `group seek`.
type seekOptions struct {
	to     string
	file   string
	topics []string
	dry    bool
}

// soughtOffset is where `group seek` moves a group in one partition.
type soughtOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Before    *int64 `json:"before"` // null where nothing was committed
	After     int64  `json:"after"`
}

func newGroupSeek(c *cli) *cobra.Command {
	var o seekOptions
	cmd := &cobra.Command{
		Use:   "seek NAME",
		Short: "Set where a group goes on reading",
		Long: `Set where a group goes on reading. Nobody may be in the group meanwhile.

--to is a place in each partition: start, end, an offset (42), the last few (-10), after the first few (+10), the
first record of a time or later (@2026-01-01T15:04:05Z) or of a while ago (@-1h). It is set in the topics that
the group has committed offsets in, or in those that --topic names. --file takes lines of topic,partition,offset as
"moldau group offsets" prints them; - is the standard input.`,
		Example: `  moldau group seek billing --to start
  moldau group seek billing --to @-1h --topic orders --dry-run
  moldau group seek billing --file billing.csv`,
		Args:              takes(1, 1),
		ValidArgsFunction: c.completeGroups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (o.to == "") == (o.file == "") {
				return usagef("say where to with --to PLACE or --file FILE, one of them")
			}
			if o.file != "" && len(o.topics) > 0 {
				return usagef("--file names the topics itself; leave --topic out")
			}
			return c.seek(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "the place to go to")
	f.StringVar(&o.file, "file", "", "a file of offsets")
	f.StringSliceVar(&o.topics, "topic", nil, "only in these topics, also where the group has committed nothing")
	f.BoolVar(&o.dry, "dry-run", false, "show what would be set, and set nothing")
	return cmd
}

func (c *cli) seek(ctx context.Context, group string, o seekOptions) error {
	var to place
	var err error
	if o.to != "" {
		if to, err = parsePlace(o.to, c.now()); err != nil {
			return usagef("--to: %v", err)
		}
	}
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	before, err := cl.committed(ctx, group)
	if err != nil && o.file == "" && len(o.topics) == 0 {
		return err
	}
	var after offsets
	if o.file != "" {
		after, err = c.readOffsets(o.file)
	} else {
		after, err = cl.sought(ctx, to, o.topics, before)
	}
	if err != nil {
		return err
	}
	list := []soughtOffset{}
	for _, at := range after.list(group) {
		list = append(list, soughtOffset{at.Topic, at.Partition, before.lookup(at.Topic, at.Partition), at.Offset})
	}
	if !o.dry {
		responses, err := cl.admin.CommitOffsets(ctx, group, after.committable())
		if err == nil {
			err = responses.Error()
		}
		if err != nil {
			return groupError(group, err)
		}
	}
	return c.print(list, func(w io.Writer) {
		var rows [][]string
		for _, s := range list {
			rows = append(rows, []string{s.Topic, strconv.Itoa(int(s.Partition)), optional(s.Before), strconv.FormatInt(s.After, 10)})
		}
		table(w, []string{"TOPIC", "PARTITION", "BEFORE", "AFTER"}, rows)
		if o.dry {
			fmt.Fprintln(w, "\nnothing was set; leave out --dry-run to set it")
		}
	})
}

// sought is a place in each partition of the topics, or of those with offsets in before; never outside of what is there.
func (cl *client) sought(ctx context.Context, to place, topics []string, before offsets) (offsets, error) {
	partitions := make(map[string][]int32)
	if len(topics) == 0 {
		for topic := range before {
			partitions[topic] = sortedKeys(before[topic])
		}
	} else {
		details, err := cl.topicDetails(ctx, topics...)
		if err != nil {
			return nil, err
		}
		for _, topic := range topics {
			partitions[topic] = details[topic].Partitions.Numbers()
		}
	}
	b, err := cl.bounds(ctx, partitions, readUncommitted)
	if err != nil {
		return nil, err
	}
	after, err := cl.resolve(ctx, to, partitions, b)
	if err != nil {
		return nil, err
	}
	return after, b.check(after)
}

// readOffsets reads lines of topic,partition,offset.
func (c *cli) readOffsets(name string) (offsets, error) {
	in := c.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	found := make(offsets)
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, ",")
		if len(f) != 3 {
			return nil, fmt.Errorf("%s, line %d: %q is not topic,partition,offset", name, n, line)
		}
		p, badPartition := strconv.ParseInt(f[1], 10, 32)
		at, badOffset := strconv.ParseInt(f[2], 10, 64)
		if err := errors.Join(badPartition, badOffset); err != nil || p < 0 || at < 0 {
			return nil, fmt.Errorf("%s, line %d: %q is not topic,partition,offset", name, n, line)
		}
		found.set(f[0], int32(p), at)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no offsets", name)
	}
	return found, nil
}
