package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/record"
)

// stopped is a log directory in which a broker has worked and stopped: topic orders with three batches of ten records.
func stopped(t *testing.T) (s shell, dir string) {
	t.Helper()
	dir = t.TempDir()
	s, stop := serving(t, dir)
	s.ok("", "topic", "create", "orders")
	for i := range 3 {
		var lines strings.Builder
		for j := range 10 {
			fmt.Fprintf(&lines, "k%d:%s\n", j, strings.Repeat(string(rune('a'+i)), 20))
		}
		s.ok(lines.String(), "produce", "orders", "-K", ":", "--compression", "none")
	}
	stop()
	return s, dir
}

// serving runs a broker of ours over dir until stop is called.
func serving(t *testing.T, dir string) (s shell, stop func()) {
	t.Helper()
	b, err := broker.Start(broker.Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Static: map[string]string{
		"log.dirs": dir, "listeners": "PLAINTEXT://127.0.0.1:0", "moldau.http.listener": "",
	}})
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return newShell(t, "MOLDAU_BOOTSTRAP="+b.Info().Bootstrap), stop
}

// damage changes a byte of the second batch of a segment; it returns where that begins.
func damage(t *testing.T, file string, at int) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	second := record.Batch(b).Size()
	b[second+at] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return second
}

func TestLogVerify(t *testing.T) {
	s, dir := stopped(t)
	if out := s.ok("", "log", "verify", dir); !strings.Contains(out, "all is sound") || !strings.Contains(out, "2 logs") {
		t.Errorf("of a sound directory it says %s", out)
	}
	log := filepath.Join(dir, "orders-0", "00000000000000000000.log")
	second := damage(t, log, 100)
	for _, place := range []string{dir, filepath.Join(dir, "orders-0")} {
		r := s.run("", "log", "verify", place)
		for _, part := range []string{fmt.Sprintf("bytes %d to", second), "the CRC of the batch at offset 10 is wrong", "offsets 10 to 19 cannot be read", "--leave-out"} {
			if r.code != exitFailed || !strings.Contains(r.stdout, part) {
				t.Errorf("verify %s: exit code %d, it lacks %q:\n%s%s", place, r.code, part, r.stdout, r.stderr)
			}
		}
	}
	var report struct {
		Logs []struct {
			Findings []struct {
				Kind         string
				Offset, Next int64
			}
		}
	}
	r := s.run("", "log", "verify", dir, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Logs) != 2 || len(report.Logs[1].Findings) != 1 || report.Logs[1].Findings[0].Next != 20 {
		t.Errorf("%v: %s", err, r.stdout)
	}
	if err := os.RemoveAll(filepath.Join(dir, "orders-0")); err != nil {
		t.Fatal(err)
	}
	if r := s.run("", "log", "verify", dir); r.code != exitFailed || !strings.Contains(r.stdout, "the manifest lists it") {
		t.Errorf("without the partition's directory: %d %s", r.code, r.stdout)
	}
}

// What a broker with a damaged partition asks for is what the command does: a plan first, then the choice, and the broker serves
// again.
func TestLogRepair(t *testing.T) {
	for choice, want := range map[string]string{"--cut": "aaaaaaaaaa", "--leave-out": "aaaaaaaaaacccccccccc"} {
		s, dir := stopped(t)
		log := filepath.Join(dir, "orders-0", "00000000000000000000.log")
		damage(t, log, 100)
		before, _ := os.ReadFile(log)
		if r := s.run("", "log", "repair", dir); r.code != exitFailed || !strings.Contains(r.stdout, "choose --cut or --leave-out") {
			t.Errorf("without a choice: %d %s%s", r.code, r.stdout, r.stderr)
		}
		if out := s.ok("", "log", "repair", dir, choice); !strings.Contains(out, "nothing was changed") {
			t.Errorf("without --apply: %s", out)
		}
		if after, _ := os.ReadFile(log); string(after) != string(before) {
			t.Fatal("a plan has changed the file")
		}
		if out := s.ok("", "log", "repair", dir, choice, "--apply", "-o", "json"); !strings.Contains(out, `"applied": true`) {
			t.Errorf("with --apply: %s", out)
		}
		if out := s.ok("", "log", "verify", dir); !strings.Contains(out, "all is sound") {
			t.Errorf("after the repair: %s", out)
		}
		s, stop := serving(t, dir)
		s.ok("more\n", "produce", "orders")
		got := s.ok("", "consume", "orders", "--from", "start", "--until", "end", "-f", "%v\n")
		var first strings.Builder
		for line := range strings.Lines(got) {
			if line != "more\n" {
				first.WriteByte(line[0])
			}
		}
		if first.String() != want {
			t.Errorf("after %s it serves %q, want %q", choice, first.String(), want)
		}
		stop()
	}
}

