// Package broker wires the parts of one node together: it starts them bottom up, makes the partitions what the metadata
// says, and stops everything in reverse.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/api"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/node/status"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
	"github.com/moldau/moldau/internal/store/filecache"
)

// metadataDir is the directory of the metadata log within metadata.log.dir. It is not a partition's name, and not the one
// that Apache Kafka uses: its format is ours.
const metadataDir = "moldau-metadata"

// Options say how to run a broker.
type Options struct {
	Env    env.Env
	Logger *slog.Logger
	// Static is the settings that were given, under Kafka's names.
	Static map[string]string
	// Authorizer decides on every request; nil allows everything.
	Authorizer access.Authorizer
	Version    string // of the program, for /metrics
}

// Broker is one running node.
type Broker struct {
	env    env.Env
	logger *slog.Logger
	config config.Broker
	static map[string]string

	identity    commitlog.Identity
	incarnation moldau.UUID
	epoch       moldau.BrokerEpoch
	clean       bool // the last stop was clean
	served      bool // there was a last stop: the directories are not new
	opensLogs   bool // the start came so far that logs may be open

	storage      *storage
	cluster      *cluster
	partitions   *partition.Table
	cleaner      *cleaner
	groups       *api.GroupCoordinator
	transactions *api.TransactionCoordinator
	stats        topicStats
	scrubs       atomic.Pointer[[]*scrub]
	codecs       record.Codecs
	api          *api.Broker
	server       *server.Server
	bound        map[string]bound // by listener name
	http         string           // address of the status pages, empty where they are off
	version      string
	stage        atomic.Int32 // a status.Stage

	moves        *moves
	retentionDue chan struct{} // has retention run before its time

	startedAt time.Time
	opening   time.Duration // from the start to the open port
	stops     []func()      // what undoes the start, to be run from the last to the first
	failed    chan error    // why the broker cannot go on; room for one
}

type bound struct {
	listener config.Listener
	kind     server.Kind
	port     int
}

// Run runs a broker until ctx is done or it cannot go on. ready is called once it serves.
func Run(ctx context.Context, opt Options, ready func(*Broker)) error {
	b, err := Start(opt)
	if err != nil {
		return err
	}
	if ready != nil {
		ready(b)
	}
	select {
	case <-ctx.Done():
		return b.Stop()
	case err := <-b.failed:
		return errors.Join(err, b.Stop())
	}
}

// Start starts a broker. When it returns, the ports are open and the metadata is there; partitions that were not closed
// cleanly may still be recovering. The caller ends it with Stop.
func Start(opt Options) (*Broker, error) {
	b := &Broker{
		env: opt.Env, logger: opt.Logger, static: opt.Static, startedAt: opt.Env.Clock.Now(),
		incarnation: moldau.NewUUID(opt.Env.Rand), cluster: newCluster(), partitions: partition.NewTable(),
		bound: make(map[string]bound), failed: make(chan error, 1), retentionDue: make(chan struct{}, 1), moves: newMoves(), version: opt.Version,
	}
	var err error
	if b.config, err = config.ResolveBroker(opt.Static); err != nil {
		return nil, err
	}
	b.cleaner = newCleaner(b)
	authorizer := opt.Authorizer
	if authorizer == nil {
		authorizer = access.Open{}
	}
	for _, step := range []func() error{b.openStorage, func() error { return b.bind(authorizer) }, b.startQuorum, b.openStatus, b.register, b.serve} {
		if err := step(); err != nil {
			b.undo()
			return nil, err
		}
	}
	b.opening = b.env.Clock.Now().Sub(b.startedAt)
	b.stage.Store(int32(status.Serving))
	return b, nil
}

// undo runs the stops from the last to the first.
func (b *Broker) undo() {
	for i := len(b.stops) - 1; i >= 0; i-- {
		b.stops[i]()
	}
	b.stops = nil
}

// onStop adds what undoes a step of the start.
func (b *Broker) onStop(fn func()) { b.stops = append(b.stops, fn) }

