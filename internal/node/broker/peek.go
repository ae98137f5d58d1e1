package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// peekTries bounds how often Peek begins anew: the broker beside it may drop a checkpoint and a segment while they are read.
const peekTries = 20

// errMoved is what a look at the metadata ends with that found a file gone.
var errMoved = errors.New("files of the metadata came and went")

// HasMetadata reports whether a log directory holds the metadata log.
func HasMetadata(fsys env.FS, dir string) bool {
	_, err := fsys.Stat(filepath.Join(dir, metadataDir))
	return err == nil
}

// Peek reads the metadata in a log directory on which a broker may be at work, and changes nothing: all that is committed
// below upTo at least, which the broker has told. It is the image after the last entry that is there.
func Peek(fsys env.FS, dir string, upTo moldau.Offset) (im *metadata.Image, err error) {
	path := filepath.Join(dir, metadataDir)
	for range peekTries {
		if im, err = peek(fsys, path); !errors.Is(err, errMoved) && !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err == nil && im.Offset()+1 < upTo {
		err = fmt.Errorf("it ends at offset %d, and the broker has %d", im.Offset()+1, upTo)
	}
	if err != nil {
		return nil, fmt.Errorf("read the metadata log %s: %w", path, err)
	}
	return im, nil
}

func peek(fsys env.FS, path string) (*metadata.Image, error) {
	im := metadata.Empty()
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return nil, err
	}
	newest := ""
	for _, e := range entries {
		if quorum.IsCheckpointFile(e.Name()) {
			newest = e.Name() // they are sorted, and begin with their end in 20 digits
		}
	}
	if newest != "" {
		c, err := quorum.ViewCheckpoint(fsys, filepath.Join(path, newest))
		if err != nil {
			return nil, err
		}
		recs, err := decode(c.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", newest, err)
		}
		im, _ = im.Apply(c.End-1, c.Epoch, recs)
	}
	files, err := commitlog.LogFiles(fsys, path)
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f commitlog.LogFile) bool { return f.Ext != commitlog.SegmentExt })
	for i, f := range files {
		if i+1 < len(files) && files[i+1].Base <= im.Offset()+1 {
			continue
		}
		if im, err = peekSegment(fsys, filepath.Join(path, f.Name), im, i == len(files)-1); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return im, nil
}

// peekSegment applies the entries of a segment behind im. The active one may end in a write that is under way.
func peekSegment(fsys env.FS, path string, im *metadata.Image, active bool) (*metadata.Image, error) {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	_, err = commitlog.Walk(f, 0, size, func(_ int64, b record.Batch) error {
		switch next := im.Offset() + 1; {
		case b.BaseOffset() < next:
			return nil
		case b.BaseOffset() > next:
			return errMoved
		}
		e, err := quorum.ViewEntry(b)
		if err != nil {
			return err
		}
		var recs []schema.Record
		if !e.Voters {
			if recs, err = decode(e.Data); err != nil {
				return err
			}
		}
		im, _ = im.Apply(b.BaseOffset(), b.LeaderEpoch(), recs)
		return nil
	})
	if active && errors.Is(err, commitlog.ErrTorn) {
		err = nil
	}
	return im, err
}
