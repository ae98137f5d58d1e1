package broker

import (
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/proto/schema"
)

// cluster is the metadata log folded into an Image: the quorum's machine, and what handlers see as api.Metadata. Two
// images exist: head, which the controller decides on and which holds its own uncommitted commands, and the committed one.
type cluster struct {
	quorum    *quorum.Quorum
	committed atomic.Pointer[metadata.Image]
	head      *metadata.Image // touched by the quorum's loop only; nil while not leading
	// changed is told of every committed change, on the quorum's loop. Nil before the broker follows.
	changed atomic.Pointer[func(*metadata.Delta)]
	leading chan struct{} // closed when this replica leads for the first time
	led     bool
}

func newCluster() *cluster {
	c := &cluster{leading: make(chan struct{})}
	c.committed.Store(metadata.Empty())
	return c
}

// Image implements api.Metadata.
func (c *cluster) Image() *metadata.Image { return c.committed.Load() }

// Quorum implements api.Metadata.
func (c *cluster) Quorum() quorum.Status { return c.quorum.Status() }

// Change implements api.Metadata.
func (c *cluster) Change(decide func(head *metadata.Image) []schema.Record, done func(error)) {
	var recs []schema.Record
	var at moldau.Offset
	var epoch moldau.LeaderEpoch
	err := c.quorum.Submit(quorum.Command{
		Decide: func(o moldau.Offset, e moldau.LeaderEpoch) []byte {
			at, epoch = o, e
			if c.head.Offset() < at-1 {
				c.head, _ = c.head.Apply(at-1, epoch, nil) // entries of the quorum's own lie between
			}
			recs = decide(c.head)
			return encode(recs)
		},
		Adopt: func() { c.head, _ = c.head.Apply(at, epoch, recs) },
		Done:  func(_ moldau.Offset, err error) { done(err) },
	})
	if err != nil {
		done(err)
	}
}

// changeNow is Change for a caller that may wait.
func (c *cluster) changeNow(decide func(head *metadata.Image) []schema.Record) error {
	done := make(chan error, 1)
	c.Change(decide, func(err error) { done <- err })
	return <-done
}

// follow calls fn with everything that is there and then with every change.
func (c *cluster) follow(fn func(*metadata.Delta)) error {
	return c.changeNow(func(*metadata.Image) []schema.Record {
		// On the loop: no change can come between the two lines.
		fn(metadata.Diff(metadata.Empty(), c.Image()))
		c.changed.Store(&fn)
		return nil
	})
}

// EncodeRecords makes the list of records that a snapshot of the metadata is; DecodeRecords reads it.
func EncodeRecords(recs iter.Seq[schema.Record]) []byte { return encode(slices.Collect(recs)) }

// DecodeRecords reads a list that EncodeRecords made.
func DecodeRecords(data []byte) ([]schema.Record, error) { return decode(data) }

func encode(recs []schema.Record) []byte {
	var data, one []byte
	for _, r := range recs {
		one = schema.Append(one[:0], r)
		data = quorum.AppendRecord(data, one)
	}
	return data
}

func decode(data []byte) ([]schema.Record, error) {
	var recs []schema.Record
	for value, err := range quorum.Records(data) {
		if err != nil {
			return nil, err
		}
		r, err := schema.Decode(value)
		if err != nil {
			return nil, err
		}
		recs = append(recs, r)
	}
	return recs, nil
}

// Restore implements quorum.Machine.
func (c *cluster) Restore(s quorum.Snapshot) error {
	recs, err := decode(s.Data)
	if err != nil {
		return fmt.Errorf("metadata snapshot below offset %d: %w", s.End, err)
	}
	old := c.Image()
	im, _ := metadata.Empty().Apply(s.End-1, s.Epoch, recs)
	c.publish(im, metadata.Diff(old, im))
	return nil
}

// Apply implements quorum.Machine.
func (c *cluster) Apply(e quorum.Entry) error {
	recs, err := decode(e.Data)
	if err != nil {
		return fmt.Errorf("metadata entry at offset %d: %w", e.Offset, err)
	}
	im, delta := c.Image().Apply(e.Offset, e.Epoch, recs)
	c.publish(im, delta)
	return nil
}

func (c *cluster) publish(im *metadata.Image, delta *metadata.Delta) {
	// Partitions first: who sees a topic in the Image finds its partitions.
	if fn := c.changed.Load(); fn != nil {
		(*fn)(delta)
	}
	c.committed.Store(im)
	if c.head != nil && c.head.Offset() == im.Offset() {
		c.head = im // the same, made of the same records: one of the two in memory is enough
	}
}

// Snapshot implements quorum.Machine.
func (c *cluster) Snapshot() func() []byte {
	im := c.Image()
	return func() []byte { return EncodeRecords(im.Records()) }
}

// Lead implements quorum.Machine.
func (c *cluster) Lead(moldau.LeaderEpoch) {
	c.head = c.Image()
	if !c.led {
		c.led = true
		close(c.leading)
	}
}

// Follow implements quorum.Machine.
func (c *cluster) Follow() { c.head = nil }