// logFilesMax is how many files logs may keep open of those that the process may: half, for the other half is for
// connections, and no more than so many partitions as one broker can have busy.
func logFilesMax(processMax int) int {
	const most = 64 << 10
	if processMax <= 0 {
		return most
	}
	return max(min(processMax/2, most), 16)
}

// openStorage takes the log directories: locks, identity, clean markers, checkpoints.
func (b *Broker) openStorage() error {
	b.storage = &storage{
		env: b.env, logger: b.logger, partitions: b.partitions, alarm: make(chan struct{}, 1), files: filecache.New(logFilesMax(b.env.FilesMax())),
	}
	b.clean = true
	var opened []*logDir
	for _, path := range b.config.LogDirs {
		d, err := b.storage.openDir(path)
		if err == nil {
			opened = append(opened, d)
			b.onStop(d.release)
		} else if err := b.doWithout(path, err); err != nil {
			return err
		}
	}
	b.identify(opened)
	for _, d := range opened {
		err := b.takeDir(d)
		if err == nil {
			b.storage.dirs = append(b.storage.dirs, d)
		} else if err := b.doWithout(d.path, err); err != nil {
			return err
		}
	}
	return b.storage.settleMoves()
}

// doWithout goes on without a directory that cannot be opened, unless it is the one that holds the metadata, or one that
// is not this broker's, which is a mistake to be seen at once.
func (b *Broker) doWithout(path string, why error) error {
	if path == b.metadataHome() || len(b.storage.unopened) == len(b.config.LogDirs)-1 ||
		errors.Is(why, env.ErrLocked) || errors.Is(why, commitlog.ErrForeign) {
		return why
	}
	b.clean = false
	b.storage.unopened = append(b.storage.unopened, api.LogDir{Path: path, Total: -1, Free: -1, Failure: why})
	b.logger.Error("a log directory cannot be opened; its partitions are offline, the others are served", "directory", path, "error", why)
	return nil
}

// identify finds the cluster that the directories belong to. In a set of new directories a new cluster begins.
func (b *Broker) identify(opened []*logDir) {
	b.identity = commitlog.Identity{NodeID: b.config.NodeID}
	for _, d := range opened {
		if id, ok := d.Identity(); ok {
			b.identity.ClusterID, b.served = id.ClusterID, true
			return
		}
	}
	b.identity.ClusterID = moldau.NewUUID(b.env.Rand).String()
}

// takeDir makes a new directory a member of the cluster, or checks that an old one is, and reads what it holds.
func (b *Broker) takeDir(d *logDir) error {
	want := b.identity
	want.DirectoryID = moldau.NewUUID(b.env.Rand)
	if err := d.Claim(want); err != nil {
		return err
	}
	id, _ := d.Identity()
	d.id = id.DirectoryID
	for _, other := range b.storage.dirs {
		if other.id == d.id {
			return fmt.Errorf("%w: log directories %s and %s have the same directory id %s; one is a copy of the other: remove it from log.dirs",
				commitlog.ErrForeign, other.path, d.path, d.id)
		}
	}
	epoch, clean, err := d.TakeCleanMarker()
	if err != nil {
		return err
	}
	if clean || !d.formatted {
		b.onStop(func() { b.giveBack(d, epoch) })
	}
	d.clean = clean
	b.clean = b.clean && clean
	if d.ManifestLost() {
		b.logger.Warn("a log directory has lost its manifest: a partition whose directory was lost too is missed only where a checkpoint tells of it",
			"directory", d.path)
	}
	if d.outage, err = d.BeginBoot(b.env.BootID(), clean || !d.formatted); err != nil {
		return err
	}
	return d.load()
}

