package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// toolTimeout bounds one run of a tool.
const toolTimeout = 2 * time.Minute

// classes are the tools by the names that their scripts have in the distribution.
var classes = map[string]string{
	"kafka-transactions":        "org.apache.kafka.tools.TransactionsCommand",
	"kafka-topics":              "org.apache.kafka.tools.TopicCommand",
	"kafka-consumer-groups":     "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
	"kafka-groups":              "org.apache.kafka.tools.GroupsCommand",
	"kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
	"kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
	"kafka-console-producer":    "org.apache.kafka.tools.ConsoleProducer",
	"kafka-console-consumer":    "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-acls":                "org.apache.kafka.tools.AclCommand",
	"kafka-configs":             "kafka.admin.ConfigCommand",
	"kafka-producer-perf-test":  "org.apache.kafka.tools.ProducerPerformance",
	"kafka-get-offsets":         "org.apache.kafka.tools.GetOffsetShell",
	"kafka-log-dirs":            "org.apache.kafka.tools.LogDirsCommand",
	"kafka-delete-records":      "org.apache.kafka.tools.DeleteRecordsCommand",
	"kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
	"kafka-dump-log":            "org.apache.kafka.tools.DumpLogSegments",
}

// Tool runs a command line tool, by the name of its script without ".sh", with in on its standard input. It returns what
// the tool printed, to standard output and to standard error.
func Tool(ctx context.Context, in io.Reader, name string, args ...string) (out, errs string, err error) {
	class, ok := classes[name]
	if !ok {
		return "", "", fmt.Errorf("there is no tool %s", name)
	}
	return Java(ctx, in, append([]string{class}, args...)...)
}

// Java runs a class, or a source file with one, with everything of Kafka on its class path. What it logs goes to standard
// error.
func Java(ctx context.Context, in io.Reader, args ...string) (out, errs string, err error) {
	classPath, err := ClassPath()
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	c := java(ctx, classPath, args...)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = in, &stdout, &stderr
	if err := c.Run(); err != nil {
		return stdout.String(), stderr.String(), fmt.Errorf("java %s: %w\n%s\n%s", strings.Join(args, " "), err, tail(stderr.Bytes()), tail(stdout.Bytes()))
	}
	return stdout.String(), stderr.String(), nil
}

// java is a JVM that starts as fast as one can, for a short life.
func java(ctx context.Context, classPath string, args ...string) *exec.Cmd {
	flags := []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dpeer.log.level=WARN",
		"-Dpeer.log.target=SYSTEM_ERR", "-cp", classPath}
	return exec.CommandContext(ctx, "java", append(flags, args...)...)
}

// RunTool runs a tool in a test, which an error of the tool ends, and returns what it printed to standard output.
func RunTool(t testing.TB, name string, args ...string) string {
	t.Helper()
	return RunToolWith(t, nil, name, args...)
}

// RunToolWith is RunTool with a standard input.
func RunToolWith(t testing.TB, in io.Reader, name string, args ...string) string {
	t.Helper()
	if err := Missing(); err != nil {
		Absent(t, err)
	}
	out, _, err := Tool(t.Context(), in, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
