package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// The manifest of a log directory lists the partitions that have files in it, so that a partition whose directory was
// lost is missed, and not taken for one that was never written. It is a journal of entries, appended and synced after the
// directory was made and before it gets records, and after it was deleted:
//
//	file   "MOLDAUMF" version:u32 entry*
//	entry  length:u32 crc:u32 payload        crc: CRC-32C of the payload
//	payload op:u8 (1 enlist, 2 strike) partition:u32 topic id:16 bytes, the rest is the topic's name
const (
	manifestName    = "moldau.manifest"
	manifestMagic   = "MOLDAUMF"
	manifestVersion = 1
	manifestMax     = 256 << 20 // bytes

	manifestHead  = len(manifestMagic) + 4
	entryHead     = 8
	entryFixed    = 1 + 4 + 16
	entryMax      = entryFixed + moldau.TopicNameMax
	enlistOp      = 1
	strikeOp      = 2
	manifestSlack = 256 // superseded entries that are let be
)

// manifest is the journal and what it amounts to.
type manifest struct {
	fsys    env.FS
	dir     string
	file    env.File
	size    int64
	entries int
	live    map[moldau.TopicPartition]moldau.TopicID
	failure error
}

func openManifest(fsys env.FS, dir string) (*manifest, error) {
	m := &manifest{fsys: fsys, dir: dir, live: map[moldau.TopicPartition]moldau.TopicID{}}
	path := filepath.Join(dir, manifestName)
	b, err := env.ReadFile(fsys, path, manifestMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = m.rewrite()
	case err == nil:
		err = m.load(b)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("manifest %s: %w", path, err), m.close())
	}
	return m, nil
}

// load replays the journal b. What follows its last whole entry is an append that a crash has torn; but an entry that is
// damaged with others behind it is an error.
func (m *manifest) load(b []byte) error {
	good, err := m.replay(b)
	if err != nil {
		return err
	}
	if m.entries > 2*len(m.live)+manifestSlack {
		if err := m.rewrite(); !env.NoSpace(err) { // what is superseded can stay until there is room
			return err
		}
	}
	if m.file, err = m.fsys.Open(filepath.Join(m.dir, manifestName)); err != nil {
		return err
	}
	m.size = int64(good)
	if good < len(b) {
		return errors.Join(m.file.Truncate(m.size), m.file.Sync())
	}
	return nil
}

func (m *manifest) replay(b []byte) (good int, err error) {
	if len(b) < manifestHead || string(b[:len(manifestMagic)]) != manifestMagic {
		return 0, errors.New("it is no manifest")
	}
	if v := binary.BigEndian.Uint32(b[len(manifestMagic):]); v != manifestVersion {
		return 0, fmt.Errorf("version %d is unknown: start the version of Moldau that wrote it, or a later one", v)
	}
	at := manifestHead
	for at < len(b) {
		n := parseEntry(b[at:], m.apply)
		if n == 0 {
			for later := at + 1; later < len(b); later++ {
				if parseEntry(b[later:], func(byte, moldau.TopicPartition, moldau.TopicID) {}) > 0 {
					return 0, fmt.Errorf("the entry at byte %d is damaged and has others behind it", at)
				}
			}
			return at, nil
		}
		at += n
		m.entries++
	}
	return at, nil
}

// parseEntry calls fn with the entry at the beginning of b and returns its length, 0 where there is no whole one.
func parseEntry(b []byte, fn func(op byte, tp moldau.TopicPartition, id moldau.TopicID)) int {
	if len(b) < entryHead {
		return 0
	}
	n := binary.BigEndian.Uint32(b)
	if n <= entryFixed || n > entryMax || int(n) > len(b)-entryHead {
		return 0
	}
	p := b[entryHead : entryHead+int(n)]
	if crc32.Checksum(p, castagnoli) != binary.BigEndian.Uint32(b[4:]) || p[0] != enlistOp && p[0] != strikeOp {
		return 0
	}
	tp := moldau.TopicPartition{Topic: string(p[entryFixed:]), Partition: int32(binary.BigEndian.Uint32(p[1:]))}
	fn(p[0], tp, moldau.TopicID(p[5:entryFixed]))
	return entryHead + int(n)
}

