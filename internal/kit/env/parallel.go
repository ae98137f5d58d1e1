package env

import "sync"

// Parallel calls fn with each number below n, on so many goroutines at a time, and returns when all that were called have
// returned. After an error none is called any more; the first error is returned.
func (e Env) Parallel(name string, n, workers int, fn func(i int) error) error {
	var mu sync.Mutex
	next, failed := 0, error(nil)
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		i, ok = next, next < n && failed == nil
		next++
		return i, ok
	}
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Add(1)
		e.Go(name, func() { // ends when there is no number left
			defer all.Done()
			for i, ok := take(); ok; i, ok = take() {
				if err := fn(i); err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}
