package config

import (
	"strings"
	"testing"
)

func parse(t *testing.T, text string) []Setting {
	t.Helper()
	settings, err := ParseProperties("server.properties", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func TestMergePrecedence(t *testing.T) {
	s, err := Merge(
		parse(t, "num.partitions=1\nlog.retention.ms=1\nbroker.rack=file\nlog.dirs=a\n"),
		[]string{"PATH=/bin", "MOLDAU_LOG_RETENTION_MS=2", "MOLDAU_BROKER_RACK=env", "MOLDAU_HTTP_LISTENER=", "MOLDAU_MOLDAU_LOG_FORMAT=json",
			"MOLDAU_BOOTSTRAP=h:1", "MOLDAU_CONTEXT=c", "MOLDAU_CONFIG=f", "MOLDAU_CONFIG_DIR=d"},
		[]string{"broker.rack=flag", "num.partitions=8", "num.partitions=9"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"num.partitions": "9 flag --set", "log.retention.ms": "2 environment MOLDAU_LOG_RETENTION_MS", "broker.rack": "flag flag --set",
		"log.dirs": "a server.properties:4", "moldau.http.listener": " environment MOLDAU_HTTP_LISTENER",
		"moldau.log.format": "json environment MOLDAU_MOLDAU_LOG_FORMAT",
	} {
		set, ok := s.Explicit(key)
		if got := set.Value + " " + set.Where(); !ok || got != want {
			t.Errorf("%s is %q; want %q", key, got, want)
		}
	}
	if _, ok := s.Explicit("node.id"); ok {
		t.Error("node.id counts as set")
	}
	if all := s.All(); len(all) != 6 || all[0].Key != "broker.rack" {
		t.Errorf("All is %+v", all)
	}
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "num.partitions was set before") {
		t.Errorf("warnings: %q", w)
	}
}

func TestMergeErrors(t *testing.T) {
	_, err := Merge(
		parse(t, "\nlog.retntion.ms=1\nretention.ms=5\nnum.partitions=0\nssl.key.password=topsecret\n"),
		[]string{"MOLDAU_NUM_PARTITION=1"},
		[]string{"zookeeper.connect=a", "listeners", "log4j.x=1", "xyzzy=topsecret"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`server.properties:2: unknown key "log.retntion.ms"; did you mean log.retention.ms?`,
		`server.properties:3: unknown key "retention.ms"; did you mean log.retention.ms?`,
		`server.properties:4: num.partitions="0": must be at least 1`,
		`environment MOLDAU_NUM_PARTITION: unknown key "num.partition"; did you mean num.partitions?`,
		`flag --set: zookeeper.connect no longer exists`,
		`flag --set: "listeners" is not of the form key=value`,
		`flag --set: unknown key "log4j.x"`,
		`flag --set: unknown key "xyzzy"; `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "topsecret") {
		t.Errorf("the error shows a value of an unknown key or a password:\n%v", err)
	}
}

func TestMergeWarnings(t *testing.T) {
	s, err := Merge(parse(t, "zookeeper.connect=a\ninter.broker.protocol.version=3\nlistener.name.x.ssl.key.password=a\nlog4j.root=1\nmetrics.foo=1\n"+
		"num.io.threads=8\nnum.io.threads=8\nunstable.api.versions.enable=true\n"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"server.properties:1: zookeeper.connect no longer exists",
		"server.properties:2: inter.broker.protocol.version no longer exists",
		"server.properties:3: listener.name.x.ssl.key.password belongs to",
		"server.properties:4: log4j.root belongs to",
		"server.properties:5: metrics.foo belongs to",
		"server.properties:7: num.io.threads has no effect here",
		"server.properties:8: unstable.api.versions.enable has no effect here",
	}
	got := s.Warnings()
	if len(got) != len(want) {
		t.Fatalf("%d warnings, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("warning %d is %q; want %q", i, got[i], want[i])
		}
	}
	if static := s.Static(); static["zookeeper.connect"] != "" || static["num.io.threads"] != "8" {
		t.Errorf("static values: %v", static)
	}
}

func TestStaticShowsNodeIDAsBrokerID(t *testing.T) {
	s, err := Merge(nil, nil, []string{"node.id=7"})
	if err != nil || s.Static()["broker.id"] != "7" {
		t.Errorf("%v, %v", s.Static(), err)
	}
}
