package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/broker"
)

// brokerShell is a shell for a broker, and the name of a topic that does not exist there. The broker is the one that
// MOLDAU_TEST_BOOTSTRAP names, of whatever make; without it, one of ours that ends with the test.
func brokerShell(t *testing.T) (shell, string) {
	address := os.Getenv("MOLDAU_TEST_BOOTSTRAP")
	if address == "" {
		address = ownBroker(t)
	}
	s, topic := newShell(t, "MOLDAU_BOOTSTRAP="+address), "moldau-test-"+rand.Text()[:8]
	t.Cleanup(func() { s.cleanup(topic) })
	return s, topic
}

// ownBroker runs a broker in this process and returns its address.
func ownBroker(t *testing.T) string {
	t.Helper()
	b, err := broker.Start(broker.Options{Env: env.Real(), Logger: slog.New(slog.DiscardHandler), Static: map[string]string{
		"log.dirs": t.TempDir(), "listeners": "PLAINTEXT://127.0.0.1:0", "moldau.http.listener": "",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b.Info().Bootstrap
}

// cleanup deletes what a test made. It runs after the test's context has ended.
func (s shell) cleanup(topic string) {
	var out strings.Builder
	args := []string{"topic", "delete", topic, "--if-exists"}
	if code := run(context.WithoutCancel(s.t.Context()), args, s.env, nil, &out, &out); code != exitDone {
		s.t.Errorf("delete %s: %s", topic, out.String())
	}
}

// Several topics are answered in the order in which they were named.
func TestTopicsInTheOrderNamed(t *testing.T) {
	s, topic := brokerShell(t)
	var names []string
	for _, c := range "dbacfeg" {
		names = append(names, topic+string(c))
		t.Cleanup(func() { s.cleanup(topic + string(c)) })
	}
	var created []createdTopic
	if err := json.Unmarshal([]byte(s.ok("", append([]string{"topic", "create", "-o", "json"}, names...)...)), &created); err != nil {
		t.Fatal(err)
	}
	var deleted struct{ Deleted []string }
	if err := json.Unmarshal([]byte(s.ok("", append([]string{"topic", "delete", "-o", "json"}, names...)...)), &deleted); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range created {
		order = append(order, c.Name)
	}
	if !slices.Equal(order, names) || !slices.Equal(deleted.Deleted, names) {
		t.Errorf("named %v, created %v, deleted %v", names, order, deleted.Deleted)
	}
}

func TestLifeOfATopic(t *testing.T) {
	s, topic := brokerShell(t)
	s.ok("", "topic", "create", topic, "-p", "2", "-c", "retention.ms=86400000")
	if r := s.run("", "topic", "create", topic); r.code != exitFailed || !strings.Contains(r.stderr, "--if-not-exists") {
		t.Errorf("created twice: %d %s", r.code, r.stderr)
	}
	s.ok("", "topic", "create", topic, "--if-not-exists")
	s.ok("a:1\nb:2\nc:3\n", "produce", topic, "-K", ":", "-p", "1")
	s.ok("", "topic", "alter", topic, "-p", "3", "-c", "max.message.bytes=2000000", "--delete-config", "retention.ms")

	var described []describedTopic
	if err := json.Unmarshal([]byte(s.ok("", "topic", "describe", topic, "-o", "json")), &described); err != nil {
		t.Fatal(err)
	}
	d := described[0]
	if len(d.Partitions) != 3 || *d.Partitions[1].Start != 0 || *d.Partitions[1].End != 3 || *d.Partitions[1].Bytes == 0 {
		t.Errorf("described: %+v", d)
	}
	configs := make(map[string]string)
	for _, c := range d.Configs {
		configs[c.Key] = *c.Value + " " + c.Source
	}
	if configs["max.message.bytes"] != "2000000 topic" || configs["retention.ms"] != "" {
		t.Errorf("configurations: %v", configs)
	}
	if r := s.run("", "topic", "alter", topic, "-p", "1"); r.code != exitFailed || !strings.Contains(r.stderr, "INVALID_PARTITIONS") {
		t.Errorf("fewer partitions: %d %s", r.code, r.stderr)
	}
	if got := s.ok("", "topic", "list"); !strings.Contains(got, topic) {
		t.Errorf("not in the list: %s", got)
	}
	s.ok("", "topic", "delete", topic)
	if r := s.run("", "topic", "describe", topic); r.code != exitFailed || !strings.Contains(r.stderr, "moldau topic list") {
		t.Errorf("describe a deleted one: %d %s", r.code, r.stderr)
	}
}

func TestProduceAndConsume(t *testing.T) {
	s, topic := brokerShell(t)
	s.ok("", "topic", "create", topic)
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		s.ok(fmt.Sprintf("line %d\n", i), "produce", topic, "-z", codec)
	}
	if got, want := s.ok("", "consume", topic, "--until", "end", "-f", `%o %v\n`), "0 line 0\n1 line 1\n2 line 2\n3 line 3\n4 line 4\n"; got != want {
		t.Errorf("consumed %q, want %q", got, want)
	}
	if got := s.ok("", "consume", topic, "--from", "-2", "--max", "1"); got != "line 3\n" {
		t.Errorf("the second last: %q", got)
	}
	if got := s.ok("", "consume", topic, "--from", "1", "--until", "3"); got != "line 1\nline 2\n" {
		t.Errorf("1 to 3: %q", got)
	}
	if got := s.ok("", "consume", topic, "--from", "@-1h", "--until", "@2100-01-01"); strings.Count(got, "\n") != 5 {
		t.Errorf("of the last hour: %q", got)
	}
	if got := s.ok("", "consume", topic, "--from", "end", "--until", "end"); got != "" {
		t.Errorf("from the end to the end: %q", got)
	}
	if r := s.run("", "consume", topic, "--from", "6"); r.code != exitFailed || !strings.Contains(r.stderr, "has 0 to 5") {
		t.Errorf("beyond the end: %d %s", r.code, r.stderr)
	}

	// What is consumed as JSON can be produced again, null and bytes included.
	s.ok(`{"key":null,"valueBase64":"/wA=","headers":{"b":"2","a":null},"timestamp":1700000000000}`, "produce", topic, "--json")
	first := s.ok("", "consume", topic, "--from", "5", "--until", "6", "-o", "json")
	s.ok(first, "produce", topic, "--json")
	second := s.ok("", "consume", topic, "--from", "6", "--until", "7", "-o", "json")
	if want := strings.Replace(first, `"offset":5`, `"offset":6`, 1); second != want || !strings.Contains(first, `"timestamp":1700000000000`) {
		t.Errorf("there and back:\n%s%s", first, second)
	}
}

func TestProduceNamesTheLineThatFails(t *testing.T) {
	s, topic := brokerShell(t)
	s.ok("", "topic", "create", topic)
	for in, want := range map[string]string{
		"{}\n{}\n{\"vlaue\":1}\n{}\n":                              "<stdin>:3: ",
		"{}\n{\"partition\":9}\n":                                  "<stdin>:2: there is no partition 9",
		"{\"value\":\"" + strings.Repeat("x", 1<<20) + "\"}\n{}\n": "<stdin>:1: the record has 1,0",
	} {
		if r := s.run(in, "produce", topic, "--json"); r.code != exitFailed || !strings.Contains(r.stderr, want) {
			t.Errorf("%.40q: exit code %d, %s", in, r.code, r.stderr)
		}
	}
	if got := s.ok("", "consume", topic, "--until", "end"); got != "\n\n\n" {
		t.Errorf("the lines before the failing one are written, and no others: %q", got)
	}
}

func TestBenches(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s, topic := brokerShell(t)
	for _, args := range [][]string{
		{"produce", "-n", "1000", "--size", "100", "--warmup", "0"},
		{"produce", "--rate", "2000", "--duration", "500ms", "--size", "100", "--warmup", "0"},
		{"produce", "--clients", "3", "--inflight", "1", "--duration", "200ms", "--warmup", "0"},
		{"consume", "-n", "1000", "--clients", "2", "--payload", "text", "-z", "lz4"},
		{"e2e", "--rate", "1000", "--duration", "500ms", "--warmup", "100ms"},
	} {
		var report benchReport
		out := s.ok("", append(append([]string{"bench"}, args...), "--topic", topic, "-p", "2", "-o", "json")...)
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		if report.Records < 10 || report.Failed != 0 || report.Seconds <= 0 {
			t.Errorf("bench %v: %s", args, out)
		}
	}
}