func (m *manifest) apply(op byte, tp moldau.TopicPartition, id moldau.TopicID) {
	if op == enlistOp {
		m.live[tp] = id
	} else {
		delete(m.live, tp)
	}
}

func appendEntry(b []byte, op byte, tp moldau.TopicPartition, id moldau.TopicID) []byte {
	at := len(b)
	b = append(b, make([]byte, entryHead)...)
	b = append(b, op)
	b = binary.BigEndian.AppendUint32(b, uint32(tp.Partition))
	b = append(b, id[:]...)
	b = append(b, tp.Topic...)
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-entryHead))
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+entryHead:], castagnoli))
	return b
}

// rewrite replaces the journal by one that has the live entries only.
func (m *manifest) rewrite() error {
	b := binary.BigEndian.AppendUint32([]byte(manifestMagic), manifestVersion)
	for _, tp := range sortedPartitions(m.live) {
		b = appendEntry(b, enlistOp, tp, m.live[tp])
	}
	err := env.WriteFile(m.fsys, m.dir, manifestName, b)
	if err == nil {
		m.file, err = m.fsys.Open(filepath.Join(m.dir, manifestName))
	}
	m.size, m.entries = int64(len(b)), len(m.live)
	return err
}

// write appends entries and syncs them. After an error other than ErrNoSpace nothing more is written: what is on the disk is
// unknown.
func (m *manifest) write(op byte, entries map[moldau.TopicPartition]moldau.TopicID) error {
	if m.failure != nil {
		return m.failure
	}
	var b []byte
	for _, tp := range sortedPartitions(entries) {
		b = appendEntry(b, op, tp, entries[tp])
	}
	if len(b) == 0 {
		return nil
	}
	_, err := m.file.WriteAt(b, m.size)
	if err != nil {
		err = undone(err, func() error { return m.file.Truncate(m.size) })
	} else {
		err = m.file.Sync()
	}
	if errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("write manifest of %s: %w", m.dir, err)
	}
	if err != nil {
		m.failure = fmt.Errorf("write manifest of %s: %w", m.dir, err)
		return m.failure
	}
	m.size += int64(len(b))
	m.entries += len(entries)
	for tp, id := range entries {
		m.apply(op, tp, id)
	}
	return nil
}

func (m *manifest) close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// Listed returns the partitions that have files here, with their topic ids. One that is listed and has no directory has
// lost it: it is to be taken for offline, never for empty.
func (d *Directory) Listed() map[moldau.TopicPartition]moldau.TopicID {
	return maps.Clone(d.manifest.live)
}

// Enlist notes partitions that have directories here. It costs one sync for all of them.
func (d *Directory) Enlist(partitions map[moldau.TopicPartition]moldau.TopicID) error {
	return d.manifest.write(enlistOp, partitions)
}

// MakePartitions makes the directories of partitions that are to be written for the first time, and enlists them, with two
// syncs for all. The directories come first: a crash in between leaves some that are empty and not listed, which is no
// loss. The other way round it would look like one.
func (d *Directory) MakePartitions(partitions map[moldau.TopicPartition]moldau.TopicID) error {
	for tp := range partitions {
		if err := d.fsys.MkdirAll(d.PartitionDir(tp)); err != nil {
			return fmt.Errorf("make the directory of partition %v: %w", tp, undone(err, nothing))
		}
	}
	if err := d.fsys.SyncDir(d.path); err != nil {
		return fmt.Errorf("make the directories of %d partitions: %w", len(partitions), err)
	}
	return d.Enlist(partitions)
}

// Strike takes partitions off the list whose files are gone for good, with one sync for all of them.
func (d *Directory) Strike(partitions ...moldau.TopicPartition) error {
	gone := map[moldau.TopicPartition]moldau.TopicID{}
	for _, tp := range partitions {
		if id, ok := d.manifest.live[tp]; ok {
			gone[tp] = id
		}
	}
	return d.manifest.write(strikeOp, gone)
}
