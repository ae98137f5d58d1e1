package must

import (
	"errors"
	"testing"
)

func TestAssertions(t *testing.T) {
	for name, c := range map[string]struct {
		assert func()
		want   any
	}{
		"true":     {func() { True(true, "offset %d", 1) }, nil},
		"false":    {func() { True(false, "offset %d", 1) }, "broken invariant: offset 1"},
		"no error": {func() { NoError(nil, "file %s", "a") }, nil},
		"an error": {func() { NoError(errors.New("gone"), "file %s", "a") }, "broken invariant: file a: gone"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := recover(); got != c.want {
					t.Errorf("panicked with %v, want %v", got, c.want)
				}
			}()
			c.assert()
		})
	}
}
