package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLifeOfAGroup reads as a member, looks at the group, moves it, and ends it.
func TestLifeOfAGroup(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for rebalances")
	}
	s, topic := brokerShell(t)
	group := "group-of-" + topic
	s.ok("", "topic", "create", topic, "-p", "2")
	s.ok("a\nb\nc\nd\n", "produce", topic, "-p", "0")
	if got := s.ok("", "consume", topic, "--group", group, "--max", "3"); got != "a\nb\nc\n" {
		t.Errorf("the group read %q", got)
	}
	if got := s.ok("", "consume", topic, "--group", group, "--max", "1"); got != "d\n" {
		t.Errorf("the group went on with %q", got)
	}
	if got := s.ok("", "group", "list"); !strings.Contains(got, group) {
		t.Errorf("listed:\n%s", got)
	}

	saved := filepath.Join(t.TempDir(), "offsets.csv")
	if err := os.WriteFile(saved, []byte(s.ok("", "group", "offsets", group)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.ok("", "group", "seek", group, "--to", "-2", "--dry-run"); !strings.Contains(got, "nothing was set") {
		t.Errorf("dry run:\n%s", got)
	}
	s.ok("", "group", "seek", group, "--to", "+1")
	if g := s.describeGroup(group); g.State != "Empty" || g.LagRecords != 3 || *g.Partitions[0].Lag != 3 || g.Partitions[0].LagSeconds == nil {
		t.Errorf("after the seek: %+v", g)
	}
	s.ok("", "group", "seek", group, "--file", saved)
	if g := s.describeGroup(group); g.LagRecords != 0 {
		t.Errorf("after the seek to what was saved: %+v", g)
	}
	s.ok("", "group", "delete", group, "--topic", topic)
	if r := s.run("", "group", "offsets", group); r.code != exitFailed || !strings.Contains(r.stderr, "no offsets") {
		t.Errorf("offsets of a group that forgot them: %d %s", r.code, r.stderr)
	}
	s.ok("", "group", "seek", group, "--to", "start", "--topic", topic)
	s.ok("", "group", "delete", group)
	if r := s.run("", "group", "describe", group); r.code != exitFailed || !strings.Contains(r.stderr, "there is no") {
		t.Errorf("a group that was deleted: %d %s", r.code, r.stderr)
	}
}

func (s shell) describeGroup(name string) describedGroup {
	s.t.Helper()
	var groups []describedGroup
	if err := json.Unmarshal([]byte(s.ok("", "group", "describe", name, "-o", "json")), &groups); err != nil {
		s.t.Fatal(err)
	}
	return groups[0]
}

// What was never committed is no lag of 0.
func TestLagOfWhatWasNotCommitted(t *testing.T) {
	three := int64(3)
	known, unknown := groupPartition{Lag: &three}, groupPartition{}
	for want, g := range map[string]describedGroup{
		"0 records": {},
		"3 records": {LagRecords: 3, Partitions: []groupPartition{known}},
		"3 records, not counting 1 partition without a committed offset or a known end": {LagRecords: 3, Partitions: []groupPartition{known, unknown}},
		"unknown, nothing is committed or no end is known":                              {Partitions: []groupPartition{unknown, unknown}},
	} {
		if got := g.lag(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestGroupUsage(t *testing.T) {
	s := newShell(t, "MOLDAU_BOOTSTRAP="+deadAddress)
	for _, args := range [][]string{
		{"group", "seek", "g"},
		{"group", "seek", "g", "--to", "start", "--file", "x"},
		{"group", "seek", "g", "--file", "x", "--topic", "t"},
		{"group", "seek", "g", "--to", "somewhere"},
		{"consume", "t", "--group", "g", "--until", "end"},
		{"consume", "t", "--group", "g", "--from", "42"},
	} {
		if r := s.run("", args...); r.code != exitUsage {
			t.Errorf("%v: exit code %d, %s", args, r.code, r.stderr)
		}
	}
	for _, text := range []string{"t,0", "t,x,1", "t,0,-1", "", "# nothing"} {
		c := &cli{stdin: strings.NewReader(text)}
		if found, err := c.readOffsets("-"); err == nil {
			t.Errorf("%q was read as %v", text, found)
		}
	}
}
