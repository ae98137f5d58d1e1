package env

import "golang.org/x/sys/unix"

// bootID is the identity of the session that began when the system started.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
