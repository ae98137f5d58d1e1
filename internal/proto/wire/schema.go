package wire

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/moldau/moldau/internal/kit/must"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kind is how a value lies on the wire.
type kind uint8

const (
	kindFixed kind = iota
	kindString
	kindBytes
	kindArray  // of values of a fixed size
	kindList   // of strings
	kindTable  // of structs
	kindStruct // in place; if nullable, behind a byte that is -1 for null
)

// never is above every version.
const never = math.MaxInt16

// field is one field of a struct in a schema.
type field struct {
	name     string
	kind     kind
	min, max int16  // the versions that have it
	nullable int16  // the first version that allows null, or never
	tag      uint32 // where it is in shape.tags
	width    int    // bytes on the wire of a fixed value or of an array's element
	size     int64  // bytes in memory of an array's element or of a nullable struct or string
	shape    *shape // of a table's element or a struct
}

// shape is the fields of a struct.
type shape struct {
	fields []field // in the order of the wire
	tags   []field
}

// schema is what Decode knows about a request.
type schema struct {
	once    sync.Once
	root    *shape
	size    int64 // bytes of the request's struct in memory
	maximum int16 // the highest version
}

// schemas holds the compiled schemaText of each key, compiled when first asked for.
var schemas [keyEnd]schema

// schemaOf returns the schema of a key, or nil if the key is unknown.
func schemaOf(key Key) *schema {
	if !key.Known() {
		return nil
	}
	s := &schemas[key]
	s.once.Do(func() {
		request := kmsg.RequestForKey(int16(key))
		t := reflect.TypeOf(request).Elem()
		p := schemaParser{text: strings.Fields(spaced(schemaText[key])), key: key}
		s.root = p.shape("", t)
		s.size = int64(t.Size())
		s.maximum = request.MaxVersion()
	})
	return s
}

// spaced puts blanks around the punctuation of a schema, so that its words can be told apart by blanks alone.
func spaced(text string) string {
	r := strings.NewReplacer("[]", " []", "?", " ?", "[", " [ ", "]", " ] ", "{", " { ", "}", " } ", ",", " , ")
	return r.Replace(text)
}

// schemaParser reads the words of a schemaText and joins each struct with kmsg's type for it. A mistake in the table is
// a broken invariant, which the test over all keys would meet.
type schemaParser struct {
	text []string
	key  Key
}

func (p *schemaParser) peek() string {
	if len(p.text) == 0 {
		return ""
	}
	return p.text[0]
}

func (p *schemaParser) next() string {
	w := p.peek()
	must.True(w != "", "the schema of %s ends too early", p.key)
	p.text = p.text[1:]
	return w
}

// shape reads fields up to the word that closes them.
func (p *schemaParser) shape(closing string, t reflect.Type) *shape {
	s := new(shape)
	for {
		f, tagged := p.field(t)
		if tagged {
			s.tags = append(s.tags, f)
		} else {
			s.fields = append(s.fields, f)
		}
		if p.peek() == closing {
			break
		}
		must.True(p.next() == ",", "the schema of %s lacks a comma after %s", p.key, f.name)
	}
	if closing != "" {
		p.next()
	}
	return s
}

// field reads one field of the struct type t.
func (p *schemaParser) field(t reflect.Type) (f field, tagged bool) {
	f = field{name: p.next(), max: never, nullable: never}
	member, ok := t.FieldByName(f.name)
	must.True(ok, "the schema of %s has a field %s that %s lacks", p.key, f.name, t)
	p.value(&f, member.Type)
	for {
		w := p.peek()
		switch {
		case strings.HasPrefix(w, "?"):
			f.nullable, _ = p.versions(w[1:])
		case strings.HasPrefix(w, "#"):
			tag, err := strconv.ParseUint(w[1:], 10, 32)
			must.NoError(err, "the tag of %s in the schema of %s", f.name, p.key)
			f.tag, tagged = uint32(tag), true
		case w != "" && w[0] >= '0' && w[0] <= '9':
			f.min, f.max = p.versions(w)
		default:
			return f, tagged
		}
		p.next()
	}
}

// versions reads 3+, 0-12, 1 or nothing, which is all.
func (p *schemaParser) versions(word string) (low, high int16) {
	if word == "" {
		return 0, never
	}
	first, last, isRange := strings.Cut(word, "-")
	open := strings.HasSuffix(first, "+")
	from, err := strconv.ParseInt(strings.TrimSuffix(first, "+"), 10, 16)
	must.NoError(err, "the versions %q in the schema of %s", word, p.key)
	switch {
	case open:
		return int16(from), never
	case !isRange:
		return int16(from), int16(from)
	}
	to, err := strconv.ParseInt(last, 10, 16)
	must.NoError(err, "the versions %q in the schema of %s", word, p.key)
	return int16(from), int16(to)
}

// fixed is how many bytes each type of fixed size takes on the wire, and its kind in Go.
var fixed = map[string]struct {
	width int
	kind  reflect.Kind
}{
	"bool": {1, reflect.Bool}, "int8": {1, reflect.Int8}, "int16": {2, reflect.Int16}, "uint16": {2, reflect.Uint16},
	"int32": {4, reflect.Int32}, "int64": {8, reflect.Int64}, "float64": {8, reflect.Float64}, "uuid": {16, reflect.Array},
}

// value reads the type of a field, whose type in kmsg is t.
func (p *schemaParser) value(f *field, t reflect.Type) {
	word := p.next()
	want := reflect.Slice
	switch element, isArray := strings.CutPrefix(word, "[]"); {
	case word == "string":
		f.kind, want = kindString, reflect.String
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
			f.size = int64(t.Size())
		}
	case word == "bytes":
		f.kind = kindBytes
	case element == "string":
		f.kind, f.size = kindList, int64(t.Elem().Size())
	case word == "[":
		f.kind, f.size = kindTable, int64(t.Elem().Size())
		f.shape = p.shape("]", t.Elem())
	case word == "{":
		f.kind, want = kindStruct, reflect.Struct
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
			f.size = int64(t.Size())
		}
		f.shape = p.shape("}", t)
	case isArray:
		f.kind, f.width, f.size = kindArray, fixed[element].width, int64(t.Elem().Size())
		must.True(t.Elem().Kind() == fixed[element].kind, "the schema of %s has %s %s, kmsg %s", p.key, f.name, word, t)
	default:
		f.kind, f.width, want = kindFixed, fixed[word].width, fixed[word].kind
	}
	must.True(t.Kind() == want, "the schema of %s has %s %s, kmsg %s", p.key, f.name, word, t)
}
