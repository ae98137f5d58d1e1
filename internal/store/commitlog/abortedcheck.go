package commitlog

import (
	"fmt"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// abortedCheck follows the transactions of a log from batch to batch, over all its segments, and compares the transaction index
// of each segment with the markers in it. A compaction takes batches away; what lies in the gaps that it leaves is not judged.
type abortedCheck struct {
	open    map[moldau.ProducerID]moldau.Offset // where the first batch of its transaction that was seen begins
	ended   map[moldau.ProducerID]moldau.Offset // its last marker
	next    moldau.Offset                       // after the last batch
	unknown moldau.Offset                       // below it not every batch was seen
	markers []abortMarker                       // in this segment
}

// abortMarker is the end of a transaction that was aborted.
type abortMarker struct {
	producer moldau.ProducerID
	offset   moldau.Offset
	first    moldau.Offset // where its data was seen to begin; noOffset where none was seen
	after    moldau.Offset // the marker of its producer before it; noOffset where there is none
	unknown  moldau.Offset // as in abortedCheck when it was met
}

// lose forgets what is open: batches up to the next were not read, and may have ended it.
func (c *abortedCheck) lose() {
	c.open, c.ended, c.next = make(map[moldau.ProducerID]moldau.Offset), make(map[moldau.ProducerID]moldau.Offset), noOffset
}

func (c *abortedCheck) batch(b record.Batch) {
	if b.BaseOffset() != c.next {
		c.unknown = b.BaseOffset()
	}
	c.next = b.LastOffset() + 1
	id := b.ProducerID()
	if !b.IsControl() {
		if _, open := c.open[id]; b.IsTransactional() && !open {
			c.open[id] = b.BaseOffset()
		}
		return
	}
	if b.Count() == 0 { // a marker that a compaction has emptied: its transaction has no data left
		delete(c.open, id)
		return
	}
	end, err := b.Marker()
	if err != nil {
		return // a control record that ends no transaction
	}
	if !end.Commit {
		m := abortMarker{id, b.LastOffset(), noOffset, noOffset, c.unknown}
		if first, seen := c.open[id]; seen {
			m.first = first
		}
		if last, seen := c.ended[id]; seen {
			m.after = last
		}
		c.markers = append(c.markers, m)
	}
	delete(c.open, id)
	c.ended[id] = b.LastOffset()
}

// problem compares the index of the segment that has just been read with what was met in it; "" where they agree.
func (c *abortedCheck) problem(list []Aborted) string {
	indexed := make(map[moldau.Offset]Aborted, len(list))
	for _, a := range list {
		indexed[a.Last] = a
	}
	for _, m := range c.markers {
		a, ok := indexed[m.offset]
		delete(indexed, m.offset)
		switch {
		case !ok && m.first == noOffset: // nothing was written in it
		case !ok:
			return fmt.Sprintf("it lacks the transaction of producer %d from offset %d, which the marker at offset %d aborts", m.producer, m.first, m.offset)
		case a.Producer != m.producer:
			return fmt.Sprintf("it tells of producer %d at offset %d, where the marker is of producer %d", a.Producer, m.offset, m.producer)
		case m.first != noOffset && a.First > m.first, a.First <= m.after, a.First >= m.unknown && a.First != m.first:
			return fmt.Sprintf("it tells that the transaction of producer %d which the marker at offset %d aborts begins at offset %d, where none begins", m.producer, m.offset, a.First)
		}
	}
	for _, a := range list {
		if _, left := indexed[a.Last]; left {
			return fmt.Sprintf("it tells of a transaction of producer %d that is aborted at offset %d, where no such marker stands", a.Producer, a.Last)
		}
	}
	return ""
}
