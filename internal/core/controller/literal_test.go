package controller

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
)

// The scripts write messages as literals: {Field: value, ...} for structs, [a, b] for slices, bare or "quoted" words for
// scalars, null for absent pointers, ids as 22 characters. Zero fields are left out.

// parseLiteral fills v, which must be addressable, from the literal s.
func parseLiteral(s string, v reflect.Value) error {
	p := literal{rest: s}
	err := p.value(v)
	if p.skip(); err == nil && p.rest != "" {
		err = fmt.Errorf("%q follows the literal", p.rest)
	}
	return err
}

type literal struct{ rest string }

func (p *literal) skip() { p.rest = strings.TrimLeft(p.rest, " \t\n,") }

// next reports whether c comes next, and consumes it.
func (p *literal) next(c byte) bool {
	p.skip()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *literal) word() (w string, quoted bool, err error) {
	p.skip()
	if strings.HasPrefix(p.rest, `"`) {
		q, err := strconv.QuotedPrefix(p.rest)
		if err != nil {
			return "", true, fmt.Errorf("%s: %w", p.rest, err)
		}
		p.rest = p.rest[len(q):]
		w, err = strconv.Unquote(q)
		return w, true, err
	}
	end := strings.IndexAny(p.rest, " \t\n,:{}[]")
	if end < 0 {
		end = len(p.rest)
	}
	w, p.rest = p.rest[:end], p.rest[end:]
	return w, false, nil
}

func (p *literal) value(v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Array:
		w, _, err := p.word()
		if err == nil {
			_, err = base64.RawURLEncoding.Decode(v.Slice(0, v.Len()).Bytes(), []byte(w))
		}
		return err
	case v.Kind() == reflect.Struct:
		return p.fields(v)
	case v.Kind() == reflect.Slice:
		return p.elements(v)
	}
	w, quoted, err := p.word()
	if err != nil {
		return err
	}
	if v.Kind() == reflect.Pointer {
		if w == "null" && !quoted {
			v.SetZero()
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	return scalar(w, v)
}

func scalar(w string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(w)
	case reflect.Bool:
		v.SetBool(w == "true")
	default:
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return err
		}
		if v.CanUint() {
			v.SetUint(uint64(n))
		} else {
			v.SetInt(n)
		}
	}
	return nil
}

func (p *literal) fields(v reflect.Value) error {
	if !p.next('{') {
		return fmt.Errorf("no { at %q", p.rest)
	}
	for !p.next('}') {
		name, _, err := p.word()
		if err != nil {
			return err
		}
		f := v.FieldByName(name)
		if !f.IsValid() || !p.next(':') {
			return fmt.Errorf("%v has no field %q, or no colon at %q", v.Type(), name, p.rest)
		}
		if err := p.value(f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (p *literal) elements(v reflect.Value) error {
	if p.skip(); strings.HasPrefix(p.rest, "null") {
		p.rest = p.rest[4:]
		v.SetZero()
		return nil
	}
	if !p.next('[') {
		return fmt.Errorf("no [ at %q", p.rest)
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for !p.next(']') {
		e := reflect.New(v.Type().Elem()).Elem()
		if d, ok := e.Addr().Interface().(interface{ Default() }); ok {
			d.Default()
		}
		if err := p.value(e); err != nil {
			return err
		}
		v.Set(reflect.Append(v, e))
	}
	return nil
}

// formatLiteral writes v as parseLiteral reads it; error codes as Kafka's names. Maps and unknown tags are left out.
func formatLiteral(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		if v.IsNil() {
			return "null"
		}
		return formatLiteral(v.Elem())
	case v.Type().ConvertibleTo(reflect.TypeFor[moldau.UUID]()) && v.Kind() == reflect.Array:
		return v.Convert(reflect.TypeFor[moldau.UUID]()).Interface().(moldau.UUID).String()
	case v.Kind() == reflect.Struct:
		var fields []string
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "UnknownTags" || f.Name == "Version" || v.Field(i).IsZero() {
				continue
			}
			s := formatLiteral(v.Field(i))
			if strings.HasSuffix(f.Name, "ErrorCode") {
				s = moldau.Code(v.Field(i).Int()).String()
			}
			fields = append(fields, f.Name+": "+s)
		}
		return "{" + strings.Join(fields, ", ") + "}"
	case v.Kind() == reflect.Slice:
		var elements []string
		for i := range v.Len() {
			elements = append(elements, formatLiteral(v.Index(i)))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	case v.Kind() == reflect.String:
		s := v.String()
		if s == "" || s == "null" || strings.ContainsAny(s, " \t\n,:{}[]\"") {
			return strconv.Quote(s)
		}
		return s
	default:
		return fmt.Sprint(v.Interface())
	}
}
