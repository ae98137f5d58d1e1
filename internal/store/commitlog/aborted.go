package commitlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// Aborted is an aborted transaction in the log: an entry of the transaction index (L-28).
type Aborted struct {
	Producer    moldau.ProducerID
	First, Last moldau.Offset // of its first record, and of its marker
	LastStable  moldau.Offset // the last stable offset when the marker was appended
}

const (
	abortedEntryLen = 34
	abortedVersion  = 0
	txnIndexMax     = 1 << 30 // bytes; what is read at most
)

func (a Aborted) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, abortedVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Producer))
	b = binary.BigEndian.AppendUint64(b, uint64(a.First))
	b = binary.BigEndian.AppendUint64(b, uint64(a.Last))
	return binary.BigEndian.AppendUint64(b, uint64(a.LastStable))
}

// decodeAborted reads a whole transaction index of the segment at base.
func decodeAborted(b []byte, base moldau.Offset) ([]Aborted, error) {
	if len(b)%abortedEntryLen != 0 {
		return nil, fmt.Errorf("it has %d bytes, not a multiple of %d", len(b), abortedEntryLen)
	}
	list := make([]Aborted, 0, len(b)/abortedEntryLen)
	before := base - 1
	for ; len(b) > 0; b = b[abortedEntryLen:] {
		if v := binary.BigEndian.Uint16(b); v != abortedVersion {
			return nil, fmt.Errorf("version %d of an entry is unknown", v)
		}
		a := Aborted{
			Producer:   moldau.ProducerID(binary.BigEndian.Uint64(b[2:])),
			First:      moldau.Offset(binary.BigEndian.Uint64(b[10:])),
			Last:       moldau.Offset(binary.BigEndian.Uint64(b[18:])),
			LastStable: moldau.Offset(binary.BigEndian.Uint64(b[26:])),
		}
		if a.First < 0 || a.First > a.Last || a.Last <= before {
			return nil, fmt.Errorf("an entry claims the offsets from %d to %d, behind %d", a.First, a.Last, before)
		}
		before = a.Last
		list = append(list, a)
	}
	return list, nil
}

// addAborted adds a to the segment's transaction index, in memory and in the file.
func (s *segment) addAborted(a Aborted) error {
	old, err := s.loadAborted()
	if err != nil {
		return err
	}
	list := append(old, a) // readers of old do not look behind its length
	f, err := s.fsys.Open(s.path + txnExt)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.fsys.Create(s.path + txnExt)
	}
	if err == nil {
		_, err = f.WriteAt(a.append(nil), int64(len(old))*abortedEntryLen)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write transaction index %s: %w", s.path+txnExt, err)
	}
	s.abortedDirty.Store(true)
	s.aborted.Store(&list)
	return nil
}

// cutAborted cuts off what an addAborted that failed has left in the file.
func (s *segment) cutAborted() error {
	list, err := s.loadAborted()
	if err != nil {
		return err
	}
	f, err := s.fsys.Open(s.path + txnExt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(len(list))*abortedEntryLen), f.Close())
}

// syncAborted makes the segment's transaction index durable.
func (s *segment) syncAborted() error {
	if !s.abortedDirty.Swap(false) {
		return nil
	}
	f, err := s.fsys.Open(s.path + txnExt)
	if err != nil {
		s.abortedDirty.Store(true)
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// noAborted is that of every segment that has none.
var noAborted = []Aborted{}

// loadAborted returns the segment's aborted transactions, by marker.
func (s *segment) loadAborted() ([]Aborted, error) {
	if p := s.aborted.Load(); p != nil {
		return *p, nil
	}
	var list []Aborted
	b, err := env.ReadFile(s.fsys, s.path+txnExt, txnIndexMax)
	if err == nil {
		list, err = decodeAborted(b, s.base)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read transaction index %s: %w", s.path+txnExt, err)
	}
	s.aborted.CompareAndSwap(nil, &list)
	return *s.aborted.Load(), nil
}

// setAborted replaces the segment's transaction index.
func (s *segment) setAborted(list []Aborted) error {
	name := s.path + txnExt
	if err := s.fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(list) > 0 {
		var b []byte
		for _, a := range list {
			b = a.append(b)
		}
		f, err := s.fsys.Create(name)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(b, 0)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	s.abortedDirty.Store(len(list) > 0)
	s.aborted.Store(&list)
	return nil
}

// AbortedIn lists the aborted transactions that have records or their marker from offset from up to upTo, by first
// offset; an empty list where there are none. It may be called from any goroutine. L-29.
func (l *Log) AbortedIn(from, upTo moldau.Offset) ([]Aborted, error) {
	if l.Unwritten() {
		return []Aborted{}, nil
	}
	for {
		v := l.view.Load()
		list, err := v.abortedIn(from, upTo)
		if err == nil {
			slices.SortFunc(list, func(a, b Aborted) int {
				return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Producer, b.Producer))
			})
			return list, nil
		}
		if v == l.view.Load() && errors.Is(err, errDropped) {
			err = ErrClosed
		}
		if !errors.Is(err, errDropped) {
			return nil, fmt.Errorf("aborted transactions of log %v: %w", l.partition, unopened(err))
		}
	}
}

func (v *view) abortedIn(from, upTo moldau.Offset) ([]Aborted, error) {
	list := []Aborted{}
	for i := v.find(from); i < len(v.segs); i++ {
		s := v.segs[i]
		if err := s.acquire(); err != nil {
			return nil, err
		}
		all, err := s.loadAborted()
		s.release()
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			if a.Last >= from && a.First < upTo {
				list = append(list, a)
			}
			if a.LastStable >= upTo {
				return list, nil // when this marker came, no transaction was open that had begun below upTo
			}
		}
	}
	return list, nil
}