// giveBack marks a directory as clean again where the start fails before any log was opened, such as for a port that is
// taken: what was closed cleanly still is, and the next start need not read it all.
func (b *Broker) giveBack(d *logDir, epoch moldau.BrokerEpoch) {
	if b.opensLogs {
		return // closeLogs decides
	}
	if err := d.WriteCleanMarker(epoch); err != nil {
		b.logger.Error("the mark of a clean stop could not be written", "directory", d.path, "error", err)
	}
}

// bind makes the API and takes the ports, so that their numbers are known. Nothing is accepted yet.
func (b *Broker) bind(authorizer access.Authorizer) error {
	b.groups, b.transactions = b.newGroups(), b.newTransactions()
	b.onStop(b.stopCoordinators)
	b.api = api.New(api.Options{
		Env: b.env, Logger: b.logger, Metadata: b.cluster, Partitions: b.partitions, Groups: b.groups, Transactions: b.transactions,
		Authorizer:  authorizer,
		Controllers: func() []config.Listener { return b.advertised(b.config.AdvertisedControllers) },
		LogDirs:     b.describeDirs, MoveReplica: b.moveReplica, SaveLogStarts: func() error { return b.storage.checkpoint(logStarts) }, NewUUID: func() moldau.UUID { return moldau.NewUUID(b.env.Rand) },
		Config: api.Config{
			ClusterID: b.identity.ClusterID, Self: b.config.NodeID, Broker: &b.config, Static: b.static,
			AutoCreateTopics: b.config.AutoCreateTopics, FetchMaxBytes: int(b.config.FetchMaxBytes),
			FetchSessions: int(b.config.FetchSessionSlots), PartitionsPerResponse: int(b.config.MaxRequestPartitionSizeLimit),
			RequestTimeout: b.config.RequestTimeout,
		},
	})
	b.server = server.New(server.Options{Env: b.env, Logger: b.logger, Router: b.api, Limits: b.limits()})
	b.onStop(b.server.Close) // where the start fails; closing twice is closing once
	for _, l := range b.config.Listeners {
		if err := b.listen(l, server.ForBrokers); err != nil {
			return err
		}
	}
	for _, l := range b.config.ControllerListeners {
		if err := b.listen(l, server.ForControllers); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) listen(l config.Listener, kind server.Kind) error {
	addr, err := b.server.Listen(server.Listener{Name: l.Name, Kind: kind, Address: l.Addr()})
	if err != nil {
		return err
	}
	port, err := portOf(addr)
	if err != nil {
		return err
	}
	b.bound[l.Name] = bound{l, kind, port}
	return nil
}

func (b *Broker) limits() server.Limits {
	c := b.config
	return server.Limits{
		FrameMax: c.SocketRequestMaxBytes, RequestMemory: c.RequestMemoryBytes,
		ConnectionLimits: connectionLimits(&c), Idle: c.ConnectionsMaxIdle, RequestArrival: 30 * time.Second,
		SocketSendBytes: int(c.SocketSendBufferBytes), SocketReceiveBytes: int(c.SocketReceiveBufferBytes),
	}
}

func connectionLimits(c *config.Broker) server.ConnectionLimits {
	l := server.ConnectionLimits{
		Connections: unlimited(c.MaxConnections), ConnectionsPerIP: unlimited(c.MaxConnectionsPerIP),
		ConnectionRate: unlimited(c.MaxConnectionCreationRate), ConnectionsOf: make(map[string]int),
	}
	for address, n := range c.MaxConnectionsPerIPByHost {
		l.ConnectionsOf[address] = int(n)
	}
	return l
}

// unlimited turns Kafka's word for no limit into ours.
func unlimited(n int32) int {
	if n == math.MaxInt32 {
		return 0
	}
	return int(n)
}

// startQuorum opens the metadata log and waits until this replica leads it.
func (b *Broker) startQuorum() error {
	dir := filepath.Join(b.config.MetadataLogDir, metadataDir)
	home, world, outage := b.metadataPlace()
	log, err := quorum.OpenLog(world, dir, outage)
	if err != nil {
		return fmt.Errorf("metadata log %s: %w", dir, err)
	}
	b.onStop(func() {
		if err := log.Close(); err != nil {
			b.logger.Error("the metadata log could not be closed", "error", err)
		}
	})
	b.storage.report("the metadata log", dir, log.Recovery())
	self := quorum.Voter{ID: b.config.NodeID, Directory: home.id}
	stop, err := b.cluster.lead(quorum.Options{Env: world, Dir: dir, Self: self, Log: log, Logger: b.logger}, b.fail)
	if err != nil {
		return err
	}
	b.onStop(stop)
	return nil
}

// metadataHome is the log directory that holds the metadata log, or stands for it where that lies elsewhere: without it there is no
// broker.
func (b *Broker) metadataHome() string {
	if slices.Contains(b.config.LogDirs, b.config.MetadataLogDir) {
		return b.config.MetadataLogDir
	}
	return b.config.LogDirs[0]
}

// metadataPlace is that directory, the world as its metadata log sees it, and how the last life of that log ended.
func (b *Broker) metadataPlace() (d *logDir, e env.Env, outage commitlog.Outage) {
	e = b.env
	d = b.storage.dirs[slices.IndexFunc(b.storage.dirs, func(d *logDir) bool { return d.path == b.metadataHome() })]
	if d.path != b.config.MetadataLogDir {
		return d, e, commitlog.Unknown
	}
	e.FS = d.fs
	return d, e, d.outage
}

// fail notes why the broker cannot go on; the first reason counts.
func (b *Broker) fail(err error) {
	select {
	case b.failed <- err:
	default:
	}
}

// register writes what a new cluster begins with, and this broker's registration. The registration is a new incarnation:
// applying it raises the leader epoch of every partition that this broker leads.
func (b *Broker) register() error {
	if b.cluster.Image().Feature(controller.MetadataVersionFeature) == 0 { // the cluster has not begun
		if err := b.storage.checkUnused(); err != nil {
			return err
		}
		if err := b.cluster.changeNow(func(*metadata.Image) []schema.Record { return controller.Bootstrap() }); err != nil {
			return fmt.Errorf("cannot begin the metadata: %w", err)
		}
	}
	req := b.registration()
	var code moldau.Code
	err := b.cluster.changeNow(func(head *metadata.Image) []schema.Record {
		resp, recs := controller.RegisterBroker(head, req, controller.Standing{}, controller.Env{
			ClusterID: b.identity.ClusterID, Config: &b.config, Static: b.static,
		})
		code, b.epoch = moldau.Code(resp.ErrorCode), moldau.BrokerEpoch(resp.BrokerEpoch)
		return recs
	})
	if err != nil {
		return fmt.Errorf("cannot register the broker: %w", err)
	}
	if code != moldau.None {
		return fmt.Errorf("cannot register broker %d: %s", b.config.NodeID, code)
	}
	if err := b.cluster.changeNow(controller.Upgrade); err != nil {
		return fmt.Errorf("cannot finalise the features that are new: %w", err)
	}
	return nil
}

func (b *Broker) registration() *kmsg.BrokerRegistrationRequest {
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.BrokerID, req.ClusterID, req.IncarnationID = int32(b.config.NodeID), b.identity.ClusterID, b.incarnation
	req.PreviousBrokerEpoch = -1
	if b.config.Rack != "" {
		req.Rack = &b.config.Rack
	}
	for _, l := range b.advertised(b.config.AdvertisedListeners) {
		req.Listeners = append(req.Listeners, kmsg.BrokerRegistrationRequestListener{Name: l.Name, Host: l.Host, Port: uint16(l.Port)})
	}
	for _, f := range controller.SupportedFeatures() {
		req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{
			Name: f.Name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max,
		})
	}
	for _, d := range b.storage.dirs {
		req.LogDirs = append(req.LogDirs, d.id)
	}
	return req
}

