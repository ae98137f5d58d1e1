package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// settle waits until what was written is on the disk: only then can it leave the page cache.
func settle() { unix.Sync() }

// evict takes files out of the page cache.
func evict(names []string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		_ = f.Close() // it was not even read
		if err != nil {
			return fmt.Errorf("take %s out of the page cache: %w", name, err)
		}
	}
	left, size, err := resident(names)
	if err == nil && left > size/50 {
		err = fmt.Errorf("%d of %d MiB stay in the page cache: is the directory on a disk?", left>>20, size>>20)
	}
	return err
}

// resident is how many bytes of files are in the page cache, and how many they have.
func resident(names []string) (in, size int64, err error) {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return 0, 0, err
		}
		var found unix.Cachestat_t
		err = unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &found, 0) // the whole file
		if errors.Is(err, unix.ENOSYS) {
			err = fmt.Errorf("what is in the page cache is told by Linux 6.5 and later: %w", err)
		}
		s, failed := f.Stat()
		_ = f.Close() // it was not even read
		if err = errors.Join(err, failed); err != nil {
			return 0, 0, fmt.Errorf("look for %s in the page cache: %w", name, err)
		}
		in += int64(found.Cache) * int64(os.Getpagesize())
		size += s.Size()
	}
	return in, size, nil
}
