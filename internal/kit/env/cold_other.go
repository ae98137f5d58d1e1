//go:build !linux

package env

import "io"

// Cold returns a reader of f that leaves the page cache as it finds it; this system offers none.
func Cold(f File) io.ReaderAt { return f }

// Resident would report whether bytes of f are in the page cache; this system does not tell.
func Resident(File, int64, int) bool { return true }

// Drop would take bytes of f out of the page cache.
func Drop(File, int64, int) {}
