package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// leavePatience bounds how long a member that goes takes to commit and to leave.
const leavePatience = 5 * time.Second

// consumeGroup prints the records that a member of a group is given, and commits them once they are printed.
func (c *cli) consumeGroup(ctx context.Context, o consumeOptions, topics []string) error {
	if o.until != "" || len(o.partitions) > 0 {
		return usagef("--group leaves the partitions and their ends to the group: --until and --partition go without it")
	}
	from, err := parsePlace(o.from, c.now())
	if err != nil {
		return usagef("--from: %v", err)
	}
	reset, err := from.reset()
	if err != nil {
		return usagef("--from: %v", err)
	}
	write, err := c.recordWriter(o.format)
	if err != nil {
		return err
	}
	level := kgo.ReadUncommitted()
	if o.isolation == "read_committed" {
		level = kgo.ReadCommitted()
	}
	cl, err := c.connect(ctx, kgo.ConsumerGroup(o.group), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(reset),
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.FetchIsolationLevel(level))
	if err != nil {
		return interrupted(ctx, err)
	}
	defer cl.Close() // it leaves the group
	if _, err := cl.topicDetails(ctx, topics...); err != nil {
		return interrupted(ctx, err)
	}
	m := &membership{client: cl, max: o.max, out: bufio.NewWriterSize(c.stdout, 64<<10), write: write}
	return interrupted(ctx, m.run(ctx))
}

// reset is the place as a group's beginning, where nothing was committed.
func (p place) reset() (kgo.Offset, error) {
	switch p.kind {
	case placeStart:
		return kgo.NewOffset().AtStart().Relative(p.n), nil
	case placeEnd:
		return kgo.NewOffset().AtEnd().Relative(-p.n), nil
	case placeTime:
		return kgo.NewOffset().AfterMilli(p.n), nil
	default:
		return kgo.NewOffset(), errors.New("a group begins at start, end, or a time; an offset would be another one in each partition")
	}
}

// membership is the run of one member.
type membership struct {
	client  *client
	max     int64 // 0 for no limit
	printed int64
	out     *bufio.Writer
	write   func(dst []byte, r *kgo.Record) ([]byte, error)
	line    []byte // reused
}

func (m *membership) run(ctx context.Context) error {
	for m.max == 0 || m.printed < m.max {
		limit := 10_000
		if m.max > 0 {
			limit = int(min(m.max-m.printed, int64(limit)))
		}
		fetches := m.client.PollRecords(ctx, limit)
		if ctx.Err() != nil {
			return ctx.Err() // what was printed is committed
		}
		err := m.print(fetches)
		if err == nil {
			err = m.commit(ctx, fetches.Records())
		}
		m.client.AllowRebalance()
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *membership) print(fetches kgo.Fetches) error {
	var failed error
	fetches.EachError(func(topic string, partition int32, err error) {
		if failed == nil {
			failed = explain(err, topic, fmt.Sprintf("partition %d", partition))
		}
	})
	if failed != nil {
		return failed
	}
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		var err error
		if m.line, err = m.write(m.line[:0], r); err != nil {
			return fmt.Errorf("record %d of partition %d of %s: %w", r.Offset, r.Partition, r.Topic, err)
		}
		if _, err = m.out.Write(m.line); err != nil {
			return err
		}
		m.printed++
	}
	return m.out.Flush()
}

// commit commits what was printed, also when the command is interrupted meanwhile.
func (m *membership) commit(ctx context.Context, printed []*kgo.Record) error {
	if len(printed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
	defer cancel()
	if err := m.client.CommitRecords(ctx, printed...); err != nil {
		return fmt.Errorf("the records are printed, and their offsets could not be committed: %w", explain(err, "", ""))
	}
	return nil
}