// serve opens the logs in the background and the ports at once.
func (b *Broker) serve() error {
	b.opensLogs = true
	b.storage.start(int(b.config.RecoveryThreadsPerDir))
	b.onStop(b.closeLogs)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Add(1)
	b.env.Go("log directories", func() { // ends with ctx
		defer tasks.Done()
		b.watch(ctx)
	})
	for _, d := range b.storage.dirs {
		tasks.Add(1)
		b.env.Go("flusher", func() { // ends with ctx
			defer tasks.Done()
			d.flusher.Run(ctx.Done(), func() { _ = b.storage.checkpoint(recoveryPoints) })
		})
	}
	b.onStop(func() { cancel(); tasks.Wait() })
	b.onStop(b.stopCoordinators) // before the logs, for they write to them
	if err := b.cluster.follow(b.reconcile); err != nil {
		return err
	}
	if b.served && !b.clean {
		b.logger.Warn("the last stop was not clean: logs are recovered before they serve, see /readyz", "partitions", b.partitions.Len())
	}
	b.every(ctx, &tasks, "checkpoint high watermarks", b.config.HWCheckpointInterval, func() {
		_ = b.storage.checkpoint(highWatermarks)
	})
	b.every(ctx, &tasks, "checkpoint recovery points", b.config.FlushCheckpointInterval, func() { _ = b.storage.checkpoint(recoveryPoints) })
	b.every(ctx, &tasks, "checkpoint log starts", b.config.StartOffsetCheckpointInterval, func() {
		_ = b.storage.checkpoint(logStarts)
	})
	tasks.Add(1)
	b.env.Go("retention", func() { // ends with ctx
		defer tasks.Done()
		b.retainEach(ctx, b.config.RetentionCheckInterval)
	})
	b.startScrubs(ctx, &tasks)
	if b.config.Cleaner.Enabled {
		tasks.Add(1)
		b.env.Go("cleaner", func() { // ends with ctx
			defer tasks.Done()
			b.cleaner.run(ctx)
		})
	}
	b.every(ctx, &tasks, "producer expiry", b.config.ProducerExpiryCheckInterval, b.expireProducers)
	tasks.Add(1)
	b.env.Go("move replicas", func() { // ends with ctx
		defer tasks.Done()
		b.moveReplicas(ctx)
	})
	b.server.Serve()
	b.onStop(b.server.Close) // before the logs: nobody is told of a failure that is only our end
	return nil
}

