//go:build !linux

package load

import (
	"context"
	"time"
)

// keepTime has nothing to do where sleeps are the runtime's.
func keepTime() {}

func sleepUntil(ctx context.Context, t time.Time) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
