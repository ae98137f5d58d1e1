package env

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// setLock locks for the open file. A lock of the process, F_SETLK, would go when any other descriptor of the file is
// closed; the two kinds contend with each other.
const setLock = unix.F_OFD_SETLK

// syncContent is fdatasync: a file that has only been touched costs no commit of the journal.
func syncContent(f *os.File) error { return withDescriptor(f, "fdatasync", unix.Fdatasync) }

// withDescriptor calls fn again for as long as signals interrupt it.
func withDescriptor(f *os.File, op string, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	failed := c.Control(func(fd uintptr) {
		for err = fn(int(fd)); errors.Is(err, unix.EINTR); {
			err = fn(int(fd))
		}
	})
	if failed != nil { // of an open file it does not fail
		err = fs.ErrClosed
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

// wholeVolumes are file systems whose syncfs makes durable what fsync would, and tells of errors. FUSE and network file
// systems do not pass it on to whoever keeps the bytes.
var wholeVolumes = [...]int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC}

// volume is a descriptor of a directory. It is opened once: syncfs tells of what has failed since.
type volume struct{ dir *os.File }

func openVolume(dir string) (Volume, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	known := false
	for _, magic := range wholeVolumes {
		known = known || int64(st.Type) == magic
	}
	if !known || !syncfsTells() {
		return nil, &fs.PathError{Op: "syncfs", Path: dir, Err: errors.ErrUnsupported}
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return volume{d}, nil
}

// syncfsTells reports whether the kernel's syncfs returns errors of writing back: Linux 5.8 and later.
func syncfsTells() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	minor := strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	m, err := strconv.Atoi(major)
	if err != nil || len(minor) == 0 {
		return false
	}
	n, err := strconv.Atoi(minor[0])
	return err == nil && (m > 5 || m == 5 && n >= 8)
}

func (v volume) Sync() error  { return withDescriptor(v.dir, "syncfs", unix.Syncfs) }
func (v volume) Close() error { return v.dir.Close() }
