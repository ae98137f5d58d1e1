package subject

import (
	"os"
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("CPU times come from /proc")
	}
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	x := 0
	for begun := time.Now(); time.Since(begun) < 2*time.Second; { // until the kernel has charged some of it
		for i := range 1 << 20 {
			x += i
		}
		if after, err := cpuTime(os.Getpid()); err != nil || after-before >= 50*time.Millisecond {
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Errorf("two seconds of work (%d) cost no CPU time", x)
}