func TestLogDump(t *testing.T) {
	s, dir := stopped(t)
	for name, want := range map[string][]string{
		"":                                       {"cluster.id", "partition orders-0  topicId", "partition orders-0  offset 30", "Topic {\"Name\":\"orders\"", "epoch 0  start 0", "lastSequence"},
		"orders-0/00000000000000000000.log":      {"byte 0  offsets 0-9  epoch 0  10 records", "none"},
		"orders-0/partition.metadata":            {"topic_id: "},
		"moldau-metadata/quorum-state":           {"voters [1@"},
		"recovery-point-offset-checkpoint":       {"orders-0  offset 30"},
		"orders-0/00000000000000000030.snapshot": {"producerId"},
	} {
		out := s.ok("", "log", "dump", filepath.Join(dir, name))
		for _, part := range want {
			if !strings.Contains(out, part) {
				t.Errorf("dump %s lacks %q:\n%s", name, part, out)
			}
		}
		for line := range strings.Lines(s.ok("", "log", "dump", filepath.Join(dir, name), "-o", "json", "--records")) {
			if !json.Valid([]byte(line)) {
				t.Errorf("dump %s -o json: %s", name, line)
			}
		}
	}
	log := filepath.Join(dir, "orders-0", "00000000000000000000.log")
	if out := s.ok("", "log", "dump", log, "--records"); !strings.Contains(out, `offset 10  `) || !strings.Contains(out, `key "k0"  value "bbbbbbbbbbbbbbbbbbbb"`) {
		t.Errorf("the records: %s", out)
	}
	if out := s.ok("", "log", "dump", log, "--keys"); !strings.Contains(out, `key "k0"  value of 20 bytes`) {
		t.Errorf("the keys: %s", out)
	}
	second := damage(t, log, 100)
	if out := s.ok("", "log", "dump", log); !strings.Contains(out, fmt.Sprintf("!! bytes %d to", second)) || !strings.Contains(out, "offsets 20-29") {
		t.Errorf("a damaged segment: %s", out)
	}
}

// A directory that a broker holds is left alone.
func TestLogRefusesABrokersDirectory(t *testing.T) {
	dir := t.TempDir()
	s, stop := serving(t, dir)
	for _, args := range [][]string{{"log", "verify", dir}, {"log", "dump", filepath.Join(dir, "moldau-metadata")}, {"log", "repair", dir, "--cut", "--apply"}} {
		if r := s.run("", args...); r.code != exitFailed || !strings.Contains(r.stderr, "stop the broker") {
			t.Errorf("%v: %d %s", args, r.code, r.stderr)
		}
	}
	stop()
	s.ok("", "log", "verify", dir)
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitUsage, []string{"log", "verify"}},
		{exitUsage, []string{"log", "repair", dir, "--cut", "--leave-out"}},
		{exitFailed, []string{"log", "verify", filepath.Join(dir, "nowhere")}},
		{exitFailed, []string{"log", "dump", t.TempDir()}},
	} {
		if r := s.run("", c.args...); r.code != c.code {
			t.Errorf("%v: exit code %d, want %d: %s", c.args, r.code, c.code, r.stderr)
		}
	}
}
