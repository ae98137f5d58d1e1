package record

import (
	"encoding/binary"

	"github.com/moldau/moldau"
)

// BuildHollow makes a batch without records that takes the offsets from base to last: readers pass over them, and the log has no
// gap there. Compaction leaves such batches too, so clients know them (L-64).
func BuildHollow(base, last moldau.Offset, epoch moldau.LeaderEpoch) Batch {
	b := make(Batch, HeaderLen)
	binary.BigEndian.PutUint64(b[baseOffsetAt:], uint64(base))
	binary.BigEndian.PutUint32(b[lengthAt:], HeaderLen-Overhead)
	binary.BigEndian.PutUint32(b[leaderEpochAt:], uint32(epoch))
	b[magicAt] = magic
	binary.BigEndian.PutUint32(b[lastOffsetDeltaAt:], uint32(last-base))
	none := int64(-1)
	binary.BigEndian.PutUint64(b[baseTimestampAt:], uint64(none))
	binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(none))
	binary.BigEndian.PutUint64(b[producerIDAt:], uint64(none))
	binary.BigEndian.PutUint16(b[producerEpochAt:], uint16(none&0xffff))
	binary.BigEndian.PutUint32(b[baseSequenceAt:], uint32(none&0xffffffff))
	b.stampCRC()
	return b
}
