package commitlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/plant"
)

// A snapshot file is the state of the producers at the offset that names it: version, CRC-32C of what follows it, the
// number of entries, and the entries, all big-endian. Kafka's format has one batch an entry, and of two entries with one
// producer id the later one counts. We write an entry for each batch of the window, the newest last: Kafka's tools read
// that as they read their own, and a restart does not forget the four batches before, which a producer may repeat.
const (
	snapshotVersion  = 1
	snapshotCRCAt    = 2
	snapshotCountAt  = 6
	snapshotHeadLen  = 10
	snapshotEntryLen = 46

	snapshotBytesMax = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (l *Log) snapshotPath(at moldau.Offset) string {
	return filepath.Join(l.dir, stem(at)+snapshotExt)
}

// writeSnapshot writes the producers' state, that of the log's end at. The file is not synced: one that a crash has torn
// shows by its CRC, and the one before and the batches behind that tell the same. It is durable with the indexes of the segment
// that ends at at, and before that is deleted. There is one where each segment begins, as long as the segment lives: wherever a
// recovery has to begin, it finds the state of that place.
func (l *Log) writeSnapshot(at moldau.Offset) error {
	if l.snapshotAt == at {
		return nil
	}
	if err := l.writeSnapshotFile(at); err != nil {
		return err
	}
	first := l.view.Load().segs[0].base
	for len(l.snapshots) > 0 && l.snapshots[0] < first {
		if err := l.removeSnapshot(l.snapshots[0]); err != nil {
			return err
		}
	}
	return nil
}

// writeSnapshotFile writes the producers' state, which is that of offset at.
func (l *Log) writeSnapshotFile(at moldau.Offset) error {
	name := l.snapshotPath(at)
	if err := l.fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace snapshot: %w", err)
	}
	f, err := l.fsys.Create(name)
	if err != nil {
		return fmt.Errorf("create snapshot: %w", err)
	}
	_, err = f.WriteAt(l.producers.encode(), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write snapshot %s: %w", name, err)
	}
	l.namesDirty.Store(true)
	if !slices.Contains(l.snapshots, at) {
		l.snapshots = append(l.snapshots, at)
		slices.Sort(l.snapshots)
	}
	l.snapshotAt, l.snapshotDurable = at, noOffset
	return nil
}

