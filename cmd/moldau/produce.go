package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// produceOptions are the flags of `produce`.
type produceOptions struct {
	key, separator string
	tombstone      bool
	json           bool
	headers        []string
	partition      int32
	compression    string
	acks           string
	linger         time.Duration
	batchBytesMax  int32
	autoCreate     bool
}

func newProduce(c *cli) *cobra.Command {
	var o produceOptions
	cmd := &cobra.Command{
		Use:   "produce TOPIC [FILE...]",
		Short: "Write lines to a topic, from files or standard input",
		Long: `Write lines to a topic, from files or standard input (also as -): a record a line.

With --json a line is an object with any of key, value, headers, partition and timestamp; a value
that is no string is written as its JSON text. What consume -o json prints can be produced so.

It stops at the first line that cannot be written, and names it. How many records the broker has
acknowledged stands at the end.`,
		Example: `  echo 'hello' | moldau produce orders
  moldau produce pageviews access.log --compression zstd
  moldau produce users --key-separator : users.txt -H origin=import
  echo '{"key":"7","value":{"total":9.5},"headers":{"v":"1"}}' | moldau produce orders --json`,
		Args:              takes(1, many),
		ValidArgsFunction: c.completeProduce,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.produce(cmd, o, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.key, "key", "k", "", "the key of every record")
	f.StringVarP(&o.separator, "key-separator", "K", "", `what stands between key and value in a line, such as : or \t`)
	f.BoolVar(&o.tombstone, "tombstone", false, "an empty value is a null one, which deletes its key from a compacted topic")
	f.BoolVar(&o.json, "json", false, "lines are JSON records")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "a header name=value for every record; may be repeated")
	f.Int32VarP(&o.partition, "partition", "p", anyPartition, "the partition to write to; -1 chooses by the hash of the key, as Java does")
	f.VarP(newChoice(&o.compression, "none", "none", "gzip", "snappy", "lz4", "zstd"), "compression", "z", "compression of batches")
	f.Var(newChoice(&o.acks, "all", "all", "1", "0"), "acks", "who must have a record before it counts: all in-sync replicas, the leader, nobody")
	f.DurationVar(&o.linger, "linger", 5*time.Millisecond, "how long to wait for more records to a batch")
	f.Int32Var(&o.batchBytesMax, "max-message-bytes", 1<<20, "the largest batch and so the largest record, in bytes")
	f.BoolVar(&o.autoCreate, "auto-create", false, "let the broker create the topic if it is absent")
	cmd.MarkFlagsMutuallyExclusive("key", "key-separator", "json")
	return cmd
}

func (c *cli) completeProduce(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return c.completeTopics(cmd, args, word)
	}
	return nil, cobra.ShellCompDirectiveDefault // files
}

// codecs are the compressions by name.
var codecs = map[string]func() kgo.CompressionCodec{
	"none":   kgo.NoCompression,
	"gzip":   kgo.GzipCompression,
	"snappy": kgo.SnappyCompression,
	"lz4":    kgo.Lz4Compression,
	"zstd":   kgo.ZstdCompression,
}

// acksOptions are the client options for an acks flag. Only acks=all can be idempotent (KIP-98).
func acksOptions(acks string) []kgo.Opt {
	switch acks {
	case "1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}
	case "0":
		return []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}
	}
	return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}
}

// parser returns what makes records of lines, headers and partition included.
func (o produceOptions) parser(keySet bool) (recordParser, error) {
	separator, err := unescape(o.separator)
	if err != nil {
		return nil, usagef("--key-separator: %v", err)
	}
	text := textParser{separator: separator, tombstone: o.tombstone}
	if keySet {
		text.key = &o.key
	}
	var headers []kgo.RecordHeader
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok {
			return nil, usagef("--header %q is not of the form name=value", h)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	parse := text.parse
	if o.json {
		parse = parseJSONRecord
	}
	return func(line []byte) (*kgo.Record, error) {
		r, err := parse(line)
		if err != nil {
			return nil, err
		}
		r.Headers = append(r.Headers, headers...)
		if r.Partition == anyPartition {
			r.Partition = o.partition
		}
		return r, nil
	}, nil
}

func (c *cli) produce(cmd *cobra.Command, o produceOptions, topic string, files []string) error {
	parse, err := o.parser(cmd.Flags().Changed("key"))
	if err != nil {
		return err
	}
	opts := append(acksOptions(o.acks),
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(codecs[o.compression]()),
		kgo.ProducerLinger(o.linger),
		kgo.ProducerBatchMaxBytes(o.batchBytesMax),
		kgo.MaxBufferedBytes(64<<20),
		kgo.AllowIdempotentProduceCancellation(), // what is cancelled is the last that this producer does
		kgo.RecordPartitioner(chosenPartition{kgo.StickyKeyPartitioner(nil)}),
	)
	if o.autoCreate {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	cl, err := c.connect(cmd.Context(), opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	p := &lineProducer{
		client: cl.Client, topic: topic, bytesMax: o.batchBytesMax, parse: parse, started: time.Now(), progress: newProgress(c.stderr),
	}
	details, err := cl.topicDetails(cmd.Context(), topic)
	if err != nil && !(o.autoCreate && errors.Is(err, kerr.UnknownTopicOrPartition)) {
		return adviseCreate(err, topic)
	}
	if err == nil {
		p.partitions = int32(len(details[topic].Partitions))
	}
	err = p.run(cmd.Context(), c.stdin, files, c.timeout)
	if c.output == "json" {
		return errors.Join(err, json.NewEncoder(c.stdout).Encode(p.summary()))
	}
	fmt.Fprintln(c.stderr, p.summary())
	return err
}

// adviseCreate tells who would write to a topic that does not exist how to make it.
func adviseCreate(err error, topic string) error {
	var f *failure
	if errors.As(err, &f) && errors.Is(err, kerr.UnknownTopicOrPartition) {
		f.try = "create it with: moldau topic create " + topic + ", or let the broker do it with --auto-create"
	}
	return err
}

// chosenPartition is a partitioner that obeys a record's own partition and asks another for the rest.
type chosenPartition struct{ rest kgo.Partitioner }

func (c chosenPartition) ForTopic(topic string) kgo.TopicPartitioner {
	return chosenPartitionOf{c.rest.ForTopic(topic)}
}

type chosenPartitionOf struct{ rest kgo.TopicPartitioner }

func (c chosenPartitionOf) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition != anyPartition || c.rest.RequiresConsistency(r)
}

func (c chosenPartitionOf) Partition(r *kgo.Record, n int) int {
	if r.Partition != anyPartition {
		return int(r.Partition)
	}
	return c.rest.Partition(r, n)
}

// OnNewBatch lets records without a key move on to another partition with each batch.
func (c chosenPartitionOf) OnNewBatch() {
	if rest, ok := c.rest.(kgo.TopicPartitionerOnNewBatch); ok {
		rest.OnNewBatch()
	}
}
