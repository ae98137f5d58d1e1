package commitlog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// Stretch is bytes of a segment's file that are no batch which can stand there.
type Stretch struct {
	From, To int64 // To is the first byte behind
	// Offset is the first that may be missing. Next is that of the first whole batch behind, -1 where none follows in this file.
	Offset, Next moldau.Offset
	Epoch        moldau.LeaderEpoch // of the batch before
	Reason       string
}

// Inspector reads segments batch by batch, with the check that a start makes. Unlike a start it goes on behind damage.
type Inspector struct {
	sc scanner
	// Read, where not nil, is told of bytes that were read; its error ends the inspection.
	Read func(n int64) error
}

// Segment walks the batches of a segment's file up to byte size: fn is called with each that is whole, with the byte where it
// begins, and bad with what is between them. from is the offset that the segment begins with at least, epoch the leader epoch of
// the batch before. It returns the offset behind the last batch, and its epoch. The batches are valid during the call.
func (in *Inspector) Segment(f io.ReaderAt, size int64, base moldau.Offset, epoch moldau.LeaderEpoch,
	fn func(pos int64, b record.Batch) error, bad func(Stretch) error) (moldau.Offset, moldau.LeaderEpoch, error) {
	c := chain{base: base, next: base, epoch: epoch}
	sc := &in.sc
	for sc.reset(f, 0, size); ; {
		b, err := in.check(c)
		if errors.Is(err, io.EOF) {
			return c.next, c.epoch, nil
		}
		if reason := (torn{}); errors.As(err, &reason) {
			at, err := in.skip(f, size, &c, reason.reason, bad)
			if err != nil {
				return c.next, c.epoch, err
			}
			sc.reset(f, at, size)
			continue
		}
		if err == nil {
			pos := sc.pos
			sc.skip(b.Size())
			c.pass(b)
			if err = fn(pos, b); err == nil && in.Read != nil {
				err = in.Read(int64(b.Size()))
			}
		}
		if err != nil {
			return c.next, c.epoch, err
		}
	}
}

// check is that of the chain. Offset and epoch are not covered by the CRC: where they go up and the next batch goes on from where
// they were, it is this batch that is wrong, and not all that follow.
func (in *Inspector) check(c chain) (record.Batch, error) {
	sc := &in.sc
	b, err := c.check(sc, 0)
	if err != nil || b.BaseOffset() == c.next && b.LeaderEpoch() <= c.epoch {
		return b, err
	}
	base, epoch, at, size := b.BaseOffset(), b.LeaderEpoch(), sc.pos, b.Size()
	sc.skip(size)
	h, err := sc.header()
	sc.pos = at
	if err == nil && c.follows(h) == nil {
		switch {
		case h.BaseOffset() < base:
			return nil, torn{fmt.Sprintf("offset %d, and %d in the batch behind it", base, h.BaseOffset())}
		case c.epoch >= 0 && h.LeaderEpoch() >= 0 && h.LeaderEpoch() < epoch:
			return nil, torn{fmt.Sprintf("leader epoch %d, and %d in the batch behind it", epoch, h.LeaderEpoch())}
		}
	}
	return c.check(sc, 0)
}

// skip finds the next whole batch behind the scanner, tells bad of what is before it, and returns where it begins.
func (in *Inspector) skip(f io.ReaderAt, size int64, c *chain, reason string, bad func(Stretch) error) (int64, error) {
	st := Stretch{From: in.sc.pos, To: size, Offset: c.next, Next: -1, Epoch: c.epoch, Reason: reason}
	b, pos, err := findBatch(&in.sc, f, st.From+1, size, *c)
	if err != nil {
		return 0, err
	}
	if b != nil {
		st.To, st.Next = pos, b.BaseOffset()
		c.next = st.Next // what is missing before it is told
	}
	return st.To, bad(st)
}

// SegmentFile is a .log file of a partition's directory.
type SegmentFile struct {
	Base moldau.Offset
	Path string
	Size int64
}

// SegmentFiles lists the segments in a partition's directory, and the names of its other files.
func SegmentFiles(fsys env.FS, dir string) (segments []SegmentFile, others []string, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		base, ext, ok := parseName(e.Name())
		if e.IsDir() {
			continue
		}
		if !ok || ext != logExt {
			others = append(others, e.Name())
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		segments = append(segments, SegmentFile{base, filepath.Join(dir, e.Name()), info.Size()})
	}
	return segments, others, nil
}

// BaseOf is the offset that the name of a segment's file begins with, and the ending of the name.
func BaseOf(path string) (base moldau.Offset, ext string, ok bool) {
	return parseName(filepath.Base(path))
}

// IndexEntry is an entry of an offset index: the batch whose last offset is Offset begins at byte Position.
type IndexEntry struct {
	Offset   moldau.Offset
	Position int64
}

