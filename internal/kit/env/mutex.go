package env

import "sync"

// Mutex is the lock of a partition, the one lock that is held across a write. It is a type of its own so that the
// simulator can make it a one-slot channel: a goroutine that waits for a sync.Mutex would hang synctest.Wait.
type Mutex struct{ sync.Mutex }
