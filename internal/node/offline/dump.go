package offline

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// DumpOptions say how much is shown.
type DumpOptions struct {
	Records bool // each record of a batch, decompressed
	Keys    bool // with their keys; implies Records, without values where Records is not set
}

// Item is one thing that a dump shows.
type Item interface{ item() }

// FileItem begins what is shown of a file.
type FileItem struct {
	File  string `json:"file"`
	Kind  string `json:"kind"`
	Bytes int64  `json:"bytes"`
}

// BatchItem is a batch of a segment. Sound says that its CRC is right and that it can stand where it stands.
type BatchItem struct {
	Byte             int64            `json:"byte"`
	Bytes            int              `json:"bytes"`
	Base             moldau.Offset    `json:"base"`
	Last             moldau.Offset    `json:"last"`
	Epoch            int32            `json:"epoch"`
	Records          int32            `json:"records"`
	Codec            string           `json:"codec"`
	CRC              uint32           `json:"crc"`
	BaseTimestamp    moldau.Timestamp `json:"baseTimestamp"`
	MaxTimestamp     moldau.Timestamp `json:"maxTimestamp"`
	LogAppendTime    bool             `json:"logAppendTime,omitempty"`
	ProducerID       int64            `json:"producerId"`
	ProducerEpoch    int16            `json:"producerEpoch"`
	BaseSequence     int32            `json:"baseSequence"`
	Transactional    bool             `json:"transactional,omitempty"`
	Control          bool             `json:"control,omitempty"`
	HasDeleteHorizon bool             `json:"deleteHorizon,omitempty"`
}

// RecordItem is a record of the batch before it. Key and Value are nil for null; what was not asked for is absent.
type RecordItem struct {
	Offset    moldau.Offset    `json:"offset"`
	Timestamp moldau.Timestamp `json:"timestamp"`
	KeyBytes  int              `json:"keyBytes"` // -1: null
	Bytes     int              `json:"valueBytes"`
	Key       *Content         `json:"key,omitempty"`
	Value     *Content         `json:"value,omitempty"`
	Headers   []HeaderItem     `json:"headers,omitempty"`
}

// HeaderItem is a header of a record.
type HeaderItem struct {
	Key   Content `json:"key"`
	Value Content `json:"value"`
}

// BadItem is bytes that are no batch.
type BadItem struct {
	Byte   int64         `json:"byte"`
	End    int64         `json:"end"`
	Offset moldau.Offset `json:"offset"`
	Next   moldau.Offset `json:"next"`
	Damage string        `json:"damage"`
}

// RowItem is a row of an index, a snapshot, a checkpoint or a manifest, as names and values.
type RowItem struct {
	Fields []Field
}

// Field is a named value.
type Field struct {
	Name  string
	Value any
}

// MetadataItem is a record of the metadata: of the entry before it, or of a checkpoint.
type MetadataItem struct {
	Type   string        `json:"type"`
	Record schema.Record `json:"record"`
}

func (FileItem) item()     {}
func (BatchItem) item()    {}
func (RecordItem) item()   {}
func (BadItem) item()      {}
func (RowItem) item()      {}
func (MetadataItem) item() {}

func row(pairs ...any) RowItem {
	var r RowItem
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Fields = append(r.Fields, Field{pairs[i].(string), pairs[i+1]})
	}
	return r
}

// Content is bytes of a record.
type Content []byte

// Dump shows what is at the place: a file, the files of a log, or all of a log directory.
func (p *Place) Dump(o DumpOptions, emit func(Item) error) error {
	d := &dumper{Place: p, o: o, emit: emit}
	if p.File {
		return d.file(p.Path, true)
	}
	return d.dir(p.Path)
}

type dumper struct {
	*Place
	o      DumpOptions
	emit   func(Item) error
	in     commitlog.Inspector
	codecs record.Codecs
}

// dir shows the known files of a directory, and of the directories of logs in it.
func (d *dumper) dir(dir string) error {
	entries, err := d.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	var logs []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch _, isLog := partitionOf(path); {
		case !e.IsDir():
			err = d.file(path, false)
		case dir == d.Root && (isLog || e.Name() == metadataDir):
			logs = append(logs, path)
		}
		if err != nil {
			return err
		}
	}
	for _, log := range logs {
		if err := d.dir(log); err != nil {
			return err
		}
	}
	return nil
}

// file shows one file. One of no known kind is an error where it was named, and else left out.
func (d *dumper) file(path string, named bool) error {
	kind, show := d.kindOf(path)
	if show == nil {
		if named {
			return fmt.Errorf("%s is of no kind that is known here", path)
		}
		return nil
	}
	info, err := d.fsys.Stat(path)
	if err == nil {
		err = d.emit(FileItem{path, kind, info.Size()})
	}
	if err == nil {
		err = show(path)
	}
	var stop *StopError
	if err == nil || errors.As(err, &stop) || named {
		return err
	}
	return d.emit(BadItem{-1, -1, -1, -1, err.Error()}) // one file that cannot be read does not hide the others
}

