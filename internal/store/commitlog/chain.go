package commitlog

import (
	"fmt"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/plant"
	"github.com/moldau/moldau/internal/proto/record"
)

// chain is what a batch has to follow: the segment that it stands in, and the batch before.
type chain struct {
	base  moldau.Offset // of the segment
	next  moldau.Offset // the lowest base offset
	epoch moldau.LeaderEpoch
}

// follows returns a torn where a batch with the header h cannot stand behind what was there before. Offsets may be missing,
// as compaction leaves them; they never repeat.
func (c chain) follows(h record.Batch) error {
	switch {
	case h.BaseOffset() < c.next:
		return torn{fmt.Sprintf("offset %d, where at least %d has to be", h.BaseOffset(), c.next)}
	case h.LastOffset()-c.base > maxRelative:
		return torn{fmt.Sprintf("offset %d is too far from the segment's base", h.LastOffset())}
	case h.LeaderEpoch() >= 0 && h.LeaderEpoch() < c.epoch:
		return torn{fmt.Sprintf("leader epoch %d behind %d", h.LeaderEpoch(), c.epoch)}
	}
	return nil
}

// refuses is a quick look at what is most probably no header, for those who try every byte: it says so of nothing that could follow.
func (c chain) refuses(h record.Batch) bool {
	return h.BaseOffset() < c.next || h.BaseOffset()-c.base > maxRelative || h.Size() < record.HeaderLen
}

// check returns the batch at the scanner, which is valid until the scanner is used again: with its records, and its CRC compared,
// where it reaches crcFrom, else its header alone. It returns io.EOF at the end, and a torn where no batch stands that can
// follow. It is the one check that a start, a scrub and the tools make.
func (c chain) check(sc *scanner, crcFrom moldau.Offset) (record.Batch, error) {
	sc.full = c.next >= crcFrom
	h, err := sc.header()
	if err == nil {
		err = c.follows(h)
	}
	if err != nil || h.LastOffset() < crcFrom {
		return h, err
	}
	b, err := sc.whole(h)
	if err == nil && !b.CRCValid() && !plant.Has(plant.CRCUnchecked) {
		err = torn{fmt.Sprintf("the CRC of the batch at offset %d is wrong", b.BaseOffset())}
	}
	return b, err
}

// pass moves the chain behind b.
func (c *chain) pass(b record.Batch) {
	c.next, c.epoch = b.LastOffset()+1, max(c.epoch, b.LeaderEpoch())
}
