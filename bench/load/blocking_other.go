//go:build !unix

package load

import "os"

// shutdown closes the file: on systems without a shutdown of file descriptors that ends who waits for it.
func shutdown(f *os.File) error { return f.Close() }
