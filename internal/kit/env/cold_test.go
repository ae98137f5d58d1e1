package env_test

import (
	"testing"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
)

// The first reader of a part is told from those behind it, and followed from where it began.
func TestTraces(t *testing.T) {
	begun := time.Unix(1000, 0)
	var traces env.Traces
	for i, c := range []struct {
		after time.Duration
		pos   int64
		from  int64
		first bool
	}{
		{0, 500, 500, true},
		{time.Second, 600, 500, true},      // it goes on
		{time.Second, 500, 0, false},       // another one behind it
		{2 * time.Second, 600, 0, false},   // which goes on
		{30 * time.Second, 700, 500, true}, // the first again
		{31 * time.Second, 2000, 2000, true},
		{32 * time.Second, 800, 0, false}, // somewhere behind one that is far ahead
		{92 * time.Second, 0, 0, true},    // that was long ago
		{92 * time.Second, 100, 0, true},
	} {
		from, first := traces.Follow(c.pos, 100, begun.Add(c.after))
		if from != c.from || first != c.first {
			t.Errorf("read %d, at %d: from %d %v, want %d %v", i, c.pos, from, first, c.from, c.first)
		}
	}
}
