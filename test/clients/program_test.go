package clients

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau/test/peers"
)

// programTimeout bounds one run of a client program.
const programTimeout = 90 * time.Second

// output runs a program and returns its standard output; an error, with what it printed, ends the test.
func output(t *testing.T, in io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = in, &stdout, &stderr
	if err := c.Run(); err != nil {
		errs, out := stderr.String(), stdout.String()
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(c.Args, " "), err, errs[max(0, len(errs)-4000):], out[max(0, len(out)-1000):])
	}
	return stdout.String()
}

// need returns the path of a program that the machine must have.
func need(t *testing.T, name, origin string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		peers.Absent(t, &missing{name, origin})
	}
	return path
}

type missing struct{ name, origin string }

func (m *missing) Error() string { return "there is no " + m.name + " on this machine: " + m.origin }

// script makes a client of a program that gets "produce ADDRESS TOPIC CODEC" with records on its standard input, or
// "consume ADDRESS TOPIC NUMBER" or "group ADDRESS TOPIC NUMBER GROUP" and prints them.
func script(name string, command func(t *testing.T) []string) client {
	run := func(t *testing.T, in io.Reader, args ...string) string {
		c := append(command(t), args...)
		return output(t, in, c[0], c[1:]...)
	}
	return client{
		name: name,
		produce: func(t *testing.T, address, topic, codec string, rs []record) {
			run(t, encode(rs), "produce", address, topic, codec)
		},
		consume: func(t *testing.T, address, topic string, n int) []record {
			return decode(t, run(t, nil, "consume", address, topic, strconv.Itoa(n)))
		},
		member: func(t *testing.T, address, topic, group string, n int) []record {
			return decode(t, run(t, nil, "group", address, topic, strconv.Itoa(n), group))
		},
	}
}

// python is the interpreter of a virtual environment with the clients from PyPI.
func python(t *testing.T) string {
	t.Helper()
	return peers.Python(t, "testdata/requirements.txt")
}

type failed struct {
	what string
	out  []byte
	err  error
}

func (f *failed) Error() string { return f.what + ": " + f.err.Error() + "\n" + string(f.out) }

func pythonClient(name, file string) client {
	return script(name, func(t *testing.T) []string { return []string{python(t), filepath.Join("testdata", file)} })
}

func TestConfluentKafka(t *testing.T) {
	roundTrips(t, pythonClient("confluent-kafka", "confluent_client.py"))
}

func TestKafkaPython(t *testing.T) {
	roundTrips(t, pythonClient("kafka-python", "kafka_python_client.py"))
}

func TestAIOKafka(t *testing.T) {
	roundTrips(t, pythonClient("aiokafka", "aiokafka_client.py"))
}

// TestKafkaJS reads in a group alone: kafkajs has no other way.
func TestKafkaJS(t *testing.T) {
	node := need(t, "node", "kafkajs runs on it")
	npm := need(t, "npm", "it installs kafkajs")
	list, err := filepath.Abs("testdata/package.json")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := peers.Once("node-"+peers.Fingerprint(t, list), func(dir string) error {
		b, err := os.ReadFile(list)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "package.json"), b, 0o644); err != nil {
			return err
		}
		c := exec.Command(npm, "install", "--no-audit", "--no-fund", "--loglevel=error")
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			return &failed{"npm install", out, err}
		}
		return nil
	})
	if err != nil {
		peers.Absent(t, err)
	}
	c := script("kafkajs", func(*testing.T) []string {
		return []string{node, "testdata/kafkajs_client.js", filepath.Join(dir, "node_modules")}
	})
	c.consume = nil
	roundTrips(t, c)
}

// TestJavaClient is the client that Apache Kafka itself ships.
func TestJavaClient(t *testing.T) {
	if err := peers.Missing(); err != nil {
		peers.Absent(t, err)
	}
	classPath, err := peers.ClassPath()
	if err != nil {
		t.Fatal(err)
	}
	javac := need(t, "javac", "it compiles the program that uses the Java client")
	classes := t.TempDir()
	output(t, nil, javac, "-d", classes, "-cp", classPath, "testdata/JavaClient.java")
	roundTrips(t, script("the Java client", func(*testing.T) []string {
		return []string{"java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dpeer.log.level=WARN",
			"-Dpeer.log.target=SYSTEM_ERR", "-cp", classes + ":" + classPath, "JavaClient"}
	}))
}
