package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// Scrubbed is what a look at one sealed segment has found.
type Scrubbed struct {
	Base   moldau.Offset
	Bytes  int64
	Damage []Damage
}

// Scrub reads every batch of the first sealed segment whose base is from or higher, with the check that a start makes, past the
// page cache where the system allows that; false where there is no such segment. in.Read may wait, and its error ends the look.
// It may be called from any goroutine; the segment may be deleted meanwhile.
func (l *Log) Scrub(in *Inspector, from moldau.Offset) (Scrubbed, bool, error) {
	v := l.view.Load()
	for i, s := range v.segs[:len(v.segs)-1] {
		if s.base < from {
			continue
		}
		res := Scrubbed{Base: s.base, Bytes: v.bounds(i).pos}
		f, err := l.fsys.Open(s.path + logExt)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, or replaced, meanwhile
		}
		if err != nil {
			return res, true, err
		}
		res.Damage, err = scrubFile(in, f, s, res.Bytes)
		if !slices.Contains(l.view.Load().segs, s) {
			res.Damage = nil // deleted or compacted meanwhile: what was read may be another file
		}
		return res, true, errors.Join(err, f.Close())
	}
	return Scrubbed{}, false, nil
}

func scrubFile(in *Inspector, f env.File, s *segment, size int64) (found []Damage, err error) {
	there, err := f.Size()
	if err != nil {
		return nil, err
	}
	bad := func(st Stretch) error {
		found = append(found, Damage{Offset: st.Offset, File: s.path + logExt, Byte: st.From, Reason: st.Reason, Behind: st.Next >= 0})
		return nil
	}
	next, _, err := in.Segment(env.Cold(f), min(there, size), s.base, moldau.NoEpoch, func(int64, record.Batch) error { return nil }, bad)
	if err == nil && there < size {
		err = bad(Stretch{From: there, Offset: next, Next: -1, Reason: fmt.Sprintf("the file has %d bytes, it had %d", there, size)})
	}
	return found, err
}
