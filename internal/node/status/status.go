// Package status serves what a person or a monitor asks a broker about itself, over HTTP: /metrics, /healthz and /readyz.
//
// Everything is read at the time of the request from where it arises, so a partition or a topic costs nothing until
// somebody scrapes. The pages change nothing and need no authorization of their own: the listener is on the loopback
// address unless it was configured otherwise.
package status

import (
	"bufio"
	"compress/gzip" // net/http has it anyway
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/group"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/kit/metric"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/store/filecache"
)

// Stage is how far the life of a broker has come.
type Stage int

// The stages.
const (
	Starting Stage = iota // not registered yet
	Serving               // the ports are open; logs may still be recovering
	Stopping
)

// LogDir is one of the broker's log directories.
type LogDir struct {
	Path        string
	Total, Free int64 // bytes of its volume; -1 where that cannot be told
	Failure     error // why it is offline, or nil
	Space       partition.Space
	Futures     int // replicas that are being moved here
	// Flusher syncs its logs; nil where the directory could not be opened.
	Flusher *partition.Flusher
}

// Scrubs is what the background reads of sealed segments have done since the start.
type Scrubs struct {
	Bytes  int64 // read
	Damage []Damage
}

// Damage is a place in a sealed segment that cannot be read.
type Damage struct {
	Partition moldau.TopicPartition
	Reason    string // with the place
}

// Recovery is how far the opening of logs has come.
type Recovery struct {
	Read     int64     // bytes of batches that were checked in logs that are open
	Underway []Reading // the largest first
}

// Reading is a log whose batches are being checked.
type Reading struct {
	Partition   moldau.TopicPartition
	Done, Total int64 // bytes
}

// Groups is the groups that a broker coordinates, and how near their coordinator is to its limits.
type Groups struct {
	ByState        map[group.State]int
	Offsets        int // committed
	Active         int // partitions of __consumer_offsets whose groups are served
	Loading        int // partitions of __consumer_offsets that are being read
	Waiting, Limit int // commands
}

// Transactions is the transactional ids that a broker coordinates, and how near their coordinator is to its limits.
type Transactions struct {
	ByState        map[txn.State]int
	Held           int // requests that wait for the markers of the transaction before theirs
	Active         int // partitions of __transaction_state whose transactional ids are served
	Loading        int // partitions of __transaction_state that are being read
	Waiting, Limit int // commands
}

// Source is what the pages tell of. Its methods are called from any goroutine, at any time, also while the broker starts
// and stops.
type Source interface {
	Stage() Stage
	Self() moldau.BrokerID
	// Image is the newest committed metadata that this broker has applied.
	Image() *metadata.Image
	Quorum() quorum.Status
	// Partitions are the replicas on this broker, in any order.
	Partitions() []*partition.Partition
	// Topics are the counters of every topic since the start, deleted ones too: totals only rise.
	Topics() map[string]*partition.TopicStats
	LogDirs() []LogDir
	Scrubs() Scrubs
	Cleaner() Cleaner
	Recovery() Recovery
	Server() *server.Metrics
	// Groups is what this broker coordinates.
	Groups() Groups
	Transactions() Transactions
	// FetchSessions is the number of fetch sessions, the partitions in them, and how many had to make room.
	FetchSessions() (count, partitions int, evictions int64)
	// Files is the files of logs that are open.
	Files() filecache.Stats
}

// Options are the parts of a handler.
type Options struct {
	Source    Source
	Version   string           // of the program; empty where it is unknown
	StartedAt time.Time        // of the process
	Process   func() Process   // the figures of the process; nil takes ReadProcess
	Now       func() time.Time // the broker's clock
}

// New returns the handler of the pages.
func New(opt Options) http.Handler {
	if opt.Process == nil {
		opt.Process = ReadProcess
	}
	p := pages{opt, new(idleShare)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /metrics", p.metrics)
	mux.HandleFunc("GET /healthz", p.health)
	mux.HandleFunc("GET /readyz", p.ready)
	return mux
}

// NewServer returns an HTTP server for handler that bounds what its clients can take. The caller gives it a listener and
// closes it.
func NewServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

type pages struct {
	Options
	share *idleShare
}

func (p pages) index(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "text/plain; charset=utf-8", []byte("/metrics\n/healthz\n/readyz\n"))
}

func (p pages) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept-Encoding")
	var to io.Writer = w
	if takesGzip(r.Header.Values("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a level that exists
		defer z.Close()                                // the client went; there is nobody to tell
		to = z
	}
	begin(w, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8")
	out := bufio.NewWriterSize(to, 64<<10) // not all of it at once: 100,000 partitions make 65 MB
	p.writeMetrics(out)
	_ = out.Flush() // likewise
}

// takesGzip reports whether a client that sent these lines of Accept-Encoding can read gzip. RFC 9110, 12.5.3.
func takesGzip(lines []string) bool {
	for coding := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
			continue
		}
		_, q, given := strings.Cut(weight, "=")
		if share, err := strconv.ParseFloat(strings.TrimSpace(q), 64); !given || err == nil && share > 0 {
			return true
		}
	}
	return false
}

