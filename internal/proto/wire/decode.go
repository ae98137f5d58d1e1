package wire

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// What kmsg takes for the tagged fields that it does not know: a map in each struct that has one, and its entries.
const (
	unknownTagsSize = 512
	unknownTagSize  = 192
)

// stringSize is what a string of n bytes takes at most beyond its header: the allocator rounds up.
func stringSize(n int) int64 { return int64(n+15) &^ 15 }

// Decode reads the body of a request into kmsg's struct for it, with its version set.
//
// budget is the bytes of memory that the result may take; a false count in one array of kmsg's could take 79 times the
// bytes of the frame. So the body is walked first, without allocating: whatever is claimed must be there, null stands
// only where the protocol allows it, and arrays, strings and unknown tags are counted at their size in memory. Bytes
// after the message are ignored (W-3).
//
// Strings in the result are its own; byte slices are sub-slices of body, and must be copied to outlive it.
// Errors: ErrUnknownKey, ErrUnknownVersion, ErrMalformed, ErrBudget; the connection ends with each of them (W-4).
func Decode(key Key, version int16, body []byte, budget int64) (kmsg.Request, error) {
	s := schemaOf(key)
	switch {
	case s == nil:
		return nil, fmt.Errorf("%w %d, version %d", ErrUnknownKey, int16(key), version)
	case version < 0 || version > s.maximum:
		return nil, fmt.Errorf("%w: %s v%d, known are 0 to %d", ErrUnknownVersion, key, version, s.maximum)
	}
	w := walk{
		reader:  reader{src: body, flexible: key.Flexible(version)},
		version: version,
		budget:  budget,
	}
	w.charge(s.size)
	w.shape(s.root)
	if !w.ok() {
		return nil, w.err(key)
	}
	request := kmsg.RequestForKey(int16(key))
	request.SetVersion(version)
	if err := request.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%w: %s v%d: %w", ErrMalformed, key, version, err)
	}
	return request, nil
}

// walk follows a schema through the body of one request.
type walk struct {
	reader
	version int16
	budget  int64 // what is left of it
	over    bool  // the walk failed because the budget is used up
	path    []string
}

// err tells why and where the walk failed.
func (w *walk) err(key Key) error {
	kind := ErrMalformed
	if w.over {
		kind = ErrBudget
	}
	slices.Reverse(w.path)
	return fmt.Errorf("%w: %s v%d: %s at byte %d of the body: %s", kind, key, w.version, strings.Join(w.path, "."), w.at,
		w.why)
}

// charge takes size bytes from the budget.
func (w *walk) charge(size int64) {
	if w.budget -= size; w.budget < 0 && w.ok() {
		w.over = true
		w.fail("%d bytes of memory more than the budget", -w.budget)
	}
}

func (w *walk) shape(s *shape) {
	for i := range s.fields {
		f := &s.fields[i]
		if w.version < f.min || w.version > f.max {
			continue
		}
		if w.value(f); !w.ok() {
			w.path = append(w.path, f.name)
			return
		}
	}
	if w.flexible {
		w.tagged(s)
	}
}

func (w *walk) tagged(s *shape) {
	unknown := int64(0)
	for n := w.uvarint(); n > 0 && w.ok(); n-- {
		tag, outer := w.openTag()
		f := s.byTag(tag)
		if f != nil {
			if w.value(f); !w.ok() {
				w.path = append(w.path, f.name)
			}
		} else {
			unknown++
		}
		w.closeTag(outer, f != nil)
	}
	if unknown > 0 {
		w.charge(unknownTagsSize + unknown*unknownTagSize)
	}
}

// byTag returns the field with the tag, or nil.
func (s *shape) byTag(tag uint32) *field {
	for i := range s.tags {
		if s.tags[i].tag == tag {
			return &s.tags[i]
		}
	}
	return nil
}

func (w *walk) value(f *field) {
	nullable := w.version >= f.nullable
	switch f.kind {
	case kindFixed:
		w.span(f.width)
	case kindString:
		if b := w.sized(w.stringLen(), nullable); b != nil {
			w.charge(f.size + stringSize(len(b)))
		}
	case kindBytes:
		w.sized(w.count(), nullable)
	case kindStruct:
		if f.nullable != never && w.int8() == -1 {
			return
		}
		w.charge(f.size)
		w.shape(f.shape)
	default:
		n := max(0, w.reader.array(nullable))
		w.charge(int64(n) * f.size)
		w.elements(f, n)
	}
}

// elements walks over the n elements of an array.
func (w *walk) elements(f *field, n int) {
	if f.kind == kindArray {
		w.sized(n*f.width, false)
		return
	}
	for range n {
		if !w.ok() {
			return
		}
		if f.kind == kindTable {
			w.shape(f.shape)
		} else {
			w.charge(stringSize(len(w.string())))
		}
	}
}
