package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupCommands(t *testing.T) {
	s := newShell(t, "MOLDAU_BOOTSTRAP="+ownBroker(t))
	repo, to := filepath.Join(t.TempDir(), "repo"), filepath.Join(t.TempDir(), "restored")
	s.ok("", "topic", "create", "orders", "-p", "2")
	s.ok("a\nb\n", "produce", "orders")
	if out := s.ok("", "backup", "create", repo); !strings.Contains(out, "2 partitions") || !strings.Contains(out, "0 B shared") {
		t.Errorf("created: %s", out)
	}
	var made createdBackup
	if err := json.Unmarshal([]byte(s.ok("", "backup", "create", repo, "-o", "json")), &made); err != nil || made.Partitions != 2 || made.ID == "" {
		t.Errorf("created: %+v, %v", made, err)
	}
	var list []listedBackup
	if err := json.Unmarshal([]byte(s.ok("", "backup", "list", repo, "-o", "json")), &list); err != nil || len(list) != 2 || list[1].ID != made.ID {
		t.Errorf("listed: %+v, %v", list, err)
	}
	if out := s.ok("", "backup", "verify", repo); !strings.Contains(out, made.ID) || !strings.Contains(out, "0 problems") {
		t.Errorf("verified: %s", out)
	}
	if out := s.ok("", "backup", "restore", repo, "--to", to, "--dry-run"); !strings.Contains(out, "nothing was changed") {
		t.Errorf("dry run: %s", out)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("the dry run has made the target")
	}
	if out := s.ok("", "backup", "restore", repo, list[0].ID, "--to", to); !strings.Contains(out, "serve --set log.dirs="+to) {
		t.Errorf("restored: %s", out)
	}
	if r := s.run("", "backup", "restore", repo, "--to", to); r.code != exitFailed || !strings.Contains(r.stderr, "not empty") {
		t.Errorf("restored twice: exit code %d, %s", r.code, r.stderr)
	}
	records := filepath.Join(repo, made.ID, "metadata.records")
	if err := os.WriteFile(records, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.run("", "backup", "verify", repo); r.code != exitFailed || !strings.Contains(r.stdout, records+": it has 1 bytes") {
		t.Errorf("a damaged backup: exit code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}
