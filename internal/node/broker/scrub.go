package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/status"
	"github.com/moldau/moldau/internal/store/commitlog"
)

const (
	// scrubRound is how long a round over all sealed segments takes at least: what fits into less is not read again all the time.
	scrubRound = 24 * time.Hour
	// scrubPiece is how many bytes are read before the scrub waits.
	scrubPiece = 256 << 10
	// scrubSave is how often at most the place is written down.
	scrubSave = time.Minute
	// scrubName is the file of a log directory that says where its scrub is.
	scrubName    = "moldau.scrub"
	scrubVersion = "version: 0"
	// scrubbedMax bounds the damage that is kept in mind for each directory; more is counted, and found again by a later round.
	scrubbedMax = 1000
)

// scrub reads the sealed segments of one log directory again and again, slowly, and checks every batch: a disk that loses bytes
// in silence is noticed while there may still be a copy. What it finds takes no partition offline.
type scrub struct {
	b    *Broker
	dir  *logDir
	rate int64 // bytes a second
	done atomic.Int64

	mu struct {
		sync.Mutex
		found []found
	}

	pending int64 // bytes read since the last wait
	saved   time.Time
}

// found is damage that the scrub has met.
type found struct {
	partition *partition.Partition
	base      moldau.Offset // of the segment
	damage    commitlog.Damage
}

// place is where a scrub is: the next segment to look at has this base or a higher one.
type place struct {
	partition moldau.TopicPartition
	base      moldau.Offset
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.partition.Topic, q.partition.Topic), cmp.Compare(p.partition.Partition, q.partition.Partition), cmp.Compare(p.base, q.base))
}

// run scrubs until ctx is done: first the segments in which an earlier life has found something, then round after round.
func (s *scrub) run(ctx context.Context) {
	at, bad := s.load()
	for _, p := range bad {
		for _, part := range s.partitions(place{partition: p.partition}) {
			if part.Name == p.partition {
				s.segment(ctx, part, p.base)
			}
		}
	}
	for ctx.Err() == nil {
		begun := s.b.env.Clock.Now()
		s.round(ctx, at)
		at = place{}
		if ctx.Err() == nil {
			s.save(at)
			_ = env.Sleep(ctx, s.b.env.Clock, scrubRound-s.b.env.Clock.Now().Sub(begun)) // its error is that of ctx
		}
	}
}

// partitions are those of the directory that are behind a place, in order.
func (s *scrub) partitions(from place) []*partition.Partition {
	all := slices.DeleteFunc(s.b.partitions.All(), func(p *partition.Partition) bool {
		return p.Home() != s.dir.home || place{p.Name, from.base}.compare(from) < 0
	})
	slices.SortFunc(all, func(a, b *partition.Partition) int { return place{a.Name, 0}.compare(place{b.Name, 0}) })
	return all
}

// round looks at every sealed segment from a place on.
func (s *scrub) round(ctx context.Context, from place) {
	for _, p := range s.partitions(from) {
		base := moldau.Offset(0)
		if p.Name == from.partition {
			base = from.base
		}
		for ctx.Err() == nil {
			next, ok := s.segment(ctx, p, base)
			if !ok {
				break
			}
			base = next
			if now := s.b.env.Clock.Now(); now.Sub(s.saved) >= scrubSave {
				s.saved = now
				s.save(place{p.Name, base})
			}
		}
	}
}

// segment looks at the first sealed segment of p from base on, and returns the place behind it.
func (s *scrub) segment(ctx context.Context, p *partition.Partition, base moldau.Offset) (next moldau.Offset, ok bool) {
	select {
	case <-p.Settled():
	case <-ctx.Done():
	}
	log := p.Log()
	if log == nil {
		return 0, false
	}
	res, ok, err := log.Scrub(&commitlog.Inspector{Read: func(n int64) error { return s.wait(ctx, n) }}, base)
	switch {
	case !ok || ctx.Err() != nil:
		return 0, false
	case err != nil && (p.IsGone() || p.Log() != log): // deleted, or moved to another directory
		return 0, false
	case err != nil: // the device refuses to read: as bad as wrong bytes
		res.Damage = append(res.Damage, commitlog.Damage{Offset: res.Base, File: log.Dir(), Reason: err.Error()})
	}
	s.note(p, res)
	return res.Base + 1, true
}

// wait is told of bytes that were read, and takes as long as they may take.
func (s *scrub) wait(ctx context.Context, n int64) error {
	s.done.Add(n)
	if s.pending += n; s.pending < scrubPiece {
		return ctx.Err()
	}
	d := time.Duration(float64(s.pending) / float64(s.rate) * float64(time.Second))
	s.pending = 0
	return env.Sleep(ctx, s.b.env.Clock, d)
}