// ReadIndex reads an offset index.
func ReadIndex(fsys env.FS, path string) ([]IndexEntry, error) {
	return readEntries(fsys, path, func(base moldau.Offset, e offsetEntry) IndexEntry {
		return IndexEntry{base + moldau.Offset(e.rel), int64(e.pos)}
	})
}

// TimeEntry is an entry of a time index: Timestamp is the highest up to the batch with Offset, in which it occurs.
type TimeEntry struct {
	Timestamp moldau.Timestamp
	Offset    moldau.Offset
}

// ReadTimeIndex reads a time index.
func ReadTimeIndex(fsys env.FS, path string) ([]TimeEntry, error) {
	return readEntries(fsys, path, func(base moldau.Offset, e timeEntry) TimeEntry {
		return TimeEntry{e.ts, base + moldau.Offset(e.rel)}
	})
}

// readEntries reads an index file. Apache Kafka makes those of an active segment large and fills them with zeros: an entry of
// zeros that is not the first ends the index.
func readEntries[E interface {
	entry[E]
	comparable
}, T any](fsys env.FS, path string, make func(moldau.Offset, E) T) (list []T, err error) {
	base, _, ok := BaseOf(path)
	if !ok {
		return nil, fmt.Errorf("%s is no name of a segment's file", path)
	}
	b, err := env.ReadFile(fsys, path, indexFileMax)
	if err != nil {
		return nil, err
	}
	var e, zero E
	if len(b)%e.size() != 0 {
		return nil, fmt.Errorf("it has %d bytes, not a multiple of %d", len(b), e.size())
	}
	for i := 0; i < len(b); i += e.size() {
		if e = e.parse(b[i:]); e == zero && i > 0 {
			break
		}
		list = append(list, make(base, e))
	}
	if len(list) == 1 && e == zero && len(b) > e.size() {
		list = nil
	}
	return list, nil
}

// indexFileMax bounds what is read of an index file, in bytes.
const indexFileMax = 1 << 31

// ReadAborted reads a transaction index.
func ReadAborted(fsys env.FS, path string) ([]Aborted, error) {
	base, _, _ := BaseOf(path)
	b, err := env.ReadFile(fsys, path, txnIndexMax)
	if err != nil {
		return nil, err
	}
	return decodeAborted(b, base)
}

// ReadProducers reads a snapshot of the producers' state.
func ReadProducers(fsys env.FS, path string) ([]Producer, error) {
	at, _, _ := BaseOf(path)
	b, err := env.ReadFile(fsys, path, snapshotBytesMax)
	if err != nil {
		return nil, err
	}
	t, err := decodeSnapshot(b, at, time.Time{})
	if err != nil {
		return nil, err
	}
	return t.list(), nil
}

// Epoch says at which offset a leader epoch began.
type Epoch struct {
	Epoch moldau.LeaderEpoch
	Start moldau.Offset
}

// ReadEpochs reads the leader-epoch-checkpoint of a partition's directory.
func ReadEpochs(fsys env.FS, dir string) ([]Epoch, error) {
	t, err := readEpochs(fsys, dir)
	if err != nil {
		return nil, err
	}
	list := make([]Epoch, len(t))
	for i, e := range t {
		list[i] = Epoch{e.epoch, e.start}
	}
	return list, nil
}

// ReadTopicID reads the partition.metadata of a partition's directory.
func ReadTopicID(fsys env.FS, dir string) (moldau.TopicID, error) { return readTopicID(fsys, dir) }

// ReadManifest reads the manifest of a log directory: the partitions that are to be there. torn is how many bytes an append
// that did not end has left.
func ReadManifest(fsys env.FS, dir string) (listed map[moldau.TopicPartition]moldau.TopicID, torn int, err error) {
	b, err := env.ReadFile(fsys, filepath.Join(dir, manifestName), manifestMax)
	if err != nil {
		return nil, 0, err
	}
	m := manifest{live: map[moldau.TopicPartition]moldau.TopicID{}}
	good, err := m.replay(b)
	return m.live, len(b) - good, err
}

// ReadProperties reads the meta.properties of a log directory, whoever formatted it, without judging it.
func ReadProperties(fsys env.FS, dir string) (map[string]string, error) {
	b, err := env.ReadFile(fsys, filepath.Join(dir, metaName), 1<<20)
	if err != nil {
		return nil, err
	}
	return parseProperties(string(b)), nil
}

// leftovers are the files that a start clears away.
func leftovers(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		for _, ext := range [...]string{deletedExt, cleanedExt, tmpExt, swapExt} {
			if strings.HasSuffix(name, ext) {
				return false
			}
		}
		return true
	})
}
