package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/moldau/moldau/bench/load"
)

// coldTopic holds the old data, tailTopic the new; each has one partition.
const (
	coldTopic = "cold"
	tailTopic = "tail"
)

// The commands of a process that reads the old data.
const (
	consume = "consume"
	plain   = "plain"
)

// reading is what a process that has read the old data prints.
type reading struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// read is such a process: "consume RATE ADDRESS" consumes the cold topic of a broker, "plain RATE FILE..." reads files. The rate is in bytes a
// second, 0 for full speed.
func read(ctx context.Context, args []string, stdout io.Writer) error {
	wrong := fmt.Errorf("there is no command %q; see cold --help", args[0])
	if len(args) < 3 {
		return wrong
	}
	rate, err := strconv.ParseFloat(args[1], 64)
	if err != nil {
		return fmt.Errorf("rate: %w", err)
	}
	begun := time.Now()
	var n int64
	switch args[0] {
	case consume:
		var r *load.Report
		r, err = load.Cluster{Address: args[2]}.Consume(ctx, load.ConsumeSpec{Topic: coldTopic, Rate: rate})
		n = r.Bytes
	case plain:
		n, err = readFiles(ctx, args[2:], rate)
	default:
		err = wrong
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(reading{n, time.Since(begun).Seconds()})
}

// readFiles reads files from end to end, a MiB at a time, as a response to a fetch has it.
func readFiles(ctx context.Context, names []string, rate float64) (n int64, err error) {
	buf := make([]byte, 1<<20)
	begun := time.Now()
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return n, err
		}
		for err == nil {
			var m int
			m, err = f.Read(buf)
			n += int64(m)
			if rate > 0 {
				time.Sleep(time.Until(begun.Add(time.Duration(float64(n) / rate * float64(time.Second)))))
			}
			if err == nil {
				err = ctx.Err()
			}
		}
		_ = f.Close() // it was only read
		if !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	return n, nil
}

// readElsewhere runs such a process.
func readElsewhere(ctx context.Context, command string, rate float64, from []string) (r reading, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	c := exec.CommandContext(ctx, self, append([]string{command, strconv.FormatFloat(rate, 'f', 0, 64)}, from...)...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		err = fmt.Errorf("cold %s: %w", command, err)
	}
	return r, err
}

// rate is in MB a second.
func (r reading) rate() float64 { return float64(r.Bytes) / r.Seconds / 1e6 }
