package env

import (
	"os"
	"strings"
)

// bootID is the random number that the kernel took when it started.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