// note replaces what is known of a segment, and tells of what is new.
func (s *scrub) note(p *partition.Partition, res commitlog.Scrubbed) {
	s.mu.Lock()
	var before []found
	s.mu.found = slices.DeleteFunc(s.mu.found, func(f found) bool {
		if f.partition == p && f.base == res.Base {
			before = append(before, f)
			return true
		}
		return false
	})
	for _, d := range res.Damage {
		if len(s.mu.found) < scrubbedMax {
			s.mu.found = append(s.mu.found, found{p, res.Base, d})
		}
	}
	s.mu.Unlock()
	for _, d := range res.Damage {
		if !slices.ContainsFunc(before, func(f found) bool { return f.damage == d }) {
			s.b.logger.Error("a sealed segment is damaged: records in it cannot be read", "partition", p.Name.String(), "offset", int64(d.Offset),
				"file", d.File, "byte", d.Byte, "reason", d.Reason, "next", "bring the file back from a copy, or stop the broker and run: moldau log repair "+logDirOf(p, d))
		}
	}
	if len(before) != len(res.Damage) {
		s.save(place{p.Name, res.Base + 1})
	}
}

// logDirOf is the directory of p's log, for a message.
func logDirOf(p *partition.Partition, d commitlog.Damage) string {
	if strings.HasSuffix(d.File, ".log") {
		return filepath.Dir(d.File)
	}
	return filepath.Join(p.Home().Path, p.Name.String())
}

// current is the damage in segments that are still there.
func (s *scrub) current() []found {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.found = slices.DeleteFunc(s.mu.found, func(f found) bool {
		l := f.partition.Log()
		return f.partition.IsGone() || l != nil && !slices.ContainsFunc(l.Segments(), func(info commitlog.SegmentInfo) bool { return info.Base == f.base })
	})
	return slices.Clone(s.mu.found)
}

// save writes down where the scrub is and which segments are damaged, so that a start goes on there and looks at those first.
func (s *scrub) save(at place) {
	var bad []place
	for _, f := range s.current() {
		if p := (place{f.partition.Name, f.base}); !slices.Contains(bad, p) {
			bad = append(bad, p)
		}
	}
	if err := env.WriteFile(s.dir.fs, s.dir.path, scrubName, []byte(scrubText(at, bad))); err != nil {
		s.b.logger.Error("the place of the scrub could not be written", "directory", s.dir.path, "error", err)
	}
}

// scrubText is the content of moldau.scrub (docs/format/directory.md).
func scrubText(at place, damaged []place) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nat: %s\n", scrubVersion, at)
	for _, p := range damaged {
		fmt.Fprintf(&b, "damaged: %s\n", p)
	}
	return b.String()
}

func (p place) String() string { return fmt.Sprintf("%s %d", p.partition, p.base) }

// load reads what save wrote; without it the scrub begins at the beginning.
func (s *scrub) load() (at place, bad []place) {
	b, err := env.ReadFile(s.dir.fs, filepath.Join(s.dir.path, scrubName), 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.b.logger.Warn("the place of the scrub cannot be read; it begins anew", "directory", s.dir.path, "error", err)
	}
	version, rest, _ := strings.Cut(string(b), "\n")
	if version != scrubVersion {
		return place{}, nil
	}
	for line := range strings.Lines(rest) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		p, ok := parsePlace(value)
		switch {
		case !ok:
		case key == "at":
			at = p
		case key == "damaged":
			bad = append(bad, p)
		}
	}
	return at, bad
}

func parsePlace(text string) (place, bool) {
	name, base, _ := strings.Cut(text, " ")
	tp, err := moldau.ParseTopicPartition(name)
	n, nerr := strconv.ParseInt(base, 10, 64)
	return place{tp, moldau.Offset(n)}, err == nil && nerr == nil
}

// startScrubs begins the scrub of every directory.
func (b *Broker) startScrubs(ctx context.Context, tasks *sync.WaitGroup) {
	if b.config.ScrubBytesPerSecond == 0 {
		return
	}
	var all []*scrub
	defer func() { b.scrubs.Store(&all) }()
	for _, d := range b.storage.dirs {
		s := &scrub{b: b, dir: d, rate: b.config.ScrubBytesPerSecond}
		all = append(all, s)
		tasks.Add(1)
		b.env.Go("scrub", func() { // ends with ctx; the stop waits for tasks
			defer tasks.Done()
			s.run(ctx)
		})
	}
}

// Scrubs tells what the scrubs have read and found.
func (s source) Scrubs() status.Scrubs {
	var all status.Scrubs
	scrubs := s.b.scrubs.Load()
	if scrubs == nil {
		return all
	}
	for _, scrub := range *scrubs {
		all.Bytes += scrub.done.Load()
		for _, f := range scrub.current() {
			all.Damage = append(all.Damage, status.Damage{Partition: f.partition.Name, Reason: fmt.Sprintf("offset %d, %s at byte %d: %s",
				f.damage.Offset, f.damage.File, f.damage.Byte, f.damage.Reason)})
		}
	}
	return all
}
