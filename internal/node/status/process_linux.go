package status

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// ReadProcess asks the kernel.
func ReadProcess() Process {
	p := unknownProcess()
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		p.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		p.OpenFilesMax = int64(min(files.Cur, 1<<62))
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.OpenFiles = int64(len(open)) - 1 // less the directory itself
	}
	// proc(5): pages of memory, first all that is mapped, then those in RAM.
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		fields := bytes.Fields(text)
		if len(fields) >= 2 {
			p.VirtualBytes, p.ResidentBytes = pages64(fields[0]), pages64(fields[1])
		}
	}
	return p
}

// pages64 turns a number of pages into bytes, -1 where it is none.
func pages64(text []byte) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return -1
	}
	return n * int64(os.Getpagesize())
}
