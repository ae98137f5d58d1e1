//go:build !linux

package server

import "errors"

// Elsewhere regions are read and written.
func (c *conn) canSendfile(Region) bool  { return false }
func (c *conn) sendfile(Region) error    { return errors.ErrUnsupported }
func (c *conn) writeMore(b []byte) error { return c.write(b) }