// closeLogs is the end of a clean stop for the logs: closed, checkpointed, and marked as clean where all went well.
func (b *Broker) closeLogs() {
	b.storage.stop()
	_ = b.storage.checkpoint(highWatermarks)
	_ = b.storage.checkpoint(logStarts) // before the segments below are gone: see retain
	var mu sync.Mutex
	dirty := make(map[*partition.Directory]bool)
	all := b.partitions.All()
	b.storage.each(len(all), func(i int) {
		p := all[i]
		err := p.Locked(func(log *commitlog.Log) error { return log.Close() })
		if err == nil {
			return
		}
		if !errors.Is(err, partition.ErrOffline) && !errors.Is(err, commitlog.ErrDamaged) { // told before, or not opened yet
			b.logger.Error("a log could not be closed; it will be recovered at the next start", "partition", p.Name.String(), "error", err)
		}
		mu.Lock()
		defer mu.Unlock()
		dirty[p.Home()] = true
	})
	_ = b.storage.checkpoint(recoveryPoints)
	_ = b.storage.checkpoint(logStarts)
	for _, d := range b.storage.dirs {
		if dirty[d.home] || d.home.Failure() != nil {
			continue
		}
		if err := d.WriteCleanMarker(b.epoch); err != nil {
			b.logger.Error("the mark of a clean stop could not be written", "directory", d.path, "error", err)
		}
	}
}

// Stop ends the broker cleanly: no new connections, those that are open closed, logs closed and marked clean.
func (b *Broker) Stop() error {
	b.stage.Store(int32(status.Stopping))
	b.undo()
	return nil
}
