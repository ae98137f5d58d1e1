package env

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// syncDir: NTFS journals its directories; there is nothing to ask for.
func syncDir(string) error { return nil }

func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// NoSpace reports whether err says that a volume, or the quota of its user, is full: nothing is wrong with the disk, and the
// same call may succeed once there is room.
func NoSpace(err error) bool {
	for _, full := range [...]error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED, syscall.ENOSPC} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

// TooManyFiles reports whether err says that this process, or the system, has as many files open as it may: nothing is wrong
// with the file, and the same call may succeed once another is closed.
func TooManyFiles(err error) bool {
	return errors.Is(err, windows.ERROR_TOO_MANY_OPEN_FILES) || errors.Is(err, syscall.EMFILE)
}

// filesMax: handles are limited by memory alone.
func filesMax() int { return 0 }

func space(dir string) (total, free int64, err error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var avail, all, unused uint64
	if err := windows.GetDiskFreeSpaceEx(p, &avail, &all, &unused); err != nil {
		return 0, 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: dir, Err: err}
	}
	return int64(all), int64(avail), nil
}
