package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/node/status"
	"github.com/moldau/moldau/internal/store/filecache"
)

// openStatus opens the HTTP listener for metrics and health, where one is configured. It answers before the ports of
// clients do: a broker that still starts says so.
func (b *Broker) openStatus() error {
	if b.config.HTTPListener == "" {
		return nil
	}
	ln, err := b.listenStatus()
	if err != nil {
		return fmt.Errorf("moldau.http.listener: cannot listen on %s: %w", b.config.HTTPListener, err)
	}
	b.http = ln.Addr().String()
	srv := status.NewServer(status.New(status.Options{
		Source: source{b}, Version: b.version, StartedAt: b.startedAt, Now: b.env.Clock.Now,
	}), b.logger)
	ended := make(chan struct{})
	b.env.Go("http", func() { // ends when the server is closed below
		defer close(ended)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			b.logger.Error("the HTTP listener failed; metrics and health are not served", "address", b.http, "error", err)
		}
	})
	b.onStop(func() {
		_ = srv.Close() // ends requests under way; nobody waits for the error
		<-ended
	})
	return nil
}

// listenStatus binds the configured address. Where nobody configured one and another broker of this machine has the
// usual port, a free one serves as well.
func (b *Broker) listenStatus() (net.Listener, error) {
	const key = "moldau.http.listener"
	ln, err := b.env.Net.Listen(context.Background(), b.config.HTTPListener)
	if _, explicit := b.static[key]; err == nil || explicit || !errors.Is(err, syscall.EADDRINUSE) {
		return ln, err
	}
	ln, err = b.env.Net.Listen(context.Background(), "127.0.0.1:0")
	if err == nil {
		b.logger.Warn("the usual address for metrics and health is taken; a free port serves them. Set "+key+" to choose one",
			"usual", b.config.HTTPListener, "now", ln.Addr().String())
	}
	return ln, err
}

// source is the broker as the status pages see it.
type source struct{ b *Broker }

func (s source) Stage() status.Stage                  { return status.Stage(s.b.stage.Load()) }
func (s source) Self() moldau.BrokerID                { return s.b.config.NodeID }
func (s source) Image() *metadata.Image               { return s.b.cluster.Image() }
func (s source) Quorum() quorum.Status                { return s.b.cluster.Quorum() }
func (s source) Partitions() []*partition.Partition   { return s.b.partitions.All() }
func (s source) Server() *server.Metrics              { return s.b.server.Metrics() }
func (s source) FetchSessions() (n, p int, out int64) { return s.b.api.FetchSessions() }

func (s source) Files() filecache.Stats { return s.b.storage.files.Stats() }

func (s source) Topics() map[string]*partition.TopicStats { return s.b.stats.all() }

func (s source) Cleaner() status.Cleaner { return s.b.cleaner.told() }

func (s source) LogDirs() []status.LogDir {
	var dirs []status.LogDir
	for i, d := range s.b.describeDirs() {
		dir := status.LogDir{Path: d.Path, Total: d.Total, Free: d.Free, Failure: d.Failure, Futures: len(d.Futures)}
		if i < len(s.b.storage.dirs) { // behind them come those that could not be opened
			dir.Space, dir.Flusher = s.b.storage.dirs[i].home.Space(), s.b.storage.dirs[i].flusher
		}
		dirs = append(dirs, dir)
	}
	return dirs
}
