package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumeOptions are the flags of `consume`.
type consumeOptions struct {
	from, until string
	partitions  []string
	max         int64
	format      string
	isolation   string
	group       string
}

func newConsume(c *cli) *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Print the records of topics, and follow them",
		Long: `Print the records of topics, and follow them until interrupted, or until --until or --max is reached.

--from and --until are a place in each partition: start, end, an offset (42), the last few (-10), after
the first few (+10), the first record of a time or later (@2026-01-01, @2026-01-01T15:04:05Z,
@1767225600000) or of a while ago (@-1h, @-7d). --until end is the end as it is when the command starts.

With --group the topics' partitions are shared out among the members of the group, and what was printed is
committed: the next time the group goes on behind it. --from then counts only where nothing was committed yet.

-f says what to print of a record:
` + formatHelp,
		Example: `  moldau consume orders
  moldau consume orders --from -10 -f '%t %p %o %k %v\n'
  moldau consume orders --from @-1h --until end -o json
  moldau consume orders --partition 0,2-4 --from end --max 100
  moldau consume orders --group billing`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.output == "json" && cmd.Flags().Changed("format") {
				return usagef("--format and -o json exclude each other: JSON has a form of its own")
			}
			if o.max < 0 {
				return usagef("--max must be at least 0; 0 is no limit")
			}
			if o.group != "" {
				return c.consumeGroup(cmd.Context(), o, args)
			}
			return c.consume(cmd.Context(), o, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "start", "where to begin")
	f.StringVar(&o.until, "until", "", "where to stop, itself excluded; without it the topics are followed")
	f.StringSliceVarP(&o.partitions, "partition", "p", nil, "only these partitions: 0,2-4")
	f.Int64VarP(&o.max, "max", "n", 0, "stop after this many records; 0 for no limit")
	f.StringVarP(&o.format, "format", "f", `%v\n`, "what to print of a record")
	f.Lookup("format").DefValue = "%v\n" // the help quotes it, which would double the backslash
	f.StringVarP(&o.group, "group", "g", "", "read as a member of this group, and commit what was printed")
	f.Var(newChoice(&o.isolation, "read_committed", "read_committed", "read_uncommitted"), "isolation",
		"show records of transactions that are committed, or all")
	return cmd
}

// parsePartitions reads a list of numbers and ranges; nil stands for all partitions.
func parsePartitions(list []string) ([]int32, error) {
	var partitions []int32
	for _, item := range list {
		low, high, ranged := strings.Cut(item, "-")
		from, err := strconv.ParseInt(low, 10, 32)
		to := from
		if err == nil && ranged {
			to, err = strconv.ParseInt(high, 10, 32)
		}
		if err != nil || from < 0 || to < from || to-from > 100_000 {
			return nil, fmt.Errorf("%q is neither a partition nor a range like 2-4", item)
		}
		for p := from; p <= to; p++ {
			partitions = append(partitions, int32(p))
		}
	}
	slices.Sort(partitions)
	return slices.Compact(partitions), nil
}

// consumption is what one run of `consume` reads, and how far it is.
type consumption struct {
	client  *client
	topics  []string
	chosen  []int32 // nil for all partitions, those that are added later included
	level   int8
	max     int64 // 0 for no limit
	printed int64
	next    offsets // the offset after the last one seen, of each partition that is read
	until   offsets // where each partition ends; nil when following
	out     *bufio.Writer
	write   func(dst []byte, r *kgo.Record) ([]byte, error)
	line    []byte // reused
}

func (c *cli) consume(ctx context.Context, o consumeOptions, topics []string) error {
	from, err := parsePlace(o.from, c.now())
	if err != nil {
		return usagef("--from: %v", err)
	}
	var until *place
	if o.until != "" {
		at, err := parsePlace(o.until, c.now())
		if err != nil {
			return usagef("--until: %v", err)
		}
		until = &at
	}
	chosen, err := parsePartitions(o.partitions)
	if err != nil {
		return usagef("--partition: %v", err)
	}
	write, err := c.recordWriter(o.format)
	if err != nil {
		return err
	}
	co := &consumption{
		topics: topics, chosen: chosen, max: o.max, level: readUncommitted, out: bufio.NewWriterSize(c.stdout, 64<<10), write: write,
	}
	level := kgo.ReadUncommitted()
	if o.isolation == "read_committed" {
		co.level, level = readCommitted, kgo.ReadCommitted()
	}
	// Control records are asked for because they move the position: a partition may end in one.
	co.client, err = c.connect(ctx, kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return interrupted(ctx, err)
	}
	defer co.client.Close()
	if err := co.begin(ctx, from, until); err != nil {
		return interrupted(ctx, err)
	}
	return errors.Join(interrupted(ctx, co.run(ctx)), co.out.Flush())
}

// recordWriter is how records are printed.
func (c *cli) recordWriter(form string) (func(dst []byte, r *kgo.Record) ([]byte, error), error) {
	format, err := parseFormat(form)
	if err != nil {
		return nil, usagef("--format: %v", err)
	}
	if c.output == "json" {
		return appendJSONRecord, nil
	}
	return func(dst []byte, r *kgo.Record) ([]byte, error) { return format.append(dst, r), nil }, nil
}

