// Package process runs the binary of Moldau for a benchmark, and tells what the process has used.
package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Broker is one run of the binary.
type Broker struct {
	Address string        // host:port for clients
	Started time.Time     // when the process was started
	Opened  time.Duration // how long its port took from then
	status  string
	command *exec.Cmd
}

// Start runs the binary on dir with further settings (key=value) and waits for its port. What it logs goes to the standard error.
func Start(binary, dir string, settings ...string) (*Broker, error) {
	kafka, err := freePort()
	if err != nil {
		return nil, err
	}
	status, err := freePort()
	if err != nil {
		return nil, err
	}
	b := &Broker{Address: "127.0.0.1:" + kafka, status: "127.0.0.1:" + status}
	args := []string{"serve"}
	for _, s := range append([]string{"listeners=PLAINTEXT://" + b.Address, "log.dirs=" + dir, "moldau.http.listener=" + b.status}, settings...) {
		args = append(args, "--set", s)
	}
	b.command = exec.Command(binary, args...)
	b.command.Stderr = os.Stderr
	// Without MOLDAU_*, which would be taken for configuration.
	b.command.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "MOLDAU_") })
	b.Started = time.Now()
	if err := b.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make build makes it): %w", binary, err)
	}
	for time.Since(b.Started) < 30*time.Second {
		if conn, err := net.Dial("tcp", b.Address); err == nil {
			b.Opened = time.Since(b.Started)
			return b, conn.Close()
		}
		time.Sleep(500 * time.Microsecond)
	}
	b.Kill()
	return nil, fmt.Errorf("%s did not open its port in 30 s", binary)
}

// Kill ends it at once.
func (b *Broker) Kill() {
	_ = b.command.Process.Kill() // it may have ended
	_ = b.command.Wait()         // killed is how it should end
}

// AwaitReady waits until /readyz says that every partition serves.
func (b *Broker) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if code, _, err := b.get("/readyz"); err == nil && code == http.StatusOK {
			return nil
		}
		time.Sleep(2 * time.Millisecond) // that port opens a little later than the other
	}
	return fmt.Errorf("not every partition serves: %w", ctx.Err())
}

// Metric is the value of a metric that has no labels.
func (b *Broker) Metric(name string) (float64, error) {
	_, text, err := b.get("/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

func (b *Broker) get(path string) (code int, text string, err error) {
	resp, err := http.Get("http://" + b.status + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// Resident is the memory that it has resident, in bytes; it needs Linux.
func (b *Broker) Resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(text)
	if len(f) < 2 {
		return 0, fmt.Errorf("memory of the broker: %q", text)
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// clockTick is the unit of times in /proc, the same on every Linux of today.
const clockTick = 10 * time.Millisecond

// CPU is the user and system time that it has used so far, in steps of 10 ms; it needs Linux.
func (b *Broker) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	// Behind the name in parentheses, which may hold anything: state is field 3, utime 14, stime 15.
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("CPU time of the broker: %q", text)
	}
	user, err := strconv.ParseInt(string(f[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * clockTick, err
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err == nil {
		err = ln.Close()
	}
	return port, err
}
