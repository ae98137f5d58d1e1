package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// ErrTorn is what Walk meets where no whole batch with a valid CRC stands.
var ErrTorn = errors.New("no whole batch")

// Walk calls fn with each batch of f, a file of batches, from byte pos to byte end, and returns where it stopped: at end, at
// the first byte that is not part of a whole batch with a valid CRC (the error wraps ErrTorn), or at the batch for which fn
// returned an error. The batch is valid until fn returns.
func Walk(f io.ReaderAt, pos, end int64, fn func(pos int64, b record.Batch) error) (int64, error) {
	var sc scanner
	sc.reset(f, pos, end)
	sc.full = true
	for {
		h, err := sc.header()
		if errors.Is(err, io.EOF) && sc.pos == end {
			return end, nil
		}
		var b record.Batch
		if err == nil {
			b, err = sc.whole(h)
		}
		if err == nil && !b.CRCValid() {
			err = torn{fmt.Sprintf("the CRC of the batch at offset %d is wrong", b.BaseOffset())}
		}
		if reason := (torn{}); errors.As(err, &reason) {
			return sc.pos, fmt.Errorf("byte %d: %w: %s", sc.pos, ErrTorn, reason.reason)
		}
		if err == nil {
			err = fn(sc.pos, b)
		}
		if err != nil {
			return sc.pos, err
		}
		sc.skip(b.Size())
	}
}

// LogFile is a file in a partition's directory that belongs to the log.
type LogFile struct {
	Name string
	Base moldau.Offset
	Ext  string // .log, .index, .timeindex, .txnindex, .snapshot
	Info fs.FileInfo
}

// The extensions of what a log cannot be built anew from anything else.
const (
	SegmentExt  = logExt
	SnapshotExt = snapshotExt
)

// EpochsName and TopicIDName are the files of a partition's directory beside those of its segments.
const (
	EpochsName  = epochsName
	TopicIDName = metadataName
)

// LogFiles lists the files of segments in a partition's directory, by offset and then by extension. Files that are on
// their way out or not yet in place are not listed, nor is one that goes while the directory is read.
func LogFiles(fsys env.FS, dir string) ([]LogFile, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []LogFile
	for _, e := range entries {
		base, ext, ok := parseName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, LogFile{e.Name(), base, ext, info})
	}
	slices.SortStableFunc(list, func(a, b LogFile) int { return int(min(max(a.Base-b.Base, -1), 1)) })
	return list, nil
}
