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
)

func newTxnFindHanging(c *cli) *cobra.Command {
	var older time.Duration
	cmd := &cobra.Command{
		Use:   "find-hanging [TOPIC...]",
		Short: "Find transactions that are open in a partition and that no coordinator knows of",
		Long: `Find transactions that are open in a partition and that no coordinator knows of.

Nobody ends such a transaction, and who reads committed records waits before it. "moldau txn abort" ends it. All topics are
looked at, or those that are named.`,
		Example: `  moldau txn find-hanging
  moldau txn find-hanging orders --older 1h`,
		Args: takes(0, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			hanging, err := cl.hangingTxns(cmd.Context(), args, c.now().Add(-older))
			if err != nil {
				return err
			}
			return c.print(hanging, func(w io.Writer) {
				if len(hanging) == 0 {
					fmt.Fprintln(w, "no transaction hangs")
					return
				}
				var rows [][]string
				for _, o := range hanging {
					rows = append(rows, []string{o.Topic, strconv.Itoa(int(o.Partition)), strconv.FormatInt(o.Producer, 10), strconv.Itoa(int(o.Epoch)),
						strconv.FormatInt(o.Start, 10), o.LastWrite.UTC().Format(time.RFC3339)})
				}
				table(w, []string{"TOPIC", "PARTITION", "PRODUCER", "EPOCH", "START OFFSET", "LAST WRITE"}, rows)
			})
		},
	}
	cmd.Flags().DurationVar(&older, "older", 15*time.Minute, "only where the producer has written nothing for this time; the default is the longest time-out of a transaction")
	return cmd
}

// hangingTxns are the open transactions of topics, of all where none is named, that have written nothing since before and that no
// transactional id has.
func (cl *client) hangingTxns(ctx context.Context, topics []string, before time.Time) ([]openTxn, error) {
	details, err := cl.admin.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, explain(err, "", "")
	}
	for _, d := range details.Sorted() {
		if d.Err != nil {
			return nil, explain(d.Err, d.Topic, "")
		}
	}
	open, err := cl.openTxns(ctx, details.TopicsSet())
	if err != nil {
		return nil, err
	}
	open = slices.DeleteFunc(open, func(o openTxn) bool { return o.LastWrite.After(before) })
	if len(open) == 0 {
		return []openTxn{}, nil
	}
	var producers []int64
	for _, o := range open {
		producers = append(producers, o.Producer)
	}
	listed, err := cl.admin.ListTransactions(ctx, producers, nil)
	if err != nil {
		return nil, explain(err, "", "")
	}
	known, err := cl.describeTxns(ctx, listed.TransactionalIDs())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(open, func(o openTxn) bool {
		return slices.ContainsFunc(known, func(d describedTxn) bool {
			return d.Producer == o.Producer && slices.Contains(d.Partitions, txnPartition{o.Topic, o.Partition})
		})
	}), nil
}

func newTxnAbort(c *cli) *cobra.Command {
	var producer int64
	cmd := &cobra.Command{
		Use:   "abort TOPIC PARTITION",
		Short: "Abort a transaction that hangs in a partition",
		Long: `Abort a transaction that hangs in a partition, by a marker in that partition alone.

It is for what "moldau txn find-hanging" finds. A transaction that its coordinator knows of ends by itself, at the latest with its
time-out; a marker of somebody else tears it.`,
		Example: `  moldau txn abort orders 3
  moldau txn abort orders 3 --producer 4017`,
		Args:              takes(2, 2),
		ValidArgsFunction: c.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			partition, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil || partition < 0 {
				return usagef("%q is not the number of a partition", args[1])
			}
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			o, err := cl.abortTxn(cmd.Context(), args[0], int32(partition), producer)
			if err != nil {
				return err
			}
			return c.print(o, func(w io.Writer) {
				fmt.Fprintf(w, "the transaction of producer %d in %s/%d, open since offset %d, is aborted\n", o.Producer, o.Topic, o.Partition, o.Start)
			})
		},
	}
	cmd.Flags().Int64Var(&producer, "producer", -1, "the producer id whose transaction it is, where several are open")
	return cmd
}

// abortTxn aborts the one transaction that is open in a partition, or that of a producer.
func (cl *client) abortTxn(ctx context.Context, topic string, partition int32, producer int64) (openTxn, error) {
	set := kadm.TopicsSet{}
	set.Add(topic, partition)
	open, err := cl.openTxns(ctx, set)
	if err != nil {
		return openTxn{}, err
	}
	open = slices.DeleteFunc(open, func(o openTxn) bool { return producer >= 0 && o.Producer != producer })
	switch {
	case len(open) == 0:
		return openTxn{}, &failure{what: fmt.Sprintf("no such transaction is open in %s/%d", topic, partition), try: "see what hangs: moldau txn find-hanging"}
	case len(open) > 1:
		return openTxn{}, usagef("%d transactions are open in %s/%d: say which with --producer; the first is that of producer %d", len(open), topic, partition, open[0].Producer)
	}
	o := open[0]
	responses, err := cl.admin.WriteTxnMarkers(ctx, kadm.TxnMarkers{
		ProducerID: o.Producer, ProducerEpoch: o.Epoch, CoordinatorEpoch: max(o.CoordinatorEpoch, 0), Topics: set,
	})
	if err != nil {
		return openTxn{}, explain(err, topic, "")
	}
	errs := []error{}
	responses.EachPartition(func(p kadm.TxnMarkersPartitionResponse) { errs = append(errs, explain(p.Err, topic, "")) })
	return o, errors.Join(errs...)
}
