package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/moldau/moldau"
)

// Every file of this package is a header and a body:
//
//	magic (8) | version (4) | length of the body (8) | CRC-32C of all but itself (4) | body
const (
	fileHeaderLen = 24
	fileVersion   = 1
	fileCRCAt     = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is what a file is whose bytes are not those that were written.
var errDamaged = errors.New("the file is damaged")

// sealFile puts the header before the body. The body is appended to a buffer whose first fileHeaderLen bytes are free.
func sealFile(b []byte, magic string) []byte {
	copy(b, magic)
	binary.BigEndian.PutUint32(b[8:], fileVersion)
	binary.BigEndian.PutUint64(b[12:], uint64(len(b)-fileHeaderLen))
	binary.BigEndian.PutUint32(b[fileCRCAt:], fileCRC(b))
	return b
}

// openFile returns the body of a file, a part of b.
func openFile(b []byte, magic string) ([]byte, error) {
	switch {
	case len(b) < fileHeaderLen:
		return nil, fmt.Errorf("%w: it has %d bytes, fewer than its header", errDamaged, len(b))
	case string(b[:8]) != magic:
		return nil, fmt.Errorf("%w: it begins with %q and not with %q", errDamaged, b[:8], magic)
	case binary.BigEndian.Uint32(b[8:]) != fileVersion:
		return nil, fmt.Errorf("the file has version %d and this program reads version %d: use the program that wrote it or a later one",
			binary.BigEndian.Uint32(b[8:]), fileVersion)
	case binary.BigEndian.Uint64(b[12:]) != uint64(len(b)-fileHeaderLen):
		return nil, fmt.Errorf("%w: it has %d bytes behind the header and not %d", errDamaged,
			len(b)-fileHeaderLen, binary.BigEndian.Uint64(b[12:]))
	case binary.BigEndian.Uint32(b[fileCRCAt:]) != fileCRC(b):
		return nil, fmt.Errorf("%w: its checksum is wrong", errDamaged)
	}
	return b[fileHeaderLen:], nil
}

func fileCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:fileCRCAt], castagnoli), castagnoli, b[fileHeaderLen:])
}

const voterLen = 4 + 16

// appendVoters appends the number of voters (4) and each one's node id (4) and directory id (16).
func appendVoters(b []byte, voters []Voter) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(voters)))
	for _, v := range voters {
		b = binary.BigEndian.AppendUint32(b, uint32(v.ID))
		b = append(b, v.Directory[:]...)
	}
	return b
}

// readVoters reads what appendVoters wrote and returns the bytes behind it.
func readVoters(b []byte) (voters []Voter, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("%w: it ends before the number of voters", errDamaged)
	}
	n := uint64(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n*voterLen > uint64(len(b)) {
		return nil, nil, fmt.Errorf("%w: it claims %d voters in %d bytes", errDamaged, n, len(b))
	}
	for range n {
		voters = append(voters, Voter{moldau.BrokerID(binary.BigEndian.Uint32(b)), moldau.DirectoryID(b[4:voterLen])})
		b = b[voterLen:]
	}
	return voters, b, nil
}
