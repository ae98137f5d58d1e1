//go:build !linux

package main

import "time"

func settle() { time.Sleep(200 * time.Millisecond) }
