//go:build !linux

package main

import "time"

// sleepUntil returns at t, as exactly as the runtime can.
func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }
