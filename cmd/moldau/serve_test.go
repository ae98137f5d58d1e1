package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/moldau/moldau/internal/node/broker"
)

// What serve and demo print for the user to type is understood by the commands that it names.
func TestPrintedCommandsAreUnderstood(t *testing.T) {
	lines := []string{firstSteps("moldau", "127.0.0.1:9092")}
	for line := range strings.Lines(connectHelp("moldau", "127.0.0.1:9092")) {
		if words, found := strings.CutPrefix(line, "  moldau   "); found {
			lines = append(lines, words)
		}
	}
	commands := 0
	for _, line := range lines {
		for _, part := range strings.FieldsFunc(line, func(r rune) bool { return r == '|' || r == '&' }) {
			words := strings.Fields(part)
			if len(words) == 0 || words[0] != "moldau" {
				continue
			}
			commands++
			cmd, rest, err := newRoot(&cli{}).Find(words[1:])
			if err != nil {
				t.Errorf("%q: %v", part, err)
				continue
			}
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", part, err)
			}
			if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
				t.Errorf("%q: %v", part, err)
			}
			if cmd.Name() == "produce" && !cmd.Flags().Changed("auto-create") {
				t.Errorf("%q fails with a broker that has no topic yet", part)
			}
		}
	}
	if commands != 3 {
		t.Errorf("%d commands in %q, want 3", commands, lines)
	}
}

func TestPortTakenTellsWhichSettingToChange(t *testing.T) {
	for where, want := range map[string]string{
		"listener PLAINTEXT":   "--set listeners=PLAINTEXT://127.0.0.1:19092",
		"moldau.http.listener": "--set moldau.http.listener=127.0.0.1:19644",
	} {
		var b strings.Builder
		err := portTaken(fmt.Errorf("%s: cannot listen on x: %w", where, syscall.EADDRINUSE))
		if printError(&b, err); !strings.Contains(b.String(), "  try: another port with "+want+"\n") || !isAddressInUse(err) {
			t.Errorf("%s: %s", where, b.String())
		}
	}
	if err := portTaken(nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func TestDemoTellsWhichPortsAreTaken(t *testing.T) {
	info := broker.Info{Bootstrap: "127.0.0.1:35895", HTTP: "127.0.0.1:40001"}
	if got, want := insteadOf([]string{"9644", "9092"}, info), "9644 is taken; using 40001\n9092 is taken; using 35895\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNameOfProgram(t *testing.T) {
	for executable, want := range map[string]string{
		"/tmp/go-build12/b001/exe/moldau":  "go run ./cmd/moldau",
		"/cache/go-build/0a/0a12-d/moldau": "go run ./cmd/moldau",
		"/usr/local/bin/moldau":            "bin/moldau",
		"":                                 "bin/moldau",
	} {
		if got := nameOfProgram(executable, "bin/moldau"); got != want {
			t.Errorf("%q: %q, want %q", executable, got, want)
		}
	}
}