// writeMetrics writes every metric to w, whose error ends it.
func (p pages) writeMetrics(w io.Writer) {
	s := newScrape(metric.NewWriter(w), p.Source)
	s.topics()
	s.replicas()
	s.copies()
	s.alone()
	s.logs()
	s.cleaner()
	s.requests()
	s.cluster()
	s.quorum()
	s.groups()
	s.transactions()
	s.limits()
	s.idle(p.Options, p.share)
	s.process(p.Options)
}

func (p pages) health(w http.ResponseWriter, _ *http.Request) {
	// What is worth a look and no reason to act upon the process goes with the good word.
	tell(w, strings.Join(append([]string{"healthy"}, warnings(p.Source)...), "\n"), complaints(p.Source))
}

func (p pages) ready(w http.ResponseWriter, _ *http.Request) {
	tell(w, "ready", progress(p.Source))
}

// tell answers 200 where nothing is to be said against it, else 503 with the reasons, a line each.
func tell(w http.ResponseWriter, word string, reasons []string) {
	if len(reasons) == 0 {
		answer(w, http.StatusOK, "text/plain; charset=utf-8", []byte(word+"\n"))
		return
	}
	answer(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte(strings.Join(reasons, "\n")+"\n"))
}

func answer(w http.ResponseWriter, code int, contentType string, body []byte) {
	begin(w, code, contentType)
	_, _ = w.Write(body) // the client went; there is nobody to tell
}

func begin(w http.ResponseWriter, code int, contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
}

// namesMax is how many offline partitions a complaint names.
const namesMax = 10

// complaints are what keeps the broker from being healthy.
func complaints(src Source) (all []string) {
	for _, d := range src.LogDirs() {
		if d.Failure != nil {
			all = append(all, fmt.Sprintf("log directory %s is offline: %v", d.Path, d.Failure))
		}
		if d.Space.Level == partition.Refusing {
			all = append(all, fmt.Sprintf("log directory %s is full, clients' records are refused: %d bytes of %d are free, %d are kept back",
				d.Path, d.Space.Free, d.Space.Total, d.Space.Reserve))
		}
	}
	rows := rowsOf(src.Partitions())
	all = append(all, named(rows, "offline", func(p *partition.Partition) error {
		if isOffline(p) {
			return p.Failure()
		}
		return nil
	})...)
	all = append(all, named(rows, "damaged", (*partition.Partition).Damage)...)
	for i, d := range src.Scrubs().Damage {
		if i == namesMax {
			all = append(all, fmt.Sprintf("and %d more places in sealed segments are damaged", len(src.Scrubs().Damage)-i))
			break
		}
		all = append(all, fmt.Sprintf("partition %s has damaged records: %s", d.Partition, d.Reason))
	}
	if q := src.Quorum(); src.Stage() == Serving && q.Leader == nil {
		all = append(all, "the metadata quorum has no leader: topics cannot be made or changed")
	}
	return all
}

// warnings are what may keep the broker from being healthy soon.
func warnings(src Source) (all []string) {
	for _, d := range src.LogDirs() {
		if d.Space.Level > partition.Ample {
			all = append(all, fmt.Sprintf("warning: log directory %s has little space left: %d bytes of %d are free, below %d clients' records are refused",
				d.Path, d.Space.Free, d.Space.Total, d.Space.Reserve))
		}
	}
	return all
}

// named complains about the partitions for which why has an error, the first of them by name.
func named(rows []row, what string, why func(*partition.Partition) error) (all []string) {
	n := 0
	for _, row := range rows {
		err := why(row.Partition)
		if err == nil {
			continue
		}
		if n++; n <= namesMax {
			all = append(all, fmt.Sprintf("partition %s is %s: %v", row.Name, what, err))
		}
	}
	if n > namesMax {
		all = append(all, fmt.Sprintf("and %d more partitions are %s", n-namesMax, what))
	}
	return all
}

// progress is what keeps the broker from being ready, in words.
func progress(src Source) []string {
	switch src.Stage() {
	case Starting:
		return []string{"starting"}
	case Stopping:
		return []string{"stopping"}
	}
	all := src.Partitions()
	open := 0
	for _, p := range all {
		if !p.Loading() {
			open++
		}
	}
	if open < len(all) {
		return []string{fmt.Sprintf("recovering: %d of %d partitions are open%s", open, len(all), reading(src.Recovery()))}
	}
	return nil
}

// reading is how much a recovery has read, in words; nothing where it had nothing to read.
func reading(r Recovery) string {
	done := r.Read
	for _, u := range r.Underway {
		done += u.Done
	}
	if done == 0 {
		return ""
	}
	text := fmt.Sprintf(", %s of batches are checked", mebibytes(done))
	for i, u := range r.Underway {
		if i == readingsMax {
			return text + fmt.Sprintf(" and of %d more logs", len(r.Underway)-i)
		}
		sep := ", "
		if i == 0 {
			sep = "; now "
		}
		text += fmt.Sprintf("%s%s of %s of %s", sep, mebibytes(u.Done), mebibytes(u.Total), u.Partition)
	}
	return text
}

// readingsMax is how many logs that are being read are named.
const readingsMax = 3

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// isOffline reports whether a partition is here and cannot be served.
func isOffline(p *partition.Partition) bool { return !p.Online() && !p.Loading() && !p.IsGone() }
