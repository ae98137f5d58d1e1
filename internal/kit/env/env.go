// Package env holds the seams through which a broker meets the world: clock, file system, network, randomness and the
// start of goroutines. Production uses Real; tests and the simulator hand in substitutes.
package env

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"time"
)

// Env is the world as one broker sees it.
type Env struct {
	Clock Clock
	FS    FS
	Net   Net
	// Rand fills b with random bytes; it never fails.
	Rand func(b []byte)
	// Hostname is the name of this machine as others may know it.
	Hostname func() (string, error)
	// BootID tells one life of the operating system from another: it changes when the page cache is lost. Empty where the
	// system does not tell.
	BootID func() string
	// FilesMax is how many files and connections this process may have open, 0 where that is not known.
	FilesMax func() int
	// Go starts fn on a goroutine of its own. The name says whose it is, in profiles and in the simulator's trace.
	Go func(name string, fn func())
}

// Real is the world of the operating system.
func Real() Env {
	return Env{
		Clock:    realClock{},
		FS:       OS{},
		Net:      realNet{},
		Rand:     func(b []byte) { _, _ = rand.Read(b) }, // crypto/rand.Read never fails
		Hostname: os.Hostname,
		BootID:   bootID,
		FilesMax: filesMax,
		Go:       func(_ string, fn func()) { go fn() },
	}
}

// Clock tells the time and wakes sleepers.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f on a goroutine of its own once d has passed, unless the timer was stopped before.
	AfterFunc(d time.Duration, f func()) Timer
	// NewTimer returns a timer whose C delivers once d has passed.
	NewTimer(d time.Duration) Timer
}

// Timer is a pending wake-up.
type Timer interface {
	// C delivers the time when the timer fires; nil for a timer made by AfterFunc.
	C() <-chan time.Time
	// Stop reports whether it kept the timer from firing.
	Stop() bool
	Reset(d time.Duration) bool
}

// Sleep waits until d has passed on clock or ctx is done, and returns ctx's error in the latter case.
func Sleep(ctx context.Context, clock Clock, d time.Duration) error {
	t := clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) Timer {
	return realTimer{time.AfterFunc(d, f)}
}
func (realClock) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

type realTimer struct{ t *time.Timer }

func (t realTimer) C() <-chan time.Time        { return t.t.C }
func (t realTimer) Stop() bool                 { return t.t.Stop() }
func (t realTimer) Reset(d time.Duration) bool { return t.t.Reset(d) }

// Net opens connections.
type Net interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

type realNet struct{}

func (realNet) Listen(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: 30 * time.Second}
	return lc.Listen(ctx, "tcp", address)
}

func (realNet) Dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}
