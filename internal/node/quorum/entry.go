package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/record"
)

// An entry of Raft is a batch of exactly one record, so that offset = index - 1 without any table; the batch's leader epoch
// is the term. The record's key is one byte, the kind of the entry; its value is the entry's data.
const (
	kindRecords = 0 // a list of records; null for the entry with which a leadership begins
	kindVoters  = 1 // a change of the voters
)

// entryOffset is where the entry with an index stands in the log.
func entryOffset(index uint64) moldau.Offset { return moldau.Offset(index) - 1 }

// entryIndex is the index of the entry at an offset.
func entryIndex(at moldau.Offset) uint64 { return uint64(at) + 1 }

// durableHeader is the header of a record whose value (8 bytes) is the offset up to which the log was synced when the entry was
// written. Where an entry is damaged, those behind it tell by this whether it can be a write that a power loss has torn.
const durableHeader = "durable"

// DurableAt is what a batch says of the log before it, 0 where it says nothing.
func DurableAt(b record.Batch) moldau.Offset {
	if b.Codec() != record.Uncompressed {
		return 0
	}
	for r, err := range b.Records(nil, len(b)) {
		if err != nil {
			return 0
		}
		for _, h := range r.Headers {
			if string(h.Key) == durableHeader && len(h.Value) == 8 {
				return moldau.Offset(binary.BigEndian.Uint64(h.Value))
			}
		}
	}
	return 0
}

// encodeEntry makes the batch of an entry, in memory of its own. All before durable was synced.
func encodeEntry(e *pb.Entry, now moldau.Timestamp, durable moldau.Offset) (record.Batch, error) {
	kind := byte(kindRecords)
	switch e.GetType() {
	case pb.EntryNormal:
	case pb.EntryConfChange:
		kind = kindVoters
	default:
		return nil, fmt.Errorf("the entry at offset %d is of type %v, which this program does not know", entryOffset(e.GetIndex()), e.GetType())
	}
	if e.GetTerm() > math.MaxInt32 {
		return nil, fmt.Errorf("the entry at offset %d has the term %d, beyond the last leader epoch", entryOffset(e.GetIndex()), e.GetTerm())
	}
	b := record.NewBuilder(entryOffset(e.GetIndex()))
	b.LeaderEpoch = moldau.LeaderEpoch(e.GetTerm())
	r := record.Record{Timestamp: now, Key: []byte{kind}, Headers: []record.Header{
		{Key: []byte(durableHeader), Value: binary.BigEndian.AppendUint64(nil, uint64(durable))},
	}}
	if len(e.GetData()) > 0 {
		r.Value = e.GetData()
	}
	b.Add(r)
	return b.Build(nil)
}

// decodeEntry reads the batch at an offset; the entry's data is a part of b.
func decodeEntry(b record.Batch, at moldau.Offset) (*pb.Entry, error) {
	switch {
	case b.BaseOffset() != at:
		return nil, fmt.Errorf("a batch at offset %d stands where %d should be", b.BaseOffset(), at)
	case !b.CRCValid():
		return nil, fmt.Errorf("the batch at offset %d has a wrong checksum", at)
	case b.Count() != 1 || b.Codec() != record.Uncompressed || b.LeaderEpoch() < 0:
		return nil, fmt.Errorf("the batch at offset %d is none of Raft's: %d records, codec %v, epoch %d", at, b.Count(), b.Codec(), b.LeaderEpoch())
	}
	for r, err := range b.Records(nil, len(b)) {
		if err != nil {
			return nil, err
		}
		if len(r.Key) != 1 || r.Key[0] > kindVoters {
			return nil, fmt.Errorf("the batch at offset %d has a key %x that this program does not know", at, r.Key)
		}
		kind := pb.EntryNormal
		if r.Key[0] == kindVoters {
			kind = pb.EntryConfChange
		}
		term, index := uint64(b.LeaderEpoch()), entryIndex(at)
		return &pb.Entry{Type: &kind, Term: &term, Index: &index, Data: r.Value}, nil
	}
	return nil, fmt.Errorf("the batch at offset %d has no record", at)
}

// AppendRecord appends a record to the list that an entry's data or a snapshot's data is: its length as an unsigned varint,
// then its bytes.
func AppendRecord(dst, record []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(record))), record...)
}

var errRecordList = errors.New("the list of records is cut off")

// Records iterates over a list that AppendRecord made; a record is a part of data. An error ends it.
func Records(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(data) > 0 {
			n, width := binary.Uvarint(data)
			if width <= 0 || n > uint64(len(data)-width) {
				yield(nil, errRecordList)
				return
			}
			if !yield(data[width:width+int(n):width+int(n)], nil) {
				return
			}
			data = data[width+int(n):]
		}
	}
}

// EntryView is an entry of the log as the tools show it.
type EntryView struct {
	Durable moldau.Offset // the log was synced up to here when the entry was written; 0 where it does not tell
	Voters  bool          // the entry changes the voters, and has no records
	Data    []byte        // a list of records; Records reads it
}

// ViewEntry reads the batch of an entry at any offset.
func ViewEntry(b record.Batch) (EntryView, error) {
	e, err := decodeEntry(b, b.BaseOffset())
	if err != nil {
		return EntryView{}, err
	}
	return EntryView{Durable: DurableAt(b), Voters: e.GetType() == pb.EntryConfChange, Data: e.GetData()}, nil
}
