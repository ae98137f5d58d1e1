//go:build !linux

package main

import (
	"io"
	"net"
	"os"
)

// sendFile sends n bytes of f from pos on, through memory.
func sendFile(c *net.TCPConn, f *os.File, pos, n int64) error {
	_, err := io.Copy(c, io.NewSectionReader(f, pos, n))
	return err
}