// removeSnapshot removes the snapshot at, which need not exist.
func (l *Log) removeSnapshot(at moldau.Offset) error {
	if l.damage != nil {
		return nil
	}
	if err := l.fsys.Remove(l.snapshotPath(at)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	l.namesDirty.Store(true)
	l.snapshots = slices.DeleteFunc(l.snapshots, func(o moldau.Offset) bool { return o == at })
	return nil
}

// syncSnapshot makes the snapshot at durable, if there is one.
func (l *Log) syncSnapshot(at moldau.Offset) error {
	if l.snapshotDurable == at || !slices.Contains(l.snapshots, at) {
		return nil
	}
	l.snapshotDurable = at
	return l.syncSnapshotFile(at)
}

// syncSnapshotFile syncs the file of the snapshot at, not its name, if there is one.
func (l *Log) syncSnapshotFile(at moldau.Offset) error {
	if plant.Has(plant.SnapshotUnsynced) {
		return nil
	}
	f, err := l.fsys.Open(l.snapshotPath(at))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (t *producerTable) encode() []byte {
	b := make([]byte, snapshotHeadLen, snapshotHeadLen+len(t.byID)*snapshotEntryLen)
	binary.BigEndian.PutUint16(b, snapshotVersion)
	count := 0
	for _, p := range t.sorted() {
		if p.n == 0 {
			b = p.appendEntry(b, sentBatch{lastSequence: -1, last: noOffset, timestamp: p.timestamp}, p.txnStart)
			count++
		}
		for i := range p.n {
			s, txnStart := p.window[i], noOffset
			if i == p.n-1 {
				s.timestamp, txnStart = p.timestamp, p.txnStart
			}
			b = p.appendEntry(b, s, txnStart)
			count++
		}
	}
	binary.BigEndian.PutUint32(b[snapshotCountAt:], uint32(count))
	binary.BigEndian.PutUint32(b[snapshotCRCAt:], crc32.Checksum(b[snapshotCountAt:], castagnoli))
	return b
}

func (p *producer) appendEntry(b []byte, s sentBatch, txnStart moldau.Offset) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(p.id))
	b = binary.BigEndian.AppendUint16(b, uint16(p.epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(s.lastSequence))
	b = binary.BigEndian.AppendUint64(b, uint64(s.last))
	b = binary.BigEndian.AppendUint32(b, uint32(s.delta))
	b = binary.BigEndian.AppendUint64(b, uint64(s.timestamp))
	b = binary.BigEndian.AppendUint32(b, uint32(p.coordinatorEpoch))
	return binary.BigEndian.AppendUint64(b, uint64(txnStart))
}

// decodeSnapshot reads what encode writes, and Kafka's own snapshots; end is the offset that the file is named after.
func decodeSnapshot(b []byte, end moldau.Offset, now time.Time) (producerTable, error) {
	var t producerTable
	t.reset(end)
	if len(b) < snapshotHeadLen {
		return t, fmt.Errorf("it has %d bytes, fewer than a snapshot's head", len(b))
	}
	if v := binary.BigEndian.Uint16(b); v != snapshotVersion {
		return t, fmt.Errorf("version %d is unknown", v)
	}
	if crc32.Checksum(b[snapshotCountAt:], castagnoli) != binary.BigEndian.Uint32(b[snapshotCRCAt:]) {
		return t, errors.New("the CRC is wrong")
	}
	n := int64(binary.BigEndian.Uint32(b[snapshotCountAt:]))
	b = b[snapshotHeadLen:]
	if int64(len(b)) != n*snapshotEntryLen {
		return t, fmt.Errorf("%d entries are announced in %d bytes", n, len(b))
	}
	for ; len(b) > 0; b = b[snapshotEntryLen:] {
		t.decodeEntry(b, now)
	}
	for _, p := range t.byID {
		if p.txnStart != noOffset {
			t.open = append(t.open, transaction{id: p.id, first: p.txnStart})
		}
	}
	slices.SortFunc(t.open, func(a, b transaction) int { return cmp.Compare(a.first, b.first) })
	return t, nil
}

func (t *producerTable) decodeEntry(b []byte, now time.Time) {
	id := moldau.ProducerID(binary.BigEndian.Uint64(b))
	p := t.byID[id]
	if p == nil {
		p = &producer{id: id}
		t.put(p)
	}
	p.setEpoch(moldau.ProducerEpoch(binary.BigEndian.Uint16(b[8:])))
	s := sentBatch{
		lastSequence: moldau.Sequence(binary.BigEndian.Uint32(b[10:])),
		last:         moldau.Offset(binary.BigEndian.Uint64(b[14:])),
		delta:        int32(binary.BigEndian.Uint32(b[22:])),
		timestamp:    moldau.Timestamp(binary.BigEndian.Uint64(b[26:])),
	}
	if s.last >= 0 {
		p.push(s)
	}
	p.timestamp = s.timestamp
	p.coordinatorEpoch = int32(binary.BigEndian.Uint32(b[34:]))
	p.txnStart = max(moldau.Offset(binary.BigEndian.Uint64(b[38:])), noOffset)
	p.touched = now.UnixMilli()
}

func (l *Log) readSnapshot(at moldau.Offset) (producerTable, error) {
	b, err := env.ReadFile(l.fsys, l.snapshotPath(at), snapshotBytesMax)
	if err != nil {
		return producerTable{}, err
	}
	t, err := decodeSnapshot(b, at, l.now())
	if err != nil {
		return t, fmt.Errorf("snapshot %s: %w", l.snapshotPath(at), err)
	}
	return t, nil
}
