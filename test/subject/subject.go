// Package subject runs the broker under test for the black-box tests: Moldau, built from the tree that these tests are
// part of, as a process of its own. With MOLDAU_TEST_BOOTSTRAP=host:port the tests go against that broker instead, be it
// ours or another's, and those that must start and kill the broker themselves are skipped. With MOLDAU_TEST_BINARY=path
// that binary is run instead of one that is built: one with the race detector, or a release.
package subject

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Foreign is the address of the broker that is given from outside, "" when there is none.
func Foreign() string { return os.Getenv("MOLDAU_TEST_BOOTSTRAP") }

// OnlyOurs skips a test that starts, kills or looks into the broker, when that is given from outside.
func OnlyOurs(t testing.TB) {
	t.Helper()
	if a := Foreign(); a != "" {
		t.Skipf("this test needs a broker of its own, and MOLDAU_TEST_BOOTSTRAP says %s", a)
	}
}

// built is the binary that the tests of one program run, in a temporary directory.
var built struct {
	sync.Mutex
	path string
}

// binary builds moldau, once per test program.
func binary() (string, error) {
	if path := os.Getenv("MOLDAU_TEST_BINARY"); path != "" {
		return path, nil
	}
	built.Lock()
	defer built.Unlock()
	if built.path != "" {
		return built.path, nil
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moldau/moldau").Output()
	if err != nil {
		return "", fmt.Errorf("find the module of the broker: %w", err)
	}
	dir, err := os.MkdirTemp("", "moldau-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "moldau")
	build := exec.Command("go", "build", "-o", path, "./cmd/moldau")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir) // empty, and temporary
		return "", fmt.Errorf("build moldau: %w\n%s", err, out)
	}
	built.path = path
	return path, nil
}

// shared is the broker that the tests of one program use together.
var shared struct {
	sync.Mutex
	broker *Broker
}

// Main runs the tests of a package and then stops what they shared:
//
//	func TestMain(m *testing.M) { os.Exit(subject.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.broker != nil {
		shared.broker.kill()
		if code != 0 {
			fmt.Printf("the end of the broker's log:\n%s\n", shared.broker.log.tail())
		}
		_ = os.RemoveAll(shared.broker.Dir) // a temporary directory
	}
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path)) // another one
	}
	return code
}

// Address returns where the broker under test serves: the one from outside, or one that the tests of a program share.
func Address(t testing.TB) string {
	t.Helper()
	if a := Foreign(); a != "" {
		return a
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.broker == nil {
		dir, err := os.MkdirTemp("", "moldau-data-")
		if err != nil {
			t.Fatal(err)
		}
		b, err := launch(dir, []string{"group.initial.rebalance.delay.ms=0"}) // which would be most of the time of many a test
		if err != nil {
			_ = os.RemoveAll(dir) // a temporary directory
			t.Fatal(err)
		}
		shared.broker = b
	}
	return shared.broker.Address
}

// Broker is a Moldau of one test's own.
type Broker struct {
	Address string // host:port; stays the same over restarts
	Dir     string // log.dirs

	set     []string
	command *exec.Cmd
	exited  chan struct{}
	log     *log
}

// Start runs a Moldau on dir for the length of the test, with more settings, key=value each.
func Start(t testing.TB, dir string, set ...string) *Broker {
	t.Helper()
	OnlyOurs(t)
	b, err := launch(dir, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.kill()
		if t.Failed() {
			t.Logf("the end of the broker's log:\n%s", b.log.tail())
		}
	})
	return b
}

func launch(dir string, set []string) (*Broker, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	b := &Broker{Address: address, Dir: dir, set: set, log: &log{}}
	return b, b.run()
}

// startTimeout bounds the time from the start of the process to an open port. It is far more than is promised: the
// machine may be busy.
const startTimeout = 20 * time.Second

