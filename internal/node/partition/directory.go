package partition

import (
	"fmt"
	"sync/atomic"
)

// Directory is a log directory as the partitions in it see it.
type Directory struct {
	Path string
	// Create has the files of a partition made that was never written; then it calls Partition.Created. It does not block.
	Create  func(*Partition)
	failure atomic.Pointer[error]
	space   atomic.Pointer[Space] // as measured last
	written atomic.Int64          // bytes of records since then
}

// NewDirectory returns a directory that is online.
func NewDirectory(path string) *Directory { return &Directory{Path: path} }

// Fail takes the directory offline, and reports whether it was online. From its return on nothing in the directory is
// acknowledged or read: every partition looks before it answers. Partitions are told by Partition.Fail; this call takes no
// lock, since it comes from within a write (KAFKA-10778).
func (d *Directory) Fail(why error) bool {
	why = fmt.Errorf("log directory %s has failed: %w", d.Path, why)
	return d.failure.CompareAndSwap(nil, &why)
}

// Failure is why the directory is offline, or nil.
func (d *Directory) Failure() error {
	if why := d.failure.Load(); why != nil {
		return *why
	}
	return nil
}
