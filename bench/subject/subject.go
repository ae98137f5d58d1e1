// Package subject starts the brokers that are measured side by side: Moldau, Apache Kafka and the floor.
package subject

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moldau/moldau/bench/load"
)

// Subject is a broker that is measured.
type Subject struct {
	Name    string
	Cluster load.Cluster
	PID     int    // of the broker itself
	Dir     string // above its data
	command *exec.Cmd
	exited  chan struct{}
}

// Options say how subjects are to run.
type Options struct {
	Moldau string // the binary
	Heap   string // Kafka's Java heap
}

// Start runs a subject with its data in a folder of dir and waits until it answers. The caller stops it.
func Start(ctx context.Context, name string, o Options, dir string) (*Subject, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := "127.0.0.1:" + port
	s := &Subject{Name: name, Cluster: load.Cluster{Address: address}, Dir: dir, exited: make(chan struct{})}
	switch name {
	case "moldau":
		if _, err := os.Stat(o.Moldau); err != nil {
			return nil, fmt.Errorf("there is no binary %s: run make build first, or name another by -moldau", o.Moldau)
		}
		s.command = exec.Command(o.Moldau, "serve", "--set", "listeners=PLAINTEXT://"+address, "--set", "log.dirs="+filepath.Join(dir, "data"),
			"--set", "moldau.http.listener=")
		// Without MOLDAU_*, which would be taken for configuration.
		s.command.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "MOLDAU_") })
	case "kafka":
		binary, err := build(filepath.Join(dir, "run-kafka"), "test", "./peers/kafka")
		if err != nil {
			return nil, err
		}
		s.command = exec.Command(binary, "-dir", dir, "-port", port, "-heap", o.Heap, "log.segment.delete.delay.ms=1000")
	case "floor":
		binary, err := build(filepath.Join(dir, "floor"), ".", "./bench/floor")
		if err != nil {
			return nil, err
		}
		s.command = exec.Command(binary, "-listen", address, "-dir", filepath.Join(dir, "data"))
	default:
		return nil, errors.New("there are moldau, kafka and floor only")
	}
	return s, s.launch(ctx, dir)
}

// startTimeout bounds the start of a broker; Kafka may have to be fetched first.
const startTimeout = 5 * time.Minute

func (s *Subject) launch(ctx context.Context, dir string) error {
	log, err := os.Create(filepath.Join(dir, "output.log"))
	if err != nil {
		return err
	}
	s.command.Stderr = log
	var ready io.Reader
	if s.Name == "kafka" { // whose process starts another, the broker
		if ready, err = s.command.StdoutPipe(); err != nil {
			return err
		}
	} else {
		s.command.Stdout = log
	}
	if err := s.command.Start(); err != nil {
		return err
	}
	s.PID = s.command.Process.Pid
	if ready != nil {
		line, _ := bufio.NewReader(ready).ReadString('\n')
		f := strings.Fields(line)
		if len(f) == 3 {
			s.PID, err = strconv.Atoi(f[2])
		}
		if len(f) != 3 || err != nil {
			_ = s.command.Process.Kill() // it has failed already
			_ = s.command.Wait()
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("it says:\n%s", text)
		}
	}
	go func() { // ends with the process
		_ = s.command.Wait() // how it ended stands in its log
		close(s.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	go func() { // ends with ctx, at the end of launch
		select {
		case <-s.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := s.Cluster.Await(ctx); err != nil {
		s.Stop()
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w; it says:\n%s", err, text)
	}
	return nil
}

// Stop ends the process: by SIGTERM, which run-kafka passes on, and after a while by force.
func (s *Subject) Stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM) // one that has gone has stopped
	select {
	case <-s.exited:
	case <-time.After(40 * time.Second):
		_ = s.command.Process.Kill()
		<-s.exited
	}
}

// build compiles a command of one of the modules of this repository.
func build(binary, module, pkg string) (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moldau/moldau").Output()
	if err != nil {
		return "", fmt.Errorf("this command runs inside the repository of Moldau: %w", err)
	}
	c := exec.Command("go", "build", "-o", binary, pkg)
	c.Dir = filepath.Join(strings.TrimSpace(string(root)), module)
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return binary, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
