package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// apacheCopy is a log directory that Apache Kafka has written.
func apacheCopy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kafka")
	if err := os.CopyFS(dir, os.DirFS("../../internal/node/importer/testdata/apache")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listing is every name under dir with its time, its size and its content.
func listing(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if !d.IsDir() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		list = append(list, fmt.Sprintf("%s %v %x", path, info.ModTime(), content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestImport(t *testing.T) {
	s, from, to := newShell(t), apacheCopy(t), filepath.Join(t.TempDir(), "moldau")
	before := listing(t, from)
	out := s.ok("", "import", from, "--to", to, "--dry-run")
	for _, want := range []string{"node 1 of cluster bW9sZGF1LXRlc3QtcGVlcg, stopped cleanly", "orders", "retention.ms=-1", "acl", "server.properties",
		"would bring 5 partitions", "nothing was changed"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the plan:\n%s", want, out)
		}
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("the dry run has made the target")
	}
	var done struct {
		DryRun bool `json:"dry_run"`
		Report struct{ Partitions int }
	}
	if err := json.Unmarshal([]byte(s.ok("", "import", from, "--to", to, "-o", "json")), &done); err != nil || done.DryRun || done.Report.Partitions != 5 {
		t.Errorf("%+v, %v", done, err)
	}
	if r := s.run("", "import", from, "--to", to); r.code != exitFailed || !strings.Contains(r.stderr, "not empty") {
		t.Errorf("into a directory that is in use: exit code %d, %s", r.code, r.stderr)
	}
	if after := listing(t, from); !slices.Equal(before, after) {
		t.Error("the source was changed")
	}
	if err := os.Remove(filepath.Join(from, ".kafka_cleanshutdown")); err != nil {
		t.Fatal(err)
	}
	if r := s.run("", "import", from, "--to", to+"2"); r.code != exitFailed || !strings.Contains(r.stderr, "--recover") {
		t.Errorf("after an unclean stop: exit code %d, %s", r.code, r.stderr)
	}
	s.ok("", "import", from, "--to", to+"2", "--recover")
}

// L-43: what Apache Kafka has formatted is refused with a word what to do, and not a byte or a time of it changes.
func TestServeLeavesApachesDirectoryAlone(t *testing.T) {
	dir := apacheCopy(t)
	before := listing(t, dir)
	r := newShell(t).run("", "serve", "--set", "log.dirs="+dir, "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "moldau.http.listener=")
	if r.code != exitFailed || !strings.Contains(r.stderr, "formatted by Apache Kafka") || !strings.Contains(r.stderr, "moldau import "+dir) {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	if after := listing(t, dir); !slices.Equal(before, after) {
		t.Errorf("%q became %q", before, after)
	}
}
