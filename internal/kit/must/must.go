// Package must holds assertions. A broken invariant is a bug of ours: it stops the task that met it, with its reason.
package must

import "fmt"

// True panics with the formatted reason unless ok.
func True(ok bool, format string, args ...any) {
	if !ok {
		panic("broken invariant: " + fmt.Sprintf(format, args...))
	}
}

// NoError panics where err is not nil: for calls that cannot fail with the arguments given.
func NoError(err error, format string, args ...any) {
	if err != nil {
		panic("broken invariant: " + fmt.Sprintf(format, args...) + ": " + err.Error())
	}
}