// interrupted takes the error of a command that ends by being interrupted, as following does: no error if it was.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// begin finds out where to start and where to stop, and starts to fetch.
func (co *consumption) begin(ctx context.Context, from place, until *place) error {
	partitions, err := co.partitions(ctx)
	if err != nil {
		return err
	}
	b, err := co.client.bounds(ctx, partitions, co.level)
	if err != nil {
		return err
	}
	if co.next, err = co.client.resolve(ctx, from, partitions, b); err != nil {
		return err
	}
	if err := b.check(co.next); err != nil {
		return err
	}
	if until != nil {
		if co.until, err = co.client.resolve(ctx, *until, partitions, b); err != nil {
			return err
		}
	}
	co.client.AddConsumePartitions(co.next.consumable())
	for topic, partitions := range co.next {
		for p, at := range partitions {
			co.passed(topic, p, at)
		}
	}
	return nil
}

// partitions lists what is to be read of each topic, by the metadata as it is now.
func (co *consumption) partitions(ctx context.Context) (map[string][]int32, error) {
	details, err := co.client.topicDetails(ctx, co.topics...)
	if err != nil {
		return nil, err
	}
	list := make(map[string][]int32)
	for _, topic := range co.topics {
		n := len(details[topic].Partitions)
		for _, p := range co.chosen {
			if int(p) >= n {
				return nil, &failure{
					what: fmt.Sprintf("there is no partition %d: %s has %s", p, topic, plural(int64(n), "partition")),
					try:  "moldau topic describe " + topic,
				}
			}
		}
		list[topic] = co.chosen
		if co.chosen == nil {
			list[topic] = details[topic].Partitions.Numbers()
		}
	}
	return list, nil
}

// run prints records until there is an end to it.
func (co *consumption) run(ctx context.Context) error {
	// How long to wait for records before looking for something else to do: for partitions that were added when following,
	// for ends that no record marks otherwise.
	patience := 10 * time.Second
	if co.until != nil {
		patience = time.Second
	}
	looked := time.Now()
	for !co.finished() {
		limit := 0
		if co.max > 0 {
			limit = int(min(co.max-co.printed, 10_000))
		}
		pollCtx, cancel := context.WithTimeout(ctx, patience)
		fetches := co.client.PollRecords(pollCtx, limit)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := co.printAll(fetches); err != nil {
			return err
		}
		if err := co.out.Flush(); err != nil {
			return err
		}
		if time.Since(looked) < patience || co.finished() {
			continue
		}
		looked = time.Now()
		look := co.lookForPartitions
		if co.until != nil {
			look = co.lookForEnds
		}
		if err := look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// finished reports whether everything that was asked for has been printed.
func (co *consumption) finished() bool {
	if co.max > 0 && co.printed >= co.max {
		return true
	}
	return co.until != nil && len(co.until) == 0
}

// printAll prints what was fetched, in the order of offsets in each partition.
func (co *consumption) printAll(fetches kgo.Fetches) error {
	var failed error
	fetches.EachError(func(topic string, partition int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) || failed != nil {
			return // nothing arrived in time, which is no error
		}
		failed = explain(err, topic, fmt.Sprintf("partition %d", partition))
	})
	if failed != nil {
		return failed
	}
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		end, bounded := co.until[r.Topic][r.Partition]
		if co.until != nil && (!bounded || r.Offset >= end) {
			co.passed(r.Topic, r.Partition, r.Offset)
			continue
		}
		if !r.Attrs.IsControl() {
			var err error
			if co.line, err = co.write(co.line[:0], r); err != nil {
				return fmt.Errorf("record %d of partition %d of %s: %w", r.Offset, r.Partition, r.Topic, err)
			}
			if _, err = co.out.Write(co.line); err != nil {
				return err
			}
			co.printed++
		}
		co.passed(r.Topic, r.Partition, r.Offset+1)
	}
	return nil
}

// passed notes that everything before offset has been seen, and ends a partition that has reached its end.
func (co *consumption) passed(topic string, partition int32, offset int64) {
	co.next.set(topic, partition, offset)
	end, bounded := co.until[topic][partition]
	if !bounded || offset < end {
		return
	}
	delete(co.until[topic], partition)
	if len(co.until[topic]) == 0 {
		delete(co.until, topic)
	}
	co.client.RemoveConsumePartitions(map[string][]int32{topic: {partition}})
}

// lookForPartitions begins to read partitions that were added to the topics since.
func (co *consumption) lookForPartitions(ctx context.Context) error {
	partitions, err := co.partitions(ctx)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err // deleted while it was followed
	}
	if err != nil {
		return nil //nolint:nilerr // the client keeps trying, and says so
	}
	added := make(offsets)
	for topic, numbers := range partitions {
		for _, p := range numbers {
			if _, known := co.next[topic][p]; !known {
				added.set(topic, p, 0)
				co.next.set(topic, p, 0)
			}
		}
	}
	if len(added) > 0 {
		co.client.AddConsumePartitions(added.consumable())
	}
	return nil
}

// lookForEnds ends the partitions that have nothing left before their end. The last offsets of a partition may have no
// record: compaction and aborted transactions leave gaps, which the client passes silently.
func (co *consumption) lookForEnds(ctx context.Context) error {
	for topic, partitions := range co.until {
		for p, end := range partitions {
			next, err := co.client.nextRecord(ctx, topic, p, co.next[topic][p], co.level)
			if err != nil {
				return err
			}
			if next >= end {
				co.passed(topic, p, next)
			}
		}
	}
	return nil
}
