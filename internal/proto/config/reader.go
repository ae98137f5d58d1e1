package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/moldau/moldau/internal/kit/must"
)

// A reader takes typed values of one scope out of layers and remembers what was wrong with them.
type reader struct {
	layers Layers
	scope  Scope
	errs   []error
}

// get returns the checked value of a key, or its default after remembering an error. A null reads as "".
func (r *reader) get(name string) string {
	k, ok := Lookup(r.scope, name)
	must.True(ok, "there is no %s key %s", r.scope, name)
	value, isNull, source := r.layers.value(k)
	if isNull || source == SourceDefault {
		return value
	}
	if err := k.Check(value); err != nil {
		r.fail("%w", err)
		return k.Default
	}
	return value
}

func (r *reader) fail(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

func (r *reader) err() error { return errors.Join(r.errs...) }

// isSet reports whether a broker key has a value that is not its default.
func (r *reader) isSet(name string) bool {
	for _, layer := range r.layers.brokerLayers() {
		if _, ok := layer.values[name]; ok {
			return true
		}
	}
	return false
}

func (r *reader) boolean(name string) bool { return r.get(name) == "true" }

// i64 reads a number; the key's type has checked that it is one.
func (r *reader) i64(name string) int64 {
	n, _ := strconv.ParseInt(r.get(name), 10, 64)
	return n
}

func (r *reader) i32(name string) int32 { return int32(r.i64(name)) } // the type INT or SHORT has checked the range

func (r *reader) float(name string) float64 {
	f, _ := strconv.ParseFloat(r.get(name), 64)
	return f
}

func (r *reader) list(name string) []string { return splitList(r.get(name)) }

// ms reads milliseconds. What a Duration cannot hold becomes the longest one, negative values stay negative.
func (r *reader) ms(name string) time.Duration {
	n := r.i64(name)
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(max(n, -1)) * time.Millisecond
}