// StopError is an error of the receiver of a dump, which ends it.
type StopError struct{ Err error }

func (e *StopError) Error() string { return e.Err.Error() }
func (e *StopError) Unwrap() error { return e.Err }

// kindOf tells what a file is by its name, and how it is shown.
func (d *dumper) kindOf(path string) (string, func(string) error) {
	name := filepath.Base(path)
	if _, ext, ok := commitlog.BaseOf(path); ok {
		switch ext {
		case ".log":
			return "segment", d.segment
		case ".index":
			return "offset index", d.index
		case ".timeindex":
			return "time index", d.timeIndex
		case ".txnindex":
			return "transaction index", d.aborted
		case ".snapshot":
			return "producer snapshot", d.snapshot
		}
	}
	switch {
	case quorum.IsStateFile(path):
		return "quorum state", d.state
	case quorum.IsCheckpointFile(path):
		return "metadata checkpoint", d.checkpoint
	case name == manifestName:
		return "manifest", d.manifest
	case name == "leader-epoch-checkpoint":
		return "leader epochs", d.epochs
	case name == metaName:
		return "identity of the log directory", d.properties
	case name == "partition.metadata", name == bootName, name == cleanName, name == "moldau.damaged":
		return strings.TrimPrefix(name, "."), d.text
	case slices.Contains([]commitlog.Checkpoint{commitlog.RecoveryPoints, commitlog.HighWatermarks, commitlog.LogStarts, commitlog.CleanerPoints}, commitlog.Checkpoint(name)):
		return "offset checkpoint", d.offsets
	}
	return "", nil
}

