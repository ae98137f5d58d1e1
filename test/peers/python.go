package peers

import (
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Python is the interpreter of a virtual environment with the packages that the file requirements lists, from PyPI.
func Python(t testing.TB, requirements string) string {
	t.Helper()
	base, err := exec.LookPath("python3")
	if err != nil {
		Absent(t, fmt.Errorf("there is no python3 on this machine: the Python clients need it"))
	}
	path, err := filepath.Abs(requirements)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Once("python-"+Fingerprint(t, path), func(dir string) error {
		if out, err := exec.Command(base, "-m", "venv", dir).CombinedOutput(); err != nil {
			return fmt.Errorf("python3 -m venv: %w\n%s", err, out)
		}
		pip := exec.Command(filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", path)
		if out, err := pip.CombinedOutput(); err != nil {
			return fmt.Errorf("pip install: %w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		Absent(t, err)
	}
	return filepath.Join(dir, "bin", "python")
}

// Fingerprint names the content of a file, so that a changed list of packages is installed anew.
func Fingerprint(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatUint(uint64(crc32.ChecksumIEEE(b)), 16)
}
