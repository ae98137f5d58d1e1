package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options say how a broker of Apache Kafka is to run. Dir must be given.
type Options struct {
	// Dir gets configuration, log and data. A directory that was used before goes on with its data.
	Dir string
	// Port is where clients connect; 0 picks a free one. The controller always has a free one.
	Port int
	// Heap is the size of the Java heap; default 1g, as in the distribution's own script.
	Heap string
	// Properties are added to the configuration, key=value each; the last one of a key holds.
	Properties []string
}

// Broker is a running Apache Kafka: one process, broker and controller in one.
type Broker struct {
	Address string // host:port
	PID     int
	DataDir string

	command *exec.Cmd
	log     string
	exited  chan struct{} // closed when the process has ended
}

// startTimeout bounds the time from the start of the process to an open port.
const startTimeout = 90 * time.Second

// Run starts a broker and waits until it serves. The caller stops it.
func Run(ctx context.Context, o Options) (*Broker, error) {
	classPath, err := ClassPath()
	if err != nil {
		return nil, err
	}
	port, err := freePort(o.Port)
	if err != nil {
		return nil, err
	}
	controller, err := freePort(0)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		Address: fmt.Sprintf("127.0.0.1:%d", port),
		DataDir: filepath.Join(o.Dir, "data"),
		log:     filepath.Join(o.Dir, "server.log"),
		exited:  make(chan struct{}),
	}
	config := filepath.Join(o.Dir, "server.properties")
	if err := os.MkdirAll(b.DataDir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, properties(b, controller, o.Properties), 0o644); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(b.DataDir, "meta.properties")); errors.Is(err, os.ErrNotExist) {
		format := java(ctx, classPath, "kafka.tools.StorageTool", "format", "-t", "bW9sZGF1LXRlc3QtcGVlcg", "-c", config)
		if out, err := format.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("format %s: %w\n%s", b.DataDir, err, out)
		}
	}
	return b, b.start(ctx, classPath, config, o.Heap)
}

func (b *Broker) start(ctx context.Context, classPath, config, heap string) error {
	if heap == "" {
		heap = "1g"
	}
	out, err := os.Create(b.log)
	if err != nil {
		return err
	}
	defer out.Close() // the process has its own
	// The collector's settings are those of the distribution's kafka-run-class.
	b.command = exec.Command("java", "-Xmx"+heap, "-Xms"+heap, "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
		"-cp", classPath, "kafka.Kafka", config)
	b.command.Stdout, b.command.Stderr = out, out
	if err := b.command.Start(); err != nil {
		return fmt.Errorf("start Apache Kafka: %w", err)
	}
	b.PID = b.command.Process.Pid
	go func() { // ends with the process
		_ = b.command.Wait() // how it ended stands in its log
		close(b.exited)
	}()
	deadline := time.After(startTimeout)
	for {
		text, err := os.ReadFile(b.log)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte("Kafka Server started")) {
			return nil
		}
		select {
		case <-b.exited:
			return fmt.Errorf("broker of Apache Kafka has stopped; the end of %s:\n%s", b.log, tail(text))
		case <-deadline:
			b.Kill()
			return fmt.Errorf("broker of Apache Kafka does not serve after %v; the end of %s:\n%s", startTimeout, b.log, tail(text))
		case <-ctx.Done():
			b.Kill()
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop asks the broker to stop and waits; after half a minute it kills.
func (b *Broker) Stop() {
	_ = b.command.Process.Signal(syscall.SIGTERM) // one that has gone has stopped
	select {
	case <-b.exited:
	case <-time.After(30 * time.Second):
		b.Kill()
	}
}

// Kill ends the broker at once (SIGKILL) and waits for its end.
func (b *Broker) Kill() {
	_ = b.command.Process.Kill() // one that has gone has stopped
	<-b.exited
}

// Log is what the broker has printed so far.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Start runs a broker for the length of a test and returns it. Errors, and a machine that cannot run it, end the test.
func Start(t testing.TB, dir string, properties ...string) *Broker {
	t.Helper()
	if err := Missing(); err != nil {
		Absent(t, err)
	}
	b, err := Run(t.Context(), Options{Dir: dir, Properties: properties, Heap: "512m"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

func properties(b *Broker, controller int, more []string) []byte {
	set := map[string]string{}
	for _, kv := range append([]string{
		"process.roles=broker,controller",
		"node.id=1",
		fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", controller),
		"controller.listener.names=CONTROLLER",
		fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", b.Address, controller),
		"advertised.listeners=PLAINTEXT://" + b.Address,
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + b.DataDir,
		"offsets.topic.replication.factor=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
	}, more...) {
		k, v, _ := strings.Cut(kv, "=")
		set[k] = v
	}
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var out bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&out, "%s=%s\n", k, set[k])
	}
	return out.Bytes()
}

// freePort returns port, or one that nobody uses for 0.
func freePort(port int) (int, error) {
	if port != 0 {
		return port, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func tail(text []byte) []byte { return text[max(0, len(text)-4000):] }
