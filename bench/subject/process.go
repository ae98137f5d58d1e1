package subject

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of times in /proc, the same on every Linux of today.
const clockTick = 10 * time.Millisecond

// CPUTime is the user and system time that the broker has used so far, in steps of 10 ms; it needs Linux.
func (s *Subject) CPUTime() (time.Duration, error) { return cpuTime(s.PID) }

func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	// Behind the name in parentheses, which may hold anything: state is field 3, utime 14, stime 15.
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("CPU time of process %d: %q", pid, text)
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("CPU time of process %d: %q", pid, text)
	}
	return time.Duration(user+system) * clockTick, nil
}

// MemoryPeak is the most memory that the broker has had resident, in bytes; it needs Linux.
func (s *Subject) MemoryPeak() (int64, error) { return memoryPeak(s.PID) }

func memoryPeak(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				kib, err := strconv.ParseInt(string(f[0]), 10, 64)
				return kib << 10, err
			}
		}
	}
	return 0, fmt.Errorf("memory of process %d: no VmHWM in its status", pid)
}
