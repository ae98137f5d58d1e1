package env_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
)

func TestParallel(t *testing.T) {
	e := env.Real()
	var mu sync.Mutex
	seen, running, most := map[int]int{}, 0, 0
	gate := make(chan struct{})
	err := e.Parallel("test", 20, 4, func(i int) error {
		mu.Lock()
		seen[i]++
		running++
		most = max(most, running)
		if running == 4 && len(seen) == 4 {
			close(gate) // four are under way together
		}
		mu.Unlock()
		<-gate
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	})
	if err != nil || len(seen) != 20 || most != 4 {
		t.Errorf("%d of 20 were called, up to %d at a time, %v", len(seen), most, err)
	}
	for i, times := range seen {
		if times != 1 {
			t.Errorf("%d was called %d times", i, times)
		}
	}
	failed, called := errors.New("failed"), 0
	err = e.Parallel("test", 20, 1, func(i int) error {
		if called++; i == 2 {
			return failed
		}
		return nil
	})
	if !errors.Is(err, failed) || called != 3 {
		t.Errorf("after %d calls: %v", called, err)
	}
	if err := e.Parallel("test", 0, 4, func(int) error { return failed }); err != nil {
		t.Error(err)
	}
}