// eachBatch walks the batches of a segment.
func eachBatch(fsys env.FS, in *commitlog.Inspector, s commitlog.SegmentFile, fn func(int64, record.Batch) error, bad func(commitlog.Stretch) error) error {
	f, err := fsys.Open(s.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, err = in.Segment(f, s.Size, s.Base, moldau.NoEpoch, fn, bad)
	return err
}

func (d *dumper) segment(path string) error {
	info, err := d.fsys.Stat(path)
	if err != nil {
		return err
	}
	base, _, _ := commitlog.BaseOf(path)
	metadata := filepath.Base(filepath.Dir(path)) == metadataDir
	return eachBatch(d.fsys, &d.in, commitlog.SegmentFile{Base: base, Path: path, Size: info.Size()}, func(pos int64, b record.Batch) error {
		if err := d.emit(batchItem(pos, b)); err != nil {
			return err
		}
		if metadata {
			return d.entry(b)
		}
		if d.o.Records || d.o.Keys {
			return d.records(b)
		}
		return nil
	}, func(st commitlog.Stretch) error {
		return d.emit(BadItem{st.From, st.To, st.Offset, st.Next, st.Reason})
	})
}

func batchItem(pos int64, b record.Batch) BatchItem {
	return BatchItem{
		Byte: pos, Bytes: b.Size(), Base: b.BaseOffset(), Last: b.LastOffset(), Epoch: int32(b.LeaderEpoch()), Records: b.Count(),
		Codec: b.Codec().String(), CRC: b.CRC(), BaseTimestamp: b.BaseTimestamp(), MaxTimestamp: b.MaxTimestamp(),
		LogAppendTime: b.IsLogAppendTime(), ProducerID: int64(b.ProducerID()), ProducerEpoch: int16(b.ProducerEpoch()),
		BaseSequence: int32(b.BaseSequence()), Transactional: b.IsTransactional(), Control: b.IsControl(), HasDeleteHorizon: b.HasDeleteHorizon(),
	}
}

// openedMax bounds what a batch may become when it is decompressed for a dump.
const openedMax = 1 << 30

func (d *dumper) records(b record.Batch) error {
	for r, err := range b.Records(&d.codecs, openedMax) {
		if err != nil {
			return d.emit(BadItem{-1, -1, b.BaseOffset(), b.LastOffset() + 1, "its records cannot be read: " + err.Error()})
		}
		it := RecordItem{Offset: r.Offset, Timestamp: r.Timestamp, KeyBytes: length(r.Key), Bytes: length(r.Value)}
		if d.o.Keys || d.o.Records {
			it.Key = content(r.Key)
		}
		if d.o.Records {
			it.Value = content(r.Value)
			for _, h := range r.Headers {
				it.Headers = append(it.Headers, HeaderItem{h.Key, h.Value})
			}
		}
		if err := d.emit(it); err != nil {
			return err
		}
	}
	return nil
}

func length(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func content(b []byte) *Content {
	if b == nil {
		return nil
	}
	return (*Content)(&b)
}

// entry shows the metadata records of an entry.
func (d *dumper) entry(b record.Batch) error {
	e, err := quorum.ViewEntry(b)
	if err != nil {
		return d.emit(BadItem{-1, -1, b.BaseOffset(), b.LastOffset() + 1, err.Error()})
	}
	if e.Voters {
		return d.emit(row("voters", "changed", "durable", e.Durable))
	}
	if err := d.emit(row("entry", b.BaseOffset(), "durable", e.Durable)); err != nil {
		return err
	}
	return d.metadata(e.Data)
}

func (d *dumper) metadata(data []byte) error {
	for raw, err := range quorum.Records(data) {
		var rec schema.Record
		if err == nil {
			rec, err = schema.Decode(raw)
		}
		if err == nil {
			err = d.emit(MetadataItem{strings.TrimPrefix(fmt.Sprintf("%T", rec), "*schema."), rec})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) index(path string) error {
	list, err := commitlog.ReadIndex(d.fsys, path)
	for _, e := range list {
		if err := d.emit(row("offset", e.Offset, "position", e.Position)); err != nil {
			return err
		}
	}
	return err
}

func (d *dumper) timeIndex(path string) error {
	list, err := commitlog.ReadTimeIndex(d.fsys, path)
	for _, e := range list {
		if err := d.emit(row("timestamp", e.Timestamp, "offset", e.Offset)); err != nil {
			return err
		}
	}
	return err
}

func (d *dumper) aborted(path string) error {
	list, err := commitlog.ReadAborted(d.fsys, path)
	for _, a := range list {
		if err := d.emit(row("producerId", a.Producer, "first", a.First, "last", a.Last, "lastStable", a.LastStable)); err != nil {
			return err
		}
	}
	return err
}

func (d *dumper) snapshot(path string) error {
	list, err := commitlog.ReadProducers(d.fsys, path)
	for _, p := range list {
		err := d.emit(row("producerId", p.ID, "epoch", p.Epoch, "lastSequence", p.LastSequence, "lastTimestamp", p.LastTimestamp,
			"coordinatorEpoch", p.CoordinatorEpoch, "transactionFrom", p.TxnStart))
		if err != nil {
			return err
		}
	}
	return err
}

func (d *dumper) epochs(path string) error {
	list, err := commitlog.ReadEpochs(d.fsys, filepath.Dir(path))
	for _, e := range list {
		if err := d.emit(row("epoch", e.Epoch, "start", e.Start)); err != nil {
			return err
		}
	}
	return err
}

func (d *dumper) offsets(path string) error {
	m, err := d.readOffsets(filepath.Dir(path), commitlog.Checkpoint(filepath.Base(path)))
	for _, tp := range sorted(m) {
		if err := d.emit(row("partition", tp.String(), "offset", m[tp])); err != nil {
			return err
		}
	}
	return err
}

func (d *dumper) manifest(path string) error {
	m, torn, err := commitlog.ReadManifest(d.fsys, filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, tp := range sorted(m) {
		if err := d.emit(row("partition", tp.String(), "topicId", m[tp].String())); err != nil {
			return err
		}
	}
	if torn > 0 {
		return d.emit(row("tornBytes", torn))
	}
	return nil
}

func (d *dumper) properties(path string) error {
	m, err := commitlog.ReadProperties(d.fsys, filepath.Dir(path))
	for _, key := range sortedKeys(m) {
		if err := d.emit(row(key, m[key])); err != nil {
			return err
		}
	}
	return err
}

// text shows a small file of text.
func (d *dumper) text(path string) error {
	b, err := env.ReadFile(d.fsys, path, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.emit(row("text", strings.TrimSpace(string(b))))
}

func (d *dumper) state(path string) error {
	s, err := quorum.ViewState(d.fsys, path)
	if err != nil {
		return err
	}
	return d.emit(row("directoryId", s.Directory.String(), "term", s.Term, "vote", s.Vote, "votersAt", s.VotersAt, "voters", voters(s.Voters)))
}

func (d *dumper) checkpoint(path string) error {
	c, err := quorum.ViewCheckpoint(d.fsys, path)
	if err == nil {
		err = d.emit(row("end", c.End, "epoch", c.Epoch, "voters", voters(c.Voters)))
	}
	if err != nil {
		return err
	}
	return d.metadata(c.Data)
}

func voters(list []quorum.Voter) []string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = fmt.Sprintf("%d@%v", v.ID, v.Directory)
	}
	return names
}
