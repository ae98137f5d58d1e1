package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTransaction(c *cli) *cobra.Command {
	return newGroup("txn", "List, describe and end transactions", `  moldau txn list --state Ongoing
  moldau txn describe billing-1
  moldau txn find-hanging
  moldau txn abort orders 3 --producer 4017`,
		newTxnList(c), newTxnDescribe(c), newTxnFindHanging(c), newTxnAbort(c))
}

// listedTxn is what `txn list` shows of a transactional id.
type listedTxn struct {
	ID          string `json:"id"`
	State       string `json:"state"`
	Producer    int64  `json:"producer"`
	Coordinator int32  `json:"coordinator"`
}

func newTxnList(c *cli) *cobra.Command {
	var states []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List transactional ids",
		Example: `  moldau txn list
  moldau txn list --state Ongoing -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			listed, err := cl.admin.ListTransactions(cmd.Context(), nil, states)
			if err != nil {
				return explain(err, "", "")
			}
			txns := []listedTxn{}
			for _, t := range listed.Sorted() {
				txns = append(txns, listedTxn{t.TxnID, t.State, t.ProducerID, t.Coordinator})
			}
			return c.print(txns, func(w io.Writer) {
				if len(txns) == 0 {
					fmt.Fprintln(w, "no transactional ids")
					return
				}
				var rows [][]string
				for _, t := range txns {
					rows = append(rows, []string{t.ID, t.State, strconv.FormatInt(t.Producer, 10), strconv.Itoa(int(t.Coordinator))})
				}
				table(w, []string{"ID", "STATE", "PRODUCER", "COORDINATOR"}, rows)
			})
		},
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only those in these states: Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort")
	return cmd
}

// describedTxn is what `txn describe` shows of a transactional id.
type describedTxn struct {
	ID             string         `json:"id"`
	State          string         `json:"state"`
	Producer       int64          `json:"producer"`
	Epoch          int16          `json:"epoch"`
	TimeoutSeconds float64        `json:"timeoutSeconds"`
	Started        *time.Time     `json:"started"` // null where no transaction is open
	Partitions     []txnPartition `json:"partitions"`
}

type txnPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func newTxnDescribe(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "describe ID...",
		Short: "Show the producer, the transaction and the partitions of transactional ids",
		Example: `  moldau txn describe billing-1
  moldau txn describe billing-1 billing-2 -o json`,
		Args: takes(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			described, err := cl.describeTxns(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.print(described, func(w io.Writer) {
				for i, d := range described {
					if i > 0 {
						fmt.Fprintln(w)
					}
					d.write(w, c.now())
				}
			})
		},
	}
}

func (cl *client) describeTxns(ctx context.Context, ids []string) ([]describedTxn, error) {
	if len(ids) == 0 {
		return nil, nil // the client would ask for all
	}
	described, err := cl.admin.DescribeTransactions(ctx, ids...)
	if err != nil {
		return nil, explain(err, "", "")
	}
	var list []describedTxn
	for _, d := range described.Sorted() {
		if d.Err != nil {
			return nil, explain(d.Err, d.TxnID, "")
		}
		t := describedTxn{
			ID: d.TxnID, State: d.State, Producer: d.ProducerID, Epoch: d.ProducerEpoch, TimeoutSeconds: float64(d.TimeoutMillis) / 1000,
			Partitions: []txnPartition{},
		}
		if d.StartTimestamp > 0 && (d.State == "Ongoing" || len(d.Topics) > 0) {
			at := time.UnixMilli(d.StartTimestamp)
			t.Started = &at
		}
		for _, topic := range d.Topics.Sorted() {
			for _, p := range topic.Partitions {
				t.Partitions = append(t.Partitions, txnPartition{topic.Topic, p})
			}
		}
		list = append(list, t)
	}
	return list, nil
}

func (d describedTxn) write(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "%s  %s, producer %d at epoch %d, time-out %v", d.ID, d.State, d.Producer, d.Epoch, time.Duration(d.TimeoutSeconds*float64(time.Second)))
	if d.Started != nil {
		fmt.Fprintf(w, ", open for %v", now.Sub(*d.Started).Round(time.Second))
	}
	fmt.Fprintln(w)
	for _, p := range d.Partitions {
		fmt.Fprintf(w, "  %s/%d\n", p.Topic, p.Partition)
	}
}

// openTxn is a transaction that is open in a partition.
type openTxn struct {
	Topic            string    `json:"topic"`
	Partition        int32     `json:"partition"`
	Producer         int64     `json:"producer"`
	Epoch            int16     `json:"epoch"`
	CoordinatorEpoch int32     `json:"coordinatorEpoch"`
	Start            int64     `json:"startOffset"`
	LastWrite        time.Time `json:"lastWrite"`
}

// openTxns are the transactions that are open in topics, or in those partitions of them that are given.
func (cl *client) openTxns(ctx context.Context, topics kadm.TopicsSet) ([]openTxn, error) {
	described, err := cl.admin.DescribeProducers(ctx, topics)
	if err != nil {
		return nil, explain(err, "", "")
	}
	var open []openTxn
	for _, p := range described.SortedPartitions() {
		if p.Err != nil {
			return nil, explain(p.Err, p.Topic, p.ErrMessage)
		}
		for _, d := range p.ActiveProducers.Sorted() {
			if d.CurrentTxnStartOffset >= 0 {
				open = append(open, openTxn{d.Topic, d.Partition, d.ProducerID, d.ProducerEpoch, d.CoordinatorEpoch, d.CurrentTxnStartOffset,
					time.UnixMilli(d.LastTimestamp)})
			}
		}
	}
	return open, nil
}
