package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/backup"
)

// asker asks a running broker what a backup has to know, over one connection that is made at the first question.
type asker struct {
	c  *cli
	cl *client
}

func (a *asker) client(ctx context.Context) (*client, error) {
	var err error
	if a.cl == nil {
		a.cl, err = a.c.connect(ctx)
	}
	return a.cl, err
}

func (a *asker) close() {
	if a.cl != nil {
		a.cl.Close()
	}
}

// logDirs are the log directories of the broker, which has to be on this machine.
func (a *asker) logDirs(ctx context.Context) ([]string, error) {
	cl, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	all, err := cl.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, explain(err, "", "")
	}
	var dirs []string
	for _, d := range all.Sorted() {
		if _, err := os.Stat(d.Dir); err != nil {
			return nil, &failure{
				what: fmt.Sprintf("the broker has the log directory %s, which is not here: %v", d.Dir, err),
				try:  "run this on the broker's machine, and name its log.dirs with --from where they are relative to another directory",
				err:  err,
			}
		}
		dirs = append(dirs, d.Dir)
	}
	return dirs, nil
}

// live asks for offsets first and for the metadata's end after: see backup.Live. What groups have committed is bounded before
// the topics that it is about, so that no group is restored ahead of its topic.
func (a *asker) live(ctx context.Context) (backup.Live, error) {
	live := backup.Live{
		Starts: make(map[moldau.TopicPartition]moldau.Offset), Ends: make(map[moldau.TopicPartition]moldau.Offset),
		Failed: make(map[moldau.TopicPartition]string),
	}
	cl, err := a.client(ctx)
	if err != nil {
		return live, err
	}
	meta, err := cl.admin.Metadata(ctx)
	if err != nil {
		return live, explain(err, "", "")
	}
	live.ClusterID = meta.Cluster
	var internal, others []string
	for _, name := range meta.Topics.Names() {
		if moldau.IsInternalTopic(name) {
			internal = append(internal, name)
		} else {
			others = append(others, name)
		}
	}
	for _, names := range [][]string{internal, others} {
		if len(names) == 0 {
			continue // none named is all of them
		}
		ends, err := cl.admin.ListEndOffsets(ctx, names...)
		if err != nil {
			return live, explain(err, "", "")
		}
		starts, err := cl.admin.ListStartOffsets(ctx, names...)
		if err != nil {
			return live, explain(err, "", "")
		}
		note(ends, live.Ends, live.Failed)
		note(starts, live.Starts, live.Failed)
	}
	live.MetadataEnd, err = cl.metadataEnd(ctx)
	return live, err
}

// note sorts what was answered into offsets and failures. Of a topic that is gone by now nothing is noted.
func note(answers kadm.ListedOffsets, offsets map[moldau.TopicPartition]moldau.Offset, failed map[moldau.TopicPartition]string) {
	answers.Each(func(o kadm.ListedOffset) {
		tp := moldau.TopicPartition{Topic: o.Topic, Partition: o.Partition}
		switch {
		case o.Err == nil:
			offsets[tp] = moldau.Offset(o.Offset)
		case !errors.Is(o.Err, kerr.UnknownTopicOrPartition):
			failed[tp] = fmt.Sprintf("the broker does not tell its offsets: %v", o.Err)
		}
	})
}

// metadataEnd is the offset behind the last committed entry of the metadata.
func (cl *client) metadataEnd(ctx context.Context) (moldau.Offset, error) {
	req := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = moldau.MetadataTopic
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl.Client)
	if err != nil {
		return 0, explain(err, "", "")
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, explain(err, "", "")
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, &failure{what: "the broker does not tell how far its metadata is"}
	}
	p := resp.Topics[0].Partitions[0]
	return moldau.Offset(p.HighWatermark), explain(kerr.ErrorForCode(p.ErrorCode), "", "")
}

// everySecond is a progress that is shown once a second, from the first second on.
type everySecond struct {
	p    *progress
	now  func() time.Time
	last time.Time
}

func (c *cli) everySecond() *everySecond {
	return &everySecond{newProgress(c.stderr), c.now, c.now()}
}

func (e *everySecond) show(line func() string) {
	if now := e.now(); now.Sub(e.last) >= time.Second {
		e.last = now
		e.p.show(line())
	}
}

// bytes shows how many bytes of how many are done.
func (e *everySecond) bytes(done, total int64) {
	e.show(func() string { return fmt.Sprintf("%s of %s", byteSize(float64(done)), byteSize(float64(total))) })
}

func (e *everySecond) clear() { e.p.clear() }
