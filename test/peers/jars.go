// Package peers gets and runs Apache Kafka, for tests and benchmarks that need the original: as a broker beside ours, as
// the Java client, and as the command line tools that its users have.
//
// Its parts come from Maven Central by way of mvn, once, into the user's cache directory (or $MOLDAU_CACHE). Nothing else
// is installed. A machine without java (17 or later) or mvn skips the tests that need them, with a loud word why; with
// CI=true such a test fails instead.
package peers

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Version is that of Apache Kafka. It stands in pom.xml too, which a test compares.
const Version = "4.3.1"

//go:embed pom.xml
var pom []byte

//go:embed log4j2.xml
var log4j []byte

// Cache is the directory where the tests keep what they fetch.
func Cache() (string, error) {
	dir := os.Getenv("MOLDAU_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache directory, set MOLDAU_CACHE to one: %w", err)
		}
		dir = filepath.Join(user, "moldau")
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// Once makes what dir in the cache is to hold, unless an earlier run did: fill gets an empty directory, which takes its
// place when fill succeeds. Processes that want the same at the same time wait for one of them. It returns the path.
func Once(dir string, fill func(dir string) error) (string, error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, dir)
	complete := filepath.Join(path, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(path + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(complete); err == nil {
		return path, nil
	}
	if err := os.RemoveAll(path); err != nil {
		return "", err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", err
	}
	if err := fill(path); err != nil {
		return "", err
	}
	return path, os.WriteFile(complete, nil, 0o644)
}

// Missing says which program of those that Kafka needs is not there, or nil.
func Missing() error {
	for _, p := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("there is no %s on this machine: Apache Kafka needs java (17 or later) and mvn", p)
		}
	}
	return nil
}

// Absent ends a test whose tool is not there: by a failure where CI=true, else by a skip.
func Absent(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI must have everything that the tests use: %v", err)
	}
	t.Skipf("SKIPPED, NOT TESTED: %v", err)
}

// ClassPath fetches Apache Kafka if need be and returns the class path with all of it.
func ClassPath() (string, error) {
	if err := Missing(); err != nil {
		return "", err
	}
	dir, err := Once("kafka-"+Version, fetch)
	if err != nil {
		return "", fmt.Errorf("get Apache Kafka %s: %w", Version, err)
	}
	return dir + string(os.PathListSeparator) + filepath.Join(dir, "*"), nil
}

func fetch(dir string) error {
	fmt.Fprintf(os.Stderr, "fetching Apache Kafka %s from Maven Central into %s (once, 150 MB)\n", Version, dir)
	if err := os.WriteFile(filepath.Join(dir, "log4j2.xml"), log4j, 0o644); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "moldau-mvn-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	mvn := exec.Command("mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory="+dir)
	mvn.Dir = work
	if out, err := mvn.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn: %w\n%s", err, out)
	}
	return nil
}