func (b *Broker) run() error {
	path, err := binary()
	if err != nil {
		return err
	}
	args := []string{"serve"}
	for _, kv := range append([]string{"listeners=PLAINTEXT://" + b.Address, "log.dirs=" + b.Dir, "moldau.http.listener="}, b.set...) {
		args = append(args, "--set", kv)
	}
	b.command = exec.Command(path, args...)
	b.command.Env = environment()
	b.command.Stdout, b.command.Stderr = b.log, b.log
	if err := b.command.Start(); err != nil {
		return fmt.Errorf("start moldau: %w", err)
	}
	exited := make(chan struct{})
	b.exited = exited
	command := b.command
	go func() { // ends with the process
		_ = command.Wait() // how it ended stands in its log
		close(exited)
	}()
	for begun := time.Now(); time.Since(begun) < startTimeout; time.Sleep(2 * time.Millisecond) {
		c, err := net.Dial("tcp", b.Address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-exited:
			return fmt.Errorf("moldau has stopped before its port was open:\n%s", b.log.tail())
		default:
		}
	}
	b.kill()
	return fmt.Errorf("moldau has not opened its port in %v:\n%s", startTimeout, b.log.tail())
}

// environment is ours without MOLDAU_*, which the broker would take for its configuration.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "MOLDAU_") })
}

func (b *Broker) kill() {
	_ = b.command.Process.Kill() // one that has gone has ended
	<-b.exited
}

// Kill ends the broker as kill -9 does, and waits for its end.
func (b *Broker) Kill() { b.kill() }

// Stop ends the broker cleanly, by SIGTERM.
func (b *Broker) Stop(t testing.TB) {
	t.Helper()
	if err := b.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.exited:
	case <-time.After(30 * time.Second):
		t.Fatalf("moldau does not stop within 30 s:\n%s", b.log.tail())
	}
	if code := b.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("moldau ended with exit code %d after SIGTERM:\n%s", code, b.log.tail())
	}
}

// Restart runs the broker again, on the same address and directory, after Kill or Stop.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	if err := b.run(); err != nil {
		t.Fatal(err)
	}
}

// Alive reports whether the process runs.
func (b *Broker) Alive() bool {
	select {
	case <-b.exited:
		return false
	default:
		return true
	}
}

// Output is all that the broker has printed, over its restarts.
func (b *Broker) Output() string {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	return b.log.text.String()
}

// RSS is the memory of the process in bytes, now and at its highest; it needs Linux.
func (b *Broker) RSS() (now, highest int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.command.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(text) {
		name, rest, _ := bytes.Cut(line, []byte(":"))
		f := bytes.Fields(rest)
		if len(f) == 0 {
			continue
		}
		kib, _ := strconv.ParseInt(string(f[0]), 10, 64)
		switch string(name) {
		case "VmRSS":
			now = kib << 10
		case "VmHWM":
			highest = kib << 10
		}
	}
	if highest == 0 {
		return 0, 0, errors.New("no VmHWM in the process's status")
	}
	return now, highest, nil
}

// Program is another command of the binary under test, to be started.
func Program(t testing.TB, ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Env = environment()
	return c
}

// Command runs another command of the binary under test, to its end.
func Command(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := Program(t, ctx, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("moldau %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// Topic creates a topic with a name of its own, with configuration key=value each, and returns the name.
func Topic(t testing.TB, address string, partitions int32, config ...string) string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	name := strings.NewReplacer("/", "-", " ", "_", "#", "_").Replace(t.Name()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	set := map[string]*string{}
	for _, kv := range config {
		k, v, _ := strings.Cut(kv, "=")
		set[k] = &v
	}
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, partitions, 1, set, name); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	for { // Apache Kafka answers before each broker knows the topic
		topics, err := admin.ListTopics(ctx, name)
		if err != nil {
			t.Fatalf("wait for topic %s: %v", name, err)
		}
		if topics[name].Err == nil && len(topics[name].Partitions) == int(partitions) {
			return name
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// log keeps what a process prints.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.text.Bytes()
	return string(b[max(0, len(b)-6000):])
}
