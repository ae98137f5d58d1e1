package main

import (
	"strings"
	"testing"
)

func TestShellCompletion(t *testing.T) {
	s := newShell(t)
	s.ok("", "context", "set", "prod", "-b", "127.0.0.1:3")
	for args, want := range map[string]string{
		"topic list -o ":                 "json",
		"produce t -z ":                  "zstd",
		"topic list --context ":          "prod",
		"topic create t -c ":             "retention.ms=",
		"topic alter t --delete-config ": "retention.ms",
		"config ":                        "describe",
		"config set ":                    "topic",
		"config set topic t ":            "retention.ms=",
		"config set broker ":             "log.retention.ms=",
		"config set topic t --delete ":   "retention.ms",
		"config describe topic t --key ": "retention.ms",
		"serve --set ":                   "log.dirs=",
		"bench produce --payload ":       "zero",
		"consume t --isolation ":         "read_committed",
		"config describe group g --key ": "consumer.session.timeout.ms",
	} {
		out := s.ok("", append([]string{"__complete"}, strings.Split(args, " ")...)...)
		if !strings.Contains("\n"+out, "\n"+want+"\n") && !strings.Contains("\n"+out, "\n"+want+"\t") {
			t.Errorf("moldau %s<TAB>: no %s in\n%s", args, want, out)
		}
	}
}
