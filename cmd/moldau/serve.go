package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/broker"
	"github.com/moldau/moldau/internal/proto/config"
)

// newServe runs a broker.
func newServe(c *cli) *cobra.Command {
	var file string
	var set []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a broker",
		Long: `Run a broker. No configuration is needed: data goes to ./moldau-data, clients connect
to 127.0.0.1:9092, and http://127.0.0.1:9644 serves /metrics, /healthz and /readyz.

Settings bear Apache Kafka's names and come, in this order of precedence, from --set,
from the environment (MOLDAU_LOG_RETENTION_MS for log.retention.ms), from the file of
--config, from the defaults. 'moldau config docs' prints every key.`,
		Example: `  moldau serve
  moldau serve --config server.properties
  moldau serve --set listeners=PLAINTEXT://127.0.0.1:19092 --set log.dirs=/var/lib/moldau`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := c.settings(file, set)
			if err != nil {
				return err
			}
			return portTaken(c.serve(cmd.Context(), settings, func(b *broker.Broker) { c.printReady(b.Info()) }))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "properties file with Kafka's key names")
	cmd.Flags().StringArrayVar(&set, "set", nil, "one setting, key=value; may be repeated")
	return cmd
}

// settings merges file, environment and flags. What is wrong in them is an error of usage.
func (c *cli) settings(file string, set []string) (*config.Settings, error) {
	var fromFile []config.Setting
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("cannot read the configuration: %v", err)
		}
		fromFile, err = config.ParseProperties(file, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, usagef("%v", err)
		}
	}
	settings, err := config.Merge(fromFile, c.env, set)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return settings, nil
}

// serve runs a broker until ctx is done.
func (c *cli) serve(ctx context.Context, settings *config.Settings, ready func(*broker.Broker)) error {
	resolved, err := config.ResolveBroker(settings.Static())
	if err != nil {
		return usagef("%v", err)
	}
	logger := newLogger(c.stderr, resolved.LogFormat, resolved.LogLevel)
	for _, w := range settings.Warnings() {
		logger.Warn(w)
	}
	c.tuneMemory()
	return broker.Run(ctx, broker.Options{Env: env.Real(), Logger: logger, Static: settings.Static(), Version: softwareVersion()}, ready)
}

// newLogger writes one line an event.
func newLogger(w io.Writer, format, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo // the configuration was checked; this is for callers without one
	}
	opt := &slog.HandlerOptions{Level: least}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

// printReady says that the broker serves, where, and what to do next.
func (c *cli) printReady(info broker.Info) {
	if c.output == "json" {
		_ = json.NewEncoder(c.stdout).Encode(map[string]any{ // a broker runs without its ready line too
			"ready": true, "cluster_id": info.ClusterID, "node_id": info.NodeID, "listeners": info.Listeners,
			"http": info.HTTP, "log_dirs": info.LogDirs, "ready_ms": float64(info.Opening.Microseconds()) / 1000,
		})
		return
	}
	fmt.Fprintf(c.stdout, "ready in %s  listeners %s  data %s  cluster %s\n", info.Opening.Round(100*time.Microsecond),
		strings.Join(info.Listeners, ","), strings.Join(info.LogDirs, ","), info.ClusterID)
	if info.HTTP != "" {
		fmt.Fprintf(c.stdout, "metrics and health at http://%s/metrics /healthz /readyz\n", info.HTTP)
	}
	fmt.Fprintln(c.stdout, "try:", firstSteps(c.program, info.Bootstrap))
}

// firstSteps is a line for the shell that works with a broker that has no topic yet.
func firstSteps(program, bootstrap string) string {
	return fmt.Sprintf("echo hello | %[1]s produce greetings --auto-create -b %[2]s && %[1]s consume greetings --from start -b %[2]s", program, bootstrap)
}

// portTaken adds what to do to the error of a broker whose port somebody has.
func portTaken(err error) error {
	if !isAddressInUse(err) {
		return err
	}
	try := "another port with --set listeners=PLAINTEXT://127.0.0.1:19092"
	if isHTTPListener(err) {
		try = "another port with --set moldau.http.listener=127.0.0.1:19644"
	}
	return &failure{what: err.Error(), try: try, err: err}
}

// isHTTPListener reports whether an error about a port is one about the port for metrics and health.
func isHTTPListener(err error) bool { return strings.Contains(err.Error(), "moldau.http.listener") }

// tuneMemory has the collector run a little less often than by default: the heap of a broker is small beside the page
// cache, and the batches that pass through are pooled.
func (c *cli) tuneMemory() {
	if c.env.get("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

// isAddressInUse reports whether a broker could not take a port because somebody has it.
func isAddressInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
